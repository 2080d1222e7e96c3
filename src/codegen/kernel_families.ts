/** The rows of the table of kernel files; `kernels.ts` says what they mean. */
import matmulRegisters from "../../kernels/ops/matmul_registers.wgsl" with { type: "text" };
import matmulRegistersAlongK from "../../kernels/ops/matmul_registers_along_k.wgsl" with {
  type: "text",
};
import type { Family, VectorHook } from "./kernels.ts";

const A4: VectorHook = { name: "a4", of: "a", along: 2 };
const B4: VectorHook = { name: "b4", of: "b", along: 2 };
const B4K: VectorHook = { name: "b4k", of: "b", along: 1 };

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
  variants: [
    {
      name: "matmul_registers",
      text: matmulRegisters,
      loads: ["a"],
      vectors: [A4, B4],
      overrides: { THREADS: 64 },
      groups: { tiles: [["batches", 1], ["rows", 4], ["columns", 4]], share: 64 },
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    },
    {
      name: "matmul_registers_along_k",
      text: matmulRegistersAlongK,
      loads: ["a", "b"],
      vectors: [A4, B4K],
      overrides: { THREADS: 64 },
      groups: { tiles: [["batches", 1], ["rows", 4], ["columns", 4]], share: 64 },
      limits: [],
      adapter: "any",
      workgroupBytes: 0,
    },
  ],
};

/** Every family. */
export const FAMILIES: readonly Family[] = [MATMUL];
