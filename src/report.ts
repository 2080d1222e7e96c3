/** The lines that a person reads of a conversion. */
import type { StepReport } from "./converters/converter.ts";
import type { OpenVinoReport } from "./converters/openvino_answer.ts";
import type { ExportReport } from "./converters/pytorch_to_onnx.ts";
import type { WebGpuReport } from "./converters/webgpu_report.ts";
import { formatConversions } from "./report/conversions.ts";
import { fileLines, plannedLines } from "./report/files.ts";
import { formatBytes } from "./report/text.ts";
import { formatVerification } from "./verify/format.ts";

export { alignColumns, decibels, formatBytes, printable, printableJson } from "./report/text.ts";

/**
 * The lines that a person reads of a step; of its files those in `kept` are there afterwards. Weights
 * have a row each while they are few, or with `everyWeight`; otherwise a row for each op and form.
 */
export function formatStep(
  report: StepReport,
  kept: readonly string[],
  everyWeight = false,
): string[] {
  switch (report.kind) {
    case "onnx":
      return formatConversions(report.conversions, kept, everyWeight);
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
