/** Random calls of com.microsoft's operators in float16, as decoders for GPUs are written. */
import type { Call, Given } from "./draw.ts";
import type { Generators } from "./elementwise.ts";
import { MICROSOFT } from "./microsoft.ts";
import { MICROSOFT_ATTENTION } from "./microsoft_attention.ts";
import { QUANTIZED_LAYERS } from "./quantized_layers.ts";

function halfOf(operand: Given | null): Given | null {
  if (operand?.dtype !== "float32") return operand;
  const data = new Uint16Array(Float16Array.from(operand.data as Float32Array).buffer);
  return { ...operand, dtype: "float16", data };
}

/** `call` with all floats in 16 bits. */
function halved(call: Call): Call {
  return {
    ...call,
    operands: call.operands.map(halfOf),
    outputs: call.outputs.map((dtype) => dtype === "float32" ? "float16" : dtype),
    // ONNX Runtime rounds what it computes with on the way, modules only their results.
    rtol: 1e-2,
    atol: 2e-2,
  };
}

const NAMES = [
  ..."Gelu BiasGelu FastGelu QuickGelu SkipLayerNormalization RotaryEmbedding".split(" "),
  ..."SkipSimplifiedLayerNormalization MultiHeadAttention GroupQueryAttention".split(" "),
  ..."MatMulNBits GatherBlockQuantized".split(" "),
];

/** Everything of this kind. */
export const HALF: Generators = Object.fromEntries(
  NAMES.map((name) => {
    const generate = { ...MICROSOFT, ...MICROSOFT_ATTENTION, ...QUANTIZED_LAYERS }[name]!;
    return [`${name} in float16`, (draw) => halved(generate(draw))];
  }),
);
