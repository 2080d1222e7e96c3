/**
 * MultiHeadAttention of com.microsoft
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
 */
import { divide } from "../expr/bounds.ts";
import { add, type Integer, integer, multiply, scaled, ZERO } from "../expr/integer.ts";
import { extentOf } from "../expr/value.ts";
import { plus } from "./arithmetic.ts";
import { addendOf, headCount, headsIn, paddingBias, stored, total } from "./attention_inputs.ts";
import type { OpCall, Operand, OpRecord } from "./op.ts";
import { refuseOthers } from "./refusal.ts";
import { attend, type Heads, headsOf, scaleOf, withinReach, withPast } from "./scaled_attention.ts";

/** `heads` with `bias`, whose first element for them is `start`, added. */
function biased(heads: Heads, bias: Operand | null, start: Integer): Heads {
  if (bias === null) return heads;
  return {
    ...heads,
    at: (sample, head, position, element) =>
      plus(
        heads.at(sample, head, position, element),
        bias.at([add(start, multiply(head, heads.size), element)]),
      ),
  };
}

/** Queries, keys and values, which may be packed into one or two tensors. */
function headsOfInputs(call: OpCall, heads: Integer): [Heads, Heads, Heads] {
  const [query, key, value] = [call.input(0), call.optional(1), call.optional(2)];
  const bias = call.optional(3);
  /** (N, positions, heads, parts, size) */
  const packed = (tensor: Operand, part: number): Heads => ({
    batch: tensor.dims[0]!,
    heads,
    length: tensor.dims[1]!,
    size: tensor.dims[4]!,
    at: (sample, head, position, element) =>
      tensor.at([sample, position, head, integer(part), element]),
  });
  let made: [Heads, Heads, Heads];
  if (query.dims.length === 5) {
    made = [packed(query, 0), packed(query, 1), packed(query, 2)];
  } else if (key === null) {
    const size = extentOf(divide(query.dims[2]!, scaled(heads, 3)));
    const width = multiply(size, heads);
    made = [0, 1, 2].map((i) => headsIn(query, heads, size, scaled(width, i))) as [
      Heads,
      Heads,
      Heads,
    ];
  } else if (key.dims.length === 5) {
    made = [headsOf(query, heads), packed(key, 0), packed(key, 1)];
  } else {
    const values = value ?? call.fail("its values are missing");
    made = [headsOf(query, heads), headsOf(key, heads), headsOf(values, heads)];
  }
  let start = ZERO;
  return made.map((part) => {
    const sum = biased(part, bias, start);
    start = add(start, multiply(part.heads, part.size));
    return sum;
  }) as [Heads, Heads, Heads];
}

function lowerMultiHead(call: OpCall): Operand[] {
  refuseOthers(call, ["num_heads", "unidirectional", "scale", "mask_filter_value"], 8);
  const heads = headCount(call);
  const given = headsOfInputs(call, heads);
  const isBiased = call.optional(3) !== null;
  // Many threads read each element: what is added to it is added once.
  const [query, key, value] = given.map((part) =>
    isBiased ? stored(call, call.input(0), part) : part
  ) as [Heads, Heads, Heads];
  const [pastKey, pastValue] = [call.optional(6), call.optional(7)];
  const dtype = call.input(0).dtype;
  const keys = withPast(call, dtype, key, pastKey);
  const values = withPast(call, dtype, value, pastValue);
  const before = pastKey?.dims[2] ?? ZERO;
  const filter = call.float("mask_filter_value", -10000);
  const attended = attend(call, query, headsOf(keys, null), headsOf(values, null), {
    dtype,
    scale: scaleOf(call, query.size),
    bias: total([
      paddingBias(call, call.optional(4), query.batch, before, filter),
      addendOf(call.optional(5), [query.batch, heads, query.length, keys.dims[2]!]),
    ]),
    allowed: withinReach({
      causal: call.int("unidirectional", 0) !== 0,
      left: -1,
      right: -1,
      offset: () => before,
    }),
    merged: true,
    inspected: call.wanted[3] === true,
  });
  return [attended.output, keys, values, attended.scores];
}

/** The record of MultiHeadAttention. */
export const FUSED_ATTENTION_OPS: readonly OpRecord[] = [
  { name: "MultiHeadAttention", domain: "com.microsoft", since: 1, lower: lowerMultiHead },
];
