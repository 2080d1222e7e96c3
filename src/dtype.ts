/**
 * Element types: one row each, numbered as ONNX numbers them
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, `TensorProto.DataType`).
 */

/** What an element is, which decides how a type can be cast and which fields may store it. */
export type DTypeKind = "float" | "int" | "uint" | "bool" | "complex" | "string";

/** One element type. */
export interface DTypeRow {
  /** Number in ONNX's `TensorProto.DataType`. */
  readonly onnx: number;
  readonly kind: DTypeKind;
  /** Bits an element takes in `raw_data`; 0 for strings, which have no raw form. */
  readonly bits: number;
  /** Lowest IR version whose definition has this type. */
  readonly irVersion: number;
}

const row = (onnx: number, kind: DTypeKind, bits: number, irVersion: number): DTypeRow => ({
  onnx,
  kind,
  bits,
  irVersion,
});

/** Every element type to opset 28, by modelcast's name for it. */
export const DTYPES = {
  float32: row(1, "float", 32, 1),
  uint8: row(2, "uint", 8, 1),
  int8: row(3, "int", 8, 1),
  uint16: row(4, "uint", 16, 1),
  int16: row(5, "int", 16, 1),
  int32: row(6, "int", 32, 1),
  int64: row(7, "int", 64, 1),
  string: row(8, "string", 0, 1),
  bool: row(9, "bool", 8, 1),
  float16: row(10, "float", 16, 1),
  float64: row(11, "float", 64, 1),
  uint32: row(12, "uint", 32, 1),
  uint64: row(13, "uint", 64, 1),
  complex64: row(14, "complex", 64, 1),
  complex128: row(15, "complex", 128, 1),
  bfloat16: row(16, "float", 16, 4),
  float8e4m3fn: row(17, "float", 8, 9),
  float8e4m3fnuz: row(18, "float", 8, 9),
  float8e5m2: row(19, "float", 8, 9),
  float8e5m2fnuz: row(20, "float", 8, 9),
  uint4: row(21, "uint", 4, 10),
  int4: row(22, "int", 4, 10),
  float4e2m1: row(23, "float", 4, 11),
  float8e8m0: row(24, "float", 8, 12),
  uint2: row(25, "uint", 2, 13),
  int2: row(26, "int", 2, 13),
  float6e2m3: row(27, "float", 6, 14),
  float6e3m2: row(28, "float", 6, 14),
} as const satisfies Record<string, DTypeRow>;

/** Name of an element type. */
export type DType = keyof typeof DTYPES;

const BY_ONNX = new Map<number, DType>(
  Object.entries(DTYPES).map(([name, entry]) => [entry.onnx, name as DType]),
);

/** The element type with ONNX's number `onnx`, or undefined when ONNX has none such. */
export function dtypeOfOnnx(onnx: number): DType | undefined {
  return BY_ONNX.get(onnx);
}

/** Bytes that `count` elements take in `raw_data`, the last byte padded. */
export function byteLength(dtype: DType, count: number): number {
  return Math.ceil((DTYPES[dtype].bits * count) / 8);
}
