/** Sums a conversion up: rows a weight, totals, and warnings in words. */
import { byteLength } from "../dtype.ts";
import { elementCount, type Tensor } from "../ir.ts";
import type { ModelLayout } from "../onnx/writer.ts";
import type { ErrorSums } from "../quantization/engine.ts";
import { VERSION } from "../version.ts";
import {
  type Conversion,
  type ConversionTotals,
  type ConvertedWeight,
  sqnrOf,
} from "./conversion.ts";
import { PRECISION_BITS, quantizedBits } from "./options.ts";
import type { SourceFacts } from "./source.ts";
import type { PreparedTarget, WeightProgress } from "./target.ts";

/** What is known when a conversion ends. */
export interface Outcome {
  readonly target: PreparedTarget;
  readonly layout: ModelLayout;
  readonly source: { readonly path: string; readonly facts: SourceFacts };
  /** What the layout's files will be called. */
  readonly files: readonly string[];
  readonly options: string;
  readonly engine: { readonly name: string; readonly reason: string } | null;
  /** SHA-256 of the layout's files, hex; null where not asked for. */
  readonly hashes: readonly string[] | null;
  readonly dryRun: boolean;
  readonly seconds: number;
}

/** The record of a conversion. */
export function summarize(outcome: Outcome): Conversion {
  const { target, layout, source, hashes, dryRun } = outcome;
  const weights = [
    ...target.weights.map((weight) => quantizedRow(weight, dryRun)),
    ...floatRows(target, dryRun),
  ];
  return {
    modelcast: VERSION,
    source: { path: source.path, sha256: source.facts.sha256 },
    precision: target.precision,
    options: outcome.options,
    files: layout.files.map(({ byteLength }, index) => ({
      path: outcome.files[index]!,
      byteLength,
      sha256: hashes?.[index] ?? null,
    })),
    dryRun,
    engine: outcome.engine,
    seconds: outcome.seconds,
    weights,
    skipped: target.skipped,
    totals: totalsOf(outcome, weights),
    warnings: warningsOf(target),
  };
}

/** SQNR and cosine from sums; null where nothing was summed. */
function quality(error: ErrorSums | null): Pick<ConvertedWeight, "sqnr" | "cosine"> {
  if (error === null) return { sqnr: null, cosine: null };
  // |v|^2 follows from the sums over w^2, (w - v)^2 and w v.
  const after = error.noise - error.signal + 2 * error.dot;
  const length = Math.sqrt(error.signal * after);
  return {
    sqnr: sqnrOf(error.signal, error.noise),
    cosine: length > 0 ? Math.min(1, error.dot / length) : 1,
  };
}

function quantizedRow({ planned, error }: WeightProgress, dryRun: boolean): ConvertedWeight {
  const { name, ops, role, dims, form, bytesBefore, bytesAfter, bitsPerWeight, memoryBytes } =
    planned;
  return {
    name,
    ops,
    role,
    dims,
    form: `${planned.bits}-bit ${form}`,
    bytesBefore,
    bytesAfter,
    bitsPerWeight,
    memoryBytes,
    ...quality(dryRun ? null : error),
  };
}

/** Constants that only changed their float type; what rounding costs small ones is not measured. */
function floatRows({ floats, floatFills }: PreparedTarget, dryRun: boolean): ConvertedWeight[] {
  const errors = new Map<Tensor | null, ErrorSums>(
    floatFills.map(({ fill, error }) => [fill.source, error]),
  );
  return (floats?.report.converted ?? []).map(({ name, source, ops, dims, from, to }) => {
    const elements = elementCount(dims);
    const bytesAfter = byteLength(to, elements);
    return {
      name,
      ops,
      role: "float",
      dims,
      form: to,
      bytesBefore: byteLength(from, elements),
      bytesAfter,
      bitsPerWeight: (8 * bytesAfter) / Math.max(1, elements),
      memoryBytes: bytesAfter,
      ...quality(dryRun ? null : errors.get(source) ?? null),
    };
  });
}

function totalsOf(outcome: Outcome, weights: readonly ConvertedWeight[]): ConversionTotals {
  const { target, layout, source } = outcome;
  const sum = (values: readonly ConvertedWeight[], key: "bytesBefore" | "bytesAfter") =>
    values.reduce((total, weight) => total + weight[key], 0);
  const weightBytesBefore = sum(weights, "bytesBefore");
  const weightBytesAfter = sum(weights, "bytesAfter");
  // Biases and the scales of normalizations are no weights that anyone quantizes.
  const skippedBytes = target.skipped.filter(({ reason }) => !reason.startsWith("a vector"))
    .reduce((total, { bytes }) => total + bytes, 0);
  const count = weights.reduce(
    (total, { bytesAfter, bitsPerWeight }) =>
      // Of no elements, no bits.
      total + (bitsPerWeight === 0 ? 0 : (8 * bytesAfter) / bitsPerWeight),
    0,
  );
  const errors = [...target.weights, ...target.floatFills].map(({ error }) => error);
  const signal = errors.reduce((total, error) => total + error.signal, 0);
  const noise = errors.reduce((total, error) => total + error.noise, 0);
  const fileBytesBefore = source.facts.byteLength;
  return {
    fileBytesBefore,
    fileBytesAfter: layout.totalBytes,
    weightBytesBefore,
    weightBytesAfter,
    bitsPerWeight: count === 0 ? 0 : (8 * weightBytesAfter) / count,
    nominalReduction: 100 * (1 - PRECISION_BITS[target.precision] / 32),
    weightReduction: reduction(weightBytesBefore, weightBytesAfter),
    fileReduction: reduction(fileBytesBefore, layout.totalBytes),
    memoryBytes: weights.reduce((total, { memoryBytes }) => total + memoryBytes, 0),
    sqnr: errors.length === 0 || outcome.dryRun ? null : sqnrOf(signal, noise),
    convertedShare: weightBytesBefore + skippedBytes === 0
      ? 0
      : (100 * weightBytesBefore) / (weightBytesBefore + skippedBytes),
  };
}

/** `totals` of a result whose files are `files`. */
export function withFiles(
  totals: ConversionTotals,
  files: readonly { readonly byteLength: number }[],
): ConversionTotals {
  const fileBytesAfter = files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const fileReduction = reduction(totals.fileBytesBefore, fileBytesAfter);
  return { ...totals, fileBytesAfter, fileReduction };
}

function reduction(before: number, after: number): number {
  return before === 0 ? 0 : 100 * (1 - after / before);
}

/** Padding, as a part of what the weights would take without it, from which it is told. */
const MUCH_PADDING = 0.1;

/** What the codes that fill rows up to whole blocks take, as a part of what the weights take else. */
function paddingOf({ weights }: PreparedTarget): number {
  let padding = 0;
  let all = 0;
  for (const { planned: { view, format, bits, bytesAfter, bitsPerWeight } } of weights) {
    const { blockSize } = format;
    all += bytesAfter;
    if (blockSize === 0) continue;
    const longer = Math.ceil(view.columns / blockSize) * blockSize / view.columns;
    // Not every form pads.
    if (longer === 1 || bitsPerWeight < bits * longer) continue;
    padding += (bytesAfter * bits * (longer - 1)) / bitsPerWeight;
  }
  return all === padding ? 0 : padding / (all - padding);
}

/** Share of noise in the signal from which a weight is lost; 2 bits leave 0.1 to 0.3. */
const LOST = 0.9;

function warningsOf(target: PreparedTarget): string[] {
  const warnings: string[] = [];
  for (const { planned, saturated, overflowing, error } of target.weights) {
    const half = planned.format.scaleType === "float16";
    const excluded = "Leave it as it is with --exclude.";
    const remedy = half && overflowing === null ? "Take --scales float32." : excluded;
    if (saturated > 0) {
      warnings.push(
        `${saturated} blocks of "${planned.name}" want scales that float16 can't hold; they were ` +
          `clamped to 65504. ${remedy}`,
      );
    } else if (overflowing !== null && overflowing > 0) {
      warnings.push(
        `${overflowing} blocks of "${planned.name}" have values past 65504, which float16 ` +
          `activations make infinite. ${excluded}`,
      );
    } else if (error.signal > 0 && error.noise > LOST * error.signal) {
      const reason = half ? "they are too small for float16 scales, or" : "they are";
      warnings.push(
        `almost nothing of the values of "${planned.name}" is left: ${reason} too unequal for one ` +
          `scale a block. ${remedy}`,
      );
    }
  }
  if (quantizedBits(target.precision) !== null && target.weights.length === 0) {
    warnings.push(
      `no weight was quantized to ${target.precision}: ` +
        (target.skipped.length === 0
          ? "the model has none"
          : "all were left alone, for the reasons that the report gives"),
    );
  }
  const padding = paddingOf(target);
  if (padding > MUCH_PADDING) {
    warnings.push(
      `rows that are no multiple of the block size are padded to one, which makes the weights ` +
        `${Math.round(100 * padding)} % larger. Take a smaller --block-size, or channel.`,
    );
  }
  const converted = target.floats?.report.converted ?? [];
  const losing = converted.filter(({ vanished }) => vanished > 0);
  if (losing.length > 0) {
    const elements = losing.reduce((total, { vanished }) => total + vanished, 0);
    warnings.push(
      `${elements} elements of ${losing.length} tensors are too small for ${losing[0]!.to} and ` +
        `became zero, the most in "${
          losing.reduce((most, next) => next.vanished > most.vanished ? next : most).name
        }"`,
    );
  }
  for (const { name, to, clamped } of converted) {
    if (clamped !== null) {
      warnings.push(
        `${clamped.count} elements of "${name}" overflow ${to} and became +-${clamped.limit}; they ` +
          "look like a mask",
      );
    }
  }
  for (const { name, reason } of target.floats?.report.kept ?? []) {
    // What is wrong with its values, not with where it is used.
    if (reason.startsWith("holds ")) warnings.push(`"${name}" stays as it was: ${reason}`);
  }
  return warnings;
}
