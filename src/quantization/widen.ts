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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = WEIGHT_BYTES[type];
  const read: Readonly<Record<WeightType, (offset: number) => number>> = {
    float32: (offset) => view.getFloat32(offset, true),
    float16: (offset) => float16ToNumber(view.getUint16(offset, true)),
    bfloat16: (offset) => float32FromBits((view.getUint16(offset, true) << 16) >>> 0),
    float64: (offset) => view.getFloat64(offset, true),
  };
  const decode = read[type];
  return Float32Array.from({ length: bytes.byteLength / width }, (_, i) => decode(i * width));
}
