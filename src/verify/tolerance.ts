/**
 * How far the outputs of a converted model may be from the original's before the conversion counts as
 * failed. The limits are there to catch what is broken, not to grade what is merely coarse.
 */

/** Limits for the outputs of a result. */
export interface Tolerance {
  /** Largest relative L2 error of a float output, over all samples together. */
  readonly relativeL2: number;
  /**
   * Largest |error| that passes, whatever the relative error, in an output that the graph says is a
   * probability: of one near 0 a large part is still nothing.
   */
  readonly probability: number;
  /** Smallest share of equal elements of an integer, boolean or string output. */
  readonly equalShare: number;
}

/**
 * Limits by precision of the weights. A broken conversion gives errors around 1. Over eight made-up
 * inputs of five trained models (a sentence encoder, three for text in pictures, a recurrent one for
 * speech), rounded by `rtn`, the largest relative L2 of outputs that are not excused as probabilities
 * was 0.06 for float16 and 0.13 for 8 bits. Where an output picks a class at each of 40 steps, a
 * single step that flips is an error of 0.2. For bfloat16 only two of the models were seen (0.015).
 */
const TOLERANCES: Readonly<Record<string, Tolerance>> = {
  // Nothing is rounded; other kernels may add in another order, about 2^-24 an addition.
  float32: { relativeL2: 1e-5, probability: 1e-6, equalShare: 1 },
  // A weight is off by up to 2^-11 = 4.9e-4, and so is an activation where those are float16.
  float16: { relativeL2: 0.2, probability: 1e-2, equalShare: 1 },
  // A weight is off by up to 2^-8 = 3.9e-3, eight times as much.
  bfloat16: { relativeL2: 0.3, probability: 5e-2, equalShare: 1 },
  // A weight is off by up to 1/510 of its block's range, some 0.5 % of a typical weight.
  "8bit": { relativeL2: 0.3, probability: 5e-2, equalShare: 1 },
};

/**
 * Limits for modules for WebGPU, compared with the model that they are made of, at the same precision:
 * the weights are equal, and only the order of additions and the functions of the GPU differ. Where the
 * model computes in float16 the module computes in float32.
 */
export const MODULE_TOLERANCES = {
  float32: { relativeL2: 1e-4, probability: 1e-5, equalShare: 1 },
  // Runtimes unpack and scale weights in different places.
  quantized: { relativeL2: 1e-3, probability: 1e-4, equalShare: 1 },
  float16: { relativeL2: 2e-2, probability: 1e-2, equalShare: 1 },
} as const satisfies Readonly<Record<string, Tolerance>>;

/**
 * The limits for a result whose weights are of `precision` ("float32", "float16", "bfloat16",
 * "8bit"), or null for fewer bits, where how much error is bearable depends on what the model is for.
 * Whatever the precision, NaN and infinite values that the original does not have are a failure.
 */
export function defaultTolerance(precision: string): Tolerance | null {
  return Object.hasOwn(TOLERANCES, precision) ? TOLERANCES[precision]! : null;
}

/** `usual` with another limit on the relative L2, which then holds for probabilities too. */
export function limitedTo(relativeL2: number, usual: Tolerance | null): Tolerance {
  return { relativeL2, probability: 0, equalShare: usual?.equalShare ?? 0 };
}
