/**
 * The candidates of the search for the least squared error: the sums over their codes, and which of
 * them is the best so far. All of it is exact but for the comparison.
 */
import { constant, ONE } from "./constants.ts";
import { sharesAt, sumOfEnds } from "./integers.ts";
import {
  BEST_A,
  BEST_B,
  BEST_LOWEST,
  BEST_STEPS,
  INTEGERS,
  PARTS,
  PLAIN_STEPS,
  ZERO_POINT,
} from "./job.ts";
import { job, scratch } from "./strip.ts";

/** Steps number `index` of the grid, each twice as 16 bits. */
// @ts-ignore: decorator
@inline
export function stepsAt(index: u32): v128 {
  return v128.load32_splat(job.steps + index * 4);
}

/** The lowest signed codes of a quad by its zero points, each twice as 16 bits. */
// @ts-ignore: decorator
@inline
export function lowestCodes(quad: usize): v128 {
  const zeroPoint = i32x4.trunc_sat_f32x4_s(v128.load(scratch + quad, ZERO_POINT));
  return i16x8.neg(v128.or(zeroPoint, i32x4.shl(zeroPoint, 16)));
}

/** The highest code. */
// @ts-ignore: decorator
@inline
export function highestCode(): v128 {
  const code: u32 = (1 << job.bits) - 1;
  return i16x8.splat(<i16>code);
}

/** Signed codes of eight integers: round(x steps / 2^15), held within bounds. */
// @ts-ignore: decorator
@inline
function codesOf(x: v128, steps: v128, lowest: v128, top: v128): v128 {
  // No two factors are -2^15, the one case in which this may differ from one machine to another.
  return i16x8.min_s(i16x8.max_s(i16x8.relaxed_q15mulr_s(x, steps), lowest), top);
}

/**
 * Tries two candidates of a quad on the first `count` integers of chunk `chunk`. Their sums go into PARTS,
 * rounded: A of both, then B of both. A is the sum of shares times integers times codes, B of shares times
 * squares of codes. With `keep` the better one of both and the best so far is kept, as by
 * {@link keepBetter}: what lies at `field` becomes `value` or `otherValue`, and the first counts only where
 * `mask` is all ones.
 */
// @ts-ignore: decorator
@inline
export function tryPair(
  quad: usize,
  chunk: u32,
  count: u32,
  steps: v128,
  lowest: v128,
  otherSteps: v128,
  otherLowest: v128,
  keep: bool,
  mask: v128,
  value: v128,
  otherValue: v128,
  field: usize,
): void {
  const top = i16x8.add(lowest, highestCode());
  const otherTop = i16x8.add(otherLowest, highestCode());
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let otherA = i32x4.splat(0);
  let otherB = i32x4.splat(0);
  let at = scratch + INTEGERS + quad * 128;
  const end = at + (count << 3);
  if (job.shares) {
    let shares = sharesAt(chunk);
    while (at < end) {
      const x = v128.load(at);
      const share = v128.load32_splat(shares);
      const q = codesOf(x, steps, lowest, top);
      const counted = i16x8.mul(share, q);
      a = i32x4.add(a, i32x4.dot_i16x8_s(x, counted));
      b = i32x4.add(b, i32x4.dot_i16x8_s(q, counted));
      const p = codesOf(x, otherSteps, otherLowest, otherTop);
      const otherCounted = i16x8.mul(share, p);
      otherA = i32x4.add(otherA, i32x4.dot_i16x8_s(x, otherCounted));
      otherB = i32x4.add(otherB, i32x4.dot_i16x8_s(p, otherCounted));
      at += 16;
      shares += 4;
    }
  } else {
    while (at < end) {
      const x = v128.load(at);
      const q = codesOf(x, steps, lowest, top);
      a = i32x4.add(a, i32x4.dot_i16x8_s(x, q));
      b = i32x4.add(b, i32x4.dot_i16x8_s(q, q));
      const p = codesOf(x, otherSteps, otherLowest, otherTop);
      otherA = i32x4.add(otherA, i32x4.dot_i16x8_s(x, p));
      otherB = i32x4.add(otherB, i32x4.dot_i16x8_s(p, p));
      at += 16;
    }
  }
  const sumA = f32x4.convert_i32x4_s(a);
  const sumB = f32x4.convert_i32x4_s(b);
  const otherSumA = f32x4.convert_i32x4_s(otherA);
  const otherSumB = f32x4.convert_i32x4_s(otherB);
  v128.store(scratch, sumA, PARTS);
  v128.store(scratch, sumB, PARTS + 32);
  if (!keep) {
    v128.store(scratch, otherSumA, PARTS + 16);
    v128.store(scratch, otherSumB, PARTS + 48);
    return;
  }
  const state = scratch + quad;
  let bestA = v128.load(state, BEST_A);
  let bestB = v128.load(state, BEST_B);
  let best = v128.load(state + field);
  // With a sum of zero a candidate is never better.
  const counted = v128.and(sumA, mask);
  const better = isBetter(counted, sumB, bestA, bestB);
  bestA = select(counted, bestA, better);
  bestB = select(sumB, bestB, better);
  best = select(value, best, better);
  const otherBetter = isBetter(otherSumA, otherSumB, bestA, bestB);
  v128.store(state, select(otherSumA, bestA, otherBetter), BEST_A);
  v128.store(state, select(otherSumB, bestB, otherBetter), BEST_B);
  v128.store(state + field, select(otherValue, best, otherBetter));
}

/** A sum of {@link tryPair}. */
// @ts-ignore: decorator
@inline
export function pairSum(offset: usize): v128 {
  return v128.load(scratch + offset, PARTS);
}

/** Nothing is selected: an error of all there is, with the steps of the plain scale. */
export function beginSelection(quad: usize): void {
  const at = scratch + quad;
  v128.store(at, f32x4.splat(0), BEST_A);
  v128.store(at, constant(ONE), BEST_B);
  v128.store(at, v128.load(at, PLAIN_STEPS), BEST_STEPS);
  v128.store(at, lowestCodes(quad), BEST_LOWEST);
}

/**
 * Selects a candidate in those lanes where it is better than the best one, and what it is made with:
 * `value` is stored at `field`, one of BEST_STEPS and BEST_LOWEST.
 */
// @ts-ignore: decorator
@inline
export function keepBetter(quad: usize, a: v128, b: v128, value: v128, field: usize): v128 {
  const at = scratch + quad;
  const bestA = v128.load(at, BEST_A);
  const bestB = v128.load(at, BEST_B);
  const better = isBetter(a, b, bestA, bestB);
  v128.store(at, select(a, bestA, better), BEST_A);
  v128.store(at, select(b, bestB, better), BEST_B);
  v128.store(at + field, select(value, v128.load(at + field), better));
  return better;
}

/** All ones where codes of the sums `a` and `b` leave less error than those of the best. */
// @ts-ignore: decorator
@inline
function isBetter(a: v128, b: v128, bestA: v128, bestB: v128): v128 {
  return f32x4.gt(
    f32x4.mul(f32x4.mul(a, a), bestB),
    f32x4.mul(f32x4.mul(bestA, bestA), b),
  );
}

/** The lanes of `a` where `mask` is all ones, those of `b` where it is zeros. */
// @ts-ignore: decorator
@inline
function select(a: v128, b: v128, mask: v128): v128 {
  return i32x4.relaxed_laneselect(a, b, mask);
}

/** How many codes `steps` make of the sum of a quad's least and greatest weights, each twice. */
// @ts-ignore: decorator
@inline
export function codesOfEnds(quad: usize, steps: v128): v128 {
  return i16x8.relaxed_q15mulr_s(sumOfEnds(quad), steps);
}

/** All ones where these lowest codes are those of a zero point. */
// @ts-ignore: decorator
@inline
export function isZeroPoint(lowest: v128): v128 {
  return v128.and(
    i16x8.le_s(lowest, i16x8.splat(0)),
    i16x8.ge_s(lowest, i16x8.neg(highestCode())),
  );
}
