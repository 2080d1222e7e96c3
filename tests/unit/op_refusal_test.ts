/**
 * Forms of ops that aren't compiled are refused by a sentence that names the op, the node and what it
 * is: none is passed over.
 */
import assert from "node:assert/strict";
import { Lowering } from "../../src/codegen/lower.ts";
import type { DType } from "../../src/dtype.ts";
import { InputError } from "../../src/error.ts";
import {
  type Attribute,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeValueInfo,
  NOTHING_CARRIED,
} from "../../src/ir.ts";
import { float, text } from "../attributes.ts";

/** An input: its type and extents; null where it is left out. */
type Given = readonly [dtype: DType, ...dims: number[]] | null;

function lower(
  op: string,
  domain: string,
  inputs: readonly Given[],
  attributes: readonly Attribute[],
  outputs: number,
): void {
  const names = inputs.map((input, i) => input === null ? "" : `i${i}`);
  const results = Array.from({ length: outputs }, (_, i) => `o${i}`);
  const graph = makeGraph("one", {
    nodes: [makeNode(op, domain, names, results, [...attributes], "the node")],
    inputs: inputs.flatMap((input, i) => {
      if (input === null) return [];
      const [dtype, ...dims] = input;
      return [makeValueInfo(names[i]!, dtype, dims)];
    }),
    outputs: results.map((name) => makeValueInfo(name, "float32", null)),
  });
  const opsets = new Map([["", 28], ["com.microsoft", 1]]);
  new Lowering(makeModel("one.onnx", 14, opsets, graph), new Map()).run();
}

const MICROSOFT = "com.microsoft";
const rows: Given = ["float32", 1, 3, 8];
const cache: Given = ["float32", 1, 2, 4, 4];
const grouped: readonly Given[] = [rows, rows, rows, cache, cache, ["int32", 1], ["int32", 1]];
const groups = [int("num_heads", 2), int("kv_num_heads", 2)];
const blocks: readonly Given[] = [["float32", 2, 32], ["uint8", 4, 2, 8], ["float32", 4, 2]];
const sizes = [int("K", 32), int("N", 4), int("block_size", 16)];
const linear: readonly Given[] = [rows, rows, rows];

/** An op, inputs, attributes, and what the sentence says. */
const CASES: readonly (readonly [
  op: string,
  domain: string,
  inputs: readonly Given[],
  attributes: readonly Attribute[],
  reason: RegExp,
  outputs?: number,
])[] = [
  [
    "GroupQueryAttention",
    MICROSOFT,
    grouped,
    [...groups, int("sliding_window_cache", 1)],
    /"sliding_window_cache" isn't compiled/,
  ],
  [
    "GroupQueryAttention",
    MICROSOFT,
    grouped,
    [...groups, text("k_quant_type", "PER_TENSOR")],
    /"k_quant_type" isn't compiled/,
  ],
  [
    "GroupQueryAttention",
    MICROSOFT,
    [...grouped, ...Array<null>(9).fill(null), ["int32", 1]],
    groups,
    /input 16 isn't compiled/,
  ],
  [
    "GroupQueryAttention",
    MICROSOFT,
    grouped,
    [...groups, int("qk_output", 1)],
    /output of scores isn't compiled/,
    4,
  ],
  ["GroupQueryAttention", MICROSOFT, grouped, [], /num_heads must be 1 or more/],
  [
    "MultiHeadAttention",
    MICROSOFT,
    [rows, rows, rows, null, null, null, cache, cache, ["int32", 1]],
    [int("num_heads", 2)],
    /input 8 isn't compiled/,
  ],
  [
    "Attention",
    MICROSOFT,
    [rows, ["float32", 8, 24]],
    [int("num_heads", 2), int("do_rotary", 1)],
    /"do_rotary" isn't compiled/,
  ],
  ["Attention", MICROSOFT, [rows, ["float32", 8, 24]], [
    int("num_heads", 2),
    int("past_present_share_buffer", 1),
  ], /"past_present_share_buffer" isn't compiled/],
  [
    "Attention",
    MICROSOFT,
    [rows, ["float32", 8, 24], null, ["int32", 7]],
    [int("num_heads", 2)],
    /mask has as many lengths as no form/,
  ],
  ["RotaryEmbedding", MICROSOFT, [rows, ["int64", 1, 3], ["float32", 9, 2], ["float32", 9, 2]], [
    float("scale", 2),
  ], /a scale other than 1 isn't compiled/],
  ["MatMulNBits", MICROSOFT, blocks, [...sizes, int("bits", 5)], /codes of 5 bits aren't read/],
  [
    "MatMulNBits",
    MICROSOFT,
    blocks,
    [...sizes, int("weight_prepacked", 1)],
    /packed for another device/,
  ],
  [
    "CausalConvWithState",
    MICROSOFT,
    [rows, ["float32", 3, 1, 2]],
    [int("dilation", 2)],
    /dilation or ndim other than 1 isn't compiled/,
  ],
  [
    "CausalConvWithState",
    MICROSOFT,
    [rows, ["float32", 3, 1, 2]],
    [int("channels_last", 1)],
    /"channels_last" isn't compiled/,
  ],
  ["LinearAttention", MICROSOFT, linear, [
    int("q_num_heads", 2),
    int("kv_num_heads", 2),
    int("state_window", 2),
  ], /"state_window" isn't compiled/],
  [
    "SwiGLU",
    MICROSOFT,
    [rows],
    [int("round_activation", 1)],
    /a rounded activation isn't compiled/,
  ],
  ["MatMulBnb4", MICROSOFT, [["float32", 2, 32], ["uint8", 64], ["float32", 8]], [
    ...sizes,
    int("quant_type", 2),
  ], /quant_type is not 0 or 1/],
  ["TfIdfVectorizer", "", [["int32", 5]], [{
    name: "pool_strings",
    value: { type: "strings", value: [] },
    carried: NOTHING_CARRIED,
  }], /text is no tensor of numbers/],
  ["TfIdfVectorizer", "", [["int32", 5]], [
    ints("pool_int64s", [1]),
    ints("ngram_counts", [0]),
    ints("ngram_indexes", [2 ** 40]),
  ], /result has 1099511627777 columns/],
  ["TfIdfVectorizer", "", [["int32", 5]], [
    ints("pool_int64s", [1, 2]),
    ints("ngram_counts", [0]),
    ints("ngram_indexes", [0, 0]),
  ], /column 0 counts several n-grams/],
  ["BitCast", "", [["float64", 2]], [int("to", 7)], /the bits of float64 are not kept/],
  ["ImageDecoder", "", [["uint8", 9]], [], /ImageDecoder isn't compiled/],
];

for (const [op, domain, inputs, attributes, reason, outputs = 1] of CASES) {
  Deno.test(`${op} is refused: ${reason.source}`, () => {
    assert.throws(() => lower(op, domain, inputs, attributes, outputs), (error) => {
      assert.ok(error instanceof InputError, String(error));
      assert.match(error.message, new RegExp(`^Cannot compile ${op} "the node" of "one.onnx": `));
      assert.match(error.message, reason);
      return true;
    });
  });
}
