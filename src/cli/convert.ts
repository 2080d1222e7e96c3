/** `modelcast convert`: converts, verifies where asked, and reports. */
import { InterruptedError, VerificationError } from "../error.ts";
import type { Conversion } from "../converters/conversion.ts";
import type { Precision } from "../converters/options.ts";
import { convertOnnx } from "../converters/onnx_to_onnx.ts";
import { formatConversion, printableJson } from "../report.ts";
import type { VerificationReport } from "../verify.ts";
import { defaultTolerance, type Tolerance } from "../verify/tolerance.ts";
import type { ConvertArguments } from "./arguments.ts";
import { makeReporter, type Reporter } from "./terminal.ts";

/** Runs the command; returns the exit code. Throws what the conversion throws. */
export async function convertCommand(options: ConvertArguments): Promise<number> {
  const reporter = await makeReporter(options);
  const controller = new AbortController();
  const stop = () => controller.abort();
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const name of signals) Deno.addSignalListener(name, stop);
  try {
    const verifies = options.verify && !options.dryRun;
    if (verifies) {
      // What is missing shows before the work, not after it.
      await (await import("../verify.ts")).checkVerification(options.provider, options.inputs);
    }
    const conversions = await convertOnnx(options, reporter, controller.signal)
      .finally(() => reporter.endProgress());
    const verified: (VerificationReport | null)[] = [];
    const paths = conversions.map(({ files }) => `"${files[0]!.path}"`);
    const written = `${paths.join(", ")} ${paths.length === 1 ? "is" : "are"}`;
    let trouble: unknown = null;
    for (const conversion of conversions) {
      for (const warning of conversion.warnings) reporter.warn(warning);
      let report: VerificationReport | null = null;
      try {
        if (verifies && trouble === null) {
          report = await verify(conversion, options, controller.signal);
        }
      } catch (error) {
        trouble = controller.signal.aborted
          ? new InterruptedError(`interrupted while verifying; ${written} written`)
          : error;
      }
      verified.push(report);
    }
    // The files are written: that is reported whatever became of the verification.
    await print(conversions, verified, options, reporter);
    if (trouble !== null) throw trouble;
    const failed = verified.filter((report) => report !== null && !report.passed);
    if (failed.length === 0) return 0;
    throw new VerificationError(
      failed.map((report) =>
        `Cannot vouch for "${report!.result}": ${report!.failures.join("; ")}. ` +
        "The file is written; look at it with --per-op, or take a higher precision."
      ).join("\n"),
    );
  } finally {
    for (const name of signals) Deno.removeSignalListener(name, stop);
  }
}

async function verify(
  conversion: Conversion,
  options: ConvertArguments,
  signal: AbortSignal,
): Promise<VerificationReport> {
  const { verifyModels } = await import("../verify.ts");
  return await verifyModels({
    original: options.source,
    result: conversion.files[0]!.path,
    ...(options.inputs === null ? {} : { inputs: { kind: "file", path: options.inputs } }),
    seed: options.seed,
    provider: options.provider,
    perOp: options.perOp,
    tolerance: toleranceOf(conversion.precision, options.activations),
    signal,
  });
}

/** The limits for a precision; where activations are float16 too, the wider of the two. */
function toleranceOf(precision: Precision, activations: "float32" | "float16"): Tolerance | null {
  const own = defaultTolerance(precision);
  const half = activations === "float16" ? defaultTolerance("float16") : own;
  return own === null || half === null || own.relativeL2 >= half.relativeL2 ? own : half;
}

async function print(
  conversions: readonly Conversion[],
  verified: readonly (VerificationReport | null)[],
  options: ConvertArguments,
  reporter: Reporter,
): Promise<void> {
  if (options.json) {
    const records = conversions.map((conversion, index) => ({
      ...conversion,
      verification: verified[index],
    }));
    console.log(printableJson(records.length === 1 ? records[0] : records));
    return;
  }
  for (const [index, conversion] of conversions.entries()) {
    if (index > 0) reporter.line("");
    for (const line of formatConversion(conversion)) reporter.line(line);
    const report = verified[index]!;
    if (report === null) {
      if (!options.dryRun) {
        reporter.line("not checked: what the model computes; --verify runs both in ONNX Runtime");
      }
      continue;
    }
    const { formatVerification } = await import("../verify.ts");
    for (const line of formatVerification(report)) reporter.line(line);
  }
}
