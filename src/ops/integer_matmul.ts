/**
 * Matrix products of quantized matrices: MatMulInteger and QLinearMatMul of ONNX, and QGemm,
 * MatMulIntegerToFloat and DynamicQuantizeMatMul of com.microsoft. Sums are exact, in 32 bits.
 */
import { type Integer, ONE, ZERO } from "../expr/integer.ts";
import type { Value } from "../expr/value.ts";
import { asFloat, float, isFloat, minus, over, plus, times } from "./arithmetic.ts";
import { broadcastIndices } from "./broadcast.ts";
import { matmul, transposed } from "./matmul.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { centred, dynamicallyQuantized, onlyElement, quantized, requantized } from "./quantize.ts";

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

/** The product of `a` and `b`, both less their zero points, as int32. */
function integerProduct(
  call: OpCall,
  a: Operand,
  aZero: Operand | null,
  b: Operand,
  bZero: Operand | null,
): Operand {
  return matmul(call, withoutZero(a, aZero, "rows"), withoutZero(b, bZero, "columns"), "int32");
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
  const product = integerProduct(call, a, aZero, b, bZero);
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
  const product = integerProduct(call, a, call.input(2), b, call.input(5));
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

function matMulIntegerToFloat(call: OpCall): Operand {
  const [aZero, bZero] = [call.optional(4), call.optional(5)];
  const product = integerProduct(call, call.input(0), aZero, call.input(1), bZero);
  return scaledProduct(product, call.input(2), call.input(3), call.optional(6));
}

function dynamicQuantizeMatMul(call: OpCall): Operand {
  const { codes, scale, zero } = dynamicallyQuantized(call, call.input(0));
  const product = integerProduct(call, codes, zero, call.input(1), call.optional(3));
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
    (call) =>
      integerProduct(call, call.input(0), call.optional(2), call.input(1), call.optional(3)),
  ),
  one("QLinearMatMul", "", 21, qLinearMatMul),
  one("QLinearMatMul", MICROSOFT, 1, qLinearMatMul),
  one("QGemm", MICROSOFT, 1, qGemm),
  one("MatMulIntegerToFloat", MICROSOFT, 1, matMulIntegerToFloat),
  one("DynamicQuantizeMatMul", MICROSOFT, 1, dynamicQuantizeMatMul),
];
