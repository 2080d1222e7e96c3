/**
 * Tensor values as the tests compare them: one array entry an element, whatever the element type.
 * Types that JavaScript has no array for keep their bits (float16, bfloat16, 8-bit floats and
 * narrower ones) or are unpacked (2 and 4-bit integers).
 */
import { byteLength, type DType, DTYPES } from "../src/dtype.ts";
import { elementCount, type Tensor } from "../src/ir.ts";
import { tensorBytes } from "../src/onnx/tensor.ts";
import { WireBuilder } from "../src/onnx/wire.ts";

/** Arrays of elements. */
export type Elements =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** A tensor in memory, dense, row-major. */
export interface Value {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly data: Elements;
}

/** Array constructors of the types whose elements take whole bytes. */
const ARRAYS: Readonly<Partial<Record<DType, ArrayConstructor>>> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  float8e4m3fn: Uint8Array,
  float8e4m3fnuz: Uint8Array,
  float8e5m2: Uint8Array,
  float8e5m2fnuz: Uint8Array,
  float8e8m0: Uint8Array,
};

type ArrayConstructor = new (buffer: ArrayBuffer) => Elements;

/** Whether tensors of `dtype` hold numbers that the tests can compare. */
export function isNumeric(dtype: DType): boolean {
  const { kind } = DTYPES[dtype];
  return kind !== "string" && kind !== "complex";
}

/** The elements of `tensor`, which holds numbers. */
export async function readValue(tensor: Tensor): Promise<Value> {
  const bytes = await tensorBytes(tensor);
  return { dtype: tensor.dtype, dims: tensor.dims, data: unpack(tensor.dtype, tensor.dims, bytes) };
}

/** The elements in `bytes`, which have the form of `raw_data`. */
export function unpack(dtype: DType, dims: readonly number[], bytes: Uint8Array): Elements {
  const count = elementCount(dims);
  const { bits, kind } = DTYPES[dtype];
  if (bytes.length !== byteLength(dtype, count)) {
    throw new RangeError(`${bytes.length} bytes for ${dtype} [${dims}]`);
  }
  const constructor = ARRAYS[dtype];
  if (constructor !== undefined) return new constructor(Uint8Array.from(bytes).buffer);
  if (bits === 0 || bits > 8) throw new RangeError(`${dtype} holds no numbers`);
  // Narrow elements lie one after the other, lowest bits first.
  const data = kind === "int" ? new Int8Array(count) : new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const at = i * bits;
    const word = bytes[at >> 3]! | ((bytes[(at >> 3) + 1] ?? 0) << 8);
    const pattern = (word >> (at & 7)) & (2 ** bits - 1);
    data[i] = kind === "int" && pattern >= 2 ** (bits - 1) ? pattern - 2 ** bits : pattern;
  }
  return data;
}

/** How the bits of a narrow float are laid out, and which of them are no finite number. */
interface SmallFloat {
  readonly exponent: number;
  readonly fraction: number;
  readonly bias: number;
  /**
   * "ieee": the highest exponent is infinity and NaN; "fn": all ones are NaN; "fnuz": minus zero is
   * NaN; "finite": every pattern is a number.
   */
  readonly special: "ieee" | "fn" | "fnuz" | "finite";
}

/** Narrow floats (https://onnx.ai/onnx/technical/float8.html, .../float4.html). */
const SMALL_FLOATS: Readonly<Partial<Record<DType, SmallFloat>>> = {
  float16: { exponent: 5, fraction: 10, bias: 15, special: "ieee" },
  bfloat16: { exponent: 8, fraction: 7, bias: 127, special: "ieee" },
  float8e4m3fn: { exponent: 4, fraction: 3, bias: 7, special: "fn" },
  float8e4m3fnuz: { exponent: 4, fraction: 3, bias: 8, special: "fnuz" },
  float8e5m2: { exponent: 5, fraction: 2, bias: 15, special: "ieee" },
  float8e5m2fnuz: { exponent: 5, fraction: 2, bias: 16, special: "fnuz" },
  float6e2m3: { exponent: 2, fraction: 3, bias: 1, special: "finite" },
  float6e3m2: { exponent: 3, fraction: 2, bias: 3, special: "finite" },
  float4e2m1: { exponent: 2, fraction: 1, bias: 1, special: "finite" },
};

/** The number that `pattern` stands for. */
function smallFloat({ exponent, fraction, bias, special }: SmallFloat, pattern: number): number {
  const sign = (pattern >> (exponent + fraction)) & 1;
  const power = (pattern >> fraction) & (2 ** exponent - 1);
  const rest = pattern & (2 ** fraction - 1);
  const highest = 2 ** exponent - 1;
  if (special === "ieee" && power === highest) {
    return rest === 0 ? (sign === 1 ? -Infinity : Infinity) : NaN;
  }
  if (special === "fn" && power === highest && rest === 2 ** fraction - 1) return NaN;
  if (special === "fnuz" && sign === 1 && power === 0 && rest === 0) return NaN;
  const magnitude = power === 0
    ? rest * 2 ** (1 - bias - fraction)
    : (2 ** fraction + rest) * 2 ** (power - bias - fraction);
  return sign === 1 ? -magnitude : magnitude;
}

/** The elements of a float tensor as float64. */
export function toNumbers({ dtype, data }: Value): Float64Array {
  if (data instanceof Float64Array) return data;
  if (dtype === "float8e8m0") {
    return Float64Array.from(data as Uint8Array, (bits) => bits === 255 ? NaN : 2 ** (bits - 127));
  }
  const layout = SMALL_FLOATS[dtype];
  return layout === undefined
    ? Float64Array.from(data as ArrayLike<number | bigint>, Number)
    : Float64Array.from(data as Uint8Array | Uint16Array, (bits) => smallFloat(layout, bits));
}

/** Numbers of the fields of a `TensorProto`. */
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9 } as const;

/** The `TensorProto` of a value whose elements take whole bytes. */
export function encodeValue(name: string, { dtype, dims, data }: Value): Uint8Array {
  const message = new WireBuilder();
  for (const dim of dims) message.int(TENSOR.dims, dim);
  return message.int(TENSOR.dataType, DTYPES[dtype].onnx).string(TENSOR.name, name)
    .bytes(TENSOR.rawData, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).finish();
}
