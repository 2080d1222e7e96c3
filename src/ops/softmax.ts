/**
 * Softmax and its kin (https://onnx.ai/onnx/operators/onnx__Softmax.html), and the losses made of
 * them. All read one row of their input for each element; the schedule computes what a row shares
 * once.
 */
import type { Integer } from "../expr/integer.ts";
import {
  apply,
  convert,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { float, minus, over, times } from "./arithmetic.ts";
import { axisOf } from "./broadcast.ts";
import { int, sumOver } from "./extents.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** The row along `axis` that the element at `indices` stands in. */
function rowOf(
  input: Operand,
  axis: number,
  indices: readonly Integer[],
): { extents: readonly Integer[]; at: (position: readonly Integer[]) => Value } {
  return {
    extents: [input.dims[axis]!],
    at: ([position]) => input.at(indices.with(axis, position!)),
  };
}

/** exp(x - max) / sum(exp(x - max)) along `axis`. */
export function softmax(input: Operand, axis: number): Operand {
  return operand(input.dtype, input.dims, (indices) => {
    const { extents, at } = rowOf(input, axis, indices);
    const largest = reduce("max", extents, at);
    const exponential = (value: Value): Value => apply("exp", minus(value, largest));
    const total = sumOver(extents, (position) => exponential(at(position)));
    return over(exponential(input.at(indices)), total);
  });
}

/** The logarithm of {@link softmax}. */
function logSoftmax(input: Operand, axis: number): Operand {
  return operand(input.dtype, input.dims, (indices) => {
    const { extents, at } = rowOf(input, axis, indices);
    const largest = reduce("max", extents, at);
    const total = sumOver(extents, (position) => apply("exp", minus(at(position), largest)));
    return minus(minus(input.at(indices), largest), apply("log", total));
  });
}

/** 1 at the first of the largest elements along `axis`, else 0. */
function hardmax(input: Operand, axis: number): Operand {
  return operand(input.dtype, input.dims, (indices) => {
    const { extents, at } = rowOf(input, axis, indices);
    const first = reduce("argmax", extents, at);
    return select(apply("equal", first, fromInteger(indices[axis]!)), float(1), float(0));
  });
}

const row = (name: string, compute: (input: Operand, axis: number) => Operand): OpRecord => ({
  name,
  domain: "",
  since: 13,
  lower: (call) => {
    const input = call.input(0);
    return [compute(input, axisOf(call, call.int("axis", -1), input.dims.length))];
  },
});

/**
 * The loss of `scores` (N, C, d1, ...), which are logarithms of probabilities, for the classes in
 * `target` (N, d1, ...). Targets equal to `ignore_index` count nothing.
 */
function likelihoodLoss(
  call: OpCall,
  scores: Operand,
  target: Operand,
  weight: Operand | null,
): Operand {
  const reduction = call.string("reduction", "mean");
  const ignored = call.has("ignore_index") ? call.int("ignore_index", 0) : null;
  const classes = scores.dims[1]!;
  const each = (
    indices: readonly Integer[],
    value: (label: Integer) => Value,
  ): Value => {
    const label = convert("i32", target.at(indices));
    // A label outside the classes is against the specification: it reads the nearest class.
    const last = minus(fromInteger(classes), int(1));
    const place = toInteger(apply("max", apply("min", label, last), int(0)));
    const found = value(place);
    return ignored === null ? found : select(apply("equal", label, int(ignored)), float(0), found);
  };
  const weightOf = (label: Integer): Value => weight?.at([label]) ?? float(1);
  const loss = (indices: readonly Integer[]): Value =>
    each(indices, (label) => {
      const score = scores.at([indices[0]!, label, ...indices.slice(1)]);
      return times(apply("negate", score), weightOf(label));
    });
  switch (reduction) {
    case "none":
      return operand(scores.dtype, target.dims, loss);
    case "sum":
      return operand(scores.dtype, [], () => sumOver(target.dims, loss));
    case "mean":
      return operand(scores.dtype, [], () => {
        const share = sumOver(target.dims, (indices) => each(indices, weightOf));
        return over(sumOver(target.dims, loss), share);
      });
    default:
      return call.fail(`the reduction "${reduction}" is not one that ONNX has`);
  }
}

/** Records of softmax, its kin and the losses. */
export const SOFTMAX_OPS: readonly OpRecord[] = [
  row("Hardmax", hardmax),
  row("LogSoftmax", logSoftmax),
  {
    name: "NegativeLogLikelihoodLoss",
    domain: "",
    since: 22,
    lower: (call) => [likelihoodLoss(call, call.input(0), call.input(1), call.optional(2))],
  },
  row("Softmax", softmax),
  {
    name: "SoftmaxCrossEntropyLoss",
    domain: "",
    since: 13,
    lower: (call) => {
      const logarithms = call.stored(logSoftmax(call.input(0), 1));
      return [likelihoodLoss(call, logarithms, call.input(1), call.optional(2)), logarithms];
    },
  },
];
