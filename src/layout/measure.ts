/**
 * How far the outputs of a written file are from those of the float32 model, in ONNX Runtime: what a
 * model card says of it, and whether it can be vouched for.
 */
import { basename } from "node:path";
import type { Original, VerificationReport } from "../verify.ts";
import { defaultTolerance, type Tolerance } from "../verify/tolerance.ts";
import { type Dtype, DTYPES } from "./dtypes.ts";

/** The errors of the float output that is the farthest off. */
export interface Measurement {
  readonly output: string;
  /** |result - original| / |original| over all samples; null where there is no signal. */
  readonly relativeL2: number | null;
  readonly cosine: number | null;
}

/** What verifying one file showed. */
export interface Verified {
  readonly report: VerificationReport;
  /** Null where the model has no float output. */
  readonly measured: Measurement | null;
}

/** Compares the file `result` of a dtype with the float32 model. Errors as with `verifyModels`. */
export async function measure(
  original: Original,
  result: string,
  dtype: Dtype,
): Promise<Verified> {
  const report = await original.compare({ result, tolerance: toleranceOf(dtype) });
  const worst = report.outputs
    .flatMap(({ name, float }) => float === null ? [] : [{ name, float }])
    .toSorted((a, b) => (b.float.pooledRelativeL2 ?? 0) - (a.float.pooledRelativeL2 ?? 0))[0];
  return {
    report,
    measured: worst === undefined ? null : {
      output: worst.name,
      relativeL2: worst.float.pooledRelativeL2,
      cosine: worst.float.cosine,
    },
  };
}

/** The limits for a dtype; null where how much error is bearable depends on the use. */
function toleranceOf(dtype: Dtype): Tolerance | null {
  const { precision, activations } = DTYPES[dtype];
  const own = defaultTolerance(precision);
  const half = activations === "float16" ? defaultTolerance("float16") : own;
  return own === null || half === null || own.relativeL2 >= half.relativeL2 ? own : half;
}

/** What was compared, in a sentence for the card. */
export function describeComparison(verified: readonly Verified[]): string | null {
  const first = verified[0]?.report;
  if (first === undefined) return null;
  const inputs = first.seed === null ? "on fixed inputs" : `on made-up inputs (seed ${first.seed})`;
  return `Errors are those of the output that is the farthest from the float32 model's, both run by ` +
    `ONNX Runtime ${first.runtime.version} (${first.provider}) ${inputs}: they show what is broken, ` +
    "not how well the model serves you.";
}

/** Why the file can't be vouched for, in sentences that name it. */
export function failuresOf({ report }: Verified): string[] {
  return report.failures.map((failure) => `"${basename(report.result)}": ${failure}`);
}
