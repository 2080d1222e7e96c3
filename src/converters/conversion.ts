/**
 * What a conversion did, as plain data. Sizes are bytes, shares are per cent, ratios of signal to
 * noise are decibels.
 */
import type { VerificationReport } from "../verify/report.ts";
import type { Precision } from "./options.ts";

/** What the names of files end in that failed their verification. */
export const UNVERIFIED = ".unverified";

/** One weight that was converted. */
export interface ConvertedWeight {
  /** Name of the tensor. */
  readonly name: string;
  /** Ops that read it. */
  readonly ops: readonly string[];
  readonly role: string;
  readonly dims: readonly number[];
  /** The ONNX form: the name of an encoding, or of a float type. */
  readonly form: string;
  readonly bytesBefore: number;
  /** Bytes of codes, scales and zero points. */
  readonly bytesAfter: number;
  /** `8 * bytesAfter / weights`: scales, zero points and padding included. */
  readonly bitsPerWeight: number;
  /** Bytes that the runtime keeps after loading, where that is not `bytesAfter`. */
  readonly memoryBytes: number;
  /** 10 log10 (signal / noise) of the weights; null where not measured, Infinity where exact. */
  readonly sqnr: number | null;
  /** Cosine of the angle between the weights before and after; null where not measured. */
  readonly cosine: number | null;
}

/** A tensor that was left as it was. */
export interface SkippedWeight {
  readonly name: string;
  readonly bytes: number;
  readonly reason: string;
}

/** A file that was written, or would be. */
export interface OutputFile {
  readonly path: string;
  readonly byteLength: number;
  /** Hex digits; null where it was not asked for, and for a dry run. */
  readonly sha256: string | null;
}

/** Sums over a conversion. */
export interface ConversionTotals {
  /** All files of the source, and of the result. */
  readonly fileBytesBefore: number;
  readonly fileBytesAfter: number;
  /** Of the converted weights alone. */
  readonly weightBytesBefore: number;
  readonly weightBytesAfter: number;
  readonly bitsPerWeight: number;
  /** What the bits alone save of float32. */
  readonly nominalReduction: number;
  /** What the converted weights, and what the files, became smaller. */
  readonly weightReduction: number;
  readonly fileReduction: number;
  readonly memoryBytes: number;
  /** Over all converted weights. */
  readonly sqnr: number | null;
  /**
   * Share of weight bytes that was converted. Weights are float constants of two elements or more but
   * for the vectors of a model: biases, and the scales of normalizations.
   */
  readonly convertedShare: number;
}

/** One conversion: a source at one precision. */
export interface Conversion {
  /** Version of modelcast. */
  readonly modelcast: string;
  readonly source: { readonly path: string; readonly sha256: string };
  readonly precision: Precision;
  /** The options that stand in the output's metadata. */
  readonly options: string;
  readonly files: readonly OutputFile[];
  readonly dryRun: boolean;
  /** What did the work, and why; null where no weight was quantized. */
  readonly engine: { readonly name: string; readonly reason: string } | null;
  /** From the first byte read to the last written; of all precisions together. */
  readonly seconds: number;
  readonly weights: readonly ConvertedWeight[];
  readonly skipped: readonly SkippedWeight[];
  readonly totals: ConversionTotals;
  readonly warnings: readonly string[];
}

/** A conversion, and how its result compares with its source; null where that was not asked for. */
export interface VerifiedConversion extends Conversion {
  readonly verification: VerificationReport | null;
}

/** What a step from ONNX to ONNX did: a conversion for each precision. */
export interface OnnxReport {
  readonly kind: "onnx";
  readonly outputPath: string;
  readonly conversions: readonly VerifiedConversion[];
}

/** 10 log10 (signal / noise); Infinity when there is no noise. */
export function sqnrOf(signal: number, noise: number): number {
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}
