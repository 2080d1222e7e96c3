/**
 * Calls of operators that are whole layers, attention, recurrence, convolution and pooling, in forms
 * that ONNX's own tests lack, to compare with ONNX Runtime.
 */
import { int, ints } from "../src/ir.ts";
import {
  call,
  fixed,
  float,
  type Given,
  given,
  type OpCase,
  some,
  text,
  whole,
} from "./microsoft_ops.ts";

/** Two samples of 5 positions, 3 heads of 4. */
const rows = (): Given => some("float32", 2, 5, 12);
const heads = int("num_heads", 3);

function attention(
  name: string,
  more: readonly (Given | null)[],
  attributes = [heads],
  outputs = 1,
): OpCase {
  return call(
    `Attention, ${name}`,
    "Attention",
    [rows(), some("float32", 12, 36), some("float32", 36), ...more],
    [["float32", 3], ...(outputs > 1 ? [["float32", 5] as const] : [])],
    attributes,
  );
}

function multiHead(name: string, more: readonly (Given | null)[], attributes = [heads]): OpCase {
  return call(
    `MultiHeadAttention, ${name}`,
    "MultiHeadAttention",
    [rows(), some("float32", 2, 7, 12), some("float32", 2, 7, 12), ...more],
    [["float32", 3]],
    attributes,
  );
}

/** 4 heads of queries and 2 of keys, of 16; `lengths` are those of the cache, less 1. */
function groupQuery(
  name: string,
  [length, past, total]: readonly [number, number, number],
  lengths: readonly number[],
  attributes = [int("local_window_size", -1)],
): OpCase {
  return call(
    `GroupQueryAttention, ${name}`,
    "GroupQueryAttention",
    [
      some("float32", 2, length, 64),
      some("float32", 2, length, 32),
      some("float32", 2, length, 32),
      some("float32", 2, 2, past, 16),
      some("float32", 2, 2, past, 16),
      given("int32", [2], lengths),
      given("int32", [1], [total]),
      fixed(some("float32", 32, 8)),
      fixed(some("float32", 32, 8)),
    ],
    [["float32", 3], ["float32", 4], ["float32", 4]],
    [int("num_heads", 4), int("kv_num_heads", 2), ...attributes],
  );
}

/** An LSTM of 6 steps, 3 samples, 4 inputs and 5 units, with all that it can have. */
const lstm = (name: string, attributes: Parameters<typeof call>[4]): OpCase =>
  call(
    `LSTM, ${name}`,
    "LSTM",
    [
      some("float32", 6, 3, 4),
      some("float32", 2, 20, 4),
      some("float32", 2, 20, 5),
      some("float32", 2, 40),
      given("int32", [3], [6, 3, 1]),
      some("float32", 2, 3, 5),
      some("float32", 2, 3, 5),
      some("float32", 2, 15),
    ],
    [["float32", 4], ["float32", 3], ["float32", 3]],
    [int("hidden_size", 5), text("direction", "bidirectional"), ...attributes ?? []],
    "",
  );

/** Sums along `axis`, which is an input of the model where it is no constant. */
function cumulated(x: Given, axis: Given, attributes: Parameters<typeof call>[4] = []): OpCase {
  const how = attributes.map(({ name }) => `, ${name}`).join("");
  const type = [x.dtype, x.dims.length] as const;
  return call(
    `CumSum of ${x.dtype} [${x.dims}]${how}`,
    "CumSum",
    [x, axis],
    [type],
    attributes,
    "",
  );
}

const along = (axis: number): Given => given("int64", [], [axis]);

/** Every call. */
export const LAYER_CASES: readonly OpCase[] = [
  attention("causal", [], [heads, int("unidirectional", 1)]),
  attention("flags of keys", [given("int32", [2, 5], [1, 1, 1, 0, 0, 1, 1, 1, 1, 1])]),
  attention("lengths", [given("int32", [2], [3, 5])]),
  attention("a past", [null, some("float32", 2, 2, 3, 3, 4)], [heads, int("unidirectional", 1)], 2),
  attention("a bias", [null, null, some("float32", 1, 3, 5, 5)]),
  multiHead("a bias of the projections", [some("float32", 36)]),
  multiHead("padding", [null, given("int32", [2], [7, 4])]),
  multiHead("a bias of the scores", [null, null, some("float32", 1, 3, 5, 7)]),
  groupQuery("a prompt", [5, 0, 5], [4, 4], [int("do_rotary", 1)]),
  groupQuery("a step, caches of two lengths", [1, 6, 7], [4, 6], [int("do_rotary", 1)]),
  groupQuery("a window", [9, 0, 9], [8, 8], [int("local_window_size", 3)]),
  groupQuery("a soft cap", [5, 0, 5], [4, 4], [float("softcap", 2)]),
  lstm("peepholes and lengths", []),
  lstm("a clip", [float("clip", 0.5)]),
  call(
    "GRU, linear before reset",
    "GRU",
    [
      some("float32", 6, 3, 4),
      some("float32", 2, 15, 4),
      some("float32", 2, 15, 5),
      some("float32", 2, 30),
      given("int32", [3], [2, 6, 5]),
      some("float32", 2, 3, 5),
    ],
    [["float32", 4], ["float32", 3]],
    [int("hidden_size", 5), text("direction", "bidirectional"), int("linear_before_reset", 1)],
    "",
  ),
  cumulated(some("float32", 2000), fixed(along(0))),
  cumulated(whole("int32", [3, 700, 2], -9, 9), fixed(along(1)), [int("exclusive", 1)]),
  cumulated(whole("int64", [5, 300], -99, 99), along(-1), [int("reverse", 1)]),
  cumulated(some("float32", 70, 4), along(0), [int("exclusive", 1), int("reverse", 1)]),
  call(
    "Conv, groups",
    "Conv",
    [some("float32", 2, 16, 9, 7), some("float32", 12, 4, 3, 3), some("float32", 12)],
    [["float32", 4]],
    [int("group", 4), ints("pads", [1, 0, 1, 2]), ints("strides", [2, 1])],
    "",
  ),
  call(
    "Conv, three dimensions",
    "Conv",
    [some("float32", 1, 4, 5, 6, 7), some("float32", 5, 4, 2, 3, 2)],
    [["float32", 5]],
    [text("auto_pad", "SAME_LOWER"), ints("strides", [1, 2, 1])],
    "",
  ),
  call(
    "ConvTranspose, groups",
    "ConvTranspose",
    [some("float32", 2, 6, 5, 4), some("float32", 6, 2, 3, 3), some("float32", 6)],
    [["float32", 4]],
    [
      int("group", 3),
      ints("strides", [2, 3]),
      ints("pads", [1, 0, 0, 1]),
      ints("output_padding", [1, 2]),
    ],
    "",
  ),
  call(
    "MaxPool, indices by columns",
    "MaxPool",
    [some("float32", 2, 3, 9, 8)],
    [["float32", 4], ["int64", 4]],
    [ints("kernel_shape", [3, 2]), ints("strides", [2, 2]), int("storage_order", 1)],
    "",
  ),
];
