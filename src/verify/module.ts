/**
 * Modules for WebGPU, run for a verification: in a process of its own that may read the module's folder
 * and nothing else, since a module is generated code. What it says is checked.
 *
 * A frame is the length of a header as float64, the header as JSON, and the elements of the tensors
 * that it describes, in order; each part is padded to 8 bytes.
 */
import { dirname, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { z } from "zod";
import { InterruptedError, MissingToolError, VerificationError } from "../error.ts";
import { adapterFacts } from "../hardware.ts";
import { type Command, ProcessError, run } from "../process.ts";
import { elementCount } from "../ir.ts";
import { DENO_VARIABLES, denoProgram, lastWords } from "./deno.ts";
import { elementBytes, type HostTensor, isHostType, viewBytes, visible } from "./values.ts";

/** The WebGPU adapter that a module ran on. */
export interface ModuleAdapter {
  /** The driver's own name, such as "llvmpipe (LLVM 15.0.6, 256 bits)". */
  readonly name: string;
  readonly vendor: string;
  /** Whether it computes on the processor: no check of a GPU. */
  readonly software: boolean;
  /** What runs the module, such as "Deno 2.9.6". */
  readonly runtime: string;
}

/** What running a module gave. */
export interface ModuleRun {
  readonly adapter: ModuleAdapter;
  /** Milliseconds to load it, and of each timed run. */
  readonly load: number;
  readonly times: readonly number[];
  /** Outputs of types that can be compared, by name, one map a sample. */
  readonly samples: readonly Map<string, HostTensor>[];
}

/** How a module is run. */
export interface ModuleJob {
  /** Path of the module's `.js`; its weights lie beside it. */
  readonly path: string;
  /** What errors call it. */
  readonly name: string;
  readonly samples: readonly ReadonlyMap<string, HostTensor>[];
  /** Timed runs of the first sample, after those whose outputs are kept. */
  readonly runs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

const CHILD = fileURLToPath(new URL("./module_child.js", import.meta.url));

/** Bytes that a module's outputs may take together. */
const MOST_OUTPUT = 4 * 2 ** 30;
const PROBE_MS = 60_000;

const DIMS = z.array(z.int().min(0));
const INFO = z.object({
  vendor: z.string(),
  device: z.string(),
  description: z.string(),
  isFallbackAdapter: z.boolean(),
});
/** What the process answers. */
const ANSWER = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("no adapter") }),
  z.object({ kind: z.literal("adapter"), adapter: INFO }),
  z.object({ kind: z.literal("failed"), adapter: INFO.nullable(), message: z.string() }),
  z.object({
    kind: z.literal("ran"),
    adapter: INFO,
    load: z.number(),
    times: z.array(z.number()),
    outputs: z.array(z.array(
      z.object({ name: z.string(), dtype: z.string(), dims: DIMS, bytes: z.int().min(0) }),
    )),
  }),
]);

type Answer = z.infer<typeof ANSWER>;

/**
 * The adapter that modules would run on.
 *
 * @throws MissingToolError where there is none, or where the process may not be started.
 */
export async function findModuleAdapter(signal: AbortSignal | undefined): Promise<ModuleAdapter> {
  let answer: Answer;
  try {
    ({ answer } = await ask(new Uint8Array(0), dirname(CHILD), PROBE_MS, signal));
  } catch (error) {
    // A driver may end the process that loads it.
    if (error instanceof ChildFault || error instanceof ProcessError) {
      throw noAdapter(error.message);
    }
    throw error;
  }
  if (answer.kind === "adapter") return adapterOf(answer.adapter);
  throw noAdapter(answer.kind === "failed" ? answer.message : null);
}

/**
 * Loads the module of `job` and runs its samples.
 *
 * @throws VerificationError where it does not load or run, or ends its process.
 * @throws MissingToolError where there is no adapter, or where the process may not be started.
 */
export async function runModule(job: ModuleJob): Promise<ModuleRun> {
  const { path, name, samples, runs, timeoutMs, signal } = job;
  const cannot = (state: string, cause?: unknown) =>
    new VerificationError(`Cannot run result "${name}": ${state}.`, { cause });
  let told: { answer: Answer; data: Uint8Array<ArrayBuffer> };
  try {
    const module = pathToFileURL(resolve(path)).href;
    told = await ask(frameOf(module, runs, samples), dirname(resolve(path)), timeoutMs, signal);
  } catch (error) {
    if (error instanceof ProcessError) {
      throw cannot(
        error.reason === "timeout"
          ? `it took longer than ${timeoutMs / 1000} s; allow more with --timeout`
          : error.message,
        error,
      );
    }
    if (error instanceof ChildFault) throw cannot(error.message, error);
    throw error;
  }
  const { answer, data } = told;
  if (answer.kind === "no adapter") throw noAdapter(null);
  if (answer.kind !== "ran") {
    const said = answer.kind === "failed" ? answer.message : "it was not run";
    const where = answer.kind === "failed" && answer.adapter !== null
      ? ` on "${adapterOf(answer.adapter).name}"`
      : "";
    throw cannot(`WebGPU${where} says: ${visible(said).replace(/\.$/, "")}`);
  }
  let at = 0;
  const outputs = answer.outputs.map((sample) => {
    const tensors = new Map<string, HostTensor>();
    for (const { name, dtype, dims, bytes } of sample) {
      const elements = data.subarray(at, at + bytes);
      at += padded(bytes);
      if (!isHostType(dtype) || dtype === "string") continue;
      if (elements.length !== elementCount(dims) * elementBytes(dtype)) {
        throw cannot(`output "${name}" has ${bytes} bytes for ${dtype} [${dims}]`);
      }
      tensors.set(name, { dtype, dims, data: viewBytes(dtype, elements) });
    }
    return tensors;
  });
  if (outputs.length !== samples.length) throw cannot("it did not run on every input");
  const { adapter, load, times } = answer;
  return { adapter: adapterOf(adapter), load, times, samples: outputs };
}

/** The process ended without an answer. */
class ChildFault extends Error {
  override readonly name = "ChildFault";
}

/** Starts the process in `folder`, which it may read, and takes its answer. */
async function ask(
  input: Uint8Array,
  folder: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<{ answer: Answer; data: Uint8Array<ArrayBuffer> }> {
  const command: Command = {
    program: denoProgram(),
    args: [
      ...["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-npm", "--no-remote"],
      ...["--no-code-cache", "--allow-read=.", CHILD],
    ],
    cwd: folder,
    inheritEnv: DENO_VARIABLES,
    // Without it graphics libraries write lines that mean nothing among the last words.
    env: Deno.build.os === "linux" ? { XDG_RUNTIME_DIR: "/tmp" } : {},
    install: "Put the deno that runs modelcast in the PATH.",
    timeoutMs,
    maxOutputBytes: MOST_OUTPUT,
    ...(signal === undefined ? {} : { signal }),
  };
  let result;
  try {
    result = await run({ ...command, stdin: input });
  } catch (error) {
    if (error instanceof InterruptedError) signal?.throwIfAborted();
    throw error;
  }
  const { code, stdout, stderr } = result;
  const bytes = Uint8Array.from(stdout);
  const view = new DataView(bytes.buffer);
  const length = bytes.length < 8 ? NaN : view.getFloat64(0, true);
  if (code !== 0 || !(length <= bytes.length - 8)) {
    const words = lastWords(stderr) || "it said nothing";
    throw new ChildFault(`its process ended with code ${code}: ${words}`);
  }
  return { answer: parseAnswer(bytes.subarray(8, 8 + length)), data: bytes.subarray(8 + length) };
}

function parseAnswer(json: Uint8Array): Answer {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder().decode(json));
  } catch (cause) {
    throw new ChildFault("its process answered in no JSON", { cause });
  }
  const { success, data, error } = ANSWER.safeParse(header);
  if (!success) throw new ChildFault(`its process answered wrongly: ${error.issues[0]!.message}`);
  return data;
}

function frameOf(
  module: string,
  runs: number,
  samples: ModuleJob["samples"],
): Uint8Array<ArrayBuffer> {
  const tensors: Uint8Array[] = [];
  const headers = samples.map((sample) =>
    [...sample].map(([name, { dtype, dims, data }]) => {
      if (Array.isArray(data)) throw new TypeError(`input "${name}" holds strings`);
      tensors.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return { name, dtype, dims, bytes: data.byteLength };
    })
  );
  const json = new TextEncoder().encode(JSON.stringify({ module, runs, samples: headers }));
  const head = padded(8 + json.length);
  const frame = new Uint8Array(tensors.reduce((sum, { length }) => sum + padded(length), head));
  frame.fill(0x20, 8, head);
  new DataView(frame.buffer).setFloat64(0, head - 8, true);
  frame.set(json, 8);
  let at = head;
  for (const tensor of tensors) {
    frame.set(tensor, at);
    at += padded(tensor.length);
  }
  return frame;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

function adapterOf(info: z.infer<typeof INFO>): ModuleAdapter {
  const { name, vendor, software } = adapterFacts(info);
  return { name: visible(name), vendor, software, runtime: `Deno ${Deno.version.deno}` };
}

function noAdapter(said: string | null): MissingToolError {
  return new MissingToolError(
    `Cannot verify a module for WebGPU: this machine has no adapter${
      said === null ? "" : ` (${visible(said)})`
    }. Install a driver for Vulkan (Debian: mesa-vulkan-drivers, which computes without a GPU), or ` +
      "convert without --verify.",
  );
}
