// @ts-check
/** Tensors on the host: which array a dtype has, and the way from and to 4-byte GPU elements. */
import { ModelError } from "./model_error.js";
import { smallFloatCode, smallFloatTable } from "./small_floats.js";

/**
 * @typedef {import("../module.ts").Storage} Storage
 * @typedef {import("../module.ts").StorageArray} StorageArray
 * @typedef {import("../module.ts").TensorArray} TensorArray
 */

/** @type {Record<string, [low: number, high: number]>} */
const INTEGER_RANGES = {
  bool: [0, 1],
  uint2: [0, 3],
  int2: [-2, 1],
  uint4: [0, 15],
  int4: [-8, 7],
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint32: [0, 4294967295],
  int32: [-2147483648, 2147483647],
  uint64: [0, 4294967295],
  int64: [-2147483648, 2147483647],
};

/**
 * The class of the arrays that outputs of a dtype have, and the first that inputs may have.
 * float16 is a Float16Array where there is one, otherwise its bits in a Uint16Array.
 * @param {string} dtype
 * @returns {{ new (length: number): TensorArray }}
 */
export function arrayOfDtype(dtype) {
  switch (dtype) {
    case "float32":
      return Float32Array;
    case "float64":
      return Float64Array;
    case "float16":
      return typeof Float16Array === "undefined" ? Uint16Array : Float16Array;
    case "bfloat16":
    case "uint16":
      return Uint16Array;
    case "int2":
    case "int4":
    case "int8":
      return Int8Array;
    case "int16":
      return Int16Array;
    case "int32":
      return Int32Array;
    case "int64":
      return BigInt64Array;
    case "uint32":
      return Uint32Array;
    case "uint64":
      return BigUint64Array;
    default:
      return Uint8Array;
  }
}

/**
 * Whether a typed array can hold an input of `dtype`.
 * @param {string} dtype
 * @param {ArrayBufferView} data
 * @returns {boolean}
 */
export function holdsDtype(dtype, data) {
  return data instanceof arrayOfDtype(dtype) ||
    (dtype === "float16" && data instanceof Uint16Array) ||
    (dtype === "uint8" && data instanceof Uint8ClampedArray);
}

/**
 * The class of the arrays that GPU elements are read into.
 * @param {Storage} storage
 */
export function arrayOfStorage(storage) {
  return storage === "f32" ? Float32Array : storage === "i32" ? Int32Array : Uint32Array;
}

/** The ends of 64-bit integers as numbers: the last is the next above. */
const WIDE_RANGES = { int64: [-(2 ** 63), 2 ** 63], uint64: [0, 2 ** 64] };

/**
 * Plain values or a typed array of `dtype` as numbers; int64 and uint64 past the safe integers are
 * their ends, as constants that say "to the end" are.
 * @param {string} dtype
 * @param {ArrayLike<number | bigint | boolean>} data
 * @param {string} act what can't be done, for messages: `Cannot take input "x"`
 * @returns {ArrayLike<number>}
 */
export function toNumbers(dtype, data, act) {
  const range = INTEGER_RANGES[dtype];
  if (!ArrayBuffer.isView(data)) {
    const numbers = Float64Array.from({ length: data.length }, (_, i) => plainNumber(data[i]));
    if (range === undefined) return numbers;
    const wide = dtype === "int64" || dtype === "uint64" ? WIDE_RANGES[dtype] : null;
    const [low, high] = wide ?? range;
    const bad = numbers.findIndex((value) =>
      !Number.isInteger(value) || value < Number(low) || value > Number(high)
    );
    if (bad < 0) return wide === null ? numbers : numbers.map(safe);
    throw new ModelError(
      "input",
      `${act}: element ${bad} is ${numbers[bad]}, which no ${dtype} is.`,
    );
  }
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return Float64Array.from({ length: data.length }, (_, i) => safe(Number(data[i])));
  }
  const table = data instanceof Uint16Array || data instanceof Uint8Array
    ? smallFloatTable(dtype)
    : null;
  const numbers = /** @type {ArrayLike<number>} */ (data);
  if (table === null) return numbers;
  return Float32Array.from(numbers, (code) => Number(table[code & (table.length - 1)]));
}

/**
 * The safe integer that is nearest.
 * @param {number} value
 */
function safe(value) {
  return Math.min(Math.max(value, -Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
}

/**
 * @param {number | bigint | boolean | undefined} value
 * @returns {number}
 */
function plainNumber(value) {
  const kind = typeof value;
  return kind === "number" || kind === "bigint" || kind === "boolean" ? Number(value) : NaN;
}

/**
 * An input's values as GPU elements. 64-bit integers must fit into 32 bits. The result may be
 * `data` itself.
 * @param {string} dtype
 * @param {Storage} storage
 * @param {ArrayLike<number | bigint | boolean>} data
 * @param {string} act
 * @returns {StorageArray}
 */
export function toStorage(dtype, storage, data, act) {
  const target = arrayOfStorage(storage);
  if (data instanceof target) return data;
  const wide = dtype === "int64" || dtype === "uint64";
  if (wide && (data instanceof BigInt64Array || data instanceof BigUint64Array)) {
    // The low and the high words, little-endian as every platform with WebGPU is.
    const words = new Int32Array(data.buffer, data.byteOffset, 2 * data.length);
    const result = new target(data.length);
    const signed = dtype === "int64";
    for (let i = 0; i < result.length; i++) {
      const low = Number(words[2 * i]);
      result[i] = low;
      if (words[2 * i + 1] !== (signed ? low >> 31 : 0)) throw narrowed(dtype, i, data[i], act);
    }
    return result;
  }
  const numbers = toNumbers(dtype, data, act);
  if (!wide) return target.from(numbers);
  const [low, high] = INTEGER_RANGES[dtype] ?? [0, 0];
  const result = new target(numbers.length);
  for (let i = 0; i < result.length; i++) {
    const value = Number(numbers[i]);
    if (value < low || value > high) throw narrowed(dtype, i, value, act);
    result[i] = value;
  }
  return result;
}

/**
 * @param {string} dtype
 * @param {number} index
 * @param {unknown} value
 * @param {string} act
 */
function narrowed(dtype, index, value, act) {
  return new ModelError(
    "input",
    `${act}: element ${index} is ${value}; GPUs compute ${dtype} in 32 bits, where it has no place.`,
  );
}

/**
 * GPU elements as a new array of `dtype`.
 * @param {string} dtype
 * @param {StorageArray} values
 * @returns {TensorArray}
 */
export function fromStorage(dtype, values) {
  const result = new (arrayOfDtype(dtype))(values.length);
  if (result instanceof BigInt64Array || result instanceof BigUint64Array) {
    const words = new Int32Array(result.buffer);
    const signed = dtype === "int64";
    for (let i = 0; i < values.length; i++) {
      const low = Number(values[i]);
      words[2 * i] = low;
      if (signed) words[2 * i + 1] = low >> 31;
    }
    return result;
  }
  const coded = result instanceof Uint8Array || result instanceof Uint16Array;
  if (coded && smallFloatTable(dtype) !== null) {
    for (let i = 0; i < values.length; i++) result[i] = smallFloatCode(dtype, Number(values[i]));
  } else {
    result.set(values);
  }
  return result;
}
