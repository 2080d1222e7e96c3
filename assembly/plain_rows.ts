/**
 * The fast way over contiguous rows. The weights stay in the order of memory, so that nothing is
 * transposed but the extremes of the blocks.
 */
import { BYTE_FIFTEEN, constant, LOW_BYTES, MAGIC } from "./constants.ts";
import { countSaturated, quantizeBlock } from "./block.ts";
import { CARE, PANEL, PANEL_BIAS, PANEL_FLAGS, PANEL_HIGH, PANEL_INVERSE, PANEL_LOW } from "./job.ts";
import { choosePanel } from "./plain.ts";
import { job, origin, pitch, scratch } from "./strip.ts";

/** Quantizes the blocks from `first` to before `last` of a row, a multiple of 4 of them. */
export function quantizePlainRow(row: u32, first: u32, last: u32): void {
  const bytes = <usize>job.blockLength * 4;
  const codeBytes = <usize>job.blockLength >> 1;
  for (let block = first; block < last; block += PANEL) {
    const count = min(PANEL, last - block);
    const from = origin + <usize>row * pitch * 4 + block * bytes;
    findExtremes(from, bytes, count);
    const number = row * job.blocks + block;
    choosePanel(number, 1, count);
    storeCodes(from, bytes, job.codes + number * codeBytes, count);
    for (let index: u32 = 0; index < count; index += 4) {
      const flag = load<u8>(scratch + (index >> 2), PANEL_FLAGS);
      if (flag != CARE) countSaturated(flag);
      else for (let i: u32 = 0; i < 4; i++) quantizeBlock(row, row + 1, block + index + i, true);
    }
  }
}

/** The extremes of `count` blocks of `bytes` each. */
function findExtremes(from: usize, bytes: usize, count: u32): void {
  let at = from;
  const end = scratch + (count << 2);
  for (let to = scratch; to < end; to += 16) {
    let high = i32x4.splat(0);
    let low = i32x4.splat(0);
    // Two blocks, then their extremes by pairs of lanes.
    let highs = i32x4.splat(0);
    let lows = i32x4.splat(0);
    for (let part: u32 = 0; part < 4; part++) {
      let high0 = i32x4.splat(0);
      let low0 = i32x4.splat(0);
      let high1 = i32x4.splat(0);
      let low1 = i32x4.splat(0);
      const stop = at + bytes;
      while (at < stop) {
        const w0 = v128.load(at);
        const w1 = v128.load(at, 16);
        const w2 = v128.load(at, 32);
        const w3 = v128.load(at, 48);
        high0 = i32x4.max_s(high0, i32x4.max_s(w0, w1));
        low0 = i32x4.max_u(low0, i32x4.max_u(w0, w1));
        high1 = i32x4.max_s(high1, i32x4.max_s(w2, w3));
        low1 = i32x4.max_u(low1, i32x4.max_u(w2, w3));
        at += 64;
      }
      high0 = i32x4.max_s(high0, high1);
      low0 = i32x4.max_u(low0, low1);
      if (part & 1) {
        // Lanes: first block, this block, first block, this block.
        const pairHigh = i32x4.max_s(i32x4.shuffle(highs, high0, 0, 4, 1, 5), i32x4.shuffle(highs, high0, 2, 6, 3, 7));
        const pairLow = i32x4.max_u(i32x4.shuffle(lows, low0, 0, 4, 1, 5), i32x4.shuffle(lows, low0, 2, 6, 3, 7));
        if (part == 1) {
          high = pairHigh;
          low = pairLow;
        } else {
          high = i32x4.max_s(i64x2.shuffle(high, pairHigh, 0, 2), i64x2.shuffle(high, pairHigh, 1, 3));
          low = i32x4.max_u(i64x2.shuffle(low, pairLow, 0, 2), i64x2.shuffle(low, pairLow, 1, 3));
        }
      } else {
        highs = high0;
        lows = low0;
      }
    }
    v128.store(to, high, PANEL_HIGH);
    v128.store(to, low, PANEL_LOW);
  }
}

/** Codes of four weights, not yet held below 0 and above 15. */
// @ts-ignore: decorator
@inline
function fourCodes(weights: v128, inverse: v128, magic: v128, bias: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.mul(weights, inverse), magic), bias);
}

/** Stores the codes of `count` blocks of `bytes` each. */
function storeCodes(from: usize, bytes: usize, to: usize, count: u32): void {
  const magic = constant(MAGIC);
  const highest = constant(BYTE_FIFTEEN);
  const low = constant(LOW_BYTES);
  let at = from;
  const end = scratch + (count << 2);
  for (let panel = scratch; panel < end; panel += 4) {
    const inverse = v128.load32_splat(panel, PANEL_INVERSE);
    const bias = v128.load32_splat(panel, PANEL_BIAS);
    const stop = at + bytes;
    while (at < stop) {
      const a = i16x8.narrow_i32x4_s(fourCodes(v128.load(at), inverse, magic, bias), fourCodes(v128.load(at, 16), inverse, magic, bias));
      const b = i16x8.narrow_i32x4_s(fourCodes(v128.load(at, 32), inverse, magic, bias), fourCodes(v128.load(at, 48), inverse, magic, bias));
      const first = i8x16.min_u(i8x16.narrow_i16x8_u(a, b), highest);
      const c = i16x8.narrow_i32x4_s(fourCodes(v128.load(at, 64), inverse, magic, bias), fourCodes(v128.load(at, 80), inverse, magic, bias));
      const d = i16x8.narrow_i32x4_s(fourCodes(v128.load(at, 96), inverse, magic, bias), fourCodes(v128.load(at, 112), inverse, magic, bias));
      const second = i8x16.min_u(i8x16.narrow_i16x8_u(c, d), highest);
      v128.store(
        to,
        i8x16.narrow_i16x8_u(
          v128.and(v128.or(first, i16x8.shr_u(first, 4)), low),
          v128.and(v128.or(second, i16x8.shr_u(second, 4)), low),
        ),
      );
      at += 128;
      to += 16;
    }
  }
}
