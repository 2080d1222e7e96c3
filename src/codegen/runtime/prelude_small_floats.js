// @ts-check
/** The functions of `kernels/ops/prelude_small_floats.wgsl` in JavaScript. All are exact. */
import { bitsOfF32, f32OfBits, isInf, isNan, roundEven } from "./prelude_bits.js";

/**
 * The code of |x|, finite, in a small float without a largest exponent; ties to even.
 * @param {number} x
 * @param {number} mantissaBits
 * @param {number} bias
 * @returns {number}
 */
export function smallFloatMagnitude(x, mantissaBits, bias) {
  const magnitude = Math.abs(Math.fround(x));
  const exponent = Math.max((bitsOfF32(magnitude) >>> 23) - 127, 1 - bias);
  const whole = roundEven(magnitude / 2 ** (exponent - mantissaBits));
  return (exponent + bias - 1) * 2 ** mantissaBits + whole;
}

/**
 * The value of a small float's code that is not special.
 * @param {number} code
 * @param {number} exponentBits
 * @param {number} mantissaBits
 * @param {number} bias
 * @returns {number}
 */
export function smallFloatValue(code, exponentBits, mantissaBits, bias) {
  const exponent = (code >> mantissaBits) & (2 ** exponentBits - 1);
  const fraction = (code & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  const value = exponent === 0
    ? fraction * 2 ** (1 - bias)
    : (1 + fraction) * 2 ** (exponent - bias);
  return (code >> (exponentBits + mantissaBits)) & 1 ? -value : value;
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeF16(code) {
  if ((code & 0x7c00) !== 0x7c00) return smallFloatValue(code, 5, 10, 15);
  return code & 0x3ff ? NaN : code & 0x8000 ? -Infinity : Infinity;
}

/**
 * @param {number} x
 * @returns {number}
 */
export function encodeF16(x) {
  const sign = (bitsOfF32(x) >>> 16) & 0x8000;
  if (isNan(x)) return sign | 0x7e00;
  if (isInf(x)) return sign | 0x7c00;
  return sign | Math.min(smallFloatMagnitude(x, 10, 15), 0x7c00);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function roundF16(x) {
  return decodeF16(encodeF16(x));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeBF16(code) {
  return f32OfBits((code & 0xffff) * 65536);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function encodeBF16(x) {
  const sign = (bitsOfF32(x) >>> 16) & 0x8000;
  if (isNan(x)) return sign | 0x7fc0;
  if (isInf(x)) return sign | 0x7f80;
  return sign | smallFloatMagnitude(x, 7, 127);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function roundBF16(x) {
  return decodeBF16(encodeBF16(x));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat8e4m3fn(code) {
  return (code & 0x7f) === 0x7f ? NaN : smallFloatValue(code, 4, 3, 7);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function encodeFloat8e4m3fn(x, saturate) {
  const sign = (bitsOfF32(x) >>> 24) & 0x80;
  if (isNan(x)) return sign | 0x7f;
  const code = isInf(x) ? 0x7f : smallFloatMagnitude(x, 3, 7);
  return sign | Math.min(code, saturate ? 0x7e : 0x7f);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function roundFloat8e4m3fn(x, saturate) {
  return decodeFloat8e4m3fn(encodeFloat8e4m3fn(x, saturate));
}

/**
 * The code of `x` in 8 bits with one NaN, 0x80, without infinity and without -0.
 * @param {number} x
 * @param {number} mantissaBits
 * @param {number} bias
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function smallFloatFnuz(x, mantissaBits, bias, saturate) {
  if (isNan(x)) return 0x80;
  const code = isInf(x) ? 0x80 : smallFloatMagnitude(x, mantissaBits, bias);
  if (code === 0) return 0;
  if (code > 0x7f && !saturate) return 0x80;
  return Math.min(code, 0x7f) | (x < 0 ? 0x80 : 0);
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat8e4m3fnuz(code) {
  return (code & 0xff) === 0x80 ? NaN : smallFloatValue(code, 4, 3, 8);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function encodeFloat8e4m3fnuz(x, saturate) {
  return smallFloatFnuz(x, 3, 8, saturate);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function roundFloat8e4m3fnuz(x, saturate) {
  return decodeFloat8e4m3fnuz(encodeFloat8e4m3fnuz(x, saturate));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat8e5m2(code) {
  return decodeF16((code & 0xff) << 8);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function encodeFloat8e5m2(x, saturate) {
  const sign = (bitsOfF32(x) >>> 24) & 0x80;
  if (isNan(x)) return sign | 0x7e;
  const code = isInf(x) ? 0x7c : smallFloatMagnitude(x, 2, 15);
  return sign | Math.min(code, saturate ? 0x7b : 0x7c);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function roundFloat8e5m2(x, saturate) {
  return decodeFloat8e5m2(encodeFloat8e5m2(x, saturate));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat8e5m2fnuz(code) {
  return (code & 0xff) === 0x80 ? NaN : smallFloatValue(code, 5, 2, 16);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function encodeFloat8e5m2fnuz(x, saturate) {
  return smallFloatFnuz(x, 2, 16, saturate);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @returns {number}
 */
export function roundFloat8e5m2fnuz(x, saturate) {
  return decodeFloat8e5m2fnuz(encodeFloat8e5m2fnuz(x, saturate));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat8e8m0(code) {
  return (code & 0xff) === 0xff ? NaN : 2 ** ((code & 0xff) - 127);
}

/**
 * The exponent of |x|, rounded by `mode`: 0 nearest with ties up, 1 up, 2 down.
 * @param {number} x
 * @param {boolean | number} saturate
 * @param {number} mode
 * @returns {number}
 */
export function encodeFloat8e8m0(x, saturate, mode) {
  const bits = bitsOfF32(x);
  const exponent = (bits >>> 23) & 255;
  if (exponent === 255) return 255;
  const fraction = bits & 0x7fffff;
  const isUp = mode === 1
    ? fraction > 0
    : mode === 0 && (fraction > 0x400000 || (fraction === 0x400000 && exponent > 0));
  return Math.min(exponent + (isUp ? 1 : 0), saturate ? 254 : 255);
}

/**
 * @param {number} x
 * @param {boolean | number} saturate
 * @param {number} mode
 * @returns {number}
 */
export function roundFloat8e8m0(x, saturate, mode) {
  return decodeFloat8e8m0(encodeFloat8e8m0(x, saturate, mode));
}

/**
 * @param {number} x
 * @param {number} bits
 * @param {number} mantissaBits
 * @param {number} bias
 * @returns {number}
 */
export function smallestFloatCode(x, bits, mantissaBits, bias) {
  const sign = 2 ** (bits - 1);
  const isNegative = bitsOfF32(x) >= 2 ** 31;
  if (isNan(x)) return isNegative ? 0 : sign;
  const code = isInf(x) ? sign : smallFloatMagnitude(x, mantissaBits, bias);
  return Math.min(code, sign - 1) | (isNegative ? sign : 0);
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat4e2m1(code) {
  return smallFloatValue(code, 2, 1, 1);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function encodeFloat4e2m1(x) {
  return smallestFloatCode(x, 4, 1, 1);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function roundFloat4e2m1(x) {
  return decodeFloat4e2m1(encodeFloat4e2m1(x));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat6e2m3(code) {
  return smallFloatValue(code, 2, 3, 1);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function encodeFloat6e2m3(x) {
  return smallestFloatCode(x, 6, 3, 1);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function roundFloat6e2m3(x) {
  return decodeFloat6e2m3(encodeFloat6e2m3(x));
}

/**
 * @param {number} code
 * @returns {number}
 */
export function decodeFloat6e3m2(code) {
  return smallFloatValue(code, 3, 2, 3);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function encodeFloat6e3m2(x) {
  return smallestFloatCode(x, 6, 2, 3);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function roundFloat6e3m2(x) {
  return decodeFloat6e3m2(encodeFloat6e3m2(x));
}
