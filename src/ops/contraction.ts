/**
 * Products that are summed over shared positions: what MatMul, Gemm and Einsum come down to. Floats
 * go through the kernel family `matmul`; integers, and sums of one product, are expressions.
 */
import type { DType } from "../dtype.ts";
import { asNumber, type Integer, multiply, ONE } from "../expr/integer.ts";
import { apply, fromInteger, reduce, type Value } from "../expr/value.ts";
import { isFloat, times } from "./arithmetic.ts";
import { indicesAt } from "./offsets.ts";
import { type OpCall, type Operand, operand, wrapped } from "./op.ts";

type Indices = readonly Integer[];

/** Where an element of the result stands, by what each position belongs to. */
export interface Position {
  /** Both operands have it. */
  readonly batch: Indices;
  /** The first operand alone has it. */
  readonly row: Indices;
  /** The second operand alone has it. */
  readonly column: Indices;
}

/** result[batch, row, column] = sum over k of a[batch, row, k] * b[batch, k, column]. */
export interface Contraction {
  readonly dtype: DType;
  /** Extents of the result. */
  readonly dims: Indices;
  /** Extents of the positions, each any number of dimensions. */
  readonly batch: Indices;
  readonly rows: Indices;
  readonly columns: Indices;
  readonly depth: Indices;
  readonly a: (batch: Indices, row: Indices, k: Indices) => Value;
  readonly b: (batch: Indices, k: Indices, column: Indices) => Value;
  /** The indices in the result of a position, and the position of such indices. */
  readonly place: (position: Position) => Indices;
  readonly position: (indices: Indices) => Position;
}

/** The result of `contraction`. */
export function contract(call: OpCall, contraction: Contraction): Operand {
  const { dtype, dims, batch, rows, columns, depth, a, b } = contraction;
  const products = multiply(ONE, ...depth);
  if (!isFloat(dtype) || products === ONE) {
    return operand(dtype, dims, (indices) => {
      const at = contraction.position(indices);
      const sum = reduce(
        "sum",
        depth,
        (k) => times(a(at.batch, at.row, k), b(at.batch, k, at.column)),
      );
      return wrapped(dtype, sum);
    });
  }
  const { store } = call.kernel({
    core: "matmul",
    sizes: {
      batches: multiply(ONE, ...batch),
      rows: multiply(ONE, ...rows),
      columns: multiply(ONE, ...columns),
      depth: products,
    },
    loads: {
      a: ([i, row, k]) => a(indicesAt(batch, i!), indicesAt(rows, row!), indicesAt(depth, k!)),
      b: ([i, k, column]) =>
        b(indicesAt(batch, i!), indicesAt(depth, k!), indicesAt(columns, column!)),
    },
    stores: {
      store: {
        dtype,
        dims,
        place: ([i, row, column]) =>
          contraction.place({
            batch: indicesAt(batch, i!),
            row: indicesAt(rows, row!),
            column: indicesAt(columns, column!),
          }),
      },
    },
  });
  return store;
}

/** The extent that `a` and `b`, which are the same dimension, have. */
export function sameExtent(call: OpCall, a: Integer, b: Integer, what: string): Integer {
  if (a === b) return a;
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== null && y !== null) call.fail(`${what} are ${x} and ${y}`);
  call.check(apply("equal", fromInteger(a), fromInteger(b)), `${what} differ`);
  return x !== null ? a : b;
}
