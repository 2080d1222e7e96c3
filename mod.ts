/**
 * The public API of modelcast.
 *
 * ```ts
 * import { convert } from "./mod.ts";
 *
 * const { success, error, steps } = await convert({
 *   modelPath: "model.onnx",
 *   outputPath: "model.4bit.onnx",
 *   precision: "4bit",
 * });
 * ```
 *
 * A converter of one's own is a subclass of `ModelConverter` under `@registerConverter`.
 */
import type { ConversionEvents, ConversionResult } from "./src/converters/converter.ts";
import { convertModel } from "./src/converters/convert.ts";
import { checkRequest, refusedRequest, type RequestInput } from "./src/converters/request.ts";
import { InputError } from "./src/error.ts";
import * as verification from "./src/verify.ts";
import { checkVerificationReport, checkVerifyOptions } from "./src/verify/request.ts";

export type {
  Conversion,
  ConversionTotals,
  ConvertedWeight,
  OnnxReport,
  OutputFile,
  SkippedWeight,
  VerifiedConversion,
} from "./src/converters/conversion.ts";
export {
  type ConversionEvents,
  type ConversionResult,
  type ConversionStep,
  type ConverterRequest,
  ModelConverter,
  type PlainReport,
  type StepOutcome,
  type StepReport,
  type WrittenModel,
} from "./src/converters/converter.ts";
export { ModelConverterRegistry, registerConverter } from "./src/converters/mod.ts";
export {
  type ConverterOptions,
  MODEL_FORMATS,
  type ModelFormat,
  type Precision,
  PRECISIONS,
  type Task,
  TASKS,
} from "./src/converters/options.ts";
export type { ExportReport } from "./src/converters/pytorch_to_onnx.ts";
export type {
  ModulePort,
  ModuleReport,
  ModuleWeight,
  WebGpuReport,
} from "./src/converters/webgpu_report.ts";
export type { ConverterClass, ConverterQuery, FormatPair } from "./src/converters/registry.ts";
export {
  InputError,
  InterruptedError,
  MissingToolError,
  ModelcastError,
  VerificationError,
} from "./src/error.ts";
export type { BlockSize, ScaleType } from "./src/formats.ts";
export type { EngineName, Method } from "./src/quantization/engine.ts";
export type {
  HostTensor,
  InputExtents,
  InputSource,
  Tolerance,
  VerificationReport,
  VerifyOptions,
} from "./src/verify.ts";

/** What {@link convert} takes: what to convert, and any of the options. */
export type ConvertOptions = RequestInput & {
  /** Told about progress and warnings. */
  readonly events?: Partial<ConversionEvents>;
  /** Stops the conversion; the output stays as it was. */
  readonly signal?: AbortSignal;
};

/**
 * Converts a model from one format or precision to another, by as many converters as it takes. Needs
 * permission to read the source and to write beside the output. Deliberate errors are in the result:
 * an `InputError` where the source, the options or the output can't be used, a `VerificationError`
 * where the result is not what it was made from, a `MissingToolError`, and an `InterruptedError` once
 * the signal is aborted. Anything thrown is a bug, or a permission that Deno refused.
 */
export async function convert(options: ConvertOptions): Promise<ConversionResult> {
  const { events, signal, ...input } = options ?? {};
  let checked;
  try {
    checked = checkRequest(input, events, signal);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return refusedRequest(error, input);
  }
  return await convertModel(checked.request, checked, events, signal);
}

/**
 * Runs two models on the same inputs and compares what comes out. Needs permission to read both and to
 * run ONNX Runtime.
 *
 * @throws InputError where an option, the original or the inputs can't be used.
 * @throws VerificationError where the result does not load, does not run, or has other inputs.
 * @throws MissingToolError where ONNX Runtime or the provider is missing or not permitted.
 */
export async function verifyModels(
  options: verification.VerifyOptions,
): Promise<verification.VerificationReport> {
  checkVerifyOptions(options);
  return await verification.verifyModels(options);
}

/**
 * The lines of `report` that a person reads, without colors or control characters.
 *
 * @throws InputError where it is no report.
 */
export function formatVerification(report: verification.VerificationReport): string[] {
  checkVerificationReport(report);
  return verification.formatVerification(report);
}
