/** The rows of the matrix products; `kernels.ts` says what they mean. */
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
import matmulSum from "../../kernels/ops/matmul_sum.wgsl" with { type: "text" };
import matmulTiled from "../../kernels/ops/matmul_tiled.wgsl" with { type: "text" };
import matmulTiledAlongK from "../../kernels/ops/matmul_tiled_along_k.wgsl" with { type: "text" };
import type { Family, Variant, VectorHook } from "./kernel_family.ts";

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
export const MATMUL: Family = {
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
