/** The elements of small constants as numbers, for what conversion must know: shapes, axes, scalars. */
import { type DType, DTYPES } from "../dtype.ts";
import * as prelude from "./runtime/prelude.js";

/** Decoders of the floats that JavaScript has no typed array of, by dtype. */
const DECODERS: Partial<Record<DType, (bits: number) => number>> = {
  float16: prelude.decodeF16,
  bfloat16: prelude.decodeBF16,
  float8e4m3fn: prelude.decodeFloat8e4m3fn,
  float8e4m3fnuz: prelude.decodeFloat8e4m3fnuz,
  float8e5m2: prelude.decodeFloat8e5m2,
  float8e5m2fnuz: prelude.decodeFloat8e5m2fnuz,
  float8e8m0: prelude.decodeFloat8e8m0,
  float4e2m1: prelude.decodeFloat4e2m1,
  float6e2m3: prelude.decodeFloat6e2m3,
  float6e3m2: prelude.decodeFloat6e3m2,
};

/** `count` elements of `dtype` in `bytes`, as `raw_data` holds them. 64-bit integers are rounded. */
export function decodeElements(dtype: DType, bytes: Uint8Array, count: number): number[] {
  const { kind, bits } = DTYPES[dtype];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decode = DECODERS[dtype];
  return Array.from({ length: count }, (_, i) => {
    if (dtype === "float32") return view.getFloat32(4 * i, true);
    if (dtype === "float64") return view.getFloat64(8 * i, true);
    if (bits === 64) {
      return Number(
        kind === "int" ? view.getBigInt64(8 * i, true) : view.getBigUint64(8 * i, true),
      );
    }
    const code = bitsAt(view, i * bits, bits);
    if (decode !== undefined) return decode(code);
    return kind === "int" && code >= 2 ** (bits - 1) ? code - 2 ** bits : code;
  });
}

/** `count` bits from bit `start`, the lowest first. */
function bitsAt(view: DataView, start: number, count: number): number {
  if (count === 32) return view.getUint32(start / 8, true);
  if (count === 16) return view.getUint16(start / 8, true);
  const first = Math.floor(start / 8);
  const low = view.getUint8(first);
  const high = first + 1 < view.byteLength ? view.getUint8(first + 1) : 0;
  return ((low | (high << 8)) >> (start % 8)) & (2 ** count - 1);
}
