/**
 * The fast way for what is asked for most: rounding to nearest at 4 bits of float32 weights. It takes
 * panels of up to 1024 blocks in three steps: extremes, scales, codes. Weights are read in the order
 * of memory in the first step, which brings them into the cache for the last. Blocks that need more
 * care, non-finite ones and those of clamped scales, are left to the general way.
 */
import { constant, EIGHT, FAR, FIFTEEN, INFINITY, MAGIC, MAGIC_TWICE, MINUS_EIGHTH } from "./constants.ts";
import { float16Patterns, isClamped, magnitude, reciprocal, storedScale } from "./float.ts";
import {
  CARE,
  FLOAT32,
  PANEL_BIAS,
  PANEL_FLAGS,
  PANEL_HIGH,
  PANEL_INVERSE,
  PANEL_LOW,
  RTN,
} from "./job.ts";
import { exactAsymmetric, exactSymmetric, exactZeroPoint, exponentField, isZeroed, negativePart } from "./rtn.ts";
import { job, scratch } from "./strip.ts";

/** How many blocks of each row, from the first on, can go this way: those without padding. */
export function plainBlocks(): u32 {
  const plain = job.method == RTN && job.bits == 4 && job.weightType == FLOAT32 &&
    job.blockLength <= 256 && job.blockLength % 32 == 0;
  return plain ? job.columns / job.blockLength : 0;
}

/**
 * Chooses and stores scales and zero points of the panel's `count` blocks, a multiple of 4, from their
 * extremes. The first is number `first` of all blocks of the job, each next one is `step` further.
 */
export function choosePanel(first: u32, step: u32, count: u32): void {
  const symmetric = job.symmetric;
  const most = constant(FAR);
  for (let index: usize = 0; index < count; index += 4) {
    const at = scratch + (index << 2);
    const high = v128.load(at, PANEL_HIGH);
    const low = negativePart(v128.load(at, PANEL_LOW));
    const size = i32x4.max_s(high, magnitude(low));
    const zeroed = isZeroed(size);
    const exact = symmetric ? exactSymmetric(high, low, constant(MINUS_EIGHTH)) : exactAsymmetric(high, low, exponentField(size), constant(FIFTEEN));
    const scale = v128.andnot(storedScale(exact), zeroed);
    const inverse = reciprocal(scale);
    // The zero point in the bits of a number near the magic one.
    const rounded = f32x4.add(symmetric ? constant(EIGHT) : exactZeroPoint(low, inverse, constant(FIFTEEN)), constant(MAGIC));
    v128.store(at, inverse, PANEL_INVERSE);
    v128.store(at, i32x4.sub(constant(MAGIC_TWICE), rounded), PANEL_BIAS);
    const care = v128.or(
      f32x4.gt(f32x4.mul(size, magnitude(inverse)), most),
      i32x4.ge_s(size, constant(INFINITY)),
    );
    const clamped = v128.andnot(isClamped(exact), zeroed);
    let flag: u8 = 0;
    if (v128.any_true(v128.or(care, clamped))) {
      flag = v128.any_true(care) ? CARE : <u8>popcnt(i32x4.bitmask(clamped));
    }
    store<u8>(scratch + (index >> 2), flag, PANEL_FLAGS);
    storeFour(first, step, scale, rounded);
    first += 4 * step;
  }
}

/**
 * Stores the scales of four blocks and their zero points, which are the lowest bytes of lanes. The first
 * is number `first` of all blocks of the job, each next one is `step` further.
 */
// @ts-ignore: decorator
@inline
export function storeFour(first: u32, step: u32, scale: v128, zeroPoints: v128): void {
  if (job.wideScales) {
    let at = job.scales + <usize>first * 4;
    v128.store_lane<u32>(at, scale, 0);
    v128.store_lane<u32>((at += step * 4), scale, 1);
    v128.store_lane<u32>((at += step * 4), scale, 2);
    v128.store_lane<u32>((at += step * 4), scale, 3);
  } else {
    const patterns = float16Patterns(scale);
    let at = job.scales + <usize>first * 2;
    v128.store_lane<u16>(at, patterns, 0);
    v128.store_lane<u16>((at += step * 2), patterns, 2);
    v128.store_lane<u16>((at += step * 2), patterns, 4);
    v128.store_lane<u16>((at += step * 2), patterns, 6);
  }
  if (job.symmetric) return;
  let at = job.zeroPoints + first;
  v128.store_lane<u8>(at, zeroPoints, 0);
  v128.store_lane<u8>((at += step), zeroPoints, 4);
  v128.store_lane<u8>((at += step), zeroPoints, 8);
  v128.store_lane<u8>((at += step), zeroPoints, 12);
}
