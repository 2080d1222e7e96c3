/**
 * Floating point by lanes: rounding to integers and to binary16, scales as they are stored.
 */
import { job } from "./strip.ts";

/** 1.5 * 2^23: adding it leaves the nearest integer, ties to even, in the low bits. */
export const MAGIC: f32 = 12582912;
export const MAGIC_BITS: i32 = 0x4b400000;

// @ts-ignore: decorator
@inline
export function roundToEven(x: v128): v128 {
  const magic = f32x4.splat(MAGIC);
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
  return v128.and(x, i32x4.splat(0x7fffffff));
}

/** 1 / scale, 0 for 0. */
// @ts-ignore: decorator
@inline
export function reciprocal(scale: v128): v128 {
  return v128.andnot(
    f32x4.div(f32x4.splat(1), scale),
    f32x4.eq(scale, f32x4.splat(0)),
  );
}

/**
 * The scales that are stored for the exact scales `exact`. Where one was clamped, {@link isClamped}
 * of `exact` is all ones.
 */
export function storedScale(exact: v128): v128 {
  const sign = v128.and(exact, i32x4.splat(0x80000000));
  const size = magnitude(exact);
  let kept: v128;
  if (job.wideScales) {
    kept = f32x4.pmin(f32x4.splat(reinterpret<f32>(253 << 23)), size);
  } else {
    const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
    const normal = v128.and(
      i32x4.add(size, i32x4.add(i32x4.splat(0xfff), odd)),
      i32x4.splat(~0x1fff),
    );
    const half = f32x4.splat(0.5);
    const small = f32x4.sub(f32x4.add(size, half), half);
    kept = v128.bitselect(small, normal, i32x4.lt_s(size, i32x4.splat(0x38800000)));
    kept = i32x4.min_s(kept, i32x4.splat(0x477fe000));
  }
  return v128.and(v128.or(kept, sign), f32x4.gt(kept, f32x4.splat(0)));
}

/** All ones where the exact scale is too large for its type. */
export function isClamped(exact: v128): v128 {
  const size = magnitude(exact);
  return job.wideScales
    ? i32x4.gt_s(size, i32x4.splat(253 << 23))
    : i32x4.ge_s(size, i32x4.splat(0x477ff000));
}

/** Binary16 patterns, one a lane, of scales that binary16 holds exactly. */
export function float16Patterns(scale: v128): v128 {
  const size = magnitude(scale);
  const normal = i32x4.shr_u(i32x4.sub(size, i32x4.splat(0x38000000)), 13);
  const small = i32x4.sub(f32x4.add(size, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  return v128.or(
    v128.bitselect(small, normal, i32x4.lt_s(size, i32x4.splat(0x38800000))),
    i32x4.shr_u(v128.and(scale, i32x4.splat(0x80000000)), 16),
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
