/**
 * What every method begins with, for the four blocks of a quad: which are non-finite or zero, the
 * powers of two that normalize the others, and the scale and zero point of rounding to nearest.
 */
import { constant, FIELD_SUM, INFINITY, LEAST_FIELD, LEAST_SIZE, MOST_FIELD, NEGATIVE_INFINITY } from "./constants.ts";
import { clamp, isClamped, magnitude, reciprocal, roundToEven, storedScale } from "./float.ts";
import {
  DOWN,
  HIGH,
  LOW,
  NON_FINITE,
  SATURATED,
  SCALE,
  TILE,
  TILE_STRIDE,
  UP,
  ZERO_POINT,
  ZEROED,
} from "./job.ts";
import { job, scratch } from "./strip.ts";

/** max(high, 0) of a quad's blocks; 0 where non-finite. */
// @ts-ignore: decorator
@inline
export function greatest(quad: usize): v128 {
  return v128.andnot(v128.load(scratch + quad, HIGH), v128.load(scratch + quad, NON_FINITE));
}

/** min(low, 0) of a quad's blocks; 0 where non-finite. */
// @ts-ignore: decorator
@inline
export function least(quad: usize): v128 {
  return v128.andnot(negativePart(v128.load(scratch + quad, LOW)), v128.load(scratch + quad, NON_FINITE));
}

/** The weight of largest magnitude, the negative one of two. */
// @ts-ignore: decorator
@inline
export function signedLargest(quad: usize): v128 {
  return largestOf(greatest(quad), least(quad));
}

/** The exponent field of 2^e, with which blocks of these largest magnitudes (as bits) are normalized. */
// @ts-ignore: decorator
@inline
export function exponentField(size: v128): v128 {
  return i32x4.min_s(i32x4.max_s(i32x4.shr_u(size, 23), constant(LEAST_FIELD)), constant(MOST_FIELD));
}

/** The power of two that normalizes. */
// @ts-ignore: decorator
@inline
export function downOf(field: v128): v128 {
  return i32x4.shl(i32x4.sub(constant(FIELD_SUM), field), 23);
}

/** All ones where a block of largest magnitude `size` (as bits) is one of zeros. */
// @ts-ignore: decorator
@inline
export function isZeroed(size: v128): v128 {
  return i32x4.lt_s(size, constant(LEAST_SIZE));
}

/** min(low, 0) of what LOW holds. */
// @ts-ignore: decorator
@inline
export function negativePart(low: v128): v128 {
  return v128.and(low, i32x4.shr_s(low, 31));
}

/** The weight of largest magnitude, the negative one of two. */
// @ts-ignore: decorator
@inline
export function largestOf(high: v128, least: v128): v128 {
  return v128.bitselect(high, least, f32x4.gt(high, f32x4.neg(least)));
}

/** The exact symmetric scale: a division by -2^(bits-1), for which its reciprocal does as well. */
// @ts-ignore: decorator
@inline
export function exactSymmetric(high: v128, least: v128, minusInverse: v128): v128 {
  return f32x4.mul(largestOf(high, least), minusInverse);
}

/** The exact asymmetric scale, `most` being the highest code. */
// @ts-ignore: decorator
@inline
export function exactAsymmetric(high: v128, least: v128, field: v128, most: v128): v128 {
  const down = downOf(field);
  const extent = f32x4.sub(f32x4.mul(high, down), f32x4.mul(least, down));
  return f32x4.mul(f32x4.div(extent, most), i32x4.shl(field, 23));
}

/** The asymmetric zero point, not yet rounded. */
// @ts-ignore: decorator
@inline
export function exactZeroPoint(least: v128, inverse: v128, most: v128): v128 {
  return clamp(f32x4.mul(f32x4.neg(least), inverse), f32x4.splat(0), most);
}

/** Classifies the blocks of a quad, and chooses their scales and zero points by rounding to nearest. */
export function chooseByRounding(quad: usize): void {
  const at = scratch + quad;
  const nonFinite = v128.or(
    i32x4.ge_s(v128.load(at, HIGH), constant(INFINITY)),
    i32x4.ge_u(v128.load(at, LOW), constant(NEGATIVE_INFINITY)),
  );
  v128.store(at, nonFinite, NON_FINITE);
  const high = greatest(quad);
  const low = least(quad);
  const size = i32x4.max_s(high, magnitude(low));
  const zeroed = isZeroed(size);
  const field = exponentField(size);
  v128.store(at, zeroed, ZEROED);
  v128.store(at, downOf(field), DOWN);
  v128.store(at, i32x4.shl(field, 23), UP);
  const half = <f32>(1 << (job.bits - 1));
  const most = f32x4.splat(half + half - 1);
  const exact = job.symmetric ? exactSymmetric(high, low, f32x4.splat(-1 / half)) : exactAsymmetric(high, low, field, most);
  const scale = v128.andnot(storedScale(exact), zeroed);
  v128.store(at, scale, SCALE);
  v128.store(at, v128.andnot(isClamped(exact), zeroed), SATURATED);
  const zeroPoint = job.symmetric ? f32x4.splat(half) : roundToEven(exactZeroPoint(low, reciprocal(scale), most));
  v128.store(at, zeroPoint, ZERO_POINT);
}

/** The range of a quad's normalized blocks, zero included. */
export function range(quad: usize): v128 {
  const down = v128.load(scratch + quad, DOWN);
  return f32x4.sub(f32x4.mul(greatest(quad), down), f32x4.mul(least(quad), down));
}

/**
 * Normalizes `count` weights of a quad of the tile. Subnormal ones become zero, and unless the block
 * is saturated, and so not searched, those that end below 2^-50.
 */
export function normalizeTile(quad: usize, count: u32): void {
  const down = v128.load(scratch + quad, DOWN);
  const field = i32x4.sub(constant(FIELD_SUM), i32x4.shr_u(down, 23));
  const least = i32x4.shl(
    v128.bitselect(
      i32x4.splat(1),
      i32x4.max_s(i32x4.sub(field, i32x4.splat(50)), i32x4.splat(1)),
      v128.load(scratch + quad, SATURATED),
    ),
    23,
  );
  let at = scratch + TILE + quad;
  for (let i: u32 = 0; i < count; i++) {
    const weight = v128.load(at);
    const negligible = i32x4.lt_s(magnitude(weight), least);
    v128.store(at, f32x4.mul(v128.andnot(weight, negligible), down));
    at += TILE_STRIDE;
  }
}
