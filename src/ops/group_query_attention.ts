/**
 * GroupQueryAttention of com.microsoft, the attention of decoders that ONNX Runtime's tools write
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
 */
import { divide, maximum } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  multiply,
  ONE,
  scaled,
  subtract,
  ZERO,
} from "../expr/integer.ts";
import { apply, extentOf, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { float } from "./arithmetic.ts";
import { addendOf, headCount, headsIn, stored } from "./attention_inputs.ts";
import { equal } from "./extents.ts";
import { rmsNormalization } from "./normalization.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { refuseOthers } from "./refusal.ts";
import { anglesOf, rotated, rowsOf } from "./rotary.ts";
import {
  allowedByAll,
  attend,
  type Heads,
  headsOf,
  scaleOf,
  withinReach,
} from "./scaled_attention.ts";

/** Attributes that are compiled, or that others decide over. */
const ATTRIBUTES = [
  "num_heads",
  "kv_num_heads",
  "do_rotary",
  "rotary_interleaved",
  "local_window_size",
  "softcap",
  "smooth_softmax",
  "scale",
  "causal",
  "qk_output",
  "qk_norm_epsilon",
  "q_norm_epsilon",
  "k_norm_epsilon",
  "kv_cache_bit_width",
];

/** `heads` normalized by their root mean square and scaled by input `i`, where that is given. */
function normalized(
  call: OpCall,
  like: Operand,
  heads: Heads,
  i: number,
  epsilonName: string,
): Heads {
  const weight = call.optional(i);
  if (weight === null) return heads;
  const epsilon = call.float(epsilonName, call.float("qk_norm_epsilon", 1e-6));
  const given = stored(call, like, heads);
  const vectors = operand(
    like.dtype,
    [given.batch, given.heads, given.length, given.size],
    ([n, head, position, element]) => given.at(n!, head!, position!, element!),
  );
  return headsOf(call.stored(rmsNormalization(vectors, 3, epsilon, weight).normalized), null);
}

/**
 * GroupQueryAttention: causal, with a cache that holds `seqlens_k[n] + 1` keys of sample n after this
 * call, of which the last are the new ones; at the first call all are new.
 */
function lowerGroupQuery(call: OpCall): Operand[] {
  const [heads, groups] = [headCount(call), headCount(call, "kv_num_heads")];
  const [packed, key, value] = [call.input(0), call.optional(1), call.optional(2)];
  const [pastKey, pastValue] = [call.optional(3), call.optional(4)];
  refuseOthers(call, ATTRIBUTES, 16);
  if (call.wanted[3] === true) call.fail("its output of scores isn't compiled");
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
  let turnedQuery = normalized(call, packed, query, 14, "q_norm_epsilon");
  let turnedKey = normalized(call, packed, newKey, 15, "k_norm_epsilon");
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
    turnedQuery = stored(call, packed, rotated(turnedQuery, rotation));
    turnedKey = rotated(turnedKey, rotation);
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
        causal: call.int("causal", 1) !== 0,
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

/** The record of GroupQueryAttention. */
export const GROUP_QUERY_ATTENTION_OPS: readonly OpRecord[] = [
  {
    name: "GroupQueryAttention",
    domain: "com.microsoft",
    since: 1,
    hostInputs: [6],
    lower: lowerGroupQuery,
  },
];
