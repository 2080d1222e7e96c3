/**
 * Ops of com.microsoft on linearly quantized tensors: what the op of the same name gives for the
 * numbers that the codes stand for, quantized again
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
 */
import type { DType } from "../dtype.ts";
import { add, type Integer, ONE, subtract, ZERO } from "../expr/integer.ts";
import { apply, extentOf, fromInteger, reduce, select, type Value } from "../expr/value.ts";
import { leakyRelu } from "./activation.ts";
import { minus, over, plus, sigmoid, times } from "./arithmetic.ts";
import { axisOf, elementwise } from "./broadcast.ts";
import { channelsLast, channelsSecond } from "./channels_last.ts";
import { meanOver } from "./extents.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { averagePool } from "./pooling.ts";
import { dequantized, onlyElement, quantized } from "./quantize.ts";
import { softmax } from "./softmax.ts";

const MICROSOFT = "com.microsoft";

/** A scale and a zero point of a whole tensor. */
interface Quantization {
  readonly scale: Value;
  readonly zero: Value | null;
}

/** Inputs `i` and `i + 1` of `call` as such. */
function quantizationAt(call: OpCall, i: number): Quantization {
  const zero = call.optional(i + 1);
  return { scale: onlyElement(call.input(i)), zero: zero && onlyElement(zero) };
}

/** The numbers that the codes in input `i` stand for, by the inputs after it. */
function numbers(call: OpCall, i: number): Operand {
  const codes = call.input(i);
  const { scale, zero } = quantizationAt(call, i + 1);
  return operand("float32", codes.dims, (at) => dequantized(codes.at(at), scale, zero));
}

/** The codes of `x` by inputs `i` and `i + 1` of `call`. */
function codes(call: OpCall, x: Operand, dtype: DType, i: number): Operand {
  const { scale, zero } = quantizationAt(call, i);
  return operand(dtype, x.dims, (at) => quantized(dtype, x.at(at), scale, zero));
}

const record = (name: string, lower: (call: OpCall) => Operand): OpRecord => ({
  name,
  domain: MICROSOFT,
  since: 1,
  lower: (call) => [lower(call)],
});

/** An op of two tensors that broadcast: A, its scale and zero point, B's, C's scale and zero point. */
const binary = (name: string, compute: (a: Value, b: Value) => Value): OpRecord =>
  record(name, (call) => {
    const result = elementwise(call, "float32", [numbers(call, 0), numbers(call, 3)], compute);
    return codes(call, result, call.input(0).dtype, 6);
  });

/** An op of one tensor: X, its scale and zero point, Y's. */
const unary = (name: string, compute: (x: Operand, call: OpCall) => Operand): OpRecord =>
  record(name, (call) => codes(call, compute(numbers(call, 0), call), call.input(0).dtype, 3));

const each = (compute: (x: Value, call: OpCall) => Value) => (x: Operand, call: OpCall): Operand =>
  operand("float32", x.dims, (at) => compute(x.at(at), call));

/** `compute` of tensors whose channels come second, for those whose channels may come last. */
const channelled = (compute: (x: Operand, call: OpCall) => Operand) =>
(
  x: Operand,
  call: OpCall,
): Operand => {
  if (call.int("channels_last", 0) === 0) return compute(x, call);
  return channelsLast(compute(channelsSecond(x), call));
};

function globalAverage(x: Operand): Operand {
  const spatial = x.dims.slice(2);
  return operand(
    "float32",
    [...x.dims.slice(0, 2), ...spatial.map(() => ONE)],
    (at) => meanOver(spatial, (position) => x.at([...at.slice(0, 2), ...position])),
  );
}

/** Over one axis, or before opset 13 over all dimensions from the axis on. */
function softmaxOf(x: Operand, call: OpCall): Operand {
  const isNew = call.int("opset", 13) >= 13;
  const axis = axisOf(call, call.int("axis", -1), x.dims.length);
  if (isNew) return softmax(x, axis);
  return operand("float32", x.dims, (at) => {
    const element = (position: readonly Integer[]): Value =>
      x.at([...at.slice(0, axis), ...position]);
    const extents = x.dims.slice(axis);
    const greatest = reduce("max", extents, element);
    const exponential = (value: Value): Value => apply("exp", minus(value, greatest));
    const total = reduce("sum", extents, (position) => exponential(element(position)));
    return over(exponential(x.at(at)), total);
  });
}

function reduceMean(x: Operand, call: OpCall): Operand {
  const rank = x.dims.length;
  const given = call.ints("axes") ?? [];
  const axes = (given.length === 0 ? x.dims.map((_, i) => i) : given).map((axis) =>
    axisOf(call, axis, rank)
  );
  const keeps = call.int("keepdims", 1) !== 0;
  const extents = x.dims.filter((_, i) => axes.includes(i));
  const kept = x.dims.map((_, i) => i).filter((i) => keeps || !axes.includes(i));
  const dims = kept.map((i) => axes.includes(i) ? ONE : x.dims[i]!);
  return operand("float32", dims, (at) =>
    meanOver(extents, (positions) => {
      const rest = [...positions];
      return x.at(x.dims.map((_, i) => axes.includes(i) ? rest.shift()! : at[kept.indexOf(i)]!));
    }));
}

/** Y's scale and zero point, then a tensor, its scale and its zero point for each part. */
function concat(call: OpCall): Operand {
  const parts = Array.from(
    { length: Math.floor((call.inputCount - 2) / 3) },
    (_, i) => numbers(call, 2 + 3 * i),
  );
  const [first] = parts;
  if (first === undefined) call.fail("it has nothing to join");
  const axis = axisOf(call, call.int("axis", 0), first.dims.length);
  const ends: Integer[] = [];
  for (const part of parts) ends.push(add(ends.at(-1) ?? ZERO, part.dims[axis]!));
  const dims = first.dims.map((extent, i) => i === axis ? extentOf(ends.at(-1)!) : extent);
  const joined = operand("float32", dims, (at) =>
    parts.map((part, i) => {
      const start = ends[i - 1] ?? ZERO;
      return part.at(at.map((index, d) => d === axis ? subtract(index, start) : index));
    }).reduceRight((rest, value, i) => {
      const isHere = apply("less", fromInteger(at[axis]!), fromInteger(ends[i]!));
      return select(isHere, value, rest);
    }));
  return codes(call, joined, call.optional(1)?.dtype ?? call.input(2).dtype, 0);
}

/** A condition, then X, its scale and zero point, Y's, and Z's scale and zero point. */
function where(call: OpCall): Operand {
  const result = elementwise(
    call,
    "float32",
    [call.input(0), numbers(call, 1), numbers(call, 4)],
    select,
  );
  return codes(call, result, call.input(1).dtype, 7);
}

/** https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md */
export const QLINEAR_OPS: readonly OpRecord[] = [
  binary("QLinearAdd", (a, b) => plus(a, b)),
  binary("QLinearMul", (a, b) => times(a, b)),
  unary("QLinearSigmoid", each(sigmoid)),
  unary("QLinearLeakyRelu", each((x, call) => leakyRelu(x, call.float("alpha", 0.01)))),
  unary("QLinearAveragePool", channelled((x, call) => averagePool(call, x, true))),
  unary("QLinearGlobalAveragePool", channelled(globalAverage)),
  unary("QLinearSoftmax", softmaxOf),
  unary("QLinearReduceMean", reduceMean),
  record("QLinearConcat", concat),
  record("QLinearWhere", where),
];
