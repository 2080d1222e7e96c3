/** LinearAttention (https://onnx.ai/onnx/operators/onnx__LinearAttention.html). */

import { add, asNumber, type Integer, integer, multiply, ONE, ZERO } from "../expr/integer.ts";
import { extentOf, type Value } from "../expr/value.ts";
import { float, times } from "./arithmetic.ts";
import type { OpCall, Operand, OpRecord } from "./op.ts";
import { refuseOthers } from "./refusal.ts";
import { headsOf, scaleOf } from "./scaled_attention.ts";

/** Decays by (sample, step, head, element of the key), whether they have one for each or a head. */
function decayOf(
  call: OpCall,
  decay: Operand,
  heads: Integer,
  size: Integer,
): (indices: readonly Integer[]) => Value {
  const width = decay.dims[2]!;
  if (width === heads) return ([n, time, head]) => decay.at([n!, time!, head!]);
  if (width !== multiply(heads, size)) {
    call.fail("its decays are neither one a head nor one an element of a key");
  }
  return ([n, time, head, d]) => decay.at([n!, time!, add(multiply(head!, size), d!)]);
}

function lower(call: OpCall): Operand[] {
  const [queries, readers] = [call.int("q_num_heads", 0), call.int("kv_num_heads", 0)];
  if (queries < 1 || readers < 1 || queries % readers !== 0) {
    call.fail(`q_num_heads ${queries} is no multiple of kv_num_heads ${readers}`);
  }
  const rule = call.string("update_rule", "gated_delta");
  if (!["linear", "gated", "delta", "gated_delta"].includes(rule)) {
    call.fail(`the update_rule "${rule}" is none that ONNX has`);
  }
  const [gated, delta] = [rule.startsWith("gated"), rule.endsWith("delta")];
  const heads = integer(readers);
  const query = headsOf(call.input(0), integer(queries));
  const key = headsOf(call.input(1), heads);
  const value = headsOf(call.input(2), heads);
  const size = asNumber(query.size);
  if (size === null) return call.fail("the size of its keys is not known");
  const [past, decay, rate] = [
    call.optional(3),
    gated ? call.input(4) : null,
    delta ? call.input(5) : null,
  ];
  const { dtype } = call.input(0);
  const scale = scaleOf(call, query.size);
  const decays = decay && decayOf(call, decay, heads, query.size);
  const { store_output, store_state } = call.kernel({
    core: "linear_attention",
    sizes: {
      batches: query.batch,
      heads,
      sharing: integer(queries / readers),
      steps: query.length,
      value_size: value.size,
    },
    loads: {
      query: ([n, time, head, d]) => times(query.at(n!, head!, time!, d!), scale),
      key: ([n, time, head, d]) => key.at(n!, head!, time!, d!),
      value: ([n, time, head, column]) => value.at(n!, head!, time!, column!),
      decay: (indices) => decays?.(indices) ?? float(0),
      rate: ([n, time, head]) =>
        rate?.at([n!, time!, rate.dims[2] === ONE ? ZERO : head!]) ?? float(1),
      initial: (indices) => past?.at(indices) ?? float(0),
    },
    stores: {
      store_output: {
        dtype,
        dims: [query.batch, query.length, extentOf(multiply(integer(queries), value.size))],
        place: ([n, time, head, column]) => [
          n!,
          time!,
          add(multiply(head!, value.size), column!),
        ],
      },
      store_state: {
        dtype: past?.dtype ?? dtype,
        dims: [query.batch, heads, query.size, value.size],
        place: (indices) => indices,
      },
    },
    constants: { KEY_SIZE: size, GATED: gated ? 1 : 0, DELTA: delta ? 1 : 0 },
  });
  return [store_output, store_state];
}

/** com.microsoft's, of which what ONNX took over is compiled. */
function lowerMicrosoft(call: OpCall): Operand[] {
  const attributes = ["q_num_heads", "kv_num_heads", "update_rule", "scale", "chunk_size"];
  refuseOthers(call, attributes, 6);
  return lower(call);
}

/** Records of LinearAttention. */
export const LINEAR_ATTENTION_OPS: readonly OpRecord[] = [
  { name: "LinearAttention", domain: "", since: 27, lower },
  { name: "LinearAttention", domain: "com.microsoft", since: 1, lower: lowerMicrosoft },
];
