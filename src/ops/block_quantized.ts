/**
 * Ops over weights that are quantized in blocks: com.microsoft's MatMulNBits and GatherBlockQuantized
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Codes stay packed:
 * an initializer's bytes are read as elements of 8, 4 or 2 bits; bytes that are computed, as those of
 * the 3-bit form are, are taken apart where they are read.
 */
import { type DType, DTYPES } from "../dtype.ts";
import { divide, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, integer, multiply, scaled, ZERO } from "../expr/integer.ts";
import {
  apply,
  constant,
  convert,
  fromInteger,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { asFloat, float, minus, plus, times } from "./arithmetic.ts";
import { axisOf } from "./broadcast.ts";
import { contract, sameExtent } from "./contraction.ts";
import { indicesAt } from "./offsets.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

const MICROSOFT = "com.microsoft";

const CODE_TYPES: Readonly<Record<number, DType>> = { 2: "uint2", 4: "uint4", 8: "uint8" };

/** Bytes [..., n] as codes of `bits` bits [..., n * 8 / bits], the lowest bits first. */
export function unpacked(call: OpCall, i: number, bits: number): Operand {
  const bytes = call.input(i);
  if (bits === 8) return bytes;
  const each = 8 / bits;
  const dims = [...bytes.dims.slice(0, -1), multiply(bytes.dims.at(-1)!, integer(each))];
  const numbers = dims.map(asNumber);
  const dtype = CODE_TYPES[bits]!;
  const view = numbers.every((extent) => extent !== null)
    ? call.view(i, dtype, numbers as number[])
    : null;
  if (view !== null) return view;
  return operand(dtype, dims, (indices) => {
    const last = indices.at(-1)!;
    const byte = bytes.at([...indices.slice(0, -1), divide(last, integer(each))]);
    const distance = apply(
      "mul",
      apply("bitAnd", convert("u32", fromInteger(last)), constant("u32", each - 1)),
      constant("u32", bits),
    );
    return apply("bitAnd", apply("shiftRight", byte, distance), constant("u32", 2 ** bits - 1));
  });
}

/** The element of `x` at a row-major position. */
function elementAt(x: Operand, offset: Integer): Value {
  return x.at(indicesAt(x.dims, offset));
}

function bitsOf(call: OpCall): number {
  const bits = call.int("bits", 4);
  if (CODE_TYPES[bits] === undefined) call.fail(`codes of ${bits} bits aren't read`);
  return bits;
}

/** The zero point that is meant where none is given. */
const middle = (bits: number): Value => float(2 ** (bits - 1));

/** A [..., K] times the transpose of weights [N, K] in blocks along K. */
function matMulNBits(call: OpCall): Operand {
  const a = call.input(0);
  const bits = bitsOf(call);
  if (call.int("weight_prepacked", 0) !== 0) {
    call.fail("its weights are packed for another device");
  }
  if (call.input(1).dims.some((extent) => asNumber(extent) === 0)) {
    const dims = [...a.dims.slice(0, -1), integer(call.int("N", 0))];
    return withBias(call, 5, operand(a.dtype, dims, () => float(0)));
  }
  const codes = unpacked(call, 1, bits);
  const blockSize = call.int("block_size", 0);
  const stride = Math.ceil(call.int("K", 0) / blockSize) * blockSize;
  return blockProduct(
    call,
    bits,
    2,
    (n, block, i) =>
      codes.dims.length === 3
        ? codes.at([n, block, i])
        : elementAt(codes, add(multiply(n, integer(stride)), add(scaled(block, blockSize), i))),
  );
}

/** `product` and the bias that input `i` is, where it is given. */
function withBias(call: OpCall, i: number, product: Operand): Operand {
  const bias = call.optional(i);
  if (bias === null) return product;
  return operand(
    product.dtype,
    product.dims,
    (at) => plus(product.at(at), bias.at([at.at(-1)!])),
  );
}

/**
 * MatMulNBits with codes given by row, block and place in the block. Scales, zero points of `bits`
 * bits, groups and bias are the inputs from `first` on.
 */
export function blockProduct(
  call: OpCall,
  bits: number,
  first: number,
  code: (n: Integer, block: Integer, i: Integer) => Value,
): Operand {
  const a = call.input(0);
  const [N, K, blockSize] = ["N", "K", "block_size"].map((name) => call.int(name, 0)) as [
    number,
    number,
    number,
  ];
  if (N < 1 || K < 1 || blockSize < 1) call.fail("N, K or block_size is missing");
  const blocks = Math.ceil(K / blockSize);
  sameExtent(call, a.dims.at(-1) ?? ZERO, integer(K), "the extents that are summed over");
  const dims = [...a.dims.slice(0, -1), integer(N)];
  const scales = call.input(first);
  const zero = zeroPoints(call, first + 1, blocks, bits);
  const groups = call.optional(first + 2);
  const weight = (k: Integer, n: Integer): Value => {
    const block = divide(k, integer(blockSize));
    const group = groups === null ? block : toInteger(groups.at([k]));
    const scale = elementAt(scales, add(multiply(n, integer(blocks)), group));
    const value = asFloat(code(n, block, modulo(k, integer(blockSize))));
    return times(minus(value, zero(n, group)), scale);
  };
  const product = contract(call, {
    dtype: a.dtype,
    dims,
    batch: [],
    rows: a.dims.slice(0, -1),
    columns: [integer(N)],
    depth: [integer(K)],
    a: (_, row, k) => a.at([...row, ...k]),
    b: (_, [k], [n]) => weight(k!, n!),
    place: ({ row, column }) => [...row, ...column],
    position: (indices) => ({
      batch: [],
      row: indices.slice(0, -1),
      column: indices.slice(-1),
    }),
  });
  return withBias(call, first + 3, product);
}

/** The zero points of MatMulNBits, by row and block: packed codes, each row from its own byte, or floats. */
function zeroPoints(
  call: OpCall,
  i: number,
  blocks: number,
  bits: number,
): (n: Integer, block: Integer) => Value {
  const given = call.optional(i);
  if (given === null) return () => middle(bits);
  const isPacked = DTYPES[given.dtype].kind === "uint";
  const codes = isPacked ? unpacked(call, i, bits) : given;
  const stride = isPacked ? Math.ceil((blocks * bits) / 8) * (8 / bits) : blocks;
  return (n, block) => asFloat(elementAt(codes, add(multiply(n, integer(stride)), block)));
}

/** Gather of elements that are quantized in blocks along another axis; indices outside give zeros. */
function gatherBlockQuantized(call: OpCall): Operand {
  const [given, indices, scales] = [call.input(0), call.input(1), call.input(2)];
  const isPacked = given.dtype === "uint8";
  const bits = isPacked ? bitsOf(call) : 0;
  const data = isPacked ? unpacked(call, 0, bits) : given;
  const rank = data.dims.length;
  const axis = axisOf(call, call.int("gather_axis", 0), rank);
  const along = axisOf(call, call.int("quantize_axis", 1), rank);
  const block = call.int("block_size", 128);
  const zero = call.optional(3) === null
    ? null
    : isPacked
    ? unpacked(call, 3, bits)
    : call.input(3);
  const count = indices.dims.length;
  const extent = data.dims[axis]!;
  const dims = [...data.dims.slice(0, axis), ...indices.dims, ...data.dims.slice(axis + 1)];
  return operand(scales.dtype, dims, (at) => {
    const index = indices.at(at.slice(axis, axis + count));
    const isNegative = apply("less", index, constant("i32", 0));
    const row = select(isNegative, apply("add", index, fromInteger(extent)), index);
    const place = [...at.slice(0, axis), toInteger(row), ...at.slice(axis + count)];
    const scalePlace = place.map((position, i) => {
      if (asNumber(scales.dims[i]!) === 1) return ZERO;
      return i === along && block > 0 ? divide(position, integer(block)) : position;
    });
    const code = asFloat(data.at(place));
    const origin = zero !== null ? asFloat(zero.at(scalePlace)) : isPacked ? middle(bits) : null;
    const value = times(origin === null ? code : minus(code, origin), scales.at(scalePlace));
    const isInside = apply(
      "and",
      apply("greaterOrEqual", row, constant("i32", 0)),
      apply("less", row, fromInteger(extent)),
    );
    return select(isInside, value, float(0));
  });
}

/** https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md */
export const BLOCK_QUANTIZED_OPS: readonly OpRecord[] = [
  { name: "MatMulNBits", domain: MICROSOFT, since: 1, lower: (call) => [matMulNBits(call)] },
  {
    name: "GatherBlockQuantized",
    domain: MICROSOFT,
    since: 1,
    lower: (call) => [gatherBlockQuantized(call)],
  },
];
