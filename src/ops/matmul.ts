/** Matrix products: MatMul, Gemm, and com.microsoft's FusedMatMul and FusedGemm. */
import { type Integer, ONE, ZERO } from "../expr/integer.ts";
import { constant, type Value } from "../expr/value.ts";
import { float, isFloat, plus, times } from "./arithmetic.ts";
import { broadcastIndices, broadcastShape } from "./broadcast.ts";
import { contract, sameExtent } from "./contraction.ts";
import { activationByName } from "./fused_activation.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

const MICROSOFT = "com.microsoft";

/** `x` with its dimensions in the order `order`. */
export function permuted(x: Operand, order: readonly number[]): Operand {
  return operand(x.dtype, order.map((from) => x.dims[from]!), (indices) => {
    const own: Integer[] = [];
    order.forEach((from, to) => own[from] = indices[to]!);
    return x.at(own);
  });
}

/** `x` with its last two dimensions swapped. */
export function transposed(x: Operand): Operand {
  const rank = x.dims.length;
  const order = x.dims.map((_, i) => i);
  if (rank < 2) return x;
  return permuted(x, [...order.slice(0, rank - 2), rank - 1, rank - 2]);
}

/** `x` with its first dimension moved before its last. */
function withBatchMoved(x: Operand): Operand {
  const rank = x.dims.length;
  if (rank < 3) return x;
  return permuted(x, [...Array.from({ length: rank - 2 }, (_, i) => i + 1), 0, rank - 1]);
}

/** What numpy.matmul gives of `a` and `b`, as `dtype`. */
export function matmul(call: OpCall, a: Operand, b: Operand, dtype = a.dtype): Operand {
  if (a.dims.length === 0 || b.dims.length === 0) call.fail("an input is a scalar");
  const [isRow, isColumn] = [a.dims.length === 1, b.dims.length === 1];
  const left = isRow ? operand(a.dtype, [ONE, ...a.dims], ([, k]) => a.at([k!])) : a;
  const right = isColumn ? operand(b.dtype, [...b.dims, ONE], ([k]) => b.at([k!])) : b;
  const [aBatch, bBatch] = [left.dims.slice(0, -2), right.dims.slice(0, -2)];
  const rows = left.dims.at(-2)!;
  const columns = right.dims.at(-1)!;
  const depth = sameExtent(
    call,
    left.dims.at(-1)!,
    right.dims.at(-2)!,
    "the extents that are summed over",
  );
  const shared = broadcastShape(call, [aBatch, bBatch]);
  const dims = [...shared, ...(isRow ? [] : [rows]), ...(isColumn ? [] : [columns])];
  // One matrix for all of the batch: its rows are as many rows of one product.
  const joins = bBatch.every((extent) => extent === ONE);
  const batch = joins ? [] : shared;
  const bIndices = (at: readonly Integer[]): readonly Integer[] =>
    joins ? bBatch.map(() => ZERO) : broadcastIndices(bBatch, shared, at);
  return contract(call, {
    dtype,
    dims,
    batch,
    rows: joins ? [...shared, rows] : [rows],
    columns: [columns],
    depth: [depth],
    a: (at, row, k) => {
      const full = [...at, ...row];
      return left.at([...broadcastIndices(aBatch, shared, full.slice(0, -1)), full.at(-1)!, ...k]);
    },
    b: (at, k, column) => right.at([...bIndices(at), ...k, ...column]),
    place: ({ batch: at, row, column }) => {
      const full = [...at, ...row];
      return [...(isRow ? full.slice(0, -1) : full), ...(isColumn ? [] : column)];
    },
    position: (indices) => {
      const full = [
        ...indices.slice(0, shared.length),
        isRow ? ZERO : indices[shared.length]!,
      ];
      return {
        batch: joins ? [] : full.slice(0, -1),
        row: joins ? full : full.slice(-1),
        column: [isColumn ? ZERO : indices.at(-1)!],
      };
    },
  });
}

/** `x` with `compute` of each element. */
export function mapped(x: Operand, compute: (value: Value) => Value): Operand {
  return operand(x.dtype, x.dims, (indices) => compute(x.at(indices)));
}

/** `value` times the number `factor`. */
function scaled(value: Value, factor: number): Value {
  if (factor === 1) return value;
  return value.type === "f32"
    ? times(float(factor), value)
    : times(value, constant(value.type, factor));
}

/** alpha * a * b + beta * c, where c broadcasts to the product. */
function gemm(call: OpCall, activation: (value: Value) => Value = (value) => value): Operand {
  const [a, b] = [call.input(0), call.input(1)].map((input, i) =>
    call.int(i === 0 ? "transA" : "transB", 0) !== 0 ? transposed(input) : input
  ) as [Operand, Operand];
  if (a.dims.length !== 2 || b.dims.length !== 2) call.fail("an input is no matrix");
  const [alpha, beta] = [call.float("alpha", 1), call.float("beta", 1)];
  if (!isFloat(a.dtype) && !(Number.isInteger(alpha) && Number.isInteger(beta))) {
    call.fail("alpha or beta is no whole number, and its inputs are integers");
  }
  const product = matmul(call, a, b);
  const c = call.optional(2);
  return operand(product.dtype, product.dims, (indices) => {
    const value = scaled(product.at(indices), alpha);
    if (c === null || beta === 0) return activation(value);
    const bias = c.at(broadcastIndices(c.dims, product.dims, indices));
    return activation(plus(value, scaled(bias, beta)));
  });
}

function fusedMatmul(call: OpCall): Operand {
  const [a, b] = (["A", "B"] as const).map((side, i) => {
    const input = call.input(i);
    const moved = call.int(`transBatch${side}`, 0) !== 0 ? withBatchMoved(input) : input;
    return call.int(`trans${side}`, 0) !== 0 ? transposed(moved) : moved;
  }) as [Operand, Operand];
  const alpha = call.float("alpha", 1);
  return mapped(matmul(call, a, b), (value) => scaled(value, alpha));
}

/** https://onnx.ai/onnx/operators/ and onnxruntime's docs/ContribOperators.md */
export const MATMUL_OPS: readonly OpRecord[] = [
  {
    name: "MatMul",
    domain: "",
    since: 13,
    lower: (call) => [matmul(call, call.input(0), call.input(1))],
  },
  { name: "Gemm", domain: "", since: 13, lower: (call) => [gemm(call)] },
  { name: "FusedMatMul", domain: MICROSOFT, since: 1, lower: (call) => [fusedMatmul(call)] },
  // What FusedMatMul was called before.
  { name: "TransposeMatMul", domain: MICROSOFT, since: 1, lower: (call) => [fusedMatmul(call)] },
  {
    name: "FusedGemm",
    domain: MICROSOFT,
    since: 1,
    lower: (call) => [gemm(call, activationByName(call))],
  },
];
