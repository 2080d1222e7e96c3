/** `modelcast convert`: finds the way from format to format, converts, and reports. */
import { convertModel } from "../converters/convert.ts";
import type { ConversionResult, StepReport } from "../converters/converter.ts";
import { formatStep, printableJson } from "../report.ts";
import type { ConvertArguments } from "./convert_arguments.ts";
import { untilInterrupted } from "./signals.ts";
import { printResult } from "./streams.ts";
import { makeReporter, type Reporter } from "./terminal.ts";

/** Runs the command; returns the exit code. Throws what the conversion failed of. */
export async function convertCommand(options: ConvertArguments): Promise<number> {
  const reporter = await makeReporter(options);
  const result = await untilInterrupted((signal) =>
    convertModel(options.request, options, reporter, signal)
  ).finally(() => reporter.endProgress());
  // What the steps did is reported whatever became of the verification.
  print(result, options, reporter);
  if (!result.success) throw result.error;
  return 0;
}

function print(
  result: ConversionResult,
  options: ConvertArguments,
  reporter: Reporter,
): void {
  if (options.json) {
    const { success, outputPath, error, files, steps } = result;
    printResult(
      printableJson({ success, outputPath, error: error?.message ?? null, files, steps }),
    );
    return;
  }
  for (const [index, step] of result.steps.entries()) {
    if (index > 0) reporter.line("");
    // A file that a later step names is that step's.
    const later = result.steps.slice(index + 1).flatMap(filesOf);
    const kept = result.files.filter((path) => !later.includes(path));
    for (const line of formatStep(step, kept, options.listWeights)) reporter.line(line);
  }
  if (result.steps.length > 1 && result.files.length > 0) {
    reporter.line("");
    reporter.line(`written  ${result.files.join(", ")}`);
  }
}

/** The files that a step made. */
function filesOf(step: StepReport): string[] {
  const files = step.kind === "onnx"
    ? step.conversions.flatMap((conversion) => conversion.files)
    : step.files;
  return files.map(({ path }) => path);
}
