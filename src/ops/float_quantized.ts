/**
 * MatMulBnb4 of com.microsoft, a product with weights of 4-bit floats as bitsandbytes packs them
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md; the numbers of NF4
 * are those of Dettmers et al. 2023, https://arxiv.org/abs/2305.14314).
 */
import { divide, modulo } from "../expr/bounds.ts";
import { add, type Integer, integer, multiply, subtract } from "../expr/integer.ts";
import { apply, constant, convert, fromInteger, toInteger, type Value } from "../expr/value.ts";
import { times } from "./arithmetic.ts";
import { contract, sameExtent } from "./contraction.ts";
import type { OpCall, Operand, OpRecord } from "./op.ts";

const FP4_MAGNITUDES = [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4];
/** The numbers that codes stand for, by quant_type. */
const CODES = [
  [...FP4_MAGNITUDES, ...FP4_MAGNITUDES.map((value) => -value)],
  [
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
  ],
] as const;

/** A [..., K] times the transpose of weights [N, K], or A [..., N] times the weights. */
function lower(call: OpCall): Operand[] {
  const [a, bytes, scales] = [call.input(0), call.input(1), call.input(2)];
  const [N, K, block] = ["N", "K", "block_size"].map((name) => call.int(name, 0)) as [
    number,
    number,
    number,
  ];
  if (N < 1 || K < 1 || block < 1) call.fail("N, K or block_size is missing");
  const numbers = CODES[call.int("quant_type", -1)] ?? call.fail("its quant_type is not 0 or 1");
  const table = call.table("float32", numbers);
  const transposed = call.int("transB", 1) !== 0;
  const [depth, columns] = transposed ? [K, N] : [N, K];
  sameExtent(call, a.dims.at(-1)!, integer(depth), "the extents that are summed over");
  const weight = (n: Integer, k: Integer): Value => {
    const place = add(multiply(n, integer(K)), k);
    // The first of two lies in the higher bits.
    const half = subtract(integer(1), modulo(place, integer(2)));
    const distance = apply("mul", convert("u32", fromInteger(half)), constant("u32", 4));
    const byte = bytes.at([divide(place, integer(2))]);
    const code = apply("bitAnd", apply("shiftRight", byte, distance), constant("u32", 15));
    return times(table.at([toInteger(code)]), scales.at([divide(place, integer(block))]));
  };
  return [contract(call, {
    dtype: a.dtype,
    dims: [...a.dims.slice(0, -1), integer(columns)],
    batch: [],
    rows: a.dims.slice(0, -1),
    columns: [integer(columns)],
    depth: [integer(depth)],
    a: (_, row, k) => a.at([...row, ...k]),
    b: (_, [k], [column]) => transposed ? weight(column!, k!) : weight(k!, column!),
    place: ({ row, column }) => [...row, ...column],
    position: (indices) => ({ batch: [], row: indices.slice(0, -1), column: indices.slice(-1) }),
  })];
}

/** The record of MatMulBnb4. */
export const FLOAT_QUANTIZED_OPS: readonly OpRecord[] = [
  { name: "MatMulBnb4", domain: "com.microsoft", since: 1, lower },
];
