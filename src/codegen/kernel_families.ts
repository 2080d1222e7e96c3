/** The table of all kernel files; `kernel_family.ts` says what its rows mean. */
import attention from "../../kernels/ops/attention.wgsl" with { type: "text" };
import convDepthwise from "../../kernels/ops/conv_depthwise.wgsl" with { type: "text" };
import convRegisters from "../../kernels/ops/conv_registers.wgsl" with { type: "text" };
import linearAttention from "../../kernels/ops/linear_attention.wgsl" with { type: "text" };
import scanGroups from "../../kernels/ops/scan_groups.wgsl" with { type: "text" };
import scanRows from "../../kernels/ops/scan_rows.wgsl" with { type: "text" };
import sortBitonic from "../../kernels/ops/sort_bitonic.wgsl" with { type: "text" };
import sortRanks from "../../kernels/ops/sort_ranks.wgsl" with { type: "text" };
import type { Family } from "./kernel_family.ts";
import { MATMUL } from "./kernel_matmul.ts";
import { GRU, LSTM, RNN } from "./kernel_recurrent.ts";

/** Workgroups of a convolution where a thread takes 4 elements of `channels` channels. */
function elementsOf(channels: number) {
  return {
    tiles: [
      ["batches", 1],
      ["groups_of_channels", 1],
      ["group_channels_out", channels],
      ["out_depth", 1],
      ["out_height", 1],
      ["out_width", 4],
    ],
    share: 64,
  } as const;
}

/**
 * Convolution over 3 axes (extents of 1 for those that are missing) with zeros around. One that fills
 * few of 4 neighbouring elements is better a matmul of gathered elements, as are those that no
 * variant is limited to on hardware, which has tiles for that.
 */
const CONV: Family = {
  name: "conv",
  sizes: [
    "batches",
    "groups_of_channels",
    "group_channels_out",
    "group_channels_in",
    "out_depth",
    "out_height",
    "out_width",
    "in_depth",
    "in_height",
    "in_width",
    "pad_depth",
    "pad_height",
    "pad_width",
  ],
  loads: [
    { name: "x", indices: ["batch", "channel", "z", "y", "x"] },
    { name: "w", indices: ["channel_out", "channel_in", "kz", "ky", "kx"] },
  ],
  stores: [{ name: "store", indices: ["batch", "channel", "z", "y", "x"] }],
  constants: {
    KERNEL_DEPTH: "i32",
    KERNEL_HEIGHT: "i32",
    KERNEL_WIDTH: "i32",
    STRIDE_DEPTH: "i32",
    STRIDE_HEIGHT: "i32",
    STRIDE_WIDTH: "i32",
    DILATION_DEPTH: "i32",
    DILATION_HEIGHT: "i32",
    DILATION_WIDTH: "i32",
  },
  functions: {},
  extents: { batch: "batches", channel_in: "group_channels_in" },
  variants: [
    {
      name: "conv_depthwise",
      file: "conv_depthwise",
      text: convDepthwise,
      loads: ["x", "w"],
      vectors: [],
      overrides: { THREADS: 64 },
      groups: elementsOf(1),
      limits: [{ size: "group_channels_out", is: "at most", number: 2 }],
      adapter: "any",
      workgroupBytes: 0,
    },
    {
      name: "conv_registers",
      file: "conv_registers",
      text: convRegisters,
      loads: ["x", "w"],
      vectors: [],
      overrides: { THREADS: 64 },
      groups: elementsOf(4),
      limits: [
        { size: "group_channels_in", is: "at least", number: 4 },
        { size: "out_width", is: "at least", number: 4 },
      ],
      adapter: "software",
      workgroupBytes: 0,
    },
  ],
};

/**
 * result[batch, head, query] = sum over key of p[key] * v[batch, head, key], where p is the softmax
 * over keys of adjusted(q[batch, head, query] . k[batch, head, key]) + mask(batch, head, query, key),
 * or of the mask alone where replaced(batch, head, query, key) is not 0.
 */
const ATTENTION: Family = {
  name: "attention",
  sizes: ["batches", "heads", "queries", "keys"],
  loads: [
    { name: "q", indices: ["batch", "head", "query", "d"] },
    { name: "k", indices: ["batch", "head", "key", "d"] },
    { name: "v", indices: ["batch", "head", "key", "d"] },
    { name: "mask", indices: ["batch", "head", "query", "key"] },
    { name: "replaced", indices: ["batch", "head", "query", "key"] },
  ],
  stores: [{ name: "store", indices: ["batch", "head", "query", "d"] }],
  constants: { HEAD_SIZE: "i32", VALUE_SIZE: "i32", UNDEFINED_ROWS: "i32" },
  functions: { adjusted: 1 },
  extents: { batch: "batches", head: "heads", query: "queries", key: "keys" },
  variants: [
    {
      name: "attention",
      file: "attention",
      text: attention,
      loads: ["q", "k", "mask", "replaced"],
      vectors: [
        { name: "q4", of: "q", along: 3 },
        { name: "k4", of: "k", along: 3 },
        { name: "v4", of: "v", along: 3 },
      ],
      overrides: { THREADS: 64 },
      groups: { tiles: [["batches", 1], ["heads", 1], ["queries", 4]], share: 64 },
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    },
  ],
};

/**
 * The indices of the `kept` first elements of each row, ordered by `key` and then by index. Numbers
 * become keys by their bits: a float's with the sign bit flipped where it is 0, else all bits; the
 * complement of that for the greatest first. The key of a NaN is the header's choice.
 */
const SORT: Family = {
  name: "sort",
  sizes: ["rows", "length", "kept"],
  loads: [{ name: "key", type: "u32", indices: ["row", "i"] }],
  stores: [{ name: "store", type: "i32", indices: ["row", "rank"] }],
  constants: {},
  functions: {},
  extents: { row: "rows", i: "length", rank: "kept" },
  variants: [
    {
      name: "sort_bitonic",
      file: "sort_bitonic",
      text: sortBitonic,
      loads: ["key"],
      vectors: [],
      overrides: { THREADS: 64, CAPACITY: 2048 },
      groups: { tiles: [["rows", 1]], share: 1 },
      // Below that, counting does.
      limits: [
        { size: "length", is: "at least", number: 129 },
        { size: "length", is: "at most", number: 2048 },
      ],
      // SwiftShader takes seconds to compile so much workgroup memory.
      adapter: "hardware",
      workgroupBytes: 16384,
    },
    {
      name: "sort_ranks",
      file: "sort_ranks",
      text: sortRanks,
      loads: ["key"],
      vectors: [],
      overrides: { THREADS: 64 },
      groups: { tiles: [["rows", 1], ["length", 1]], share: 64 },
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    },
  ],
};

/** What `combined` makes of each element and those before it, along rows. */
const SCAN: Family = {
  name: "scan",
  sizes: ["rows", "length"],
  loads: [{ name: "x", type: "Element", indices: ["row", "i"] }],
  stores: [{ name: "store", type: "Element", indices: ["row", "i"] }],
  constants: { EXCLUSIVE: "i32", REVERSE: "i32" },
  functions: { combined: 2, neutral: 0 },
  extents: { row: "rows", i: "length" },
  variants: [
    {
      name: "scan_groups",
      file: "scan_groups",
      text: scanGroups,
      loads: ["x"],
      vectors: [],
      overrides: { THREADS: 64 },
      groups: { tiles: [["rows", 1]], share: 1 },
      limits: [
        { size: "rows", is: "at most", number: 1024 },
        { size: "length", is: "at least", number: 256 },
      ],
      adapter: "hardware",
      workgroupBytes: 256,
    },
    {
      name: "scan_rows",
      file: "scan_rows",
      text: scanRows,
      loads: ["x"],
      vectors: [],
      overrides: { THREADS: 64 },
      groups: { tiles: [["rows", 1]], share: 64 },
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    },
  ],
};

/** https://onnx.ai/onnx/operators/onnx__LinearAttention.html; the scale is part of `query`. */
const LINEAR_ATTENTION: Family = {
  name: "linear_attention",
  sizes: ["batches", "heads", "sharing", "steps", "value_size"],
  loads: [
    { name: "query", indices: ["batch", "time", "query_head", "d"] },
    { name: "key", indices: ["batch", "time", "head", "d"] },
    { name: "value", indices: ["batch", "time", "head", "column"] },
    { name: "decay", indices: ["batch", "time", "head", "d"] },
    { name: "rate", indices: ["batch", "time", "head"] },
    { name: "initial", indices: ["batch", "head", "d", "column"] },
  ],
  stores: [
    { name: "store_output", indices: ["batch", "time", "query_head", "column"] },
    { name: "store_state", indices: ["batch", "head", "d", "column"] },
  ],
  constants: { KEY_SIZE: "i32", GATED: "i32", DELTA: "i32" },
  functions: {},
  extents: { batch: "batches", head: "heads", time: "steps", column: "value_size" },
  variants: [{
    name: "linear_attention",
    file: "linear_attention",
    text: linearAttention,
    loads: ["query", "key", "value", "decay", "rate", "initial"],
    vectors: [],
    overrides: { THREADS: 64 },
    groups: { tiles: [["batches", 1], ["heads", 1], ["value_size", 1]], share: 64 },
    limits: [],
    adapter: "any",
    workgroupBytes: 0,
  }],
};

/** Every family. */
export const FAMILIES: readonly Family[] = [
  MATMUL,
  CONV,
  ATTENTION,
  LSTM,
  GRU,
  RNN,
  LINEAR_ATTENTION,
  SORT,
  SCAN,
];

/** The family `name`. Throws an `Error` for a name that is none. */
export function familyOf(name: string): Family {
  const family = FAMILIES.find((entry) => entry.name === name);
  if (family === undefined) throw new Error(`no kernel family "${name}"`);
  return family;
}
