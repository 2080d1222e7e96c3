/** The lines that a person reads of a conversion. */
import type {
  Conversion,
  ConvertedWeight,
  OutputFile,
  SkippedWeight,
} from "./converters/conversion.ts";
import type { StepReport } from "./converters/converter.ts";
import type { OpenVinoReport } from "./converters/openvino_answer.ts";
import type { ExportReport } from "./converters/pytorch_to_onnx.ts";
import type { WebGpuReport } from "./converters/webgpu_report.ts";
import { formatVerification } from "./verify/format.ts";

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

/** The lines that a person reads of a step; of its files those in `kept` are there afterwards. */
export function formatStep(report: StepReport, kept: readonly string[]): string[] {
  switch (report.kind) {
    case "onnx":
      return report.conversions.flatMap((conversion, index) => [
        ...(index > 0 ? [""] : []),
        ...formatConversion(conversion, kept),
        ...(conversion.verification !== null
          ? formatVerification(conversion.verification)
          : conversion.dryRun
          ? []
          : ["not checked: what the model computes; --verify runs both in ONNX Runtime"]),
      ]);
    case "pytorch":
      return [...fileLines(report.files, kept), ...formatExport(report)];
    case "openvino":
      return [...fileLines(report.files, kept), ...formatOpenVino(report)];
    case "webgpu":
      return [
        ...(report.dryRun ? plannedLines(report.files) : fileLines(report.files, kept)),
        ...formatWebGpu(report),
        ...(report.verification !== null
          ? formatVerification(report.verification)
          : report.dryRun
          ? []
          : [
            "not checked: what the module computes; --verify runs it on this machine's WebGPU, and " +
            "the model in ONNX Runtime",
          ]),
      ];
    case "plain":
      return fileLines(report.files, kept);
    default:
      return report satisfies never;
  }
}

/** A line for each file that a dry run leaves unwritten. */
function plannedLines(files: readonly OutputFile[]): string[] {
  return files.map(({ path, byteLength }) => `would write ${path} (${byteLength} bytes)`);
}

/** A line for each file, and for each hash that was asked for. */
function fileLines(files: readonly OutputFile[], kept: readonly string[]): string[] {
  return [
    ...files.map(({ path, byteLength }) =>
      kept.includes(path)
        ? `wrote   ${path} (${byteLength} bytes)`
        : `made    ${path} on the way (${byteLength} bytes)`
    ),
    ...files.flatMap(({ path, sha256 }) => sha256 === null ? [] : [`sha256  ${sha256}  ${path}`]),
  ];
}

/** The lines of an export from PyTorch. */
function formatExport(report: ExportReport): string[] {
  const { verification } = report;
  const port = ({ name, dtype, shape }: ExportReport["inputs"][number]) =>
    `${name} ${dtype}[${shape.join(", ")}]`;
  const worst = (values: readonly (number | null)[]) =>
    values.includes(null) ? "not a number" : Math.max(...values as number[], 0).toExponential(1);
  return [
    `model   ${report.architecture}${report.modelType === null ? "" : ` (${report.modelType})`}, ` +
    `${report.task}, ${report.parameters} parameters`,
    `export  opset ${report.opset}, by the ${report.exporter} exporter, ` +
    `${report.seconds.toFixed(1)} s`,
    `inputs  ${report.inputs.map(port).join(", ")}`,
    `outputs ${report.outputs.map(port).join(", ")}`,
    `sandbox ${report.sandbox}: ${report.held}`,
    verification === null
      ? "not checked: what the model computes; --verify runs PyTorch and ONNX Runtime"
      : `verified with ONNX Runtime: ${verification.passed ? "passed" : "FAILED"}, ` +
        `largest error ${
          worst(verification.outputs.map(({ maximumAbsoluteError }) => maximumAbsoluteError))
        } (limit ${verification.tolerance}, times the largest magnitude where that is above 1)`,
    ...(verification?.failures ?? []).map((failure) => `  ${failure}`),
  ];
}

/** The lines of a conversion to OpenVINO. */
function formatOpenVino(report: OpenVinoReport): string[] {
  const { verification, weights } = report;
  const forms = new Map<string, { count: number; bytes: number }>();
  for (const { element, byteLength } of weights) {
    const form = forms.get(element) ?? { count: 0, bytes: 0 };
    forms.set(element, { count: form.count + 1, bytes: form.bytes + byteLength });
  }
  const errors =
    verification?.outputs.flatMap((output) =>
      output.relativeToLargest === null || output.maximumAbsoluteError === null ? [] : [{
        name: output.name,
        relative: output.relativeToLargest,
        absolute: output.maximumAbsoluteError,
      }]
    ) ?? [];
  const worst = errors.reduce(
    (most, next) => next.relative > most.relative || Number.isNaN(next.relative) ? next : most,
    errors[0] ?? { name: "", relative: 0, absolute: 0 },
  );
  return [
    ...[...forms].map(([element, { count, bytes }]) =>
      `weights ${count} as ${element}, ${formatBytes(bytes)} with scales and zero points`
    ),
    `all     ${
      report.constants.map(({ element, byteLength }) => `${element} ${formatBytes(byteLength)}`)
        .join(", ")
    }`,
    `by      OpenVINO ${report.openvino}, ${report.seconds.toFixed(1)} s`,
    `sandbox ${report.sandbox}: ${report.held}`,
    verification === null
      ? "not checked: what the model computes; --verify runs ONNX Runtime and OpenVINO"
      : `verified ${verification.runtime} against ${verification.reference}: ` +
        `${
          verification.tolerance >= 1 ? "compared" : verification.passed ? "passed" : "FAILED"
        }, ${verification.samples} samples, ` +
        (errors.length === 0
          ? "no float outputs"
          : `largest error ${worst.absolute.toExponential(1)}, which is ` +
            `${worst.relative.toExponential(1)} of the largest magnitude of "${worst.name}" ` +
            `(limit ${verification.tolerance})`),
    ...(verification?.failures ?? []).map((failure) => `  ${failure}`),
  ];
}

/** The symbolic dimensions of a module's inputs, and how large each may be. */
function dimLines({ inputs, maxDims }: WebGpuReport["module"]): string[] {
  const names = new Set(
    inputs.flatMap(({ dims }) => (dims ?? []).filter((dim) => typeof dim === "string")),
  );
  const dims = [...names].map((name) =>
    Object.hasOwn(maxDims, name) ? `${name} up to ${maxDims[name]}` : name
  );
  return dims.length === 0 ? [] : [`dims    each run sets ${dims.join(", ")}`];
}

/** The lines of a conversion to a module for WebGPU. */
function formatWebGpu({ module, seconds }: WebGpuReport): string[] {
  const { inputs, outputs, weights, kernels, dispatches, hostNodes, shaders, memory } = module;
  const ports = (values: typeof inputs | typeof outputs) =>
    values.map(({ name, dtype, dims }) =>
      `${name} ${dtype}[${dims?.map((dim) => dim ?? "?") ?? "..."}]`
    )
      .join(", ");
  const forms = new Map<string, { count: number; bytes: number }>();
  for (const { precision, bytes } of weights.tensors) {
    const form = forms.get(precision) ?? { count: 0, bytes: 0 };
    forms.set(precision, { count: form.count + 1, bytes: form.bytes + bytes });
  }
  const nodes = Object.values(module.nodes).reduce((sum, count) => sum + count, 0);
  return [
    `inputs  ${ports(inputs)}`,
    `outputs ${ports(outputs)}`,
    ...dimLines(module),
    ...[...forms].map(([form, { count, bytes }]) =>
      `weights ${count} as ${form}, ${formatBytes(bytes)}`
    ),
    `program ${nodes} nodes, ${kernels.length} kernels, ${dispatches.length} dispatches` +
    (hostNodes.length > 0 ? `, on the host ${[...new Set(hostNodes)].join(", ")}` : ""),
    typeof memory === "string"
      ? `memory  ${memory}`
      : `memory  ${formatBytes(memory.arenaBytes)} for activations, of which ` +
        `${formatBytes(memory.liveBytes)} are alive at once`,
    shaders.checker === "none"
      ? "not checked: the shaders; `deno task build:shader-check` builds what checks them"
      : `shaders ${shaders.checked} checked by ${
        shaders.checker === "naga" ? "naga" : "the GPU's compiler"
      }`,
    `page    for ${module.page}; serve the folder with \`modelcast serve\``,
    `took    ${seconds.toFixed(2)} s`,
  ];
}

/** The lines that a person reads at the end of a conversion. */
function formatConversion(report: Conversion, kept: readonly string[]): string[] {
  const lines: string[] = [];
  if (report.weights.length > 0) lines.push(...weightTable(report.weights), "");
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

/** One row a weight, the columns aligned. */
function weightTable(weights: readonly ConvertedWeight[]): string[] {
  const small = weights.filter((weight) => weight.role === "float" && weight.bytesBefore < 1024);
  const rows = weights.filter((weight) => !small.includes(weight)).map((weight) => [
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
  if (small.length > 0) lines.push(`and ${small.length} tensors of less than 1 kB each`);
  return lines;
}

/** What was left alone, grouped by the reason. */
function skippedLines(skipped: readonly SkippedWeight[]): string[] {
  const groups = new Map<string, SkippedWeight[]>();
  for (const entry of skipped) {
    // Reasons that differ only in the node they name are one group.
    const reason = entry.reason.replace(/ "[^"]*"/g, "");
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

/** A ratio in decibels for a person. */
export function decibels(value: number): string {
  return value === Infinity ? "exact" : `${value.toFixed(2)} dB`;
}

/** A reduction in words: what grew is not called smaller. */
function change(reduction: number): string {
  return reduction < 0 ? `${percent(-reduction)} larger` : `${percent(reduction)} smaller`;
}

function percent(value: number): string {
  return `${value.toFixed(1)} %`;
}

/** `name` in `length` characters: the middle of a long one is left out. */
function shorten(name: string, length: number): string {
  const visible = printable(name);
  if (visible.length <= length) return visible;
  // Layers are told apart by the beginning, what a tensor is in them by the end.
  const head = Math.floor((length - 3) / 3);
  return `${visible.slice(0, head)}...${visible.slice(visible.length - (length - 3 - head))}`;
}

/**
 * Characters that move a terminal's cursor, change its state or the order of what it shows: C0 and
 * C1 controls, line and paragraph separators, and Unicode's marks and overrides of direction.
 */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex -- a model's names may hold terminal escapes
  /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** One line of `text` as it can be shown on a terminal, whatever names are in it. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "\ufffd");
}

/** `value` as JSON on one line, with nothing in it that a terminal acts on. */
export function printableJson(value: unknown): string {
  // JSON has no infinities: an exact copy's SQNR is written as the word.
  const json = JSON.stringify(
    value,
    (_key, entry) => typeof entry === "number" && !Number.isFinite(entry) ? String(entry) : entry,
  );
  return json.replace(
    UNPRINTABLE,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
