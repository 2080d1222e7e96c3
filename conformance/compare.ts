/**
 * Whether an output is what a test expects: the same element type, the same extents, and values
 * within the test's tolerance.
 */
import { DTYPES } from "../src/dtype.ts";
import { toNumbers, type Value } from "./values.ts";

/** How far a float output may be from the expected one. */
export type Tolerance =
  /** NumPy's `allclose` with `equal_nan`: |result - expected| <= atol + rtol |expected|. */
  | { readonly rtol: number; readonly atol: number }
  /**
   * |result - expected|_2 <= relativeL2 |expected|_2 over the whole tensor, or the difference's root
   * mean square is at most `resolution` (0 by default), below which the expected values mean nothing.
   */
  | { readonly relativeL2: number; readonly resolution?: number };

/** What holds for a test without a `tolerance.json`. */
export const DEFAULT_TOLERANCE: Tolerance = { rtol: 1e-3, atol: 1e-5 };

/** What the comparison of one output found. */
export interface Comparison {
  /** In words what is wrong; null where nothing is. */
  readonly difference: string | null;
  /**
   * |result - expected|_2 / |expected|_2 over finite elements; null where it can't be said, which
   * holds for differences below the tolerance's resolution too.
   */
  readonly relativeL2: number | null;
}

/** Compares the output `name`. Integers and booleans have to be equal. */
export function compare(
  name: string,
  result: Value,
  expected: Value,
  tolerance: Tolerance,
): Comparison {
  const wrong = (state: string, relativeL2: number | null = null): Comparison => ({
    difference: `output "${name}" ${state}`,
    relativeL2,
  });
  if (result.dtype !== expected.dtype) {
    return wrong(`is ${result.dtype} instead of ${expected.dtype}`);
  }
  if (result.dims.join() !== expected.dims.join()) {
    return wrong(`has the shape [${result.dims}] instead of [${expected.dims}]`);
  }
  if (result.data.length !== expected.data.length) {
    return wrong(`has ${result.data.length} elements in the shape [${expected.dims}]`);
  }
  const { length } = expected.data;
  if (DTYPES[expected.dtype].kind !== "float") {
    let unequal = 0;
    let first = -1;
    for (let i = 0; i < length; i++) {
      if (result.data[i] === expected.data[i]) continue;
      if (first < 0) first = i;
      unequal++;
    }
    if (unequal === 0) return { difference: null, relativeL2: null };
    return wrong(
      `differs in ${unequal} of ${length} elements, first in [${place(first, expected.dims)}]: ` +
        `${result.data[first]} instead of ${expected.data[first]}`,
    );
  }
  return compareFloats(toNumbers(result), toNumbers(expected), expected.dims, tolerance, wrong);
}

function compareFloats(
  result: Float64Array,
  expected: Float64Array,
  dims: readonly number[],
  tolerance: Tolerance,
  wrong: (state: string, relativeL2: number | null) => Comparison,
): Comparison {
  let signal = 0;
  let noise = 0;
  let outside = 0;
  let worst = -1;
  let worstError = -1;
  for (let i = 0; i < expected.length; i++) {
    const x = result[i]!;
    const y = expected[i]!;
    if (Number.isFinite(x) && Number.isFinite(y)) {
      const error = Math.abs(x - y);
      signal += y * y;
      noise += error * error;
      if (!("rtol" in tolerance) || error <= tolerance.atol + tolerance.rtol * Math.abs(y)) {
        continue;
      }
      outside++;
      if (error > worstError) [worst, worstError] = [i, error];
    } else if (x !== y && !(x !== x && y !== y)) {
      outside++;
      if (worstError < Infinity) [worst, worstError] = [i, Infinity];
    }
  }
  const relativeL2 = noise === 0 ? 0 : signal === 0 ? Infinity : Math.sqrt(noise / signal);
  if (outside > 0) {
    return wrong(
      `differs in ${outside} of ${expected.length} elements, most in [${place(worst, dims)}]: ` +
        `${result[worst]} instead of ${expected[worst]}`,
      relativeL2,
    );
  }
  if ("relativeL2" in tolerance && relativeL2 > tolerance.relativeL2) {
    const resolved = (tolerance.resolution ?? 0) ** 2 * expected.length;
    if (noise <= resolved) return { difference: null, relativeL2: null };
    return wrong(
      `has a relative L2 error of ${relativeL2.toExponential(2)}, more than ` +
        `${tolerance.relativeL2.toExponential(0)}`,
      relativeL2,
    );
  }
  return { difference: null, relativeL2 };
}

/** The indices of element `index` of a tensor of the extents `dims`. */
function place(index: number, dims: readonly number[]): string {
  const indices: number[] = [];
  for (const dim of dims.toReversed()) {
    indices.unshift(index % dim);
    index = Math.floor(index / dim);
  }
  return indices.join(", ");
}
