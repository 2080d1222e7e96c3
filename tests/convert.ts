/** Conversions from ONNX to ONNX by the public API, for tests: errors are thrown. */
import { convert as convertByApi, type ConvertOptions, type VerifiedConversion } from "../mod.ts";

/** What a test may ask for. */
export type OnnxOptions = Omit<ConvertOptions, "modelPath" | "outputPath"> & {
  readonly source: string;
  readonly output: string;
};

/** Converts `source`; a record comes back for each precision. Throws what the result says. */
export async function convert(
  { source, output, ...options }: OnnxOptions,
): Promise<readonly VerifiedConversion[]> {
  const result = await convertByApi({ ...options, modelPath: source, outputPath: output });
  if (!result.success) throw result.error;
  const [report] = result.steps;
  if (report?.kind !== "onnx") throw new Error(`expected one step to ONNX, got ${report?.kind}`);
  return report.conversions;
}
