/**
 * The compiled kernels of the wasm engine, and what the engine and its workers say to each other.
 */
import type { UnitPlan } from "./wasm_units.ts";

/** What the kernels export. */
export interface Kernels extends WebAssembly.Exports {
  readonly scratchBytes: () => number;
  readonly take: (counter: number) => number;
  readonly quantize: (
    job: number,
    scratch: number,
    address: number,
    pitch: number,
    firstRow: number,
    endRow: number,
    firstBlock: number,
    endBlock: number,
    statistics: number,
  ) => void;
}

/** Instantiates the kernels over `memory`. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
}

/** Where the weights of a job are, the first of them at `offset` of the memory or the file. */
export interface WeightPlace {
  /** The file; null for the shared memory. */
  readonly path: string | null;
  readonly offset: number;
  /** Weights from one row (or column, by the order) to the next. */
  readonly pitch: number;
}

/** One job, for all workers; numbers are offsets in the shared memory. */
export interface WorkerJob {
  readonly id: number;
  readonly record: number;
  readonly plan: UnitPlan;
  readonly weights: WeightPlace;
  /** Counts the units that are taken. */
  readonly counter: number;
  /** Six numbers a unit. */
  readonly statistics: number;
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
