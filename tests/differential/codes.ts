/** Codes of 8 bits and fewer, scales and zero points of random calls. */
import { byteLength, type DType } from "../../src/dtype.ts";
import { elementCount } from "../../src/ir.ts";
import { type Draw, fixed, type Given, given } from "./draw.ts";

/** The domain of ONNX Runtime's own operators. */
export const DOMAIN = "com.microsoft";
/** Codes of 8 bits whose numbers lie next to a half of the scale may differ by one. */
export const NEARLY = { steps: 1, rtol: 2e-3, atol: 2e-4 } as const;
/** Types of codes. */
export const BYTES = ["uint8", "int8"] as const;

/** The types of the factors of a product: the CPU takes no signed codes by unsigned ones. */
export const kinds = (draw: Draw): readonly ["uint8" | "int8", "uint8" | "int8"] =>
  draw.pick([["uint8", "uint8"], ["uint8", "int8"], ["int8", "int8"]]);

/** A scale of a whole tensor. */
export const scale = (draw: Draw, most = 0.1): Given =>
  fixed(given("float32", [], [draw.number(0.02, most)]));

/** Scales of `dims`. */
export const scales = (draw: Draw, dims: readonly number[], most = 0.1): Given =>
  fixed(draw.tensor("float32", dims, most / 5, most));

/** A zero point of a whole tensor. */
export const zero = (draw: Draw, dtype: DType): Given =>
  fixed(draw.tensor(dtype, [], dtype === "uint8" ? 100 : -20, dtype === "uint8" ? 150 : 20));

/** Codes, their scale and their zero point. */
export function quantized(
  draw: Draw,
  dtype: DType,
  dims: readonly number[],
): [Given, Given, Given] {
  return [draw.tensor(dtype, dims), scale(draw), zero(draw, dtype)];
}

/** Packed codes as an initializer of a type of fewer than 8 bits. */
export function packed(draw: Draw, dtype: DType, dims: readonly number[]): Given {
  const bytes = draw.tensor("uint8", [byteLength(dtype, elementCount(dims))]);
  return { dtype, dims, data: bytes.data, constant: true };
}
