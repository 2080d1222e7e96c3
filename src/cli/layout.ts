/**
 * `modelcast convert --layout transformers.js`: exports a Hugging Face folder to ONNX, and writes the
 * folder that transformers.js loads.
 */
import { basename, dirname, join, resolve } from "node:path";
import { ModelcastError, VerificationError } from "../error.ts";
import { convertModel } from "../converters/convert.ts";
import type { ConverterRequest, StepReport } from "../converters/converter.ts";
import { DEFAULTS, quantizedBits } from "../converters/options.ts";
import type { LayoutModel, LayoutResult } from "../layout/transformers_js.ts";
import { StagingFolder } from "../onnx/staging.ts";
import { alignColumns, formatBytes, formatStep, printableJson } from "../report.ts";
import type { LayoutArguments } from "./convert_arguments.ts";
import { untilInterrupted } from "./signals.ts";
import { printResult } from "./streams.ts";
import { makeReporter, type Reporter } from "./terminal.ts";

/** Runs the command; returns the exit code. Throws what it failed of. */
export async function layoutCommand(options: LayoutArguments): Promise<number> {
  try {
    return await layOut(options);
  } catch (error) {
    if (options.json && error instanceof ModelcastError) {
      const { outputPath } = options.request;
      const told = { success: false, outputPath, error: error.message, files: [], steps: [] };
      printResult(printableJson(told));
    }
    throw error;
  }
}

async function layOut(options: LayoutArguments): Promise<number> {
  const reporter = await makeReporter(options);
  const { checkLayout, writeTransformersJsLayout } = await import("../layout/transformers_js.ts");
  return await untilInterrupted(async (signal) => {
    const { modelPath, outputPath } = options.request;
    const task = checkLayout(modelPath, outputPath, options.request.task);
    const request = { ...options.request, task };
    if (request.verify ?? true) {
      const { checkVerification } = await import("../verify.ts");
      await checkVerification(request.provider, null);
    }
    // The models lie there until the folder is written.
    const work = new StagingFolder(resolve(request.outputPath));
    try {
      const { step, models } = await exportModels(request, work.path, reporter, signal);
      const result = await writeTransformersJsLayout(
        {
          source: request.modelPath,
          models,
          output: request.outputPath,
          dtypes: options.dtypes,
          ...(request.verify === null ? {} : { verify: request.verify }),
          seed: request.seed,
          provider: request.provider,
          blockSize: request.blockSize,
          symmetric: request.symmetric,
          method: request.method,
          scales: request.scales,
          exclude: request.exclude,
          nan: request.nan,
          engine: request.engine,
          workers: request.workers,
          allowInexact: request.allowInexact,
        },
        reporter,
        signal,
      ).finally(() => reporter.endProgress());
      print(step, result, options, reporter);
      return 0;
    } finally {
      work.discard();
    }
  });
}

/** Exports the source to float32 ONNX models in `folder`. */
async function exportModels(
  request: ConverterRequest,
  folder: string,
  reporter: Reporter,
  signal: AbortSignal,
): Promise<{ readonly step: StepReport; readonly models: readonly LayoutModel[] }> {
  const { modelPath, modelType, task, config, opset, exporter, trustPickle, randomWeights } =
    request;
  const { python, allowHub, timeout, maxMemory, verify, seed } = request;
  const result = await convertModel(
    {
      ...DEFAULTS,
      ...{ modelPath, modelType, task, config, opset, exporter, trustPickle, randomWeights },
      ...{ python, allowHub, timeout, maxMemory, verify, seed },
      outputPath: join(folder, "model.onnx"),
      precisions: ["float32"],
    },
    { sourceFormat: "pytorch", targetFormat: "onnx" },
    reporter,
    signal,
  );
  const [step] = result.steps;
  if (!result.success) {
    const { error } = result;
    error.message = error.message.replaceAll(folder, request.outputPath);
    throw exportError(error, step, modelPath);
  }
  const parts = result.files.map((path) => ({ path, name: basename(path) }));
  const models = parts.flatMap(({ path, name }): LayoutModel[] =>
    name === "model.onnx"
      ? [{ path, role: "model" }]
      : name === "model.encoder.onnx"
      ? [{ path, role: "encoder" }]
      : name === "model.decoder.onnx"
      ? [{ path, role: "decoder" }]
      : []
  );
  return { step: withoutFolder(step!), models };
}

/** The report of an export whose files are gone when it is read: they are named, not located. */
function withoutFolder(step: StepReport): StepReport {
  if (step.kind !== "pytorch") return step;
  const files = step.files.map((file) => ({ ...file, path: basename(file.path) }));
  return { ...step, outputPath: basename(step.outputPath), files };
}

/** What failed where nothing is kept to look at: the folder was never begun. */
function exportError(
  error: ModelcastError,
  step: StepReport | undefined,
  source: string,
): ModelcastError {
  if (!(error instanceof VerificationError)) return error;
  if (step?.kind !== "pytorch" || step.verification === null) return error;
  return new VerificationError(
    `Cannot vouch for the export of "${source}": ${step.verification.failures.join("; ")}. ` +
      "Nothing is written; convert it with --target-format onnx to look at it.",
  );
}

function print(
  step: StepReport,
  result: LayoutResult,
  options: LayoutArguments,
  reporter: Reporter,
): void {
  const { output, files, models } = result;
  if (options.json) {
    const paths = files.map((name) => join(output, name));
    printResult(
      printableJson({
        success: true,
        outputPath: output,
        error: null,
        files: paths,
        steps: [step],
        layout: result,
      }),
    );
    return;
  }
  for (const line of formatStep(step, [])) reporter.line(line);
  const rows = models.map(({ dtype, conversion, verification }) => {
    const { totals, files: written } = conversion;
    const worst = verification?.outputs.flatMap(({ float }) => float === null ? [] : [float]) ?? [];
    const percent = (values: readonly number[]) =>
      values.length === 0 ? "-" : `${(100 * Math.max(...values)).toFixed(2)} %`;
    return [
      dtype,
      basename(written[0]!.path),
      formatBytes(written.reduce((sum, { byteLength }) => sum + byteLength, 0)),
      quantizedBits(conversion.precision) === null ? "-" : totals.bitsPerWeight.toFixed(2),
      percent(worst.map(({ relativeL2 }) => relativeL2 ?? Infinity)),
    ];
  });
  reporter.line("");
  for (const line of alignColumns([["dtype", "file", "size", "bits", "error"], ...rows], 2)) {
    reporter.line(line);
  }
  reporter.line("");
  reporter.line(`wrote   ${output} (${files.length} files) in ${dirname(output)}`);
}
