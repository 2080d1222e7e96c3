/**
 * Elements of floating-point tensors from one type to another, rounded once to nearest, ties to
 * even, and the survey of what such a conversion would do to them. All bytes are little-endian, as
 * `raw_data` is and as every machine that Deno runs on is.
 */

import type { ErrorSums } from "../engine.ts";

/** The floating-point types that convert into each other. */
export type FloatType = "float16" | "bfloat16" | "float32" | "float64";

/** Bytes an element takes. */
export const FLOAT_BYTES: Readonly<Record<FloatType, number>> = {
  float16: 2,
  bfloat16: 2,
  float32: 4,
  float64: 8,
};

/** Largest finite magnitude of a type. */
export const LARGEST: Readonly<Record<FloatType, number>> = {
  float16: 65504,
  bfloat16: (2 - 2 ** -7) * 2 ** 127,
  float32: (2 - 2 ** -23) * 2 ** 127,
  float64: Number.MAX_VALUE,
};

/** The magnitude from which a value rounds to infinity: {@link LARGEST} and half its last digit. */
const OVERFLOW: Readonly<Record<FloatType, number>> = {
  float16: (2 - 2 ** -11) * 2 ** 15,
  bfloat16: (2 - 2 ** -8) * 2 ** 127,
  float32: (2 - 2 ** -24) * 2 ** 127,
  float64: Infinity,
};

/** Smallest normal magnitude of a type. */
const SMALLEST_NORMAL: Readonly<Record<FloatType, number>> = {
  float16: 2 ** -14,
  bfloat16: 2 ** -126,
  float32: 2 ** -126,
  float64: 2 ** -1022,
};

/** The magnitude up to which a value rounds to zero: half the smallest subnormal. */
const VANISHING: Readonly<Record<FloatType, number>> = {
  float16: 2 ** -25,
  bfloat16: 2 ** -134,
  float32: 2 ** -150,
  float64: 0,
};

/** What a conversion would do to the elements of a tensor: counts of them. */
export interface Survey {
  /** Finite elements that become infinite. */
  overflowed: number;
  /** Elements that are infinite already. */
  infinite: number;
  /** Elements that are NaN. */
  notANumber: number;
  /** Elements that become zero and were not. */
  vanished: number;
  /** Elements that become subnormal and were not zero: they lose digits. */
  subnormal: number;
  /** Elements that are none of: 0, 1, -1, overflowing, infinite, NaN. */
  ordinary: number;
  /** Largest finite magnitude among those that overflow. */
  largest: number;
  /** Elements above 1 that overflow, but stay below 1e9: too small to mean "everything". */
  largePositive: number;
}

/** A survey of nothing yet. */
export function emptySurvey(): Survey {
  return {
    overflowed: 0,
    infinite: 0,
    notANumber: 0,
    vanished: 0,
    subnormal: 0,
    ordinary: 0,
    largest: 0,
    largePositive: 0,
  };
}

/** `bytes` as a typed array of `size`-byte elements; copied only where they are not aligned. */
function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice();
}

/** The elements of `bytes` as numbers, bfloat16 widened exactly. */
function numbersOf(bytes: Uint8Array, type: FloatType): Float16Array | Float32Array | Float64Array {
  const size = FLOAT_BYTES[type];
  const { buffer, byteOffset, byteLength } = aligned(bytes, size);
  const count = Math.floor(byteLength / size);
  switch (type) {
    case "float16":
      return new Float16Array(buffer, byteOffset, count);
    case "float32":
      return new Float32Array(buffer, byteOffset, count);
    case "float64":
      return new Float64Array(buffer, byteOffset, count);
    case "bfloat16": {
      const halves = new Uint16Array(buffer, byteOffset, count);
      const words = new Uint32Array(count);
      for (let i = 0; i < count; i++) words[i] = halves[i]! << 16;
      return new Float32Array(words.buffer);
    }
  }
}

/** Adds to `survey` what converting the elements of `source` from `from` to `to` would do. */
export function surveyElements(
  source: Uint8Array,
  from: FloatType,
  to: FloatType,
  survey: Survey,
): void {
  const values = numbersOf(source, from);
  const overflow = OVERFLOW[to];
  const smallest = SMALLEST_NORMAL[to];
  const vanishing = VANISHING[to];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const magnitude = Math.abs(value);
    if (magnitude >= smallest && magnitude < overflow) {
      if (magnitude !== 1) survey.ordinary++;
    } else if (magnitude === 0) {
      continue;
    } else if (magnitude < smallest) {
      survey.ordinary++;
      if (magnitude <= vanishing) survey.vanished++;
      else survey.subnormal++;
    } else if (magnitude === Infinity) {
      survey.infinite++;
    } else if (magnitude >= overflow) {
      survey.overflowed++;
      survey.largest = Math.max(survey.largest, magnitude);
      if (value > 0 && value < 1e9) survey.largePositive++;
    } else {
      survey.notANumber++;
    }
  }
}

/** Adds to `sums` what rounding cost: `converted` holds the elements of `source` in type `to`. */
export function addErrorSums(
  source: Uint8Array,
  from: FloatType,
  converted: Uint8Array,
  to: FloatType,
  sums: ErrorSums,
): void {
  const before = numbersOf(source, from);
  const after = numbersOf(converted, to);
  let signal = 0, noise = 0, dot = 0;
  for (let i = 0; i < before.length; i++) {
    const w = before[i]!;
    const v = after[i]!;
    if (!Number.isFinite(w)) continue;
    signal += w * w;
    noise += (w - v) * (w - v);
    dot += w * v;
  }
  sums.signal += signal;
  sums.noise += noise;
  sums.dot += dot;
}

/**
 * Converts the elements of `source` from `from` to `to` into the first bytes of `into`. Values that
 * are too large become infinite, NaN stays NaN; where `limit` is given, magnitudes that would
 * overflow become `limit` with their sign, and infinities stay.
 *
 * @throws RangeError where `into` is too short.
 */
export function convertElements(
  source: Uint8Array,
  from: FloatType,
  to: FloatType,
  into: Uint8Array,
  limit: number | null = null,
): void {
  const count = Math.floor(source.byteLength / FLOAT_BYTES[from]);
  const bytes = count * FLOAT_BYTES[to];
  if (into.byteLength < bytes) {
    throw new RangeError(`Cannot convert ${count} elements to ${to}: ${into.byteLength} bytes`);
  }
  const target = into.subarray(0, bytes);
  if (from === to && limit === null) {
    target.set(source.subarray(0, bytes));
    return;
  }
  let values = numbersOf(source, from);
  if (limit !== null) {
    const overflow = OVERFLOW[to];
    values = values.map((value: number) => {
      const magnitude = Math.abs(value);
      return magnitude >= overflow && magnitude !== Infinity ? Math.sign(value) * limit : value;
    });
  }
  const size = FLOAT_BYTES[to];
  const direct = target.byteOffset % size === 0;
  const buffer = direct ? target.buffer : new ArrayBuffer(bytes);
  const offset = direct ? target.byteOffset : 0;
  switch (to) {
    case "float16":
      copy(values, new Float16Array(buffer, offset, count));
      break;
    case "float32":
      copy(values, new Float32Array(buffer, offset, count));
      break;
    case "float64":
      copy(values, new Float64Array(buffer, offset, count));
      break;
    case "bfloat16":
      toBfloat16(values, new Uint16Array(buffer, offset, count));
      break;
  }
  if (!direct) target.set(new Uint8Array(buffer));
}

/** A loop, because `TypedArray.set` between element types takes twice its time. */
function copy(
  values: Float16Array | Float32Array | Float64Array,
  into: Float16Array | Float32Array | Float64Array,
): void {
  for (let i = 0; i < values.length; i++) into[i] = values[i]!;
}

/** Rounds by integers: a float32 plus half the last kept digit, minus one where that digit is even. */
function toBfloat16(values: Float16Array | Float32Array | Float64Array, into: Uint16Array): void {
  const single = values instanceof Float32Array ? values : stickySingles(values);
  const words = new Uint32Array(single.buffer, single.byteOffset, single.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    into[i] = (word & 0x7fffffff) > 0x7f800000
      ? (word >>> 16) | 0x40
      : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
}

/**
 * Singles that round further as `values` themselves would: where a double is not a single, the
 * nearest single towards zero with its last bit set (rounding to odd).
 */
function stickySingles(values: Float16Array | Float64Array): Float32Array {
  const singles = new Float32Array(values.length);
  const words = new Uint32Array(singles.buffer);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    singles[i] = value;
    const rounded = singles[i]!;
    if (rounded === value || Number.isNaN(value)) continue;
    if (Math.abs(rounded) > Math.abs(value)) words[i]! -= 1;
    words[i]! |= 1;
  }
  return singles;
}
