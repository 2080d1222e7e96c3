// @ts-check
/**
 * The functions of `kernels/ops/prelude.wgsl` in JavaScript, for constants that are folded, for what
 * a module computes on the host, and as their reference. Floats are numbers that a float32 holds;
 * arguments are rounded to one, and results. Functions of codes and of bits are exact.
 */

/**
 * The bits of a float32.
 * @param {number} x
 * @returns {number} from 0 to 2^32 - 1
 */
export function bitsOfF32(x) {
  return new Uint32Array(Float32Array.of(x).buffer)[0] ?? 0;
}

/**
 * The float32 of some bits.
 * @param {number} bits
 * @returns {number}
 */
export function f32OfBits(bits) {
  return new Float32Array(Uint32Array.of(bits).buffer)[0] ?? 0;
}

/** @returns {number} */
export function zero() {
  return 0;
}

/** @returns {number} */
export function infinity() {
  return Infinity;
}

/** @returns {number} */
export function notANumber() {
  return NaN;
}

/**
 * @param {number} x
 * @returns {boolean}
 */
export function isNan(x) {
  return Number.isNaN(x);
}

/**
 * @param {number} x
 * @returns {boolean}
 */
export function isInf(x) {
  return Math.abs(Math.fround(x)) === Infinity;
}

/**
 * The magnitude of `x` with the sign of `y`.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function withSign(x, y) {
  const magnitude = Math.abs(Math.fround(x));
  return bitsOfF32(y) >= 2 ** 31 ? -magnitude : magnitude;
}

/**
 * The larger; NaN where either is.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function nanMax(x, y) {
  return Math.fround(Math.max(x, y));
}

/**
 * The smaller; NaN where either is.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function nanMin(x, y) {
  return Math.fround(Math.min(x, y));
}

/**
 * To the nearest whole number, ties to even.
 * @param {number} x
 * @returns {number}
 */
export function roundEven(x) {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5 || (rest === 0.5 && floor % 2 === 0)) return floor;
  // From -0.5 up it is -0.
  return floor === -1 ? -0 : Number.isFinite(x) ? floor + 1 : x;
}

/**
 * `x * 2^n`.
 * @param {number} x
 * @param {number} n
 * @returns {number}
 */
export function scaleBy(x, n) {
  return Math.fround(x * 2 ** n);
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeSqrt(x) {
  return Math.fround(Math.sqrt(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeExp(x) {
  return Math.fround(Math.exp(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeLog(x) {
  return Math.fround(Math.log(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeLog2(x) {
  return Math.fround(Math.log2(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeLog1p(x) {
  return Math.fround(Math.log1p(Math.fround(x)));
}

/**
 * `x^y` by IEEE 754, where `1^y` is 1 also for infinities and NaN.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function safePow(x, y) {
  const [base, exponent] = [Math.fround(x), Math.fround(y)];
  if (base === 1 || (base === -1 && Math.abs(exponent) === Infinity)) return 1;
  return Math.fround(Math.pow(base, exponent));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeSin(x) {
  return Math.fround(Math.sin(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeCos(x) {
  return Math.fround(Math.cos(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeTan(x) {
  return Math.fround(Math.tan(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeAsin(x) {
  return Math.fround(Math.asin(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeAcos(x) {
  return Math.fround(Math.acos(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeAtan(x) {
  return Math.fround(Math.atan(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeSinh(x) {
  return Math.fround(Math.sinh(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeCosh(x) {
  return Math.fround(Math.cosh(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeTanh(x) {
  return Math.fround(Math.tanh(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeAsinh(x) {
  return Math.fround(Math.asinh(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeAcosh(x) {
  return Math.fround(Math.acosh(Math.fround(x)));
}

/**
 * @param {number} x
 * @returns {number}
 */
export function safeAtanh(x) {
  return Math.fround(Math.atanh(Math.fround(x)));
}

/**
 * The error function, by its series below 3 and by the continued fraction of its complement above
 * (Abramowitz and Stegun, 7.1.6 and 7.1.14): to 1e-13.
 * @param {number} x
 * @returns {number}
 */
export function erf(x) {
  const argument = Math.fround(x);
  const a = Math.abs(argument);
  if (a > 6) return Math.sign(argument);
  const scale = 2 / Math.sqrt(Math.PI) * Math.exp(-a * a);
  if (a < 3) {
    let term = argument;
    let sum = argument;
    for (let n = 1; n < 100 && Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= 2 * a * a / (2 * n + 1);
      sum += term;
    }
    return Math.fround(scale * sum);
  }
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  const value = 1 - scale / 2 / fraction;
  return Math.fround(argument < 0 ? -value : argument > 0 ? value : NaN);
}

/**
 * The quotient rounded down; by 0 it is `a`.
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
export function floorDiv(a, b) {
  if (b === 0) return a;
  const rest = a % b;
  const quotient = (a - rest) / b;
  return (rest !== 0 && (rest < 0) !== (b < 0) ? quotient - 1 : quotient) + 0;
}

/**
 * The remainder with the sign of `b`; by 0 it is 0.
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
export function floorMod(a, b) {
  if (b === 0) return 0;
  const rest = a % b;
  return (rest !== 0 && (rest < 0) !== (b < 0) ? rest + b : rest) + 0;
}

/**
 * The remainder with the sign of `x`.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function fmodF32(x, y) {
  return Math.fround(x) % Math.fround(y);
}

/**
 * The remainder with the sign of `y`.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function floorModF32(x, y) {
  const rest = fmodF32(x, y);
  if (rest === 0) return withSign(0, y);
  return Math.fround((rest < 0) !== (y < 0) ? rest + Math.fround(y) : rest);
}

/**
 * `x^y` modulo 2^32, as a signed number; with a negative `y` its whole part, and 0 for 0.
 * @param {number} x
 * @param {number} y
 * @returns {number}
 */
export function powI32(x, y) {
  if (y < 0) return x === 1 || (x === -1 && y % 2 === 0) ? 1 : x === -1 ? -1 : 0;
  let result = 1;
  let base = x;
  for (let left = y; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) result = Math.imul(result, base);
    base = Math.imul(base, base);
  }
  return result;
}

/**
 * The whole part; what an i32 can't hold, NaN too, is -2^31.
 * @param {number} x
 * @returns {number}
 */
export function toI32(x) {
  const whole = Math.trunc(Math.fround(x));
  return whole >= -(2 ** 31) && whole < 2 ** 31 ? whole + 0 : -(2 ** 31);
}

/**
 * The whole part modulo 2^32, below 2^63; of what is larger, NaN too, 0.
 * @param {number} x
 * @returns {number}
 */
export function toU32(x) {
  return Math.fround(x) >>> 0;
}

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
  if (isNan(x)) return 0x80;
  const code = isInf(x) ? 0x80 : smallFloatMagnitude(x, 3, 8);
  if (code === 0) return 0;
  if (code > 0x7f && !saturate) return 0x80;
  return Math.min(code, 0x7f) | (x < 0 ? 0x80 : 0);
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
  if (isNan(x)) return 0x80;
  const code = isInf(x) ? 0x80 : smallFloatMagnitude(x, 2, 16);
  if (code === 0) return 0;
  if (code > 0x7f && !saturate) return 0x80;
  return Math.min(code, 0x7f) | (x < 0 ? 0x80 : 0);
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
