/**
 * The fast way for what is asked for most: rounding to nearest at 4 bits of float32 weights whose
 * rows are contiguous. Four blocks of a row are a quad. The weights stay in the order of memory, so
 * that nothing is transposed but the extremes of the blocks.
 */
import { float16Patterns, MAGIC, MAGIC_BITS, magnitude, reciprocal } from "./float.ts";
import {
  FLOAT32,
  HIGH,
  LOW,
  NON_FINITE,
  PARTS,
  RTN,
  SATURATED,
  SCALE,
  ZERO_POINT,
} from "./job.ts";
import { chooseByRounding, greatest, least } from "./rtn.ts";
import { job, scratch } from "./strip.ts";

/** How many blocks of each row can go this way: a multiple of 4, from the first on. */
export function plainBlocks(): u32 {
  const plain = job.method == RTN && !job.measure && job.bits == 4 && !job.columnsOrder &&
    job.weightType == FLOAT32 && job.blockLength <= 256 && job.blockLength % 32 == 0;
  return plain ? (job.columns / job.blockLength) & ~3 : 0;
}

/**
 * Quantizes four blocks of a row from `index` on, whose state is that of the first quad. Returns how
 * many scales were clamped; -1, with nothing stored, where the blocks need more care.
 */
export function quantizePlainBlocks(row: u32, index: u32): i32 {
  const bytes = <usize>job.blockLength * 4;
  const from = job.weights + <usize>row * job.columns * 4 + index * bytes;
  findRowExtremes(from, bytes);
  chooseByRounding(0);
  const scale = v128.load(scratch, SCALE);
  const inverse = reciprocal(scale);
  const largest = f32x4.pmax(greatest(0), f32x4.neg(least(0)));
  const far = f32x4.gt(f32x4.mul(largest, magnitude(inverse)), f32x4.splat(4096));
  if (v128.any_true(v128.or(far, v128.load(scratch, NON_FINITE)))) return -1;
  const first = row * job.blocks + index;
  if (job.wideScales) {
    v128.store(job.scales + first * 4, scale);
  } else {
    const patterns = float16Patterns(scale);
    v128.store_lane<u64>(job.scales + first * 2, i16x8.narrow_i32x4_u(patterns, patterns), 0);
  }
  const zeroPoints = i32x4.trunc_sat_f32x4_s(v128.load(scratch, ZERO_POINT));
  if (!job.symmetric) {
    const short = i16x8.narrow_i32x4_s(zeroPoints, zeroPoints);
    v128.store_lane<u32>(job.zeroPoints + first, i8x16.narrow_i16x8_u(short, short), 0);
  }
  v128.store(scratch, inverse, PARTS);
  v128.store(scratch, zeroPoints, PARTS + 16);
  let at = from;
  let to = job.codes + <usize>first * (job.blockLength >> 1);
  for (let lane: usize = 0; lane < 16; lane += 4) {
    const zeroPoint = i16x8.splat(<i16>load<i32>(scratch + lane, PARTS + 16));
    storeCodes(at, to, v128.load32_splat(scratch + lane, PARTS), zeroPoint);
    at += bytes;
    to += job.blockLength >> 1;
  }
  return popcnt(i32x4.bitmask(v128.load(scratch, SATURATED)));
}

/** Signed codes of four weights of a row. */
// @ts-ignore: decorator
@inline
function bitsOfFour(at: usize, inverse: v128): v128 {
  const shifted = f32x4.add(f32x4.mul(v128.load(at), inverse), f32x4.splat(MAGIC));
  return i32x4.sub(shifted, i32x4.splat(MAGIC_BITS));
}

/** Sixteen codes, a byte each. */
// @ts-ignore: decorator
@inline
function sixteenCodes(at: usize, inverse: v128, zeroPoint: v128): v128 {
  const lower = i16x8.narrow_i32x4_s(bitsOfFour(at, inverse), bitsOfFour(at + 16, inverse));
  const upper = i16x8.narrow_i32x4_s(bitsOfFour(at + 32, inverse), bitsOfFour(at + 48, inverse));
  const codes = i8x16.narrow_i16x8_u(
    i16x8.add(lower, zeroPoint),
    i16x8.add(upper, zeroPoint),
  );
  return i8x16.min_u(codes, i8x16.splat(15));
}

/** Stores the codes of one block. */
// @ts-ignore: decorator
@inline
function storeCodes(from: usize, to: usize, inverse: v128, zeroPoint: v128): void {
  const end = from + job.blockLength * 4;
  const low = i16x8.splat(0xff);
  while (from < end) {
    const first = sixteenCodes(from, inverse, zeroPoint);
    const second = sixteenCodes(from + 64, inverse, zeroPoint);
    v128.store(
      to,
      i8x16.narrow_i16x8_u(
        v128.and(v128.or(first, i16x8.shr_u(first, 4)), low),
        v128.and(v128.or(second, i16x8.shr_u(second, 4)), low),
      ),
    );
    from += 128;
    to += 16;
  }
}

/** The extremes of four blocks of `bytes` each from `from` on, as `findExtremes` has them. */
function findRowExtremes(from: usize, bytes: usize): void {
  for (let part: usize = 0; part < 4; part++) {
    let at = from + part * bytes;
    const end = at + bytes;
    let high = i32x4.splat(0);
    let low = i32x4.splat(0);
    while (at < end) {
      const w0 = v128.load(at);
      const w1 = v128.load(at, 16);
      const w2 = v128.load(at, 32);
      const w3 = v128.load(at, 48);
      high = i32x4.max_s(high, i32x4.max_s(i32x4.max_s(w0, w1), i32x4.max_s(w2, w3)));
      low = i32x4.max_u(low, i32x4.max_u(i32x4.max_u(w0, w1), i32x4.max_u(w2, w3)));
      at += 64;
    }
    v128.store(scratch + part * 16, high, PARTS);
    v128.store(scratch + part * 16, low, PARTS + 64);
  }
  const high = PARTS;
  const low = PARTS + 64;
  v128.store(
    scratch,
    i32x4.max_s(
      i32x4.max_s(gather(high, 0), gather(high, 1)),
      i32x4.max_s(gather(high, 2), gather(high, 3)),
    ),
    HIGH,
  );
  v128.store(
    scratch,
    i32x4.max_u(
      i32x4.max_u(gather(low, 0), gather(low, 1)),
      i32x4.max_u(gather(low, 2), gather(low, 3)),
    ),
    LOW,
  );
}

/** Lane `lane` of each of the four vectors at `parts`. */
// @ts-ignore: decorator
@inline
function gather(parts: usize, lane: usize): v128 {
  const at = scratch + parts + lane * 4;
  let lanes = v128.load32_splat(at);
  lanes = v128.load_lane<u32>(at, lanes, 1, 16);
  lanes = v128.load_lane<u32>(at, lanes, 2, 32);
  return v128.load_lane<u32>(at, lanes, 3, 48);
}
