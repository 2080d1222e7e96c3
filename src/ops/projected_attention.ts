/**
 * Attention and QAttention of com.microsoft, which project their input onto queries, keys and values
 * themselves, the latter by 8-bit codes
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
 */
import { divide } from "../expr/bounds.ts";
import { add, type Integer, integer, ZERO } from "../expr/integer.ts";
import { extentOf, select } from "../expr/value.ts";
import { plus } from "./arithmetic.ts";
import { addendOf, headCount, headsIn, paddingBias, total } from "./attention_inputs.ts";
import { contract } from "./contraction.ts";
import { equal } from "./extents.ts";
import { productOfCodes } from "./integer_matmul.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { refuseOthers } from "./refusal.ts";
import { attend, type Heads, headsOf, scaleOf, withinReach, withPast } from "./scaled_attention.ts";

/** Attributes of both ops that are compiled. */
const ATTRIBUTES = ["num_heads", "unidirectional", "scale", "mask_filter_value"];

/** What the projections (N, positions, width) of a call are attended with. */
interface Projected {
  readonly projected: Operand;
  readonly mask: Operand | null;
  /** (2, N, heads, positions, size) */
  readonly past: Operand | null;
  /** What is added to the scores. */
  readonly bias: Operand | null;
}

function lowerAttention(call: OpCall): Operand[] {
  refuseOthers(call, [...ATTRIBUTES, "qkv_hidden_sizes", "rotary_embedding_dim"], 6);
  const [input, weight, bias] = [call.input(0), call.input(1), call.optional(2)];
  const [batch, length, depth] = input.dims as [Integer, Integer, Integer];
  const width = weight.dims[1]!;
  const product = contract(call, {
    dtype: input.dtype,
    dims: [batch, length, width],
    batch: [],
    rows: [batch, length],
    columns: [width],
    depth: [depth],
    a: (_, [n, i], [k]) => input.at([n!, i!, k!]),
    b: (_, [k], [column]) => weight.at([k!, column!]),
    place: ({ row, column }) => [...row, ...column],
    position: ([n, i, column]) => ({ batch: [], row: [n!, i!], column: [column!] }),
  });
  const projected = bias === null ? product : call.stored(operand(
    input.dtype,
    product.dims,
    (indices) => plus(product.at(indices), bias.at([indices[2]!])),
  ));
  return attendProjected(call, {
    projected,
    mask: call.optional(3),
    past: call.optional(4),
    bias: call.optional(5),
  });
}

/** The same on 8-bit codes of the input and the weight, whose product is a sum of integers. */
function lowerQuantized(call: OpCall): Operand[] {
  refuseOthers(call, ATTRIBUTES, 9);
  const product = productOfCodes(call, {
    a: 0,
    aScale: 3,
    aZero: 6,
    b: 1,
    bScale: 4,
    bZero: 7,
    bias: 2,
  });
  return attendProjected(call, {
    projected: call.stored(product),
    mask: call.optional(5),
    past: call.optional(8),
    bias: null,
  });
}

function attendProjected(call: OpCall, { projected, mask, past, bias }: Projected): Operand[] {
  const { dtype } = projected;
  const heads = headCount(call);
  const third = extentOf(divide(projected.dims[2]!, integer(3)));
  const sizes = call.ints("qkv_hidden_sizes")?.map(integer) ?? [third, third, third];
  let start = ZERO;
  const [query, key, value] = sizes.map((size) => {
    const made = headsIn(projected, heads, extentOf(divide(size, heads)), start);
    start = add(start, size);
    return made;
  }) as [Heads, Heads, Heads];
  const half = (which: number): Operand | null =>
    past &&
    operand(past.dtype, past.dims.slice(1), (indices) => past.at([integer(which), ...indices]));
  const [keys, values] = [
    withPast(call, dtype, key, half(0)),
    withPast(call, dtype, value, half(1)),
  ];
  const before = past?.dims[3] ?? ZERO;
  const attended = attend(call, query, headsOf(keys, null), headsOf(values, null), {
    dtype,
    scale: scaleOf(call, query.size),
    bias: total([
      paddingBias(call, mask, query.batch, before, call.float("mask_filter_value", -10000)),
      addendOf(bias, [query.batch, heads, query.length, keys.dims[2]!]),
    ]),
    allowed: withinReach({
      causal: call.int("unidirectional", 0) !== 0,
      left: -1,
      right: -1,
      offset: () => before,
    }),
    merged: true,
  });
  const present = operand(
    dtype,
    [integer(2), ...keys.dims],
    ([which, ...rest]) => select(equal(which!, ZERO), keys.at(rest), values.at(rest)),
  );
  return [attended.output, present];
}

const row = (name: string, lower: OpRecord["lower"]): OpRecord => ({
  name,
  domain: "com.microsoft",
  since: 1,
  lower,
});

/** Records of attention with projections. */
export const PROJECTED_ATTENTION_OPS: readonly OpRecord[] = [
  row("Attention", lowerAttention),
  row("QAttention", lowerQuantized),
];
