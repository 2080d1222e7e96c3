/**
 * What a conversion tells: a plain data record that `--json` prints as it is, and the lines that a
 * person reads. Sizes are bytes, ratios of signal to noise decibels.
 */
import type { VerificationReport } from "./verify.ts";
import { formatVerification } from "./verify.ts";

/** One weight that was converted. */
export interface WeightReport {
  /** Name of the tensor. */
  readonly name: string;
  /** Ops that read it. */
  readonly ops: readonly string[];
  readonly role: string;
  readonly dims: readonly number[];
  /** Precision and form, such as "4bit matmulnbits". */
  readonly precision: string;
  readonly form: string;
  readonly bytesBefore: number;
  /** Bytes of codes, scales and zero points. */
  readonly bytesAfter: number;
  /** `8 * bytesAfter / weights`, scales, zero points and padding included. */
  readonly bitsPerWeight: number;
  /** Bytes that the runtime keeps after loading, where that is not `bytesAfter`. */
  readonly memoryBytes: number;
  /** 10 log10 (signal / noise), null where it was not measured; infinite for an exact copy. */
  readonly sqnr: number | null;
  readonly cosine: number | null;
}

/** A tensor that was left as it was. */
export interface SkippedReport {
  readonly name: string;
  readonly bytes: number;
  readonly reason: string;
}

/** A file that was written. */
export interface OutputFile {
  readonly path: string;
  readonly byteLength: number;
  /** Null for a dry run. */
  readonly sha256: string | null;
}

/** One conversion: a source at one precision. */
export interface ConversionReport {
  readonly modelcast: string;
  readonly source: { readonly path: string; readonly byteLength: number; readonly sha256: string };
  readonly precision: string;
  readonly options: Readonly<Record<string, string>>;
  readonly files: readonly OutputFile[];
  readonly dryRun: boolean;
  readonly engine: { readonly name: string; readonly reason: string } | null;
  /** Seconds from the first byte read to the last written. */
  readonly seconds: number;
  readonly weights: readonly WeightReport[];
  readonly skipped: readonly SkippedReport[];
  readonly totals: Totals;
  readonly warnings: readonly string[];
  readonly verification: VerificationReport | null;
  /** What was not checked, in words. */
  readonly unchecked: readonly string[];
}

/** Sums over a conversion. */
export interface Totals {
  /** All files of the source, and of the result. */
  readonly fileBytesBefore: number;
  readonly fileBytesAfter: number;
  /** Of the converted weights alone. */
  readonly weightBytesBefore: number;
  readonly weightBytesAfter: number;
  readonly bitsPerWeight: number;
  /** What the bits alone would save of float32, in per cent. */
  readonly nominalReduction: number;
  /** What the converted weights, and what the files, became smaller, in per cent. */
  readonly weightReduction: number;
  readonly fileReduction: number;
  readonly memoryBytes: number;
  readonly sqnr: number | null;
  /** Share of all weight bytes that was converted, in per cent. */
  readonly convertedShare: number;
}

/** Bits of a precision, for the nominal reduction against float32. */
const BITS: Readonly<Record<string, number>> = {
  float32: 32,
  float16: 16,
  bfloat16: 16,
  "8bit": 8,
  "4bit": 4,
  "3bit": 3,
  "2bit": 2,
};

/** What the bits of `precision` alone save of float32, in per cent: 4bit is 87.5. */
export function nominalReduction(precision: string): number {
  return 100 * (1 - (BITS[precision] ?? 32) / 32);
}

/** `bytes` with a unit that keeps three or four digits, powers of 1000: "10.8 MB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** The lines that a person reads at the end of a conversion. */
export function formatReport(report: ConversionReport): string[] {
  const lines: string[] = [];
  if (report.weights.length > 0) lines.push(...weightTable(report.weights), "");
  if (report.skipped.length > 0) lines.push(...skippedLines(report.skipped), "");
  const { totals } = report;
  lines.push(
    `${report.dryRun ? "would write" : "wrote"}  ` +
      report.files.map((file) => `${file.path} (${file.byteLength} bytes)`).join(", "),
  );
  for (const file of report.files) {
    if (file.sha256 !== null) lines.push(`sha256  ${file.sha256}  ${file.path}`);
  }
  lines.push(
    `files   ${formatBytes(totals.fileBytesBefore)} -> ${formatBytes(totals.fileBytesAfter)}, ` +
      `${percent(totals.fileReduction)} smaller`,
    `weights ${formatBytes(totals.weightBytesBefore)} -> ${
      formatBytes(totals.weightBytesAfter)
    }, ` +
      `${percent(totals.weightReduction)} smaller (nominal for ${report.precision}: ` +
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
    const rate = totals.weightBytesBefore / report.seconds / 1e9;
    lines.push(
      `speed   ${report.seconds.toFixed(2)} s, ${rate.toFixed(2)} GB/s of weights read, on the ` +
        `${report.engine.name} engine: ${report.engine.reason}`,
    );
  }
  if (report.verification !== null) lines.push("", ...formatVerification(report.verification));
  for (const text of report.unchecked) lines.push(`not checked: ${text}`);
  return lines;
}

/** One row a weight, the columns aligned. */
function weightTable(weights: readonly WeightReport[]): string[] {
  const rows = weights.map((weight) => [
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
  return alignColumns([head, ...rows], 4);
}

/** What was left alone, grouped by the reason. */
function skippedLines(skipped: readonly SkippedReport[]): string[] {
  const groups = new Map<string, SkippedReport[]>();
  for (const entry of skipped) {
    const group = groups.get(entry.reason);
    if (group === undefined) groups.set(entry.reason, [entry]);
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

/** Pads the cells of `rows`; columns from `firstNumber` on are aligned to the right. */
export function alignColumns(rows: readonly (readonly string[])[], firstNumber: number): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => widths[column] = Math.max(widths[column] ?? 0, cell.length));
  }
  return rows.map((row) =>
    row.map((cell, column) =>
      column >= firstNumber ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
    ).join("  ").trimEnd()
  );
}

/** 10 log10 (signal / noise); infinite when there is no noise. */
export function sqnrOf(signal: number, noise: number): number {
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}

/** A ratio in decibels for a person. */
export function decibels(value: number): string {
  return value === Infinity ? "exact" : `${value.toFixed(2)} dB`;
}

function percent(value: number): string {
  return `${value.toFixed(1)} %`;
}

/** The end of a long name says more than its beginning. Control characters are made visible. */
function shorten(name: string, length: number): string {
  // deno-lint-ignore no-control-regex -- a model's names may hold terminal escapes
  const visible = name.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
  return visible.length <= length ? visible : `...${visible.slice(visible.length - length + 3)}`;
}
