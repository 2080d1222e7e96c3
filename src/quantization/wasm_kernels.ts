/**
 * The compiled kernels of the wasm engine, and what the engine and its workers say to each other.
 */
import type { FileMatrix } from "./engine.ts";
import type { UnitPlan } from "./wasm_units.ts";

/** What the kernels export. */
export interface Kernels extends WebAssembly.Exports {
  readonly scratchBytes: () => number;
  readonly take: (counter: number) => number;
  readonly quantizeUnits: (job: number, scratch: number) => void;
  readonly quantize: (
    job: number,
    scratch: number,
    address: number,
    pitch: number,
    firstRow: number,
    endRow: number,
    firstBlock: number,
    endBlock: number,
    unit: number,
  ) => void;
}

/** Instantiates the kernels over `memory`. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
}

/** Weights in a file, and the units that they are taken in. */
export interface FileWork {
  readonly matrix: FileMatrix;
  readonly plan: UnitPlan;
}

/** One job, for all workers. */
export interface WorkerJob {
  readonly id: number;
  /** Offset of its record in the shared memory. */
  readonly record: number;
  /** Weights that are in a file and not in the shared memory, and how they are cut. */
  readonly file: FileWork | null;
}

/** From the engine: first the kernels, then jobs. */
export type WorkerRequest =
  | {
    readonly kind: "start";
    readonly module: WebAssembly.Module;
    readonly memory: WebAssembly.Memory;
    /** Offset of this worker's scratch. */
    readonly scratch: number;
    /** Offset of the memory that this worker reads into. */
    readonly buffer: number;
  }
  | { readonly kind: "run"; readonly jobs: readonly WorkerJob[] };

/** To the engine: jobs that have no unit left for this worker; `fault` where one failed. */
export type WorkerReply = readonly { readonly id: number; readonly fault: string | null }[];
