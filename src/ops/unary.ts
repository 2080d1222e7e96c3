/** Ops of one input whose every element depends on the input's element there: one row each. */
import type { OperationName } from "../expr/operations.ts";
import { apply, constant, select, type Value } from "../expr/value.ts";
import { float, isFloat, over, sigmoid } from "./arithmetic.ts";
import { elementwise } from "./broadcast.ts";
import { type OpCall, type OpRecord, wrapped } from "./op.ts";

/** What an op makes of an element, its attributes at hand. */
export type Compute = (x: Value, call: OpCall) => Value;

/** The record of an op whose result has its input's type. */
export function unary(name: string, since: number, compute: Compute, domain = ""): OpRecord {
  return {
    name,
    domain,
    since,
    lower: (call) => {
      const x = call.input(0);
      return [elementwise(call, x.dtype, [x], (value) => wrapped(x.dtype, compute(value, call)))];
    },
  };
}

/** The record of such an op on floating-point numbers only. */
export function floatUnary(name: string, since: number, compute: Compute, domain = ""): OpRecord {
  const record = unary(name, since, compute, domain);
  return {
    ...record,
    lower: (call) => {
      const { dtype } = call.input(0);
      if (!isFloat(dtype)) call.fail(`it is not defined for ${dtype}`);
      return record.lower(call);
    },
  };
}

const test = (name: string, since: number, compute: Compute): OpRecord => ({
  name,
  domain: "",
  since,
  lower: (call) => [elementwise(call, "bool", [call.input(0)], (value) => compute(value, call))],
});

const of = (name: OperationName): Compute => (x) => apply(name, x);

/** -1, 0 or 1; NaN of NaN. */
function sign(x: Value): Value {
  if (x.type === "u32") return apply("min", x, constant("u32", 1));
  const made = apply("sign", x);
  return x.type === "f32" ? select(apply("isNan", x), x, made) : made;
}

function isInfinite(x: Value, call: OpCall): Value {
  const infinite = apply("isInf", x);
  const [negative, positive] = ["detect_negative", "detect_positive"].map((name) =>
    call.int(name, 1) !== 0
  );
  if (negative && positive) return infinite;
  if (!negative && !positive) return constant("bool", 0);
  const side = apply(positive ? "greater" : "less", x, float(0));
  return apply("and", infinite, side);
}

/** https://onnx.ai/onnx/operators/ */
export const UNARY_OPS: readonly OpRecord[] = [
  unary("Abs", 13, (x) => x.type === "u32" ? x : apply("abs", x)),
  unary("Neg", 13, of("negate")),
  unary("Sign", 13, sign),
  floatUnary("Sqrt", 13, of("sqrt")),
  floatUnary("Reciprocal", 13, (x) => over(float(1), x)),
  floatUnary("Exp", 13, of("exp")),
  floatUnary("Log", 13, of("log")),
  floatUnary("Ceil", 13, of("ceil")),
  floatUnary("Floor", 13, of("floor")),
  floatUnary("Round", 22, of("round")),
  floatUnary("Erf", 13, of("erf")),
  floatUnary("Sigmoid", 13, sigmoid),
  floatUnary("Sin", 22, of("sin")),
  floatUnary("Cos", 22, of("cos")),
  floatUnary("Tan", 22, of("tan")),
  floatUnary("Asin", 22, of("asin")),
  floatUnary("Acos", 22, of("acos")),
  floatUnary("Atan", 22, of("atan")),
  floatUnary("Sinh", 22, of("sinh")),
  floatUnary("Cosh", 22, of("cosh")),
  floatUnary("Tanh", 13, of("tanh")),
  floatUnary("Asinh", 22, of("asinh")),
  floatUnary("Acosh", 22, of("acosh")),
  floatUnary("Atanh", 22, of("atanh")),
  unary("Not", 1, of("not")),
  unary("BitwiseNot", 18, of("bitNot")),
  test("IsNaN", 20, of("isNan")),
  test("IsInf", 20, isInfinite),
  { name: "Identity", domain: "", since: 25, lower: (call) => [call.input(0)] },
];
