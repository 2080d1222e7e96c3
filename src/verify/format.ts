/** The lines of a verification report that a person reads. */
import type { OutputComparison } from "./metrics.ts";
import type { PerOpReport, ValueComparison } from "./per_op.ts";
import type { VerificationReport } from "./report.ts";
import { formatDims, visible } from "./values.ts";

/** Values inside the graph that the lines show at most. */
const MOST_VALUES = 5;

/** `report` as lines without colors or control characters. */
export function formatVerification(report: VerificationReport): string[] {
  const { time, placement, adapter } = report;
  const seed = report.seed === null ? "" : `, seed ${report.seed}`;
  const where = adapter === null
    ? `on ${report.provider}, ONNX Runtime ${report.runtime.version}`
    : `on "${adapter.name}"${adapter.software ? ", which is software" : ""}, by WebGPU in ` +
      `${adapter.runtime}, against ONNX Runtime ${report.runtime.version} on ${report.provider}`;
  const lines = [
    `verified ${where}, ${report.samples} ` +
    `${report.samples === 1 ? "input" : "inputs"}${seed}: ${
      report.passed ? report.tolerance === null ? "compared" : "passed" : "FAILED"
    }` +
    (report.tolerance === null
      ? " (no limit on the error is set)"
      : ` (limit on relative L2: ${report.tolerance.relativeL2})`),
  ];
  if (placement.result.nodes !== null && placement.result.elsewhere !== null) {
    const there = placement.result.nodes - placement.result.elsewhere.length;
    lines.push(`  ran on ${report.provider}: ${there} of ${placement.result.nodes} nodes`);
  }
  for (const input of report.inputs) {
    lines.push(
      `  input "${input.name}" ${input.dtype} ${formatDims(input.dims)}: ${input.origin}`,
    );
  }
  for (const output of report.outputs) lines.push(outputLine(output));
  if (time.original.run !== null && time.result.run !== null && time.ratio !== null) {
    lines.push(
      `  time: original ${milliseconds(time.original.run)}, result ${
        milliseconds(time.result.run)
      } (median of ${time.runs}), ${time.ratio.toFixed(2)}x the original's speed; load ${
        milliseconds(time.original.load)
      } and ${milliseconds(time.result.load)}`,
    );
  }
  if (report.perOp !== null) lines.push(...perOpLines(report.perOp));
  for (const failure of report.failures) lines.push(`  failed: ${failure}`);
  for (const warning of report.warnings) lines.push(`  warning: ${warning}`);
  for (const text of report.notChecked) lines.push(`  not checked: ${text}`);
  return lines.map(visible);
}

function outputLine({ name, dtype, dims, float, equalShare }: OutputComparison): string {
  const type = dtype.original === dtype.result
    ? dtype.original
    : `${dtype.original} (result ${dtype.result})`;
  const head = `  output "${name}" ${type} ${formatDims(dims)}: `;
  if (float === null) {
    return `${head}${equalShare === 1 ? "equal" : `${(100 * equalShare).toFixed(2)} % equal`}`;
  }
  if (equalShare === 1) return `${head}equal`;
  const parts = [
    `SQNR ${float.sqnr === null ? "-" : `${float.sqnr.toFixed(2)} dB`}`,
    `cosine ${float.cosine === null ? "-" : float.cosine.toFixed(6)}`,
    `relative L2 ${float.relativeL2 === null ? "-" : float.relativeL2.toExponential(2)}`,
    `max |error| ${float.maxAbsError.toExponential(2)}`,
  ];
  if (float.sameLargest !== null) {
    parts.push(`largest value at the same place in ${(100 * float.sameLargest).toFixed(1)} %`);
  }
  if (float.nan.original + float.nan.result > 0) {
    parts.push(`NaN ${float.nan.original} and ${float.nan.result}`);
  }
  if (float.infinite.original + float.infinite.result > 0) {
    parts.push(`infinite ${float.infinite.original} and ${float.infinite.result}`);
  }
  return head + parts.join(", ");
}

function perOpLines(report: PerOpReport): string[] {
  const lines = [`  per op: ${report.values.length} values inside the graph compared`];
  if (report.first === null) {
    lines.push(`    no value parts by more than ${report.threshold}`);
  } else lines.push(`    first past ${report.threshold}: ${valueText(report.first)}`);
  const jumps = report.values.filter(({ jump }) => jump > 0).toSorted((a, b) => b.jump - a.jump)
    .slice(0, MOST_VALUES);
  if (jumps.length > 0) {
    lines.push("    largest jumps over a node's inputs:");
    for (const value of jumps) lines.push(`      +${value.jump.toFixed(4)} ${valueText(value)}`);
  }
  for (const { value, reason } of report.skipped.slice(0, MOST_VALUES)) {
    lines.push(`    not compared: "${value}": ${reason}`);
  }
  if (report.skipped.length > MOST_VALUES) {
    lines.push(`    not compared: ${report.skipped.length - MOST_VALUES} more`);
  }
  for (const text of report.notChecked) lines.push(`    not checked: ${text}`);
  return lines;
}

function valueText({ value, node, op, error, mismatch }: ValueComparison): string {
  const ops = op.original === op.result ? op.original : `${op.original}, now ${op.result}`;
  const by = node === "" || node === value ? "" : ` of node "${node}"`;
  return `"${value}"${by} (${ops}): ${
    mismatch ?? (error === null ? "no signal" : `error ${error.toPrecision(3)}`)
  }`;
}

function milliseconds(value: number): string {
  return value < 10 ? `${value.toFixed(2)} ms` : `${value.toFixed(0)} ms`;
}
