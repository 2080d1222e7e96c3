/** What the emitter takes and gives. */
import type { Tensor as Initializer } from "../ir.ts";
import type { KernelTable, PipelineTable } from "./module.ts";
import type { Program, WeightPart } from "./program.ts";
import type { ScheduledBlock } from "./units.ts";

/** A constant that is written to the weights file, or a part of it. */
export interface EmittedWeight {
  readonly initializer: Initializer;
  readonly part: WeightPart | null;
}

/** What is emitted of a program. */
export interface Emitted {
  readonly pipelines: readonly PipelineTable[];
  readonly kernels: readonly KernelTable[];
  /** Constants in order of first use; `m.weight(i)` is the i-th. */
  readonly weights: readonly EmittedWeight[];
  /** Text of `function* program(m) {...}`. */
  readonly program: string;
  /** Functions of `runtime/prelude.js` and of `runtime/host.js` that it calls. */
  readonly preludeFunctions: ReadonlySet<string>;
  readonly hostFunctions: ReadonlySet<string>;
  /** Inputs whose values are read on the host. */
  readonly hostInputs: ReadonlySet<number>;
  /** Calls of host functions. */
  readonly hostNodes: readonly string[];
  /** Steps, for the report: what each dispatch is of. */
  readonly dispatches: readonly EmittedDispatch[];
}

/** A dispatch in the program's text: of a pipeline, or of a kernel, which has several. */
export type EmittedDispatch =
  | { readonly label: string; readonly pipeline: number }
  | { readonly label: string; readonly kernel: number };

/** A program, and how it is scheduled. */
export interface ScheduledProgram {
  readonly program: Program;
  readonly block: ScheduledBlock;
}
