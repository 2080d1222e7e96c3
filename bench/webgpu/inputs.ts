/** What the trained models are measured on: one set of inputs each, of a size that people run. */
import { realInputs } from "../../conformance/real_inputs.ts";
import { readModel } from "../../src/onnx/reader.ts";
import type { HostTensor } from "../../src/verify/values.ts";
import type { Session } from "../../src/verify/session.ts";
import type { InputValue, TensorArray } from "../../src/codegen/module.ts";
import type { RealModel } from "../../tests/real_models.ts";

/**
 * The measured one among the sets of `realInputs`: a line of text for the classifier, 160 columns
 * of one for the recognizer, 160 by 128 for the detector, 576 samples, a sentence of 64 tokens.
 */
const MEASURED: Readonly<Record<RealModel["label"], number>> = {
  classifier: 0,
  detector: 1,
  recognizer: 4,
  silero: 0,
  minilm: 4,
};

/** The inputs that `real` is measured on. */
export async function measuredInputs(
  real: RealModel,
  session: Session,
): Promise<ReadonlyMap<string, HostTensor>> {
  const given = (await allInputs(real, session))[MEASURED[real.label]];
  if (given === undefined) throw new RangeError(`${real.label} has no such inputs`);
  return given;
}

/** All sets of inputs that `real` is tested on. */
export async function allInputs(
  real: RealModel,
  session: Session,
): Promise<readonly ReadonlyMap<string, HostTensor>[]> {
  return await realInputs(real.label, await readModel(real.path), session);
}

/** The same values as a module takes them. */
export function moduleInputs(
  values: ReadonlyMap<string, HostTensor>,
): Record<string, InputValue> {
  return Object.fromEntries(
    [...values].map(([name, { data, dims }]) => {
      if (Array.isArray(data)) throw new TypeError(`"${name}" is of strings`);
      return [name, { data: data as TensorArray, dims }];
    }),
  );
}
