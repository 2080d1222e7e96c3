/**
 * Floating point by lanes: rounding to integers and to binary16, scales as they are stored.
 */
import {
  BELOW_HALF_ULP,
  constant,
  FLOAT16_BIAS,
  FLOAT16_BITS,
  GREATEST_FLOAT16,
  GREATEST_WIDE,
  HALF,
  INTEGER_ONE,
  LEAST_NORMAL_FLOAT16,
  MAGIC,
  ONE,
  ROUNDS_TO_INFINITY,
  SIGN,
  UNSIGNED,
} from "./constants.ts";
import { job } from "./strip.ts";

// @ts-ignore: decorator
@inline
export function roundToEven(x: v128): v128 {
  const magic = constant(MAGIC);
  return f32x4.sub(f32x4.add(x, magic), magic);
}

/** x within least .. most; neither is a NaN. */
// @ts-ignore: decorator
@inline
export function clamp(x: v128, least: v128, most: v128): v128 {
  return f32x4.pmin(f32x4.pmax(x, least), most);
}

/** |x|. */
// @ts-ignore: decorator
@inline
export function magnitude(x: v128): v128 {
  return v128.and(x, constant(UNSIGNED));
}

/** 1 / scale, 0 for 0. */
// @ts-ignore: decorator
@inline
export function reciprocal(scale: v128): v128 {
  return v128.andnot(
    f32x4.div(constant(ONE), scale),
    f32x4.eq(scale, f32x4.splat(0)),
  );
}

/**
 * The scales that are stored for the exact scales `exact`. Where one was clamped, {@link isClamped}
 * of `exact` is all ones.
 */
// @ts-ignore: decorator
@inline
export function storedScale(exact: v128): v128 {
  const sign = v128.and(exact, constant(SIGN));
  const size = magnitude(exact);
  let kept: v128;
  if (job.wideScales) {
    kept = f32x4.pmin(constant(GREATEST_WIDE), size);
  } else {
    const odd = v128.and(i32x4.shr_u(size, 13), constant(INTEGER_ONE));
    const normal = v128.and(
      i32x4.add(size, i32x4.add(constant(BELOW_HALF_ULP), odd)),
      constant(FLOAT16_BITS),
    );
    const half = constant(HALF);
    const small = f32x4.sub(f32x4.add(size, half), half);
    kept = v128.bitselect(small, normal, i32x4.lt_s(size, constant(LEAST_NORMAL_FLOAT16)));
    kept = i32x4.min_s(kept, constant(GREATEST_FLOAT16));
  }
  return v128.and(v128.or(kept, sign), f32x4.gt(kept, f32x4.splat(0)));
}

/** All ones where the exact scale is too large for its type. */
// @ts-ignore: decorator
@inline
export function isClamped(exact: v128): v128 {
  const size = magnitude(exact);
  return job.wideScales
    ? i32x4.gt_s(size, constant(GREATEST_WIDE))
    : i32x4.ge_s(size, constant(ROUNDS_TO_INFINITY));
}

/** Binary16 patterns, one a lane, of scales that binary16 holds exactly. */
// @ts-ignore: decorator
@inline
export function float16Patterns(scale: v128): v128 {
  const size = magnitude(scale);
  const normal = i32x4.shr_u(i32x4.sub(size, constant(FLOAT16_BIAS)), 13);
  const small = i32x4.sub(f32x4.add(size, constant(HALF)), constant(HALF));
  return v128.or(
    v128.bitselect(small, normal, i32x4.lt_s(size, constant(LEAST_NORMAL_FLOAT16))),
    i32x4.shr_u(v128.and(scale, constant(SIGN)), 16),
  );
}

/** Four binary16 patterns, one a lane, as binary32. */
// @ts-ignore: decorator
@inline
export function widenFloat16(patterns: v128): v128 {
  const body = v128.and(patterns, i32x4.splat(0x7fff));
  const finite = f32x4.mul(
    i32x4.shl(body, 13),
    f32x4.splat(reinterpret<f32>((112 + 127) << 23)),
  );
  const special = v128.and(
    i32x4.ge_s(body, i32x4.splat(0x7c00)),
    i32x4.splat(0x7f800000),
  );
  return v128.or(
    v128.or(finite, special),
    i32x4.shl(v128.and(patterns, i32x4.splat(0x8000)), 16),
  );
}
