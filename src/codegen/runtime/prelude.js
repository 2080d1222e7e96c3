// @ts-check
/**
 * The functions of `kernels/ops/prelude.wgsl` in JavaScript, for constants that are folded, for what
 * a module computes on the host, and as their reference. Floats are numbers that a float32 holds;
 * arguments are rounded to one, and results. Functions of codes and of bits are exact.
 */
import { withSign } from "./prelude_bits.js";

export * from "./prelude_bits.js";
export * from "./prelude_small_floats.js";

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
