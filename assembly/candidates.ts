/**
 * The candidates of the search for the least squared error: their codes, and which of them is the best so
 * far.
 */
import { constant, ONE } from "./constants.ts";
import { BEST_A, BEST_B, BEST_SQUARE, BEST_STEPS, CHUNK, OTHER_ZERO_POINT, ZERO_POINT } from "./job.ts";
import { block, job, scratch } from "./strip.ts";

/** The highest code. */
// @ts-ignore: decorator
@inline
export function highest(): v128 {
  return f32x4.splat(<f32>((1 << job.bits) - 1));
}

/** Importance of the weight at index `i` of chunk `chunk`; padding has none. */
// @ts-ignore: decorator
@inline
export function importanceAt(chunk: u32, i: u32): v128 {
  const column = block * job.blockLength + chunk * CHUNK + i;
  return column < job.columns ? v128.load32_splat(job.importance + column * 4) : f32x4.splat(0);
}

/** Step number `index` of the grid. */
// @ts-ignore: decorator
@inline
export function stepsAt(index: u32): v128 {
  return v128.load32_splat(job.steps + index * 4);
}

/** The codes of numbers near the magic one, held within bounds. */
// @ts-ignore: decorator
@inline
export function limitedCode(shifted: v128, magic: v128, floor: v128, ceiling: v128): v128 {
  // Numbers near the magic one are in the order of their bits.
  return f32x4.sub(i32x4.min_s(i32x4.max_s(shifted, floor), ceiling), magic);
}

/** Nothing is selected: an error of all there is, with the steps of number `step`. */
export function beginSelection(quad: usize, step: u32): void {
  const at = scratch + quad;
  v128.store(at, f32x4.splat(0), BEST_SQUARE);
  v128.store(at, f32x4.splat(0), BEST_A);
  v128.store(at, constant(ONE), BEST_B);
  v128.store(at, stepsAt(step), BEST_STEPS);
  v128.store(at, v128.load(at, ZERO_POINT), OTHER_ZERO_POINT);
}

/** Selects a candidate in those lanes where it is better than the best one. */
// @ts-ignore: decorator
@inline
export function keepBetter(quad: usize, a: v128, b: v128, zeroPoint: v128, steps: v128): void {
  const at = scratch + quad;
  const square = f32x4.mul(a, a);
  const bestSquare = v128.load(at, BEST_SQUARE);
  const bestB = v128.load(at, BEST_B);
  const better = v128.and(
    f32x4.gt(f32x4.mul(square, bestB), f32x4.mul(bestSquare, b)),
    v128.and(f32x4.ge(zeroPoint, f32x4.splat(0)), f32x4.le(zeroPoint, highest())),
  );
  v128.store(at, v128.bitselect(square, bestSquare, better), BEST_SQUARE);
  v128.store(at, v128.bitselect(a, v128.load(at, BEST_A), better), BEST_A);
  v128.store(at, v128.bitselect(b, bestB, better), BEST_B);
  v128.store(at, v128.bitselect(zeroPoint, v128.load(at, OTHER_ZERO_POINT), better), OTHER_ZERO_POINT);
  v128.store(at, v128.bitselect(steps, v128.load(at, BEST_STEPS), better), BEST_STEPS);
}
