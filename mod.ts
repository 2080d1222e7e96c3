/**
 * The public API of modelcast.
 *
 * ```ts
 * import { convert } from "./mod.ts";
 *
 * const [conversion] = await convert({
 *   source: "model.onnx",
 *   output: "model.4bit.onnx",
 *   precision: "4bit",
 * });
 * console.log(conversion!.totals.bitsPerWeight);
 * ```
 */
import type { Conversion } from "./src/converters/conversion.ts";
import { type ConversionEvents, convertOnnx } from "./src/converters/onnx_to_onnx.ts";
import { type ConversionOptions, DEFAULTS, type Precision } from "./src/converters/options.ts";

export type { ConversionEvents } from "./src/converters/onnx_to_onnx.ts";
export type {
  Conversion,
  ConversionTotals,
  ConvertedWeight,
  OutputFile,
  SkippedWeight,
} from "./src/converters/conversion.ts";
export { type ConversionOptions, type Precision, PRECISIONS } from "./src/converters/options.ts";
export {
  InputError,
  InterruptedError,
  MissingToolError,
  ModelcastError,
  VerificationError,
} from "./src/error.ts";
export { formatVerification, type VerificationReport, verifyModels } from "./src/verify.ts";

/** What {@link convert} takes: what to convert, and any of the options. */
export interface ConvertOptions extends Partial<Omit<ConversionOptions, "precisions">> {
  /** The ONNX file to read. */
  readonly source: string;
  /** The ONNX file to write; replaced when the conversion has succeeded. */
  readonly output: string;
  /** One precision, or several: each is then written to `OUTPUT.PRECISION.onnx`. */
  readonly precision: Precision | readonly Precision[];
  /** Told about progress and warnings. */
  readonly events?: Partial<ConversionEvents>;
  /** Stops the conversion; the target stays as it was. */
  readonly signal?: AbortSignal;
}

/**
 * Converts an ONNX model; one record comes back for each precision. Needs permission to read the
 * source and to write beside the output.
 *
 * @throws InputError where the source, the options or the output can't be used.
 * @throws InterruptedError once the signal is aborted.
 */
export async function convert(options: ConvertOptions): Promise<Conversion[]> {
  const { precision, events, signal, ...rest } = options;
  return await convertOnnx(
    { ...DEFAULTS, ...rest, precisions: typeof precision === "string" ? [precision] : precision },
    { progress: () => {}, warn: () => {}, note: () => {}, ...events },
    signal ?? new AbortController().signal,
  );
}
