/** The lines that a person reads of conversions from ONNX to ONNX: their weights, and the sums. */
import type {
  Conversion,
  ConvertedWeight,
  SkippedWeight,
  VerifiedConversion,
} from "../converters/conversion.ts";
import { formatVerification } from "../verify/format.ts";
import { fileLines, plannedLines } from "./files.ts";
import { alignColumns, change, decibels, formatBytes, percent, shorten } from "./text.ts";

/** Rows that the tables of weights of a step have at most, unless all are asked for: about a screen. */
const MOST_ROWS = 64;

/**
 * The lines of conversions of one model, and how they compare where there are several. Weights have a
 * row each while they are few, or with `everyWeight`; otherwise a row for each op and form.
 */
export function formatConversions(
  conversions: readonly VerifiedConversion[],
  kept: readonly string[],
  everyWeight: boolean,
): string[] {
  const rows = conversions.flatMap(({ weights }) => weights).filter((weight) => !isSmall(weight));
  const inGroups = !everyWeight && rows.length > MOST_ROWS;
  const lines = conversions.flatMap((conversion, index) => [
    ...(index > 0 ? [""] : []),
    ...formatConversion(conversion, kept, inGroups),
    ...(conversion.verification !== null
      ? formatVerification(conversion.verification)
      : conversion.dryRun
      ? []
      : ["not checked: what the model computes; --verify runs both in ONNX Runtime"]),
  ]);
  return conversions.length === 1 ? lines : [...lines, "", ...comparisonTable(conversions)];
}

/** One row a precision, the columns aligned. */
function comparisonTable(conversions: readonly VerifiedConversion[]): string[] {
  const head = ["precision", "files", "change", "bits per weight", "SQNR", "worst output"];
  const rows = conversions.map(({ precision, totals, verification }) => {
    const errors = verification?.outputs.flatMap(({ float }) => float === null ? [] : [float]) ??
      [];
    const worst = Math.max(...errors.map(({ pooledRelativeL2 }) => pooledRelativeL2 ?? Infinity));
    return [
      precision,
      formatBytes(totals.fileBytesAfter),
      change(totals.fileReduction),
      totals.bitsPerWeight.toFixed(3),
      totals.sqnr === null ? "-" : decibels(totals.sqnr),
      errors.length === 0 ? "-" : `relative L2 ${worst.toExponential(2)}`,
    ];
  });
  return alignColumns([head, ...rows], 1);
}

/** The lines that a person reads at the end of a conversion. */
function formatConversion(
  report: Conversion,
  kept: readonly string[],
  inGroups: boolean,
): string[] {
  const lines: string[] = [];
  if (report.weights.length > 0) {
    lines.push(...(inGroups ? groupTable : weightTable)(report.weights), "");
  }
  if (report.skipped.length > 0) lines.push(...skippedLines(report.skipped), "");
  const { totals } = report;
  lines.push(
    ...(report.dryRun ? plannedLines(report.files) : fileLines(report.files, kept)),
    `files   ${formatBytes(totals.fileBytesBefore)} -> ${formatBytes(totals.fileBytesAfter)}, ` +
      change(totals.fileReduction),
    `weights ${formatBytes(totals.weightBytesBefore)} -> ${
      formatBytes(totals.weightBytesAfter)
    }, ` +
      `${change(totals.weightReduction)} (nominal for ${report.precision}: ` +
      `${percent(totals.nominalReduction)}), ${totals.bitsPerWeight.toFixed(3)} bits per weight, ` +
      `${percent(totals.convertedShare)} of all weight bytes`,
  );
  if (totals.memoryBytes !== totals.weightBytesAfter) {
    lines.push(
      `memory  ${formatBytes(totals.memoryBytes)} for these weights once loaded ` +
        "(the runtime unpacks part of them when it loads the model)",
    );
  }
  if (totals.sqnr !== null) lines.push(`SQNR    ${decibels(totals.sqnr)} over all these weights`);
  if (report.engine !== null && !report.dryRun) {
    lines.push(
      `speed   ${report.seconds.toFixed(2)} s, ` +
        `${formatBytes(totals.weightBytesBefore / report.seconds)}/s of weights read, on the ` +
        `${report.engine.name} engine: ${report.engine.reason}`,
    );
  }
  return lines;
}

/** Whether a tensor is too small to have a row. */
function isSmall({ role, bytesBefore }: ConvertedWeight): boolean {
  return role === "float" && bytesBefore < 1024;
}

/** One row a weight, the columns aligned. */
function weightTable(weights: readonly ConvertedWeight[]): string[] {
  const rows = weights.filter((weight) => !isSmall(weight)).map((weight) => [
    shorten(weight.name, 44),
    weight.ops.join("+"),
    weight.dims.join("x"),
    weight.form,
    weight.bitsPerWeight.toFixed(2),
    formatBytes(weight.bytesBefore),
    formatBytes(weight.bytesAfter),
    weight.sqnr === null ? "-" : decibels(weight.sqnr),
    weight.cosine === null ? "-" : weight.cosine.toFixed(6),
  ]);
  const head = ["weight", "op", "shape", "form", "bits", "before", "after", "SQNR", "cosine"];
  const lines = alignColumns([head, ...rows], 4);
  const small = weights.length - rows.length;
  if (small > 0) lines.push(`and ${small} tensors of less than 1 kB each`);
  return lines;
}

/** One row for all weights that the same ops read in the same form, and which of them lost most. */
function groupTable(weights: readonly ConvertedWeight[]): string[] {
  const groups = new Map<string, ConvertedWeight[]>();
  for (const weight of weights) {
    const key = `${weight.ops.join("+")} ${weight.form}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [weight]);
    else group.push(weight);
  }
  const rows = [...groups.values()].map((group) => {
    const sum = (of: (weight: ConvertedWeight) => number) =>
      group.reduce((total, weight) => total + of(weight), 0);
    const after = sum(({ bytesAfter }) => bytesAfter);
    const elements = sum(({ dims }) => dims.reduce((product, dim) => product * dim, 1));
    const worst = group.reduce((most, next) =>
      (next.sqnr ?? Infinity) < (most.sqnr ?? Infinity) ? next : most
    );
    return [
      group[0]!.ops.join("+"),
      group[0]!.form,
      worst.sqnr === null ? "-" : shorten(worst.name, 44),
      String(group.length),
      (elements === 0 ? 0 : (8 * after) / elements).toFixed(2),
      formatBytes(sum(({ bytesBefore }) => bytesBefore)),
      formatBytes(after),
      worst.sqnr === null ? "-" : decibels(worst.sqnr),
      worst.cosine === null ? "-" : worst.cosine.toFixed(6),
    ];
  });
  const head = [
    ...["op", "form", "worst weight", "weights", "bits", "before", "after"],
    ...["its SQNR", "its cosine"],
  ];
  return [
    ...alignColumns([head, ...rows], 3),
    "a row for each weight: --list-weights, or --json",
  ];
}

/** What was left alone, grouped by the reason. */
function skippedLines(skipped: readonly SkippedWeight[]): string[] {
  const groups = new Map<string, SkippedWeight[]>();
  for (const entry of skipped) {
    // Reasons that differ only in the node they name are one group.
    const reason = entry.reason.startsWith("excluded by ")
      ? entry.reason
      : entry.reason.replace(/ "[^"]*"/g, "");
    const group = groups.get(reason);
    if (group === undefined) groups.set(reason, [entry]);
    else group.push(entry);
  }
  const lines = ["left alone:"];
  for (const [reason, entries] of groups) {
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    const names = entries.slice(0, 3).map((entry) => shorten(entry.name, 40)).join(", ");
    const more = entries.length > 3 ? ` and ${entries.length - 3} more` : "";
    lines.push(
      `  ${entries.length} (${formatBytes(bytes)}): ${reason}: ${names}${more}`,
    );
  }
  return lines;
}
