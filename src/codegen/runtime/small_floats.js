// @ts-check
/** Floating-point types of 16 bits and fewer, decoded by tables and encoded with ties to even. */

/**
 * Exponent bits, mantissa bits, bias, and what is not finite: "ieee" infinities and NaN, "fn" NaN
 * of all ones, "fnuz" NaN in place of -0, "finite" neither.
 * @type {Record<string, [number, number, number, "ieee" | "fn" | "fnuz" | "finite"]>}
 */
const SMALL_FLOATS = {
  float16: [5, 10, 15, "ieee"],
  bfloat16: [8, 7, 127, "ieee"],
  float8e4m3fn: [4, 3, 7, "fn"],
  float8e4m3fnuz: [4, 3, 8, "fnuz"],
  float8e5m2: [5, 2, 15, "ieee"],
  float8e5m2fnuz: [5, 2, 16, "fnuz"],
  float6e2m3: [2, 3, 1, "finite"],
  float6e3m2: [3, 2, 3, "finite"],
  float4e2m1: [2, 1, 1, "finite"],
};

/** @type {Map<string, Float32Array>} */
const smallFloatTables = new Map();

/**
 * The value of every code of a type.
 * @param {string} dtype
 * @returns {Float32Array | null} null for types that are no small floats
 */
export function smallFloatTable(dtype) {
  const known = smallFloatTables.get(dtype);
  if (known !== undefined) return known;
  const row = SMALL_FLOATS[dtype];
  if (row === undefined && dtype !== "float8e8m0") return null;
  /** @type {Float32Array} */
  let table;
  if (row === undefined) {
    table = Float32Array.from({ length: 256 }, (_, code) => code === 255 ? NaN : 2 ** (code - 127));
  } else {
    const [exponentBits, mantissaBits, bias, style] = row;
    const half = 1 << (exponentBits + mantissaBits);
    const top = (1 << exponentBits) - 1;
    table = Float32Array.from({ length: 2 * half }, (_, code) => {
      const sign = code & half ? -1 : 1;
      const exponent = (code >> mantissaBits) & top;
      const mantissa = code & ((1 << mantissaBits) - 1);
      if (style === "fnuz" && code === half) return NaN;
      if (style === "fn" && (code & (half - 1)) === half - 1) return NaN;
      if (style === "ieee" && exponent === top) return mantissa ? NaN : sign * Infinity;
      const significand = (exponent ? 1 : 0) + mantissa / (1 << mantissaBits);
      return sign * significand * 2 ** (Math.max(exponent, 1) - bias);
    });
  }
  smallFloatTables.set(dtype, table);
  return table;
}

/**
 * The code of the value nearest to `value`, ties to even. Past the largest: infinity where the
 * type has one, otherwise the largest.
 * @param {string} dtype
 * @param {number} value
 * @returns {number}
 */
export function smallFloatCode(dtype, value) {
  const row = SMALL_FLOATS[dtype];
  if (row === undefined) {
    // float8e8m0: powers of two.
    if (Number.isNaN(value)) return 255;
    return Math.min(254, Math.max(0, Math.round(Math.log2(Math.abs(value))) + 127));
  }
  const [exponentBits, mantissaBits, bias, style] = row;
  const half = 1 << (exponentBits + mantissaBits);
  const top = (1 << exponentBits) - 1;
  const infinity = top << mantissaBits;
  const largest = style === "ieee" ? infinity - 1 : style === "fn" ? half - 2 : half - 1;
  const negative = value < 0 || Object.is(value, -0);
  if (Number.isNaN(value)) {
    if (style === "fnuz") return half;
    return style === "fn" ? half - 1 : style === "ieee" ? infinity | (1 << (mantissaBits - 1)) : 0;
  }
  const magnitude = Math.abs(value);
  let code = largest + 1;
  if (magnitude !== Infinity) {
    const exponent = magnitude === 0 ? -1000 : Math.floor(Math.log2(magnitude));
    const scaled = Math.max(exponent, 1 - bias);
    const quotient = magnitude / 2 ** (scaled - mantissaBits);
    const floor = Math.floor(quotient);
    const rest = quotient - floor;
    const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
    code = (scaled + bias - 1) * (1 << mantissaBits) + rounded;
  }
  if (code > largest) code = style === "ieee" ? infinity : largest;
  if (style === "fnuz" && code === 0) return 0;
  return negative ? code | half : code;
}
