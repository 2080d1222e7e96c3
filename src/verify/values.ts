/**
 * Tensors that are handed to a runtime and come back from it: an element type, extents and a typed
 * array. Casts between element types keep the value or fail in words; float16 is kept as its bits,
 * because a runtime's JavaScript binding may know no float16 array.
 */
import { InputError } from "../error.ts";
import { elementCount } from "../ir.ts";

/** The typed array that holds the elements of each type a tensor can be fed or fetched in. */
export interface HostArrays {
  float32: Float32Array;
  float64: Float64Array;
  /** Bits of binary16. */
  float16: Uint16Array;
  int8: Int8Array;
  uint8: Uint8Array;
  int16: Int16Array;
  uint16: Uint16Array;
  int32: Int32Array;
  uint32: Uint32Array;
  int64: BigInt64Array;
  uint64: BigUint64Array;
  /** A byte an element, 0 or 1. */
  bool: Uint8Array;
  string: string[];
}

/** Name of an element type that a tensor can be fed or fetched in. */
export type HostType = keyof HostArrays;

/** A tensor in memory, dense, row-major. */
export interface HostTensor<T extends HostType = HostType> {
  readonly dtype: T;
  readonly dims: readonly number[];
  readonly data: HostArrays[T];
}

/** Array constructors by element type; strings have none. */
const CONSTRUCTORS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

/** Lowest and highest value of the integer types. */
const RANGES: Readonly<Partial<Record<HostType, readonly [bigint, bigint]>>> = {
  int8: [-128n, 127n],
  uint8: [0n, 255n],
  int16: [-32768n, 32767n],
  uint16: [0n, 65535n],
  int32: [-(1n << 31n), (1n << 31n) - 1n],
  uint32: [0n, (1n << 32n) - 1n],
  int64: [-(1n << 63n), (1n << 63n) - 1n],
  uint64: [0n, (1n << 64n) - 1n],
};

/** Whether `name` is the name of a type that tensors can be fed in. */
export function isHostType(name: string): name is HostType {
  return name === "string" || Object.hasOwn(CONSTRUCTORS, name);
}

/** Whether `value` is a tensor: its extents and the kind of its array, not the length of that. */
export function isHostTensor(value: unknown): value is HostTensor {
  if (typeof value !== "object" || value === null) return false;
  const { dtype, dims, data } = value as Readonly<Record<string, unknown>>;
  if (typeof dtype !== "string" || !isHostType(dtype) || !Array.isArray(dims)) return false;
  if (!dims.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) return false;
  return dtype === "string"
    ? Array.isArray(data) && data.every((text) => typeof text === "string")
    : data instanceof CONSTRUCTORS[dtype];
}

/** Whether elements of `dtype` are floating-point numbers. */
export function isFloatType(dtype: HostType): dtype is "float32" | "float64" | "float16" {
  return dtype === "float32" || dtype === "float64" || dtype === "float16";
}

/** Bytes that an element takes; 0 for strings. */
export function elementBytes(dtype: HostType): number {
  return dtype === "string" ? 0 : CONSTRUCTORS[dtype].BYTES_PER_ELEMENT;
}

/** A view of `bytes`, whose offset is a multiple of the element size, as elements of `dtype`. */
export function viewBytes(
  dtype: Exclude<HostType, "string">,
  bytes: Uint8Array<ArrayBuffer>,
): HostArrays[Exclude<HostType, "string">] {
  const constructor = CONSTRUCTORS[dtype];
  return new constructor(
    bytes.buffer,
    bytes.byteOffset,
    bytes.byteLength / constructor.BYTES_PER_ELEMENT,
  );
}

/** The elements of `tensor` as float64; 64-bit integers past 2^53 are rounded. */
export function toFloat64(tensor: HostTensor): Float64Array {
  const numbers = numbersOf(tensor);
  return numbers instanceof Float64Array ? numbers : new Float64Array(numbers);
}

/** The elements of `tensor` as numbers: a copy only where they are not. */
function numbersOf({ dtype, data }: HostTensor): ArrayLike<number> {
  if (dtype === "float16" && data instanceof Uint16Array) {
    return new Float16Array(data.buffer, data.byteOffset, data.length);
  }
  const isWide = data instanceof BigInt64Array || data instanceof BigUint64Array;
  if (!isWide && !Array.isArray(data)) return data;
  // A typed array's `from` keeps an object for every element until it has all.
  const numbers = new Float64Array(data.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = Number(data[i]);
  return numbers;
}

/**
 * A tensor of `dtype` with the values `values`, which are rounded to nearest where `dtype` is a
 * float type, and must be integers in range where it is an integer type (`name` names the input in
 * the error).
 */
export function fromNumbers(
  dtype: HostType,
  dims: readonly number[],
  values: ArrayLike<number>,
  name: string,
): HostTensor {
  switch (dtype) {
    case "float32":
      return { dtype, dims, data: new Float32Array(values) };
    case "float64":
      return { dtype, dims, data: new Float64Array(values) };
    case "float16": {
      const halves = new Float16Array(values);
      return { dtype, dims, data: new Uint16Array(halves.buffer) };
    }
    case "bool":
      return {
        dtype,
        dims,
        data: new Uint8Array(values.length).map((_, i) => values[i] === 0 ? 0 : 1),
      };
    case "string":
      throw new InputError(
        `Cannot feed input "${name}": it wants strings and the data are numbers. ` +
          "Give an array of strings (NumPy dtype U or S).",
      );
    default: {
      const [low, high] = RANGES[dtype]!;
      for (let i = 0; i < values.length; i++) {
        const value = values[i]!;
        if (!Number.isInteger(value) || value < Number(low) || value > Number(high)) {
          throw new InputError(
            `Cannot feed input "${name}": element ${i} is ${value}, which ${dtype} can't hold. ` +
              `Give whole numbers from ${low} to ${high}.`,
          );
        }
      }
      if (dtype !== "int64" && dtype !== "uint64") {
        return { dtype, dims, data: new CONSTRUCTORS[dtype](values) };
      }
      const data = new CONSTRUCTORS[dtype](values.length);
      for (let i = 0; i < data.length; i++) data[i] = BigInt(values[i]!);
      return { dtype, dims, data };
    }
  }
}

/**
 * `tensor` cast to `dtype`: floats round to nearest, integers must fit. Throws an `InputError` that
 * names the input `name` where a value can't be kept.
 */
export function castTensor(tensor: HostTensor, dtype: HostType, name: string): HostTensor {
  if (tensor.dtype === dtype) return tensor;
  if (tensor.dtype === "string") {
    throw new InputError(
      `Cannot feed input "${name}": the data are strings and it wants ${dtype}. ` +
        `Give an array of ${dtype}.`,
    );
  }
  const { data } = tensor;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const range = RANGES[dtype];
    if (range !== undefined) {
      const outside = (data as BigInt64Array).findIndex((v) => v < range[0] || v > range[1]);
      if (outside >= 0) {
        throw new InputError(
          `Cannot feed input "${name}": element ${outside} is ${data[outside]}, which ${dtype} ` +
            `can't hold. Give whole numbers from ${range[0]} to ${range[1]}.`,
        );
      }
      // Between the two 64-bit types the bits are the value once the range is known to fit.
      if (dtype === "int64") {
        return { dtype, dims: tensor.dims, data: new BigInt64Array(data) };
      }
      if (dtype === "uint64") {
        return { dtype, dims: tensor.dims, data: new BigUint64Array(data) };
      }
    }
  }
  return fromNumbers(dtype, tensor.dims, numbersOf(tensor), name);
}

/** `dims` for a person: "[1, 3, 48, 320]". */
export function formatDims(dims: readonly (number | string | null)[]): string {
  return `[${dims.map((dim) => dim === null || dim === "" ? "?" : dim).join(", ")}]`;
}

/** `text` with control characters shown: names from model files go to terminals. */
export function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, "\ufffd");
}

/** Whether the array of `tensor` has as many elements as its extents say. */
export function isWhole(tensor: HostTensor): boolean {
  return tensor.data.length === elementCount(tensor.dims);
}
