/** The report of a verification: plain data, as `--json` prints it. */
import type { InputDescription } from "./inputs.ts";
import type { OutputComparison } from "./metrics.ts";
import type { ModuleAdapter } from "./module.ts";
import type { PerOpReport } from "./per_op.ts";
import type { Placement } from "./placement.ts";
import type { Tolerance } from "./tolerance.ts";

/** How long a model took. */
export interface ModelTimes {
  /** Milliseconds to load it. */
  readonly load: number;
  /** Median milliseconds of a run; null where none was timed. */
  readonly run: number | null;
}

/** The outcome of a verification: plain data. */
export interface VerificationReport {
  readonly original: string;
  readonly result: string;
  readonly runtime: { readonly name: "onnxruntime-node"; readonly version: string };
  /** The execution provider that was named, the only one besides the runtime's own fallback. */
  readonly provider: string;
  /** What a module for WebGPU ran on; null where the result ran in ONNX Runtime too. */
  readonly adapter: ModuleAdapter | null;
  /** Where the nodes of each model ran. */
  readonly placement: { readonly original: Placement; readonly result: Placement };
  readonly samples: number;
  /** Null where no input was random. */
  readonly seed: number | null;
  /** The inputs of the first sample. */
  readonly inputs: readonly InputDescription[];
  readonly outputs: readonly OutputComparison[];
  readonly time: {
    /** Timed runs of the result; of a module on a slow adapter fewer than of the original. */
    readonly runs: number;
    readonly original: ModelTimes;
    readonly result: ModelTimes;
    /** The original's time over the result's: above 1 the result is faster. */
    readonly ratio: number | null;
  };
  readonly tolerance: Tolerance | null;
  /** Whether every output is within the tolerance. */
  readonly passed: boolean;
  /** Why not, in sentences. */
  readonly failures: readonly string[];
  readonly warnings: readonly string[];
  /** What was not checked, in sentences. */
  readonly notChecked: readonly string[];
  readonly perOp: PerOpReport | null;
}
