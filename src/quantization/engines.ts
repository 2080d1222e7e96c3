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
  let speeds = readSpeeds(await readEntry(name));
  const when = speeds === null ? "measured now" : "measured before";
  if (speeds === null) {
    let webgpu: number;
    try {
      webgpu = await measure(await openWebGpu(options), options.method);
    } catch (error) {
      if (!(error instanceof EngineFault || error instanceof ModelcastError)) throw error;
      events.warn(`the GPU "${adapter.name}" is not used: ${error.message}`);
      return await wasmBecause("the GPU failed its trial", options);
    }
    speeds = { webgpu, wasm: await measure(await openWasm(options), options.method) };
    await writeEntry(name, speeds);
  }
  const reason =
    `${options.method} on "${adapter.name}" ${speeds.webgpu.toFixed(1)} GB/s, on the ` +
    `processor ${speeds.wasm.toFixed(1)} GB/s, ${when}`;
  if (speeds.webgpu <= speeds.wasm) return await wasmBecause(reason, options);
  return opened(await openWebGpu(options), reason, () => openWasm(options));
}

async function wasmBecause(reason: string, options: EngineOptions): Promise<OpenedEngine> {
  return opened(await openWasm(options), reason, openReference);
}

/** GB/s of weights that `engine` quantizes to 4 bits, the best of three runs; disposes of it. */
async function measure(engine: Engine, method: Method): Promise<number> {
  const { rows, columns } = TRIAL;
  try {
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
  } finally {
    engine.dispose();
  }
}

function opened(engine: Engine, reason: string, open: () => Promise<Engine>): OpenedEngine {
  let fallback: Promise<Engine> | null = null;
  return {
    engine: {
      name: engine.name,
      allocate: (byteLength) => engine.allocate(byteLength),
      quantize: (job) => engine.quantize(job),
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
  return (await import("./reference.ts")).createReferenceEngine();
}

async function openWasm(options: EngineOptions): Promise<Engine> {
  const { createWasmEngine } = await import("./wasm.ts");
  return await createWasmEngine(options.workers === null ? {} : { workers: options.workers });
}

/** Asks for the adapter anew: one that has given a device gives no other. */
async function openWebGpu(options: EngineOptions): Promise<Engine> {
  const { createWebGpuEngine } = await import("./webgpu.ts");
  return await createWebGpuEngine({ allowInexact: options.allowInexact });
}

function readSpeeds(value: unknown): { webgpu: number; wasm: number } | null {
  if (typeof value !== "object" || value === null) return null;
  const { webgpu, wasm } = value as { webgpu?: unknown; wasm?: unknown };
  return typeof webgpu === "number" && typeof wasm === "number" ? { webgpu, wasm } : null;
}

/** A short name for a long key. */
async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex().slice(0, 32);
}
