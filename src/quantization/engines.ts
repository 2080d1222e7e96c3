/**
 * Opens the engine that a conversion runs on. `auto` measures once which engine is faster on this
 * machine for the method at hand and remembers it; a software GPU is never faster than SIMD
 * WebAssembly on the same processor, so it is not measured.
 */
import { readEntry, writeEntry } from "../cache.ts";
import { type Adapter, detectAdapter, detectProcessor, hardwareKey } from "../hardware.ts";
import { ModelcastError } from "../error.ts";
import { type Engine, EngineFault, type EngineName, type Method } from "./engine.ts";

/** How to open an engine. */
export interface EngineOptions {
  readonly engine: "auto" | EngineName;
  readonly method: Method;
  /** Threads of the wasm engine; null for one a core. */
  readonly workers: number | null;
  /** Whether a GPU may be used whose arithmetic fails the self-test. */
  readonly allowInexact: boolean;
}

/** An open engine, and why it is this one. */
export interface OpenedEngine {
  readonly engine: Engine;
  readonly reason: string;
  /** Opens the engine that redoes what `engine` can't do. Dispose of both through `engine`. */
  readonly fallback: () => Promise<Engine>;
}

/** Rows and columns of the matrix that engines are measured on: 16 MiB, as a small layer has. */
const TRIAL = { rows: 2048, columns: 2048 } as const;

/** Opens the engine that `options` ask for. Throws an `InputError` where it can't be had. */
export async function openEngine(
  options: EngineOptions,
  events: { warn(text: string): void },
): Promise<OpenedEngine> {
  switch (options.engine) {
    case "reference":
      return opened(await openReference(), "asked for", openReference);
    case "wasm":
      return opened(await openWasm(options), "asked for", openReference);
    case "webgpu":
      return opened(await openWebGpu(options), "asked for", () => openWasm(options));
    case "auto":
      return await openFastest(options, events);
    default:
      return options.engine satisfies never;
  }
}

async function openFastest(
  options: EngineOptions,
  events: { warn(text: string): void },
): Promise<OpenedEngine> {
  const adapter = await detectAdapter().catch(() => null);
  if (adapter === null) return await wasmBecause("there is no GPU adapter", options);
  if (adapter.software) {
    return await wasmBecause(`the adapter "${adapter.name}" is a software GPU`, options);
  }
  return await openByTrial(adapter, options, events);
}

/**
 * Opens the faster of the webgpu engine on `adapter` and the wasm engine: as it was measured before
 * on this hardware for this method, else as it is measured now.
 */
export async function openByTrial(
  adapter: Adapter,
  options: EngineOptions,
  events: { warn(text: string): void },
): Promise<OpenedEngine> {
  const key = `${hardwareKey(adapter, detectProcessor())}; ${options.method}`;
  const name = `engine-${await digest(key)}`;
  const known = readSpeeds(await readEntry(name));
  const because = (speeds: Speeds): string =>
    `${options.method} on "${adapter.name}" ${speeds.webgpu.toFixed(1)} GB/s, on the processor ` +
    `${speeds.wasm.toFixed(1)} GB/s, measured ${known === null ? "now" : "before"}`;
  if (known !== null && known.webgpu <= known.wasm) {
    return await wasmBecause(because(known), options);
  }
  const { method } = options;
  const wasm = () => openWasm(options);
  let gpu: Tried;
  try {
    gpu = known === null
      ? await tryOut(openWebGpu(options), method)
      : { engine: await openWebGpu(options), speed: known.webgpu };
  } catch (error) {
    if (!(error instanceof EngineFault || error instanceof ModelcastError)) throw error;
    events.warn(`the GPU "${adapter.name}" is not used: ${error.message}`);
    return await wasmBecause("the GPU failed its trial", options);
  }
  if (known !== null) return opened(gpu.engine, because(known), wasm);
  const processor = await tryOut(wasm(), method).catch((error) => {
    gpu.engine.dispose();
    throw error;
  });
  const speeds = { webgpu: gpu.speed, wasm: processor.speed };
  await writeEntry(name, speeds);
  // The faster one is kept as it is: an adapter need not give a second device.
  if (speeds.webgpu <= speeds.wasm) {
    gpu.engine.dispose();
    return opened(processor.engine, because(speeds), openReference);
  }
  processor.engine.dispose();
  return opened(gpu.engine, because(speeds), wasm);
}

/** An open engine and its speed in GB/s. */
interface Tried {
  readonly engine: Engine;
  readonly speed: number;
}

/** Measures the engine that is being opened; disposes of it only where that fails. */
async function tryOut(opening: Promise<Engine>, method: Method): Promise<Tried> {
  const engine = await opening;
  try {
    return { engine, speed: await measure(engine, method) };
  } catch (error) {
    engine.dispose();
    throw error;
  }
}

async function wasmBecause(reason: string, options: EngineOptions): Promise<OpenedEngine> {
  return opened(await openWasm(options), reason, openReference);
}

/** GB/s of weights that `engine` quantizes to 4 bits, the best of three runs. */
async function measure(engine: Engine, method: Method): Promise<number> {
  const { rows, columns } = TRIAL;
  let best = Infinity;
  for (let run = 0; run < 3; run++) {
    const memory = await engine.allocate(rows * columns * 4);
    const weights = new Float32Array(
      memory.bytes.buffer,
      memory.bytes.byteOffset,
      rows * columns,
    );
    // A fixed sequence: the search's time does not depend on values, but zeros would be special.
    for (let i = 0, state = 1; i < weights.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      weights[i] = state / 2 ** 31;
    }
    const started = performance.now();
    const result = await engine.quantize({
      weights: memory.bytes,
      weightType: "float32",
      rows,
      columns,
      order: "columns",
      format: { bits: 4, symmetric: false, blockSize: 32, scaleType: "float16" },
      method,
      measure: true,
    });
    best = Math.min(best, performance.now() - started);
    result.release();
    memory.release();
  }
  return (rows * columns * 4) / 1e6 / best;
}

function opened(engine: Engine, reason: string, open: () => Promise<Engine>): OpenedEngine {
  let fallback: Promise<Engine> | null = null;
  return {
    engine: {
      name: engine.name,
      allocate: (byteLength) => engine.allocate(byteLength),
      quantize: (job) => engine.quantize(job),
      ...(engine.quantizeFile === undefined
        ? {}
        : { quantizeFile: (job) => engine.quantizeFile!(job) }),
      dispose() {
        engine.dispose();
        void fallback?.then((other) => other.dispose(), () => undefined);
      },
    },
    reason,
    fallback: () => fallback ??= open(),
  };
}

async function openReference(): Promise<Engine> {
  return (await import("./reference" + ".ts") as typeof import("./reference.ts"))
    .createReferenceEngine();
}

async function openWasm(options: EngineOptions): Promise<Engine> {
  const { createWasmEngine } = await import("./wasm.ts");
  return await createWasmEngine(options.workers === null ? {} : { workers: options.workers });
}

/** Asks for the adapter anew: one that has given a device gives no other. */
async function openWebGpu(options: EngineOptions): Promise<Engine> {
  const { createWebGpuEngine } = await import("./webgpu" + ".ts") as typeof import("./webgpu.ts");
  return await createWebGpuEngine({ allowInexact: options.allowInexact });
}

/** GB/s of weights that each engine quantizes. */
interface Speeds {
  readonly webgpu: number;
  readonly wasm: number;
}

function readSpeeds(value: unknown): Speeds | null {
  if (typeof value !== "object" || value === null) return null;
  const { webgpu, wasm } = value as { webgpu?: unknown; wasm?: unknown };
  return typeof webgpu === "number" && typeof wasm === "number" ? { webgpu, wasm } : null;
}

/** A short name for a long key. */
async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex().slice(0, 32);
}
