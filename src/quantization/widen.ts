/**
 * Weights as binary32 numbers: float16 and bfloat16 are widened exactly, float64 is rounded.
 */
import type { WeightType } from "./engine.ts";
import { float16ToNumber, float32FromBits } from "./half.ts";

/** Bytes of one weight. */
export const WEIGHT_BYTES: Readonly<Record<WeightType, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float64: 8,
};

/** The little-endian elements `bytes` of `type` in binary32; a fresh array. */
export function widen(bytes: Uint8Array, type: WeightType): Float32Array {
  if (type === "float32") return new Float32Array(new Uint8Array(bytes).buffer);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = WEIGHT_BYTES[type];
  const decode: (offset: number) => number = {
    float16: (offset: number) => float16ToNumber(view.getUint16(offset, true)),
    bfloat16: (offset: number) => float32FromBits((view.getUint16(offset, true) << 16) >>> 0),
    float64: (offset: number) => view.getFloat64(offset, true),
  }[type];
  const result = new Float32Array(bytes.byteLength / width);
  for (let i = 0; i < result.length; i++) result[i] = decode(i * width);
  return result;
}
