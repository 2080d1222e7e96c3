/**
 * Matrix products of quantized matrices: MatMulInteger and QLinearMatMul of ONNX, and QGemm,
 * MatMulIntegerToFloat and DynamicQuantizeMatMul of com.microsoft. Sums are exact, in 32 bits.
 */
import type { DType } from "../dtype.ts";
import { add, asNumber, type Integer, integer, multiply, ONE, ZERO } from "../expr/integer.ts";
import {
  apply,
  constant,
  convert,
  fromInteger,
  reduce,
  select,
  type Value,
} from "../expr/value.ts";
import { asFloat, float, isFloat, minus, over, plus, times } from "./arithmetic.ts";
import { broadcastIndices } from "./broadcast.ts";
import { matmul, transposed } from "./matmul.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import {
  centred,
  dynamicallyQuantized,
  integerRange,
  onlyElement,
  quantized,
  requantized,
} from "./quantize.ts";

const MICROSOFT = "com.microsoft";

/**
 * The element of `parameter`, a scale or a zero point of a matrix, that concerns the element at
 * `indices` of a tensor of `dims`: of all of it, of a row or a column as `along` tells, or as the
 * shape broadcasts.
 */
function parameterAt(
  parameter: Operand,
  along: "rows" | "columns",
  dims: readonly Integer[],
  indices: readonly Integer[],
): Value {
  const rank = parameter.dims.length;
  if (rank === 0) return parameter.at([]);
  if (rank > 1) return parameter.at(broadcastIndices(parameter.dims, dims, indices));
  const axis = dims.length - (along === "rows" ? 2 : 1);
  return parameter.at([axis < 0 || parameter.dims[0] === ONE ? ZERO : indices[axis]!]);
}

/** `x`, integers, less `zero`, which belongs to it as {@link parameterAt} says. */
function withoutZero(x: Operand, zero: Operand | null, along: "rows" | "columns"): Operand {
  return operand(
    "int32",
    x.dims,
    (indices) => centred(x.at(indices), zero && parameterAt(zero, along, x.dims, indices)),
  );
}

/** What sums of products of whole floats can reach and be exact. */
const EXACT = 2 ** 24;

/** The greatest magnitude of elements of `dtype` less zero points that are `zeros`, where known. */
function reach(dtype: DType, zero: Operand | null, zeros: readonly number[] | null): number {
  const [least, greatest] = integerRange(dtype);
  if (zero !== null && zeros === null) return greatest - least;
  return Math.max(...(zeros ?? [0]).map((at) => Math.max(greatest - at, at - least)));
}

/** Terms of a sum of products that the kernel for floats adds exactly, whatever they are. */
export function exactTerms(
  call: OpCall,
  a: Operand,
  aZero: number,
  b: Operand,
  bZero: number,
): number {
  const of = (x: Operand, i: number): number => reach(x.dtype, call.optional(i), call.constants(i));
  return Math.floor(EXACT / (of(a, aZero) * of(b, bZero)));
}

/** `x` with elements as floats. */
export function floats(x: Operand): Operand {
  return operand("float32", x.dims, (indices) => asFloat(x.at(indices)));
}

/** `x`, whole floats, as int32. */
export function wholes(x: Operand): Operand {
  return operand("int32", x.dims, (indices) => convert("i32", x.at(indices)));
}

/**
 * The product of `a` and `b`, both less their zero points, which are inputs `aZero` and `bZero`, as
 * int32. Where the number of terms is known they are added as floats, in parts that are exact.
 */
function integerProduct(
  call: OpCall,
  a: Operand,
  aZero: number,
  b: Operand,
  bZero: number,
): Operand {
  const left = withoutZero(a, call.optional(aZero), "rows");
  const right = withoutZero(b, call.optional(bZero), "columns");
  return exactProduct(call, left, right, exactTerms(call, a, aZero, b, bZero));
}

/** The product of the integers `a` and `b`, of which `terms` products have an exact sum as floats. */
function exactProduct(call: OpCall, a: Operand, b: Operand, terms: number): Operand {
  const depth = asNumber(a.dims.at(-1) ?? ONE);
  if (depth === null || terms < 16) return matmul(call, a, b, "int32");
  if (depth <= terms) return wholes(matmul(call, floats(a), floats(b), "float32"));
  if (a.dims.length < 2 || b.dims.length < 2) return matmul(call, a, b, "int32");
  const count = Math.ceil(depth / terms);
  const length = Math.ceil(depth / count);
  const part = [integer(count), integer(length)] as const;
  const place = (at: Integer, k: Integer): Integer => add(multiply(at, part[1]), k);
  const element = (x: Operand, k: Integer, indices: readonly Integer[]): Value => {
    const isInside = apply("less", fromInteger(k), constant("i32", depth));
    return select(isInside, asFloat(x.at(indices)), float(0));
  };
  // [..., part, M, K of a part] by [..., part, K of a part, N]
  const left = operand(
    "float32",
    [...a.dims.slice(0, -2), part[0], a.dims.at(-2)!, part[1]],
    (at) => {
      const k = place(at.at(-3)!, at.at(-1)!);
      return element(a, k, [...at.slice(0, -3), at.at(-2)!, k]);
    },
  );
  const right = operand("float32", [...b.dims.slice(0, -2), ...part, b.dims.at(-1)!], (at) => {
    const k = place(at.at(-3)!, at.at(-2)!);
    return element(b, k, [...at.slice(0, -3), k, at.at(-1)!]);
  });
  const parts = matmul(call, left, right, "float32");
  const dims = [...parts.dims.slice(0, -3), ...parts.dims.slice(-2)];
  return operand("int32", dims, (at) =>
    reduce(
      "sum",
      [part[0]],
      ([which]) => convert("i32", parts.at([...at.slice(0, -2), which!, ...at.slice(-2)])),
    ));
}

/** The product of the scales that concern the element at `indices` of a product of `dims`. */
function scaleAt(
  aScale: Operand,
  bScale: Operand,
  dims: readonly Integer[],
  indices: readonly Integer[],
): Value {
  return times(
    parameterAt(aScale, "rows", dims, indices),
    parameterAt(bScale, "columns", dims, indices),
  );
}

function qLinearMatMul(call: OpCall): Operand {
  const [a, aScale, aZero, b, bScale, bZero, yScale, yZero] = Array.from(
    { length: 8 },
    (_, i) => call.input(i),
  ) as [Operand, Operand, Operand, Operand, Operand, Operand, Operand, Operand];
  const { dtype } = yZero;
  if ([a, b, yZero].some((x) => isFloat(x.dtype))) {
    const moved = (x: Operand, zero: Operand, along: "rows" | "columns"): Operand =>
      operand(
        "float32",
        x.dims,
        (indices) => minus(x.at(indices), parameterAt(zero, along, x.dims, indices)),
      );
    const product = matmul(call, moved(a, aZero, "rows"), moved(b, bZero, "columns"), "float32");
    return operand(dtype, product.dims, (indices) => {
      const scale = scaleAt(aScale, bScale, product.dims, indices);
      const value = times(product.at(indices), scale);
      const at = (x: Operand): Value => parameterAt(x, "rows", product.dims, indices);
      return quantized(dtype, value, at(yScale), at(yZero));
    });
  }
  const product = integerProduct(call, a, 2, b, 5);
  return operand(dtype, product.dims, (indices) => {
    const at = (x: Operand): Value => parameterAt(x, "rows", product.dims, indices);
    const scale = over(scaleAt(aScale, bScale, product.dims, indices), at(yScale));
    return requantized(dtype, times(asFloat(product.at(indices)), scale), at(yZero));
  });
}

/** alpha * a * b + c, where c has the scale of the product; of floats where no scale of y is given. */
function qGemm(call: OpCall): Operand {
  const side = (i: number, name: string): Operand =>
    call.int(name, 0) !== 0 ? transposed(call.input(i)) : call.input(i);
  const [a, b] = [side(0, "transA"), side(3, "transB")];
  const [aScale, bScale] = [call.input(1), call.input(4)];
  const c = call.optional(6);
  const [yScale, yZero] = [call.optional(7), call.optional(8)];
  const product = integerProduct(call, a, 2, b, 5);
  const { dims } = product;
  const alpha = float(call.float("alpha", 1));
  const total = (indices: readonly Integer[]): Value => {
    const sum = product.at(indices);
    return asFloat(c === null ? sum : plus(sum, c.at(broadcastIndices(c.dims, dims, indices))));
  };
  const scale = (indices: readonly Integer[]): Value =>
    times(alpha, scaleAt(aScale, bScale, dims, indices));
  if (yScale === null || yZero === null) {
    return operand("float32", dims, (indices) => times(total(indices), scale(indices)));
  }
  return operand(yZero.dtype, dims, (indices) =>
    requantized(
      yZero.dtype,
      times(total(indices), over(scale(indices), onlyElement(yScale))),
      onlyElement(yZero),
    ));
}

/** The product as floats: `product` times its scales, and a bias along its columns. */
function scaledProduct(
  product: Operand,
  aScale: Operand,
  bScale: Operand,
  bias: Operand | null,
): Operand {
  const { dims } = product;
  return operand("float32", dims, (indices) => {
    const value = times(asFloat(product.at(indices)), scaleAt(aScale, bScale, dims, indices));
    return bias === null ? value : plus(value, bias.at(broadcastIndices(bias.dims, dims, indices)));
  });
}

/** Where the operands of a product of codes stand among the inputs. */
interface CodeInputs {
  readonly a: number;
  readonly b: number;
  readonly aScale: number;
  readonly bScale: number;
  readonly aZero: number;
  readonly bZero: number;
  readonly bias: number;
}

/** The product, as floats, of matrices of codes. */
export function productOfCodes(call: OpCall, at: CodeInputs): Operand {
  const product = integerProduct(call, call.input(at.a), at.aZero, call.input(at.b), at.bZero);
  return scaledProduct(
    product,
    call.input(at.aScale),
    call.input(at.bScale),
    call.optional(at.bias),
  );
}

function matMulIntegerToFloat(call: OpCall): Operand {
  return productOfCodes(call, { a: 0, b: 1, aScale: 2, bScale: 3, aZero: 4, bZero: 5, bias: 6 });
}

function dynamicQuantizeMatMul(call: OpCall): Operand {
  const { codes, scale, zero } = dynamicallyQuantized(call, call.input(0));
  const b = call.input(1);
  const terms = Math.floor(EXACT / (255 * reach(b.dtype, call.optional(3), call.constants(3))));
  const left = withoutZero(call.stored(codes), zero, "rows");
  const right = withoutZero(b, call.optional(3), "columns");
  const product = exactProduct(call, left, right, terms);
  return scaledProduct(product, scale, call.input(2), call.optional(4));
}

const one = (
  name: string,
  domain: string,
  since: number,
  lower: (call: OpCall) => Operand,
): OpRecord => ({ name, domain, since, lower: (call) => [lower(call)] });

/** https://onnx.ai/onnx/operators/ and onnxruntime's docs/ContribOperators.md */
export const INTEGER_MATMUL_OPS: readonly OpRecord[] = [
  one(
    "MatMulInteger",
    "",
    10,
    (call) => integerProduct(call, call.input(0), 2, call.input(1), 3),
  ),
  one("QLinearMatMul", "", 21, qLinearMatMul),
  one("QGemm", MICROSOFT, 1, qGemm),
  one("MatMulIntegerToFloat", MICROSOFT, 1, matMulIntegerToFloat),
  one("DynamicQuantizeMatMul", MICROSOFT, 1, dynamicQuantizeMatMul),
];
