/**
 * Vectors of constants. They lie in memory because the compiler makes a constant that it sees anew, by
 * four instructions, wherever it is used, in the innermost loops too; a load is one.
 */

/** The vectors, in the order of the offsets below. */
const TABLE = memory.data<u32>([
  0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000,
  0x96800000, 0x96800000, 0x96800000, 0x96800000,
  0x80000000, 0x80000000, 0x80000000, 0x80000000,
  0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff,
  0x7f800000, 0x7f800000, 0x7f800000, 0x7f800000,
  0xff800000, 0xff800000, 0xff800000, 0xff800000,
  0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000,
  0x3f000000, 0x3f000000, 0x3f000000, 0x3f000000,
  0x41000000, 0x41000000, 0x41000000, 0x41000000,
  0x41700000, 0x41700000, 0x41700000, 0x41700000,
  0xbe000000, 0xbe000000, 0xbe000000, 0xbe000000,
  0x45800000, 0x45800000, 0x45800000, 0x45800000,
  1, 1, 1, 1,
  27, 27, 27, 27,
  253, 253, 253, 253,
  254, 254, 254, 254,
  0x0d800000, 0x0d800000, 0x0d800000, 0x0d800000,
  0xfff, 0xfff, 0xfff, 0xfff,
  0xffffe000, 0xffffe000, 0xffffe000, 0xffffe000,
  0x38800000, 0x38800000, 0x38800000, 0x38800000,
  0x477fe000, 0x477fe000, 0x477fe000, 0x477fe000,
  0x477ff000, 0x477ff000, 0x477ff000, 0x477ff000,
  0x38000000, 0x38000000, 0x38000000, 0x38000000,
  0x7e800000, 0x7e800000, 0x7e800000, 0x7e800000,
  0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
  0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff,
  0x37800000, 0x37800000, 0x37800000, 0x37800000,
  0x44ffffff, 0x44ffffff, 0x44ffffff, 0x44ffffff,
  0x00000de0, 0x00000de0, 0x00000de0, 0x00000de0,
], 16);

/** The vector at one of the offsets below. */
// @ts-ignore: decorator
@inline
export function constant(offset: usize): v128 {
  return v128.load(TABLE + offset);
}

/** 1.5 * 2^23: adding it leaves the nearest integer, ties to even, in the low bits. */
export const MAGIC: usize = 0;
/** Twice the bits of that. */
export const MAGIC_TWICE: usize = 16;
/** Masks. */
export const SIGN: usize = 32;
export const UNSIGNED: usize = 48;
/** Bits of the infinities. */
export const INFINITY: usize = 64;
export const NEGATIVE_INFINITY: usize = 80;
/** Numbers in binary32. */
export const ONE: usize = 96;
export const HALF: usize = 112;
export const EIGHT: usize = 128;
export const FIFTEEN: usize = 144;
export const MINUS_EIGHTH: usize = 160;
/** 4096. */
export const FAR: usize = 176;
export const INTEGER_ONE: usize = 192;
/** Exponent fields, and their sum for a number and its reciprocal. */
export const LEAST_FIELD: usize = 208;
export const MOST_FIELD: usize = 224;
export const FIELD_SUM: usize = 240;
/** 2^-100. */
export const LEAST_SIZE: usize = 256;
/** What rounding to binary16 takes. */
export const BELOW_HALF_ULP: usize = 272;
export const FLOAT16_BITS: usize = 288;
export const LEAST_NORMAL_FLOAT16: usize = 304;
export const GREATEST_FLOAT16: usize = 320;
export const ROUNDS_TO_INFINITY: usize = 336;
export const FLOAT16_BIAS: usize = 352;
export const GREATEST_WIDE: usize = 368;
/** For codes. */
export const BYTE_FIFTEEN: usize = 384;
export const LOW_BYTES: usize = 400;
/** Bounds of the table of powers, and the index of its first. */
export const LEAST_POWER: usize = 416;
export const MOST_POWER: usize = 432;
export const FIRST_POWER: usize = 448;
