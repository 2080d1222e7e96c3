/** What the emitter must know of each kernel file to write a header for its core. */
import { divideUp, type Integer, integer, multiply } from "../expr/mod.ts";

/** A kernel file. */
export interface KernelRow {
  /** File below `kernels/ops`. */
  readonly file: string;
  /** Load hooks: the names of their indices. */
  readonly loads: Readonly<Record<string, readonly string[]>>;
  /** Vector forms: the scalar hook that 4 calls of make one, and which index steps. */
  readonly vectors: Readonly<Record<string, { readonly of: string; readonly along: string }>>;
  readonly stores: Readonly<Record<string, readonly string[]>>;
  /** The size that an index runs up to, by index. */
  readonly extents: Readonly<Record<string, string>>;
  readonly groups: (sizes: Readonly<Record<string, Integer>>) => Integer;
  readonly constants: Readonly<Record<string, number>>;
  extentOf(index: string, sizes: Readonly<Record<string, Integer>>): Integer;
}

const matmul: Omit<KernelRow, "extentOf"> = {
  file: "matmul_registers.wgsl",
  loads: { a: ["batch", "row", "k"], b: ["batch", "k", "column"] },
  vectors: { a4: { of: "a", along: "k" }, b4: { of: "b", along: "column" } },
  stores: { store: ["batch", "row", "column"] },
  extents: { batch: "batches", row: "rows", column: "columns", k: "depth" },
  groups: ({ batches, rows, columns }) =>
    divideUp(
      multiply(batches!, divideUp(rows!, integer(4)), divideUp(columns!, integer(4))),
      integer(64),
    ),
  constants: {},
};

const ROWS: Readonly<Record<string, Omit<KernelRow, "extentOf">>> = { matmul };

/** The row of the core `name`. */
export function kernelRow(name: string): KernelRow {
  const row = ROWS[name];
  if (row === undefined) throw new Error(`there is no kernel "${name}"`);
  return { ...row, extentOf: (index, sizes) => sizes[row.extents[index]!]! };
}
