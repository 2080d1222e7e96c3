/**
 * How far the outputs of a converted model may be from the original's before the conversion counts as
 * failed. The limits are there to catch what is broken, not to grade what is merely coarse.
 */

/** Limits for the outputs of a result. */
export interface Tolerance {
  /** Largest relative L2 error of a float output, in the worst sample. */
  readonly relativeL2: number;
  /** Smallest share of equal elements of an integer, boolean or string output. */
  readonly equalShare: number;
}

/** Limits by precision of the weights. */
const TOLERANCES: Readonly<Record<string, Tolerance>> = {
  // Nothing is rounded; other kernels may add in another order, about 2^-24 an addition.
  float32: { relativeL2: 1e-5, equalShare: 1 },
  // A weight is off by up to 2^-11 = 4.9e-4, an activation too where those are float16. Trained
  // networks were seen to be off by up to 5e-2 on inputs they know nothing about, such as noise; a
  // broken conversion is off by about 1.
  float16: { relativeL2: 0.1, equalShare: 1 },
  // A weight is off by up to 2^-9 = 2.0e-3, four times as much as in float16.
  bfloat16: { relativeL2: 0.2, equalShare: 1 },
  // A weight is off by up to 1/510 of its block's range, on average 0.5 % of a typical weight; up to
  // 0.2 was seen on noise.
  "8bit": { relativeL2: 0.5, equalShare: 1 },
};

/**
 * The limits for a result whose weights are of `precision` ("float32", "float16", "bfloat16",
 * "8bit"), or null for fewer bits, where how much error is bearable depends on what the model is for.
 * Whatever the precision, NaN and infinite values that the original does not have are a failure.
 */
export function defaultTolerance(precision: string): Tolerance | null {
  return Object.hasOwn(TOLERANCES, precision) ? TOLERANCES[precision]! : null;
}
