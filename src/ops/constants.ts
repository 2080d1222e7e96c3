/**
 * Tensors that come from attributes and shapes: Constant, ConstantOfShape, Shape, Size, Range,
 * EyeLike (https://onnx.ai/onnx/operators/).
 */
import { type DType, dtypeOfOnnx, DTYPES } from "../dtype.ts";
import { attribute } from "../ir.ts";
import { divideUp, maximum } from "../expr/bounds.ts";
import { add, type Integer, integer, multiply, ONE, subtract, ZERO } from "../expr/integer.ts";
import {
  apply,
  call as callPrelude,
  constant,
  extentOf,
  fromInteger,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { asFloat, isFloat, minus, over, plus, times } from "./arithmetic.ts";
import { equal, int } from "./extents.ts";
import { choose, isNegative, pick } from "./indices.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf } from "./op.ts";

/** A vector of these elements. */
function vector(dtype: DType, values: readonly Value[]): Operand {
  const elements = values.length === 0 ? [constant(scalarOf(dtype), 0)] : values;
  return operand(dtype, [integer(values.length)], ([i]) => pick(elements, i!));
}

/** A scalar. */
function scalar(dtype: DType, value: Value): Operand {
  return operand(dtype, [], () => value);
}

/** One dimension of `dims` is counted from the end, as slices are: past the ends is at the end. */
function bound(position: number, rank: number): number {
  return Math.min(Math.max(position < 0 ? position + rank : position, 0), rank);
}

function shape(call: OpCall): readonly Operand[] {
  const { dims } = call.input(0);
  const start = bound(call.int("start", 0), dims.length);
  const end = bound(call.int("end", dims.length), dims.length);
  return [vector("int64", dims.slice(start, end).map(fromInteger))];
}

/** Attributes whose value is a number or a list of them. */
function constantOf(call: OpCall): Operand {
  for (const [name, dtype] of [["value_float", "float32"], ["value_int", "int64"]] as const) {
    if (!call.has(name)) continue;
    const value = dtype === "int64" ? call.int(name, 0) : call.float(name, 0);
    return scalar(dtype, constant(scalarOf(dtype), value));
  }
  const floats = call.floats("value_floats");
  if (floats !== null) return vector("float32", floats.map((value) => constant("f32", value)));
  const ints = call.ints("value_ints");
  if (ints !== null) return vector("int64", ints.map(int));
  if (call.has("sparse_value")) call.fail("sparse constants aren't compiled");
  if (call.has("value_string") || call.has("value_strings")) call.fail("it holds strings");
  return tensorAttribute(call, "value") ?? call.fail("it has no value");
}

/** An attribute that is a tensor of numbers. */
function tensorAttribute(call: OpCall, name: string): Operand | null {
  const value = attribute(call.node, name);
  if (value?.type !== "tensor") return null;
  const { kind } = DTYPES[value.value.dtype];
  if (kind === "string" || kind === "complex") call.fail(`its ${name} is a tensor of ${kind}s`);
  return call.tensor(name);
}

function constantOfShape(call: OpCall): readonly Operand[] {
  const dims = call.integers(0).map(extentOf);
  const fill = tensorAttribute(call, "value");
  if (fill === null) return [operand("float32", dims, () => constant("f32", 0))];
  const value = fill.at(fill.dims.map(() => ZERO));
  return [operand(fill.dtype, dims, () => value)];
}

/** The number of steps of `delta` from `start` that stay before `limit`. */
function steps(call: OpCall, [start, limit, delta]: readonly Value[]): Integer {
  if (start!.type === "f32") {
    const count = apply("ceil", over(minus(limit!, start!), delta!));
    return extentOf(toInteger(apply("max", callPrelude("toI32", "i32", count), int(0))));
  }
  const [from, to, by] = [start!, limit!, delta!].map(toInteger) as [Integer, Integer, Integer];
  const falls = isNegative(by);
  const distance = choose(falls, subtract(from, to), subtract(to, from));
  const size = choose(falls, subtract(ZERO, by), by);
  call.check(apply("notEqual", fromInteger(by), int(0)), "its delta is 0");
  return extentOf(maximum(divideUp(distance, maximum(size, ONE)), ZERO));
}

const RANGE: OpRecord = {
  name: "Range",
  domain: "",
  since: 27,
  hostInputs: [0, 1, 2],
  lower: (call) => {
    const { dtype } = call.input(0);
    const values = [0, 1, 2].map((i) =>
      call.elements(i)[0] ?? call.fail(`input ${i} has no element`)
    );
    const [start, , delta] = values as [Value, Value, Value];
    const dims = [steps(call, values)];
    const at = ([i]: readonly Integer[]): Value => {
      if (isFloat(dtype)) return plus(start, times(asFloat(fromInteger(i!)), delta));
      return fromInteger(add(toInteger(start), multiply(i!, toInteger(delta))));
    };
    return [operand(dtype, dims, at)];
  },
};

const EYE_LIKE: OpRecord = {
  name: "EyeLike",
  domain: "",
  since: 22,
  lower: (call) => {
    const x = call.input(0);
    if (x.dims.length !== 2) call.fail(`its input has ${x.dims.length} dimensions, not 2`);
    const number = call.int("dtype", DTYPES[x.dtype].onnx);
    const dtype = dtypeOfOnnx(number) ?? call.fail(`dtype ${number} is not known`);
    const type = scalarOf(dtype);
    const offset = integer(call.int("k", 0));
    return [
      operand(
        dtype,
        x.dims,
        ([row, column]) =>
          select(equal(column!, add(row!, offset)), constant(type, 1), constant(type, 0)),
      ),
    ];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const CONSTANT_OPS: readonly OpRecord[] = [
  { name: "Constant", domain: "", since: 25, lower: (call) => [constantOf(call)] },
  {
    name: "ConstantOfShape",
    domain: "",
    since: 25,
    hostInputs: [0],
    lower: constantOfShape,
  },
  { name: "Shape", domain: "", since: 25, lower: shape },
  {
    name: "Size",
    domain: "",
    since: 25,
    lower: (call) => [scalar("int64", fromInteger(multiply(...call.input(0).dims)))],
  },
  RANGE,
  EYE_LIKE,
];
