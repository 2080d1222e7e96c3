/** Models converted between float precisions from file to file, for tests that run them. */
import { readModel } from "../src/onnx/reader.ts";
import { upgradeModel } from "../src/onnx/upgrade.ts";
import { beginModel, planModel } from "../src/onnx/writer.ts";
import type { Model } from "../src/ir.ts";
import {
  convertFloats,
  fillFloats,
  floatConversionNeeds,
  type FloatConversionOptions,
  type FloatReport,
} from "../src/quantization/float16.ts";

/** Converts the model at `source`, or a model made by hand, into the file `target`. */
export async function convertFile(
  source: string | Model,
  target: string,
  options: FloatConversionOptions,
): Promise<FloatReport> {
  const model = typeof source === "string" ? await readModel(source) : source;
  const needs = floatConversionNeeds(options);
  if ((model.opsets.get("") ?? 1) < needs.opset) upgradeModel(model, needs);
  const { fills, report } = await convertFloats(model, options);
  const writer = await beginModel(planModel(model, target));
  for (const fill of fills) {
    await fillFloats(fill, (offset, bytes) => writer.write(fill.tensor, offset, bytes));
  }
  await writer.commit();
  return report;
}
