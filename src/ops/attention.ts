/**
 * Attention (https://onnx.ai/onnx/operators/onnx__Attention.html) and FlexAttention
 * (https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html).
 */
import { dtypeOfOnnx } from "../dtype.ts";
import { type Integer, integer, ONE, subtract, ZERO } from "../expr/integer.ts";
import { apply, constant, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { float } from "./arithmetic.ts";
import { broadcastIndices } from "./broadcast.ts";
import type { OpCall, Operand, OpRecord } from "./op.ts";
import {
  allowedByAll,
  attend,
  type Attended,
  type Heads,
  headsOf,
  type Pair,
  scaleOf,
  withinReach,
  withPast,
} from "./scaled_attention.ts";

/** The element of a mask for a pair; where the mask has no more keys, `beyond`. */
export function maskAt(
  mask: Operand,
  dims: readonly Integer[],
  beyond: Value,
): Pair {
  const keys = mask.dims.at(-1)!;
  const inner = dims.at(-1)!;
  return (...pair) => {
    const key = pair[3];
    const place = broadcastIndices(mask.dims.slice(0, -1), dims.slice(0, -1), pair.slice(0, 3));
    const value = mask.at([...place, keys === ONE ? ZERO : key]);
    if (keys === inner) return value;
    return select(apply("less", fromInteger(key), fromInteger(keys)), value, beyond);
  };
}

/** A mask as what it allows and what it adds: a bool mask allows, a float mask adds. */
function maskOf(
  mask: Operand | null,
  dims: readonly Integer[],
): { allowed: Pair | null; bias: Pair | null } {
  if (mask === null) return { allowed: null, bias: null };
  if (mask.dtype === "bool") {
    return { allowed: maskAt(mask, dims, constant("bool", 0)), bias: null };
  }
  const bias = maskAt(mask, dims, float(-Infinity));
  // Minus infinity masks whatever it is added to.
  return { bias, allowed: (...pair) => apply("notEqual", bias(...pair), float(-Infinity)) };
}

/** How values are rounded to the type that the softmax is asked to compute in. */
function rounding(call: OpCall): ((value: Value) => Value) | undefined {
  if (!call.has("softmax_precision")) return undefined;
  switch (dtypeOfOnnx(call.int("softmax_precision", 1))) {
    case "float16":
      return (value) => apply("roundF16", value);
    case "bfloat16":
      return (value) => apply("roundBF16", value);
    default:
      return undefined;
  }
}

function lower(call: OpCall): Operand[] {
  const [q, k, v] = [call.input(0), call.input(1), call.input(2)];
  const counts = ["q_num_heads", "kv_num_heads"].map((name) => call.int(name, 0));
  const merged = q.dims.length === 3;
  if (merged && counts.some((count) => count < 1)) {
    call.fail("q_num_heads and kv_num_heads must say how inputs of rank 3 are parted");
  }
  const [queryHeads, keyHeads] = counts.map((count) => integer(count)) as [Integer, Integer];
  const query = headsOf(q, queryHeads);
  const [pastKey, pastValue] = [call.optional(4), call.optional(5)];
  const valid = call.optional(6);
  const presentKey = withPast(call, k.dtype, headsOf(k, keyHeads), pastKey);
  const presentValue = withPast(call, v.dtype, headsOf(v, keyHeads), pastValue);
  const [key, value] = [headsOf(presentKey, null), headsOf(presentValue, null)];
  const validOf = (sample: Integer): Integer => toInteger(valid!.at([sample]));
  const offset = (sample: Integer): Integer => {
    if (pastKey !== null) return pastKey.dims[2]!;
    return valid === null ? ZERO : subtract(validOf(sample), query.length);
  };
  const reach = withinReach({
    causal: call.int("is_causal", 0) !== 0,
    left: call.int("left_window_size", -1),
    right: call.int("right_window_size", -1),
    offset,
  });
  const filled: Pair | null = valid &&
    ((sample, _head, _query, at) => apply("less", fromInteger(at), fromInteger(validOf(sample))));
  const mask = maskOf(call.optional(3), [query.batch, query.heads, query.length, key.length]);
  const round = rounding(call);
  const attended = attend(call, query, key, value, {
    dtype: q.dtype,
    scale: scaleOf(call, query.size),
    softcap: call.float("softcap", 0),
    bias: mask.bias,
    allowed: allowedByAll([mask.allowed, reach, filled]),
    merged,
    inspected: call.wanted[3] === true,
    ...(round && { round }),
  });
  const kinds: readonly (keyof Attended)[] = ["scores", "capped", "logits", "probabilities"];
  const kind = kinds[call.int("qk_matmul_output_mode", 0)] ??
    call.fail("qk_matmul_output_mode must be 0, 1, 2 or 3");
  return [attended.output, presentKey, presentValue, attended[kind]];
}

/** Attention whose logits and probabilities pass through graphs. */
function lowerFlexible(call: OpCall): Operand[] {
  const [query, key, value] = [0, 1, 2].map((i) => headsOf(call.input(i), null)) as [
    Heads,
    Heads,
    Heads,
  ];
  const through = (name: string) => (tensor: Operand): Operand =>
    call.graph(name, [tensor])?.[0] ?? tensor;
  const isModified = call.has("score_mod") || call.has("prob_mod");
  const attended = attend(call, query, key, value, {
    dtype: call.input(0).dtype,
    scale: scaleOf(call, query.size),
    merged: false,
    ...(isModified && {
      modified: { logits: through("score_mod"), probabilities: through("prob_mod") },
    }),
  });
  return [attended.output];
}

/** Records of Attention and FlexAttention. */
export const ATTENTION_OPS: readonly OpRecord[] = [
  { name: "Attention", domain: "", since: 25, lower },
  { name: "FlexAttention", domain: "ai.onnx.preview", since: 1, lower: lowerFlexible },
];
