/**
 * Normalizations that ONNX Runtime's optimizer writes
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md): of a sum with a skip
 * connection, by the root mean square, and of embeddings.
 */
import { dtypeOfOnnx } from "../dtype.ts";
import { type Integer, ONE } from "../expr/integer.ts";
import { apply, constant, convert, reduce, toInteger, type Value } from "../expr/value.ts";
import { plus } from "./arithmetic.ts";
import { axisOf, broadcastIndices } from "./broadcast.ts";
import { layerNormalization, rmsNormalization } from "./normalization.ts";
import { dequantized, onlyElement } from "./quantize.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

const MICROSOFT = "com.microsoft";

/** The sum of the input, the skip connection, and input `bias` where there is one. */
function skipSum(call: OpCall, bias: number): Operand {
  const [input, skip] = [call.input(0), call.input(1)];
  const addend = call.optional(bias);
  const at = (x: Operand, indices: readonly Integer[]): Value =>
    x.at(broadcastIndices(x.dims, input.dims, indices));
  return call.stored(operand(input.dtype, input.dims, (indices) => {
    const sum = plus(input.at(indices), at(skip, indices));
    return addend === null ? sum : plus(sum, at(addend, indices));
  }));
}

/** `statistic` of each row of `x`. */
function ofRows(x: Operand, axis: number, statistic: Operand["at"]): Operand {
  return operand("float32", x.dims.map((extent, i) => i < axis ? extent : ONE), statistic);
}

function skipLayer(call: OpCall): Operand[] {
  const sum = skipSum(call, 4);
  const axis = sum.dims.length - 1;
  const epsilon = call.float("epsilon", 1e-12);
  const made = layerNormalization(sum, axis, epsilon, call.input(2), call.optional(3));
  return [made.normalized, ofRows(sum, axis, made.mean), ofRows(sum, axis, made.inverse), sum];
}

function skipSimplified(call: OpCall): Operand[] {
  const sum = skipSum(call, 3);
  const axis = sum.dims.length - 1;
  const made = rmsNormalization(sum, axis, call.float("epsilon", 1e-12), call.input(2));
  // The mean, which nothing is taken from, has no use: it is 0.
  const mean = ofRows(sum, axis, () => constant("f32", 0));
  return [made.normalized, mean, ofRows(sum, axis, made.inverse), sum];
}

function simplified(call: OpCall): Operand[] {
  const x = call.input(0);
  const axis = axisOf(call, call.int("axis", -1), x.dims.length);
  const scale = call.input(1);
  const made = rmsNormalization(x, axis, call.float("epsilon", 1e-5), scale);
  const inverse = ofRows(x, axis, made.inverse);
  return [
    { ...made.normalized, dtype: scale.dtype },
    { ...inverse, dtype: dtypeOfOnnx(call.int("stash_type", 1)) ?? "float32" },
  ];
}

/** Tables of embeddings, and what the sum of their rows is normalized by. */
interface Embeddings {
  readonly words: Operand;
  readonly positions: Operand;
  readonly segments: Operand | null;
  readonly scale: Operand;
  readonly bias: Operand;
  readonly positionIds: Operand | null;
}

/**
 * The sum of embeddings of words, positions and segments, normalized. The second output counts the
 * ones of each row of the mask.
 */
function embedded(call: OpCall, embeddings: Embeddings): Operand[] {
  const { words, positions, segments, positionIds } = embeddings;
  const [ids, segmentIds, mask] = [call.input(0), call.optional(1), call.optional(7)];
  const [batch, length] = ids.dims as readonly [Integer, Integer];
  const dims = [batch, length, words.dims[1]!];
  const sum = call.stored(operand(words.dtype, dims, ([b, s, h]) => {
    const position = positionIds === null
      ? s!
      : toInteger(positionIds.at(broadcastIndices(positionIds.dims, ids.dims, [b!, s!])));
    const total = plus(
      words.at([toInteger(ids.at([b!, s!])), h!]),
      positions.at([position, h!]),
    );
    if (segments === null || segmentIds === null) return total;
    return plus(total, segments.at([toInteger(segmentIds.at([b!, s!])), h!]));
  }));
  const epsilon = call.float("epsilon", 1e-12);
  const made = layerNormalization(sum, 2, epsilon, embeddings.scale, embeddings.bias);
  const counts = operand("int32", [batch], ([b]) => {
    if (mask === null) return constant("i32", 0);
    const one = constant("i32", 1);
    return reduce("sum", [length], ([s]) => convert("i32", apply("equal", mask.at([b!, s!]), one)));
  });
  return [made.normalized, counts, sum];
}

function embedLayer(call: OpCall): Operand[] {
  return embedded(call, {
    words: call.input(2),
    positions: call.input(3),
    segments: call.optional(4),
    scale: call.input(5),
    bias: call.input(6),
    positionIds: call.optional(8),
  });
}

/** The same of tables of 8-bit codes, whose scales begin at input 8 and whose zero points at 13. */
function quantizedEmbedLayer(call: OpCall): Operand[] {
  const numbers = (codes: Operand, i: number): Operand => {
    const [scale, zero] = [onlyElement(call.input(8 + i)), onlyElement(call.input(13 + i))];
    return operand("float32", codes.dims, (at) => dequantized(codes.at(at), scale, zero));
  };
  const segments = call.optional(4);
  return embedded(call, {
    words: numbers(call.input(2), 0),
    positions: numbers(call.input(3), 1),
    segments: segments && numbers(segments, 2),
    scale: numbers(call.input(5), 3),
    bias: numbers(call.input(6), 4),
    positionIds: null,
  });
}

/** https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md */
export const SKIP_NORMALIZATION_OPS: readonly OpRecord[] = [
  { name: "SkipLayerNormalization", domain: MICROSOFT, since: 1, lower: skipLayer },
  { name: "SkipSimplifiedLayerNormalization", domain: MICROSOFT, since: 1, lower: skipSimplified },
  // ONNX Runtime writes it in ONNX's own domain, which has no such op.
  { name: "SimplifiedLayerNormalization", domain: "", since: 1, lower: simplified },
  { name: "SimplifiedLayerNormalization", domain: MICROSOFT, since: 1, lower: simplified },
  { name: "EmbedLayerNormalization", domain: MICROSOFT, since: 1, lower: embedLayer },
  { name: "QEmbedLayerNormalization", domain: MICROSOFT, since: 1, lower: quantizedEmbedLayer },
];
