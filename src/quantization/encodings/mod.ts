/**
 * The forms of a quantized weight, and which of them an encoding tries, best first. To add a form:
 * write its record and put it into the lists that should try it.
 */
import { arithmetic } from "./arithmetic.ts";
import { dequantizeLinear } from "./dequantizelinear.ts";
import type { Form } from "./encoding.ts";
import { gather, gatherBlockQuantized } from "./gather.ts";
import { matMulNBits, matMulNBitsJoined } from "./matmulnbits.ts";

/**
 * What the command line calls an encoding. `matmulnbits`: products by ONNX Runtime's own operator,
 * or not at all. `qdq`: ONNX's own operators, `DequantizeLinear` wherever a weight is read as a
 * tensor. `auto`: for each weight the form that keeps the runtime fastest.
 */
export type Encoding = "auto" | "matmulnbits" | "qdq";

/** All forms, in the order in which `auto` tries them. */
export const FORMS: readonly Form[] = [
  matMulNBits,
  matMulNBitsJoined,
  gatherBlockQuantized,
  gather,
  arithmetic,
  dequantizeLinear,
];

/** The forms that `encoding` tries, best first. */
export function formsOf(encoding: Encoding): readonly Form[] {
  return encoding === "qdq" ? [gather, dequantizeLinear] : FORMS;
}
