/** The rows of the table of kernel files; `kernels.ts` says what they mean. */
import attention from "../../kernels/ops/attention.wgsl" with { type: "text" };
import convDepthwise from "../../kernels/ops/conv_depthwise.wgsl" with { type: "text" };
import convRegisters from "../../kernels/ops/conv_registers.wgsl" with { type: "text" };
import gru from "../../kernels/ops/gru.wgsl" with { type: "text" };
import linearAttention from "../../kernels/ops/linear_attention.wgsl" with { type: "text" };
import lstm from "../../kernels/ops/lstm.wgsl" with { type: "text" };
import matmulLanes from "../../kernels/ops/matmul_lanes.wgsl" with { type: "text" };
import matmulLanesAlongK from "../../kernels/ops/matmul_lanes_along_k.wgsl" with { type: "text" };
import matmulRegisters from "../../kernels/ops/matmul_registers.wgsl" with { type: "text" };
import matmulRegistersAlongK from "../../kernels/ops/matmul_registers_along_k.wgsl" with {
  type: "text",
};
import matmulRow from "../../kernels/ops/matmul_row.wgsl" with { type: "text" };
import matmulRowAlongK from "../../kernels/ops/matmul_row_along_k.wgsl" with { type: "text" };
import matmulSplit from "../../kernels/ops/matmul_split.wgsl" with { type: "text" };
import matmulSplitAlongK from "../../kernels/ops/matmul_split_along_k.wgsl" with { type: "text" };
import matmulTiled from "../../kernels/ops/matmul_tiled.wgsl" with { type: "text" };
import matmulTiledAlongK from "../../kernels/ops/matmul_tiled_along_k.wgsl" with { type: "text" };
import matmulSum from "../../kernels/ops/matmul_sum.wgsl" with { type: "text" };
import rnn from "../../kernels/ops/rnn.wgsl" with { type: "text" };
import scanGroups from "../../kernels/ops/scan_groups.wgsl" with { type: "text" };
import scanRows from "../../kernels/ops/scan_rows.wgsl" with { type: "text" };
import sortBitonic from "../../kernels/ops/sort_bitonic.wgsl" with { type: "text" };
import sortRanks from "../../kernels/ops/sort_ranks.wgsl" with { type: "text" };
import type { Family, Hook, Variant, VectorHook } from "./kernels.ts";

const A4: VectorHook = { name: "a4", of: "a", along: 2 };
const B4: VectorHook = { name: "b4", of: "b", along: 2 };
const B4K: VectorHook = { name: "b4k", of: "b", along: 1 };

/** Both forms of a matmul kernel: b read along its columns, and along k. */
function bothWays(
  columns: string,
  alongK: string,
  row: Omit<Variant, "text" | "loads" | "vectors">,
): Variant[] {
  return [
    { ...row, text: columns, loads: ["a"], vectors: [A4, B4] },
    {
      ...row,
      name: `${row.name}_along_k`,
      file: `${row.file}_along_k`,
      text: alongK,
      loads: ["a", "b"],
      vectors: [A4, B4K],
    },
  ];
}

/** Workgroups where each takes `share` tiles of the result. */
function tilesOf(rows: number, columns: number, share: number) {
  return { tiles: [["batches", 1], ["rows", rows], ["columns", columns]], share } as const;
}

/** Two passes: the parts of the sums, and the sums. */
function split(firstPass: Variant): Variant {
  return {
    name: firstPass.name.replace("matmul_split", "matmul_split_sum"),
    file: "matmul_sum",
    text: matmulSum,
    loads: [],
    vectors: [],
    overrides: { THREADS: 64 },
    groups: tilesOf(1, 1, 64),
    limits: firstPass.limits,
    adapter: firstPass.adapter,
    workgroupBytes: 0,
    after: {
      variant: firstPass,
      sizes: { splits: { size: "depth", by: 256 } },
      store: { name: "store_part", indices: ["batch", "split", "row", "column"] },
      load: { name: "load_part", indices: ["batch", "split", "row", "column"] },
      extents: ["batches", "splits", "rows", "columns"],
    },
  };
}

/** result[batch, row, column] = sum over k of a[batch, row, k] * b[batch, k, column]. */
const MATMUL: Family = {
  name: "matmul",
  sizes: ["batches", "rows", "columns", "depth"],
  loads: [
    { name: "a", indices: ["batch", "row", "k"] },
    { name: "b", indices: ["batch", "k", "column"] },
  ],
  stores: [{ name: "store", indices: ["batch", "row", "column"] }],
  constants: {},
  functions: {},
  extents: { batch: "batches", row: "rows", column: "columns", k: "depth", split: "splits" },
  variants: [
    ...bothWays(matmulLanes, matmulLanesAlongK, {
      name: "matmul_lanes",
      file: "matmul_lanes",
      overrides: { TILES: 16, LANES: 8 },
      groups: tilesOf(4, 4, 16),
      limits: [{ size: "rows", is: "at most", number: 8 }],
      adapter: "hardware",
      workgroupBytes: 8192,
    }).map((variant) =>
      variant.name.endsWith("_along_k")
        ? { ...variant, overrides: { TILES: 4, LANES: 32 }, groups: tilesOf(4, 4, 4) }
        : variant
    ),
    ...bothWays(matmulRow, matmulRowAlongK, {
      name: "matmul_row",
      file: "matmul_row",
      overrides: { THREADS: 64 },
      groups: tilesOf(1, 4, 64),
      limits: [{ size: "rows", is: "at most", number: 2 }],
      adapter: "software",
      workgroupBytes: 0,
    }),
    ...bothWays(matmulSplit, matmulSplitAlongK, {
      name: "matmul_split",
      file: "matmul_split",
      overrides: { THREADS: 64 },
      groups: {
        tiles: [["batches", 1], ["splits", 1], ["rows", 4], ["columns", 4]],
        share: 64,
      },
      // Too few results to keep an adapter busy, unless their sums are split.
      limits: [
        { size: "rows", is: "at most", number: 64 },
        { size: "columns", is: "at most", number: 512 },
        { size: "depth", is: "at least", number: 1024 },
      ],
      adapter: "hardware",
      workgroupBytes: 0,
    }).map(split),
    ...bothWays(matmulTiled, matmulTiledAlongK, {
      name: "matmul_tiled_16",
      file: "matmul_tiled",
      overrides: { SIDE: 16, PART: 16 },
      groups: tilesOf(64, 64, 1),
      limits: [
        { size: "rows", is: "at least", number: 128 },
        { size: "columns", is: "at least", number: 128 },
      ],
      adapter: "hardware",
      workgroupBytes: 8192,
    }),
    ...bothWays(matmulTiled, matmulTiledAlongK, {
      name: "matmul_tiled_8",
      file: "matmul_tiled",
      overrides: { SIDE: 8, PART: 32 },
      groups: tilesOf(32, 32, 1),
      limits: [],
      adapter: "hardware",
      workgroupBytes: 8192,
    }),
    ...bothWays(matmulRegisters, matmulRegistersAlongK, {
      name: "matmul_registers",
      file: "matmul_registers",
      overrides: { THREADS: 64 },
      groups: tilesOf(4, 4, 64),
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    }),
  ],
};

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
 * over keys of adjusted(q[batch, head, query] . k[batch, head, key]) + mask(batch, head, query, key).
 */
const ATTENTION: Family = {
  name: "attention",
  sizes: ["batches", "heads", "queries", "keys"],
  loads: [
    { name: "q", indices: ["batch", "head", "query", "d"] },
    { name: "k", indices: ["batch", "head", "key", "d"] },
    { name: "v", indices: ["batch", "head", "key", "d"] },
    { name: "mask", indices: ["batch", "head", "query", "key"] },
  ],
  stores: [{ name: "store", indices: ["batch", "head", "query", "d"] }],
  constants: { HEAD_SIZE: "i32", VALUE_SIZE: "i32" },
  functions: { adjusted: 1 },
  extents: { batch: "batches", head: "heads", query: "queries", key: "keys" },
  variants: [
    {
      name: "attention",
      file: "attention",
      text: attention,
      loads: ["q", "k", "mask"],
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

/** What recurrent layers have in common; `loads` and `stores` are those that only `name` has. */
function recurrent(
  name: string,
  text: string,
  own: {
    readonly loads?: readonly Hook[];
    readonly stores?: readonly Hook[];
    readonly constants?: Family["constants"];
    readonly functions: Family["functions"];
    /** Arrays of HIDDEN elements in workgroup memory. */
    readonly arrays: number;
  },
): Family {
  const loads: readonly Hook[] = [
    { name: "gates", indices: ["direction", "time", "batch", "row"] },
    { name: "r", indices: ["direction", "row", "k"] },
    { name: "initial_h", indices: ["direction", "batch", "unit"] },
    { name: "sequence_length", type: "i32", indices: ["batch"] },
    ...own.loads ?? [],
  ];
  return {
    name,
    sizes: ["directions", "batches", "steps"],
    loads,
    stores: [
      { name: "store_y", indices: ["time", "direction", "batch", "unit"] },
      { name: "store_h", indices: ["direction", "batch", "unit"] },
      ...own.stores ?? [],
    ],
    constants: { HIDDEN: "i32", REVERSE: "i32", ...own.constants },
    functions: own.functions,
    extents: { direction: "directions", batch: "batches", time: "steps" },
    variants: [{
      name,
      file: name,
      text,
      loads: loads.map((hook) => hook.name),
      vectors: [{ name: "r4", of: "r", along: 2 }],
      overrides: { THREADS: 64 },
      groups: { tiles: [["directions", 1], ["batches", 1]], share: 1 },
      // 16 KiB of workgroup memory are on every device.
      limits: [{ size: "HIDDEN", is: "at most", number: Math.floor(4096 / own.arrays) }],
      adapter: "any",
      workgroupBytes: 16384,
    }],
  };
}

/**
 * Recurrent layers as https://onnx.ai/onnx/operators/onnx__LSTM.html and its neighbours define them.
 * `gates` is what the inputs contribute: a matmul of all steps, and the biases. A clip belongs into
 * the activations. A store hook whose result nobody wants does nothing.
 */
const LSTM = recurrent("lstm", lstm, {
  loads: [
    { name: "initial_c", indices: ["direction", "batch", "unit"] },
    { name: "peephole", indices: ["direction", "gate", "unit"] },
  ],
  stores: [{ name: "store_c", indices: ["direction", "batch", "unit"] }],
  constants: { COUPLED: "i32" },
  functions: { activation_f: 1, activation_g: 1, activation_h: 1 },
  arrays: 3,
});
const GRU = recurrent("gru", gru, {
  loads: [{ name: "recurrent_bias", indices: ["direction", "unit"] }],
  constants: { LINEAR_BEFORE_RESET: "i32" },
  functions: { activation_f: 1, activation_g: 1 },
  arrays: 4,
});
const RNN = recurrent("rnn", rnn, { functions: { activation_f: 1 }, arrays: 2 });

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
