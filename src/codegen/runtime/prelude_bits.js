// @ts-check
/**
 * The functions of `kernels/ops/prelude_bits.wgsl` in JavaScript, and what stands there for bitcasts.
 * All are exact.
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
 * Bits that look random, of a number (PCG's hash).
 * @param {number} x
 * @returns {number}
 */
export function pcgHash(x) {
  const state = (Math.imul(x, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
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
