/**
 * The compiled kernels of the wasm engine, and what the engine and its workers say to each other.
 */

/** What the kernels export. */
export interface Kernels extends WebAssembly.Exports {
  readonly scratchBytes: () => number;
  readonly run: (job: number, scratch: number) => void;
}

/** Instantiates the kernels over `memory`. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
}

/** From the engine: first the kernels, then jobs. */
export type WorkerRequest =
  | {
    readonly kind: "start";
    readonly module: WebAssembly.Module;
    readonly memory: WebAssembly.Memory;
    /** Offset of this worker's scratch. */
    readonly scratch: number;
  }
  | { readonly kind: "run"; readonly id: number; readonly job: number };

/** To the engine, once a job has no unit left for this worker; `fault` when it failed. */
export interface WorkerReply {
  readonly id: number;
  readonly fault: string | null;
}
