/**
 * The fast way where rows are neighbours in memory: a panel is the same block of many rows. Rows are
 * the lanes; only finished bytes are transposed.
 */
import { BYTE_FIFTEEN, constant, MAGIC } from "./constants.ts";
import { countSaturated, quantizeBlock } from "./block.ts";
import {
  PANEL_BIAS,
  PANEL_FLAGS,
  PANEL_HIGH,
  PANEL_INVERSE,
  PANEL_LOW,
  TWO_BYTES,
} from "./job.ts";
import { choosePanel } from "./plain.ts";
import { job, origin, pitch, scratch } from "./strip.ts";

/**
 * Quantizes block `block` of the `count` rows from `row` on, a multiple of 16 and no more than a
 * panel.
 */
export function quantizePlainColumns(row: u32, count: u32, block: u32): void {
  const stride = <usize>pitch * 4;
  const from = origin + <usize>block * job.blockLength * stride + <usize>row * 4;
  findExtremes(from, stride, count);
  choosePanel(row * job.blocks + block, job.blocks, count);
  const codeStride = <usize>job.blocks * (job.blockLength >> 1);
  const to = job.codes + <usize>row * codeStride + <usize>block * (job.blockLength >> 1);
  for (let strip: u32 = 0; strip < count; strip += 16) {
    const flags = load<u32>(scratch + (strip >> 2), PANEL_FLAGS);
    if (flags & 0x80808080) {
      quantizeBlock(row + strip, row + strip + 16, block, true);
      continue;
    }
    countSaturated((flags * 0x01010101) >> 24);
    storeStrip(from + (strip << 2), stride, strip, to + strip * codeStride, codeStride);
  }
}

/** The extremes of the block in `count` rows: four of its weights at a time, along the rows. */
function findExtremes(from: usize, stride: usize, count: u32): void {
  const length = job.blockLength;
  for (let i: u32 = 0; i < length; i += 4) {
    let at = from;
    let second = at + stride;
    let third = second + stride;
    let fourth = third + stride;
    const end = scratch + (count << 2);
    for (let to = scratch; to < end; to += 16) {
      const w0 = v128.load(at);
      const w1 = v128.load(second);
      const w2 = v128.load(third);
      const w3 = v128.load(fourth);
      let high = i32x4.max_s(i32x4.max_s(w0, w1), i32x4.max_s(w2, w3));
      let low = i32x4.max_u(i32x4.max_u(w0, w1), i32x4.max_u(w2, w3));
      if (i > 0) {
        high = i32x4.max_s(high, v128.load(to, PANEL_HIGH));
        low = i32x4.max_u(low, v128.load(to, PANEL_LOW));
      } else {
        high = i32x4.max_s(high, i32x4.splat(0));
      }
      v128.store(to, high, PANEL_HIGH);
      v128.store(to, low, PANEL_LOW);
      at += 16;
      second += 16;
      third += 16;
      fourth += 16;
    }
    from += 4 * stride;
  }
}

/** Codes of eight rows, 16 bits each, not yet held below 0 and above 15. */
// @ts-ignore: decorator
@inline
function eightCodes(at: usize, inverse: v128, otherInverse: v128, magic: v128, bias: v128, otherBias: v128): v128 {
  return i16x8.narrow_i32x4_s(
    i32x4.sub(f32x4.add(f32x4.mul(v128.load(at), inverse), magic), bias),
    i32x4.sub(f32x4.add(f32x4.mul(v128.load(at, 16), otherInverse), magic), otherBias),
  );
}

/**
 * The codes of sixteen rows of the panel from `strip` on, whose weights lie from `from` on, `stride` from
 * one index along K to the next. Those of row k go to `to + k * codeStride`.
 */
export function storeStrip(from: usize, stride: usize, strip: u32, to: usize, codeStride: usize): void {
  const panel = scratch + (strip << 2);
  const inverse0 = v128.load(panel, PANEL_INVERSE);
  const inverse1 = v128.load(panel, PANEL_INVERSE + 16);
  const inverse2 = v128.load(panel, PANEL_INVERSE + 32);
  const inverse3 = v128.load(panel, PANEL_INVERSE + 48);
  const bias0 = v128.load(panel, PANEL_BIAS);
  const bias1 = v128.load(panel, PANEL_BIAS + 16);
  const bias2 = v128.load(panel, PANEL_BIAS + 32);
  const bias3 = v128.load(panel, PANEL_BIAS + 48);
  const magic = constant(MAGIC);
  const highest = constant(BYTE_FIFTEEN);
  const words = scratch + TWO_BYTES;
  const length = job.blockLength;
  const pair = 2 * stride;
  let at = from;
  for (let i: u32 = 0; i < length; i += 32) {
    // Bytes of sixteen rows by twos: [eight pairs of bytes][16 rows].
    const end = words + 256;
    for (let word = words; word < end; word += 32) {
      const next = at + stride;
      const evens = i8x16.narrow_i16x8_u(
        eightCodes(at, inverse0, inverse1, magic, bias0, bias1),
        eightCodes(at + pair, inverse0, inverse1, magic, bias0, bias1),
      );
      const odds = i8x16.narrow_i16x8_u(
        eightCodes(next, inverse0, inverse1, magic, bias0, bias1),
        eightCodes(next + pair, inverse0, inverse1, magic, bias0, bias1),
      );
      storeWords(word, evens, odds, highest);
      const otherEvens = i8x16.narrow_i16x8_u(
        eightCodes(at + 32, inverse2, inverse3, magic, bias2, bias3),
        eightCodes(at + pair + 32, inverse2, inverse3, magic, bias2, bias3),
      );
      const otherOdds = i8x16.narrow_i16x8_u(
        eightCodes(next + 32, inverse2, inverse3, magic, bias2, bias3),
        eightCodes(next + pair + 32, inverse2, inverse3, magic, bias2, bias3),
      );
      storeWords(word + 16, otherEvens, otherOdds, highest);
      at += 2 * pair;
    }
    storeRows(words, to, codeStride);
    storeRows(words + 16, to + 8 * codeStride, codeStride);
    to += 16;
  }
}

/** Two bytes of each of eight rows, from codes [two bytes][8 rows]. */
// @ts-ignore: decorator
@inline
function storeWords(to: usize, evens: v128, odds: v128, highest: v128): void {
  const bytes = v128.or(i8x16.min_u(evens, highest), i16x8.shl(i8x16.min_u(odds, highest), 4));
  v128.store(to, i8x16.shuffle(bytes, bytes, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
}

/** Transposes the words at `from`, 32 bytes apart, and stores sixteen bytes of each of eight rows. */
// @ts-ignore: decorator
@inline
function storeRows(from: usize, to: usize, codeStride: usize): void {
  const w0 = v128.load(from);
  const w1 = v128.load(from, 32);
  const w2 = v128.load(from, 64);
  const w3 = v128.load(from, 96);
  const a0 = i16x8.shuffle(w0, w1, 0, 8, 1, 9, 2, 10, 3, 11);
  const a1 = i16x8.shuffle(w0, w1, 4, 12, 5, 13, 6, 14, 7, 15);
  const a2 = i16x8.shuffle(w2, w3, 0, 8, 1, 9, 2, 10, 3, 11);
  const a3 = i16x8.shuffle(w2, w3, 4, 12, 5, 13, 6, 14, 7, 15);
  const b0 = i32x4.shuffle(a0, a2, 0, 4, 1, 5);
  const b1 = i32x4.shuffle(a0, a2, 2, 6, 3, 7);
  const b2 = i32x4.shuffle(a1, a3, 0, 4, 1, 5);
  const b3 = i32x4.shuffle(a1, a3, 2, 6, 3, 7);
  const w4 = v128.load(from, 128);
  const w5 = v128.load(from, 160);
  const w6 = v128.load(from, 192);
  const w7 = v128.load(from, 224);
  const a4 = i16x8.shuffle(w4, w5, 0, 8, 1, 9, 2, 10, 3, 11);
  const a5 = i16x8.shuffle(w4, w5, 4, 12, 5, 13, 6, 14, 7, 15);
  const a6 = i16x8.shuffle(w6, w7, 0, 8, 1, 9, 2, 10, 3, 11);
  const a7 = i16x8.shuffle(w6, w7, 4, 12, 5, 13, 6, 14, 7, 15);
  const b4 = i32x4.shuffle(a4, a6, 0, 4, 1, 5);
  const b5 = i32x4.shuffle(a4, a6, 2, 6, 3, 7);
  const b6 = i32x4.shuffle(a5, a7, 0, 4, 1, 5);
  const b7 = i32x4.shuffle(a5, a7, 2, 6, 3, 7);
  storeTwo(to, codeStride, b0, b4);
  storeTwo(to + 2 * codeStride, codeStride, b1, b5);
  storeTwo(to + 4 * codeStride, codeStride, b2, b6);
  storeTwo(to + 6 * codeStride, codeStride, b3, b7);
}

// @ts-ignore: decorator
@inline
function storeTwo(to: usize, codeStride: usize, left: v128, right: v128): void {
  v128.store(to, i64x2.shuffle(left, right, 0, 2));
  v128.store(to + codeStride, i64x2.shuffle(left, right, 1, 3));
}
