/**
 * The 16-bit floating point types bit by bit: binary16 (IEEE 754 "half") and bfloat16, rounded to
 * nearest, ties to even.
 */

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** Bits of the binary32 number nearest to `number`. */
export function float32Bits(number: number): number {
  value[0] = number;
  return bits[0]!;
}

/** The binary32 number with the given bits. */
export function float32FromBits(pattern: number): number {
  bits[0] = pattern;
  return value[0]!;
}

/** Largest finite binary16 number. */
export const FLOAT16_MAX = 65504;

/** The number that a binary16 pattern stands for. */
export function float16ToNumber(pattern: number): number {
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern >> 10) & 0x1f;
  const fraction = pattern & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The binary16 pattern nearest to a binary32 number; overflow gives an infinity. */
export function float16FromNumber(number: number): number {
  const pattern = float32Bits(number);
  const sign = (pattern >>> 16) & 0x8000;
  const magnitude = pattern & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | roundShift(magnitude - 0x38000000, 13);
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign;
  return sign | roundShift((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
}

/** The bfloat16 pattern nearest to a binary32 number. */
export function bfloat16FromNumber(number: number): number {
  const pattern = float32Bits(number);
  if ((pattern & 0x7fffffff) > 0x7f800000) return (pattern >>> 16) | 0x40;
  return roundShift(pattern, 16);
}

/** `integer` / 2^`shift`, rounded to nearest, ties to even. */
function roundShift(integer: number, shift: number): number {
  const quotient = integer >>> shift;
  const remainder = integer - quotient * 2 ** shift;
  const half = 2 ** (shift - 1);
  return quotient + (remainder > half || (remainder === half && quotient & 1) ? 1 : 0);
}
