/**
 * What every engine asks of a job before it starts.
 */
import type { QuantizeJob } from "./engine.ts";
import { WEIGHT_BYTES } from "./widen.ts";

/** Throws a `RangeError` where the sizes of a job's arrays don't fit its shape. */
export function checkJob(job: QuantizeJob): void {
  const { weights, weightType, rows, columns } = job;
  const expected = rows * columns * WEIGHT_BYTES[weightType];
  if (!(rows >= 0 && columns >= 0) || weights.byteLength !== expected) {
    throw new RangeError(
      `Cannot quantize a matrix of ${rows} x ${columns} ${weightType} weights: it has ` +
        `${weights.byteLength} bytes instead of ${expected}. Pass all of its elements and no more.`,
    );
  }
  checkImportance(job);
}

/** Throws a `RangeError` where the importance of a job doesn't fit its shape. */
export function checkImportance({ importance, columns }: Omit<QuantizeJob, "weights">): void {
  if (importance === undefined) return;
  if (importance.length !== columns || !isFiniteArray(importance)) {
    throw new RangeError(
      `Cannot quantize a matrix of ${columns} columns by importance: there are ` +
        `${importance.length} values, or one is not finite. Pass a finite one for each column.`,
    );
  }
}

function isFiniteArray(values: Float32Array): boolean {
  // The difference of a number to itself is 0, of an infinity or a NaN it is NaN.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! - values[i]!;
  return sum === 0;
}
