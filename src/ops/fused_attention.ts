/**
 * The attention ops of com.microsoft: Attention, MultiHeadAttention and GroupQueryAttention, as
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md describes them.
 */
import { divide, maximum } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  integer,
  multiply,
  ONE,
  scaled,
  subtract,
  ZERO,
} from "../expr/integer.ts";
import {
  apply,
  convert,
  extentOf,
  fromInteger,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { float, plus } from "./arithmetic.ts";
import { maskAt } from "./attention.ts";
import { contract } from "./contraction.ts";
import { equal } from "./extents.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { anglesOf, rotated, rowsOf } from "./rotary.ts";
import {
  allowedByAll,
  attend,
  type Heads,
  headsOf,
  type Pair,
  scaleOf,
  withinReach,
  withPast,
} from "./scaled_attention.ts";

/** Heads in `tensor` (N, positions, width), which begin at `start` of each row, plus `bias`. */
function headsIn(
  tensor: Operand,
  heads: Integer,
  size: Integer,
  start: Integer,
  bias: Operand | null = null,
): Heads {
  return {
    batch: tensor.dims[0]!,
    heads,
    length: tensor.dims[1]!,
    size,
    at: (sample, head, position, element) => {
      const place = add(start, multiply(head, size), element);
      const value = tensor.at([sample, position, place]);
      return bias === null ? value : plus(value, bias.at([place]));
    },
  };
}

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

const isZero = (value: Value): Value => apply("equal", convert("i32", value), fromInteger(ZERO));

/** What a mask of lengths or of flags adds to the logits: 0 or `filter`. */
function paddingBias(
  call: OpCall,
  mask: Operand | null,
  batch: Integer,
  past: Integer,
  filter: number,
): Pair | null {
  if (mask === null) return null;
  const added = (masked: Value): Value => select(masked, float(filter), float(0));
  const beyond = (value: Value, key: Integer): Value =>
    apply("greaterOrEqual", fromInteger(key), convert("i32", value));
  switch (mask.dims.length) {
    case 1: {
      const [count, samples] = [mask.dims[0]!, batch];
      if (count === samples) return (n, _h, _i, key) => added(beyond(mask.at([n]), key));
      if (count === scaled(samples, 2)) {
        return (n, _h, _i, key) => {
          const first = mask.at([add(n, samples)]);
          const before = apply("not", beyond(first, key));
          return added(apply("or", beyond(mask.at([n]), key), before));
        };
      }
      return call.fail("its mask of cumulated lengths isn't compiled");
    }
    case 2:
      return (n, _h, _i, key) => added(isZero(mask.at([n, key])));
    case 3:
      return (n, _h, i, key) => added(isZero(mask.at([n, i, key])));
    case 4:
      return (n, _h, i, key) => added(isZero(mask.at([n, ZERO, add(i, past), key])));
    default:
      return call.fail(`its mask has rank ${mask.dims.length}`);
  }
}

/** What all of `parts` add. */
function total(parts: readonly (Pair | null)[]): Pair | null {
  const held = parts.filter((part) => part !== null);
  if (held.length === 0) return null;
  return (...pair) => held.map((part) => part(...pair)).reduce((a, b) => plus(a, b));
}

/** An addend whose samples and heads may be shared. */
function addendOf(bias: Operand | null, dims: readonly Integer[]): Pair | null {
  return bias && maskAt(bias, dims, float(0));
}

function headCount(call: OpCall, name = "num_heads"): Integer {
  const count = call.int(name, 0);
  return count < 1 ? call.fail(`${name} must be 1 or more`) : integer(count);
}

/** Attention with the projections of queries, keys and values. */
function lowerAttention(call: OpCall): Operand[] {
  const [input, weight, bias] = [call.input(0), call.input(1), call.optional(2)];
  const [mask, past] = [call.optional(3), call.optional(4)];
  if (call.int("do_rotary", 0) !== 0) call.fail("its rotary embedding isn't compiled");
  if (call.int("past_present_share_buffer", 0) !== 0) call.fail("a shared buffer isn't compiled");
  const heads = headCount(call);
  const [batch, length, depth] = input.dims as [Integer, Integer, Integer];
  const width = weight.dims[1]!;
  const third = extentOf(divide(width, integer(3)));
  const sizes = call.ints("qkv_hidden_sizes")?.map(integer) ?? [third, third, third];
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
    withPast(call, input.dtype, key, half(0)),
    withPast(call, input.dtype, value, half(1)),
  ];
  const before = past?.dims[3] ?? ZERO;
  const attended = attend(call, query, headsOf(keys, null), headsOf(values, null), {
    dtype: input.dtype,
    scale: scaleOf(call, query.size),
    bias: total([
      paddingBias(call, mask, batch, before, call.float("mask_filter_value", -10000)),
      addendOf(call.optional(5), [batch, heads, length, keys.dims[2]!]),
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
    input.dtype,
    [integer(2), ...keys.dims],
    ([which, ...rest]) => select(equal(which!, ZERO), keys.at(rest), values.at(rest)),
  );
  return [attended.output, present];
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
  const heads = headCount(call);
  const given = headsOfInputs(call, heads);
  const isBiased = call.optional(3) !== null;
  // Many threads read each element: what is added to it is added once.
  const [query, key, value] = given.map((part) =>
    isBiased ? stored(call, call.input(0), part) : part
  ) as [Heads, Heads, Heads];
  const [pastKey, pastValue] = [call.optional(6), call.optional(7)];
  if (call.optional(8) !== null) call.fail("a past of unused positions isn't compiled");
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

/**
 * GroupQueryAttention: causal, with a cache that holds `seqlens_k[n] + 1` keys of sample n after this
 * call, of which the last are the new ones; at the first call all are new.
 */
function lowerGroupQuery(call: OpCall): Operand[] {
  const [heads, groups] = [headCount(call), headCount(call, "kv_num_heads")];
  const [packed, key, value] = [call.input(0), call.optional(1), call.optional(2)];
  const [pastKey, pastValue] = [call.optional(3), call.optional(4)];
  for (const name of ["k_quant_type", "v_quant_type"]) {
    if (!["", "NONE"].includes(call.string(name, ""))) {
      call.fail("a quantized cache isn't compiled");
    }
  }
  const [batch, length] = packed.dims as [Integer, Integer];
  const size = extentOf(
    key === null
      ? divide(packed.dims[2]!, add(heads, scaled(groups, 2)))
      : divide(packed.dims[2]!, heads),
  );
  const own = multiply(heads, size);
  const query = headsIn(packed, heads, size, ZERO);
  const newKey = key === null ? headsIn(packed, groups, size, own) : headsOf(key, groups);
  const newValue = key === null
    ? headsIn(packed, groups, size, add(own, multiply(groups, size)))
    : headsOf(value ?? call.fail("its values are missing"), groups);
  const lengths = call.input(5);
  const whole = call.integers(6)[0] ?? call.fail("total_sequence_length is missing");
  const lengthAt = lengths.dims.length === 2
    ? (sample: Integer): Value => lengths.at([sample, ZERO])
    : (sample: Integer): Value => lengths.at([sample]);
  const isFirst = equal(length, whole);
  /** Keys of a sample in the cache before this call. */
  const before = (sample: Integer): Integer =>
    toInteger(select(
      isFirst,
      fromInteger(ZERO),
      fromInteger(subtract(add(toInteger(lengthAt(sample)), ONE), length)),
    ));
  const buffer = pastKey?.dims[2] ?? ZERO;
  const held = extentOf(asNumber(buffer) === 0 ? whole : maximum(buffer, whole));
  let turnedQuery = query;
  let turnedKey = newKey;
  if (call.int("do_rotary", 0) !== 0) {
    const [cosines, sines, positions] = [call.input(7), call.input(8), call.optional(9)];
    const row = positions === null
      ? (sample: Integer, position: Integer): Integer => add(before(sample), position)
      : rowsOf(positions);
    const rotation = {
      cosine: anglesOf(cosines, row),
      sine: anglesOf(sines, row),
      interleaved: call.int("rotary_interleaved", 0) !== 0,
      size: scaled(cosines.dims[1]!, 2),
    };
    turnedQuery = stored(call, packed, rotated(query, rotation));
    turnedKey = rotated(newKey, rotation);
  }
  const cache = (past: Operand | null, given: Heads): Operand =>
    call.stored(operand(
      packed.dtype,
      [batch, groups, held, given.size],
      ([n, head, position, element]) => {
        const place = subtract(position!, before(n!));
        const isOld = apply("less", fromInteger(place), fromInteger(ZERO));
        const old = past === null ? float(0) : past.at([n!, head!, position!, element!]);
        const isNew = apply("less", fromInteger(place), fromInteger(length));
        const added = select(isNew, given.at(n!, head!, place, element!), float(0));
        return select(isOld, old, added);
      },
    ));
  const [keys, values] = [cache(pastKey, turnedKey), cache(pastValue, newValue)];
  const sinks = call.optional(11);
  const smooth = call.int("smooth_softmax", 0) === 1;
  const attended = attend(call, turnedQuery, headsOf(keys, null), headsOf(values, null), {
    dtype: packed.dtype,
    scale: scaleOf(call, size),
    softcap: call.float("softcap", 0),
    bias: addendOf(call.optional(10), [batch, heads, length, held]),
    allowed: allowedByAll([
      withinReach({
        causal: true,
        // The window holds the query's own key too.
        left: Math.max(call.int("local_window_size", -1) - 1, -1),
        right: -1,
        offset: before,
      }),
    ]),
    sink: sinks !== null ? (head) => sinks.at([head]) : smooth ? () => float(0) : null,
    merged: true,
  });
  return [attended.output, keys, values];
}

/** `heads` as a tensor of their own. */
function stored(call: OpCall, like: Operand, heads: Heads): Heads {
  return headsOf(
    call.stored(operand(
      like.dtype,
      [heads.batch, heads.heads, heads.length, heads.size],
      ([n, head, position, element]) => heads.at(n!, head!, position!, element!),
    )),
    null,
  );
}

const row = (
  name: string,
  lower: OpRecord["lower"],
  hostInputs?: readonly number[],
): OpRecord => ({
  name,
  domain: "com.microsoft",
  since: 1,
  ...(hostInputs && { hostInputs }),
  lower,
});

/** Records of com.microsoft's attention ops. */
export const FUSED_ATTENTION_OPS: readonly OpRecord[] = [
  row("Attention", lowerAttention),
  row("GroupQueryAttention", lowerGroupQuery, [6]),
  row("MultiHeadAttention", lowerMultiHead),
];
