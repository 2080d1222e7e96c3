/**
 * What every method begins with, for the four blocks of a quad: which are non-finite or zero, the
 * powers of two that normalize the others, and the scale and zero point of rounding to nearest.
 */
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
  const low = v128.load(scratch + quad, LOW);
  const negative = i32x4.shr_s(low, 31);
  return v128.andnot(v128.and(low, negative), v128.load(scratch + quad, NON_FINITE));
}

/** The weight of largest magnitude, the negative one of two. */
// @ts-ignore: decorator
@inline
export function signedLargest(quad: usize): v128 {
  const high = greatest(quad);
  const low = least(quad);
  return v128.bitselect(high, low, f32x4.gt(high, f32x4.neg(low)));
}

/** Classifies the blocks of a quad and finds what normalizes them. */
function prepare(quad: usize): void {
  const high = v128.load(scratch + quad, HIGH);
  const low = v128.load(scratch + quad, LOW);
  const infinity = i32x4.splat(0x7f800000);
  const nonFinite = v128.or(
    i32x4.ge_s(high, infinity),
    i32x4.ge_u(low, i32x4.splat(0xff800000)),
  );
  v128.store(scratch + quad, nonFinite, NON_FINITE);
  const size = i32x4.max_s(greatest(quad), v128.and(least(quad), i32x4.splat(0x7fffffff)));
  v128.store(scratch + quad, i32x4.lt_s(size, i32x4.splat(27 << 23)), ZEROED);
  const field = i32x4.min_s(
    i32x4.max_s(i32x4.shr_u(size, 23), i32x4.splat(27)),
    i32x4.splat(253),
  );
  v128.store(scratch + quad, i32x4.shl(i32x4.sub(i32x4.splat(254), field), 23), DOWN);
  v128.store(scratch + quad, i32x4.shl(field, 23), UP);
}

/** Chooses scales and zero points of a quad by rounding to nearest. */
export function chooseByRounding(quad: usize): void {
  prepare(quad);
  const half = <f32>(1 << (job.bits - 1));
  const zero = f32x4.splat(0);
  let exact: v128;
  if (job.symmetric) {
    exact = f32x4.div(signedLargest(quad), f32x4.splat(-half));
  } else {
    exact = f32x4.mul(
      f32x4.div(range(quad), f32x4.splat(half + half - 1)),
      v128.load(scratch + quad, UP),
    );
  }
  const zeroed = v128.load(scratch + quad, ZEROED);
  const scale = v128.andnot(storedScale(exact), zeroed);
  v128.store(scratch + quad, scale, SCALE);
  v128.store(scratch + quad, v128.andnot(isClamped(exact), zeroed), SATURATED);
  if (job.symmetric) {
    v128.store(scratch + quad, f32x4.splat(half), ZERO_POINT);
  } else {
    const position = f32x4.mul(f32x4.neg(least(quad)), reciprocal(scale));
    const zeroPoint = roundToEven(clamp(position, zero, f32x4.splat(half + half - 1)));
    v128.store(scratch + quad, zeroPoint, ZERO_POINT);
  }
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
  const field = i32x4.sub(i32x4.splat(254), i32x4.shr_u(down, 23));
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
