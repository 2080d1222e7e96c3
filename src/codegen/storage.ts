/**
 * How tensors lie in GPU memory. Activations take 4 bytes an element. Constants keep the bits of
 * their dtype, packed into words, the lowest bits first, but for 64-bit types, which become 32-bit.
 */
import { type DType, DTYPES } from "../dtype.ts";
import type { Storage } from "./module.ts";
import { scalarOf } from "../ops/op.ts";

/** The words that an activation of `dtype` is held in. */
export function storageOf(dtype: DType): Storage {
  const scalar = scalarOf(dtype);
  return scalar === "bool" ? "u32" : scalar;
}

/** The dtype that constants of `dtype` are stored as in the weights file. */
export function packedDtype(dtype: DType): DType {
  switch (dtype) {
    case "float64":
      return "float32";
    case "int64":
      return "int32";
    case "uint64":
      return "uint32";
    default:
      return dtype;
  }
}

/** Bytes of `count` elements of a constant of `dtype` in GPU memory: whole words. */
export function packedBytes(dtype: DType, count: number): number {
  return 4 * Math.ceil((DTYPES[packedDtype(dtype)].bits * count) / 32);
}
