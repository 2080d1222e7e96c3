/** The rows of the matrix products; `kernel_family.ts` says what they mean. */
import matmulLanes from "../../kernels/ops/matmul_lanes.wgsl" with { type: "text" };
import matmulRegisters from "../../kernels/ops/matmul_registers.wgsl" with { type: "text" };
import matmulRegisters8 from "../../kernels/ops/matmul_registers_8.wgsl" with { type: "text" };
import matmulRow from "../../kernels/ops/matmul_row.wgsl" with { type: "text" };
import matmulSplit from "../../kernels/ops/matmul_split.wgsl" with { type: "text" };
import matmulSubgroups from "../../kernels/ops/matmul_subgroups.wgsl" with { type: "text" };
import matmulSum from "../../kernels/ops/matmul_sum.wgsl" with { type: "text" };
import matmulTiledF16 from "../../kernels/ops/matmul_tiled_f16.wgsl" with { type: "text" };
import matmulTiled from "../../kernels/ops/matmul_tiled.wgsl" with { type: "text" };
import shared from "../../kernels/ops/shared/matmul.wgsl" with { type: "text" };
import type { Family, Variant } from "./kernel_family.ts";

/** What every core reads of both operands: 4 values along k, and 4 by 4. */
const OPERANDS: Pick<Variant, "loads" | "vectors"> = {
  loads: [],
  vectors: [
    { name: "a4", of: "a", along: 2 },
    { name: "b44", of: "b", along: 1, across: 2 },
  ],
};

/** Workgroups where each takes `share` tiles of the result. */
function tilesOf(rows: number, columns: number, share: number) {
  return { tiles: [["batches", 1], ["rows", rows], ["columns", columns]], share } as const;
}

/** Two passes: the parts of the sums, and the sums. */
function split(firstPass: Variant): Variant {
  return {
    name: "matmul_split_sum",
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
export const MATMUL: Family = {
  name: "matmul",
  sizes: ["batches", "rows", "columns", "depth"],
  loads: [
    { name: "a", indices: ["batch", "row", "k"] },
    { name: "b", indices: ["batch", "k", "column"] },
  ],
  stores: [{ name: "store", indices: ["batch", "row", "column"] }],
  constants: {},
  multiples: { WHOLE_DEPTH: "depth" },
  functions: {},
  extents: { batch: "batches", row: "rows", column: "columns", k: "depth", split: "splits" },
  variants: [
    {
      ...OPERANDS,
      name: "matmul_subgroups",
      file: "matmul_subgroups",
      text: matmulSubgroups + shared,
      overrides: { LANES: 32 },
      groups: tilesOf(4, 4, 1),
      limits: [{ size: "rows", is: "at most", number: 8 }],
      adapter: "hardware",
      workgroupBytes: 2048,
      features: ["subgroups"],
    },
    {
      ...OPERANDS,
      name: "matmul_lanes",
      file: "matmul_lanes",
      text: matmulLanes + shared,
      overrides: { TILES: 4, LANES: 32 },
      groups: tilesOf(4, 4, 4),
      limits: [{ size: "rows", is: "at most", number: 8 }],
      adapter: "hardware",
      workgroupBytes: 8192,
    },
    {
      ...OPERANDS,
      name: "matmul_row",
      file: "matmul_row",
      text: matmulRow + shared,
      overrides: { THREADS: 64 },
      groups: tilesOf(1, 4, 64),
      limits: [{ size: "rows", is: "at most", number: 2 }],
      adapter: "software",
      workgroupBytes: 0,
    },
    split({
      ...OPERANDS,
      name: "matmul_split",
      file: "matmul_split",
      text: matmulSplit + shared,
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
    }),
    {
      ...OPERANDS,
      name: "matmul_tiled_f16_16",
      file: "matmul_tiled_f16",
      text: matmulTiledF16 + shared,
      overrides: { SIDE: 16, PART: 32 },
      groups: tilesOf(64, 64, 1),
      limits: [
        { size: "rows", is: "at least", number: 128 },
        { size: "columns", is: "at least", number: 128 },
      ],
      adapter: "hardware",
      workgroupBytes: 8192,
      features: ["shader-f16"],
    },
    {
      ...OPERANDS,
      name: "matmul_tiled_f16_8",
      file: "matmul_tiled_f16",
      text: matmulTiledF16 + shared,
      overrides: { SIDE: 8, PART: 32 },
      groups: tilesOf(32, 32, 1),
      limits: [],
      adapter: "hardware",
      workgroupBytes: 4096,
      features: ["shader-f16"],
    },
    {
      ...OPERANDS,
      name: "matmul_tiled_16",
      file: "matmul_tiled",
      text: matmulTiled + shared,
      overrides: { SIDE: 16, PART: 32 },
      groups: tilesOf(64, 64, 1),
      limits: [
        { size: "rows", is: "at least", number: 128 },
        { size: "columns", is: "at least", number: 128 },
      ],
      adapter: "hardware",
      workgroupBytes: 16384,
    },
    {
      ...OPERANDS,
      name: "matmul_tiled_8",
      file: "matmul_tiled",
      text: matmulTiled + shared,
      overrides: { SIDE: 8, PART: 32 },
      groups: tilesOf(32, 32, 1),
      limits: [],
      adapter: "hardware",
      workgroupBytes: 8192,
    },
    {
      ...OPERANDS,
      name: "matmul_registers_8",
      file: "matmul_registers_8",
      text: matmulRegisters8 + shared,
      overrides: { THREADS: 64 },
      groups: tilesOf(8, 4, 64),
      limits: [{ size: "rows", is: "at least", number: 16 }],
      adapter: "software",
      workgroupBytes: 0,
    },
    {
      ...OPERANDS,
      name: "matmul_registers",
      file: "matmul_registers",
      text: matmulRegisters + shared,
      overrides: { THREADS: 64 },
      groups: tilesOf(4, 4, 64),
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    },
  ],
};
