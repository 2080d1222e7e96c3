/**
 * What the tests run on: a target makes a candidate of a model, and a candidate computes outputs from
 * inputs.
 */
import type { Model } from "../src/ir.ts";
import type { Value } from "./values.ts";

/** Names of the targets. */
export const TARGETS = ["onnx", "webgpu"] as const;

/** Name of a target. */
export type TargetName = typeof TARGETS[number];

/** A model, ready to run. */
export interface Candidate extends AsyncDisposable {
  /** What computes tensor values outside the target, a name each; empty where nothing does. */
  readonly hostNodes: readonly string[];
  /** Computes the outputs, by name. Rejects where the model can't be run on these inputs. */
  run(inputs: ReadonlyMap<string, Value>): Promise<ReadonlyMap<string, Value>>;
}

/** Runs models. */
export interface Target {
  /** Settles once nothing can be run any more, with the reason; never where that can't happen. */
  readonly lost: Promise<string>;
  /** Makes `model` ready. Throws an {@link Unsupported} where the target refuses it. */
  prepare(model: Model): Promise<Candidate>;
}

/** A target knows that it can't run a model, and says why. */
export class Unsupported extends Error {
  override readonly name = "Unsupported";
}
