/** Ops of several inputs that broadcast together, computed element by element. */
import type { DType } from "../dtype.ts";
import type { OperationName } from "../expr/operations.ts";
import { apply, bitcast, constant, convert, select, type Value } from "../expr/value.ts";
import { asFloat, float, isFloat, over, plus, times } from "./arithmetic.ts";
import { elementwise } from "./broadcast.ts";
import { castTo, type OpCall, type OpRecord, wrapped } from "./op.ts";

type Compute = (a: Value, b: Value, call: OpCall) => Value;

/** An op of two inputs of one type, which its result has too. */
const arithmetic = (name: string, since: number, compute: Compute): OpRecord => ({
  name,
  domain: "",
  since,
  lower: (call) => {
    const [a, b] = [call.input(0), call.input(1)];
    return [
      elementwise(call, a.dtype, [a, b], (x, y) => wrapped(a.dtype, compute(x, y, call))),
    ];
  },
});

/** An op of two inputs of one type that gives truth values. */
const comparison = (name: string, since: number, operation: OperationName): OpRecord => ({
  name,
  domain: "",
  since,
  lower: (call) => [
    elementwise(call, "bool", [call.input(0), call.input(1)], (x, y) => apply(operation, x, y)),
  ],
});

const of = (operation: OperationName): Compute => (a, b) => apply(operation, a, b);

/** A quotient; that of integers is rounded towards zero. */
function divided(a: Value, b: Value): Value {
  return apply(a.type === "f32" ? "div" : "quotient", a, b);
}

/** The remainder with the divisor's sign, or with `fmod` the dividend's. */
function remainder(a: Value, b: Value, call: OpCall): Value {
  const truncated = call.int("fmod", 0) !== 0;
  if (a.type === "f32") return apply(truncated ? "fmod" : "floorMod", a, b);
  return apply(truncated || a.type === "u32" ? "remainder" : "floorMod", a, b);
}

/** Shifts past all bits leave 0, or the sign to the right; a negative distance counts as one. */
function shifted(a: Value, b: Value, call: OpCall): Value {
  const distance = bitcast("u32", b);
  const most = constant("u32", 31);
  const direction = call.string("direction", "");
  if (direction !== "LEFT" && direction !== "RIGHT") {
    call.fail(`direction "${direction}" is neither LEFT nor RIGHT`);
  }
  const near = apply("min", distance, most);
  const toRight = direction === "RIGHT";
  const moved = apply(toRight ? "shiftRight" : "shiftLeft", a, near);
  if (toRight && a.type === "i32") return moved;
  return select(apply("lessOrEqual", distance, most), moved, constant(a.type, 0));
}

/** The number that every element of `operand` is, where that is known at conversion. */
function scalarConstant(call: OpCall, i: number): number | null {
  const values = call.constants(i);
  return values?.length === 1 ? values[0]! : null;
}

/** The types of base and exponent may differ; the result has the base's. */
const POW: OpRecord = {
  name: "Pow",
  domain: "",
  since: 15,
  lower: (call) => {
    const [base, exponent] = [call.input(0), call.input(1)];
    const known = scalarConstant(call, 1);
    return [
      elementwise(call, base.dtype, [base, exponent], (a, b) => power(base.dtype, a, b, known)),
    ];
  },
};

function power(dtype: DType, a: Value, b: Value, known: number | null): Value {
  if (known === 2) return wrapped(dtype, times(a, a));
  if (known === 3) return wrapped(dtype, times(a, a, a));
  if (isFloat(dtype)) {
    if (known === 1) return a;
    if (known === 0.5) return apply("sqrt", a);
    return apply("pow", a, asFloat(b));
  }
  if (b.type === "f32") return castTo(dtype, apply("pow", asFloat(a), b));
  const whole = apply("pow", convert("i32", a), convert("i32", b));
  return wrapped(dtype, convert(a.type, whole));
}

/** An op of one input or more, combined from the left. */
const variadic = (
  name: string,
  since: number,
  operation: OperationName,
  finish: (value: Value, count: number) => Value = (value) => value,
): OpRecord => ({
  name,
  domain: "",
  since,
  lower: (call) => {
    const inputs = Array.from({ length: call.inputCount }, (_, i) => call.input(i));
    if (inputs.length === 0) call.fail("it has no input");
    const { dtype } = inputs[0]!;
    return [
      elementwise(call, dtype, inputs, (...values) => {
        const all = values.reduce((a, b) => apply(operation, a, b));
        return wrapped(dtype, finish(all, values.length));
      }),
    ];
  },
});

const WHERE: OpRecord = {
  name: "Where",
  domain: "",
  since: 16,
  lower: (call) => {
    const [condition, yes, no] = [call.input(0), call.input(1), call.input(2)];
    return [elementwise(call, yes.dtype, [condition, yes, no], select)];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const BINARY_OPS: readonly OpRecord[] = [
  arithmetic("Add", 14, (a, b) => plus(a, b)),
  arithmetic("Sub", 14, of("sub")),
  arithmetic("Mul", 14, of("mul")),
  arithmetic("Div", 14, divided),
  arithmetic("Mod", 28, remainder),
  POW,
  variadic("Max", 13, "max"),
  variadic("Min", 13, "min"),
  variadic("Sum", 13, "add"),
  variadic("Mean", 13, "add", (value, count) => over(value, float(count))),
  comparison("Equal", 19, "equal"),
  comparison("Greater", 13, "greater"),
  comparison("GreaterOrEqual", 16, "greaterOrEqual"),
  comparison("Less", 13, "less"),
  comparison("LessOrEqual", 16, "lessOrEqual"),
  arithmetic("And", 7, of("and")),
  arithmetic("Or", 7, of("or")),
  arithmetic("Xor", 7, of("xor")),
  arithmetic("BitwiseAnd", 18, of("bitAnd")),
  arithmetic("BitwiseOr", 18, of("bitOr")),
  arithmetic("BitwiseXor", 18, of("bitXor")),
  arithmetic("BitShift", 28, shifted),
  WHERE,
];
