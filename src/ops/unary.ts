/** Ops of one input whose every element depends on the input's element there: one row each. */
import { apply, constant, type Value } from "../expr/value.ts";
import { elementwise } from "./broadcast.ts";
import { type OpCall, type OpRecord, wrapped } from "./op.ts";

/** What an op makes of an element, its attributes at hand. */
type Compute = (x: Value, call: OpCall) => Value;

const number = (value: number): Value => constant("f32", value);

const row = (name: string, since: number, compute: Compute): OpRecord => ({
  name,
  domain: "",
  since,
  lower: (call) => {
    const x = call.input(0);
    return [elementwise(call, x.dtype, [x], (value) => wrapped(x.dtype, compute(value, call)))];
  },
});

/** https://onnx.ai/onnx/operators/ */
export const UNARY_OPS: readonly OpRecord[] = [
  row("Abs", 13, (x) => x.type === "u32" ? x : apply("abs", x)),
  row("Neg", 13, (x) => apply("negate", x)),
  row("Relu", 14, (x) => apply("max", x, constant(x.type, 0))),
  row("Sqrt", 13, (x) => apply("sqrt", x)),
  row("Exp", 13, (x) => apply("exp", x)),
  row("Tanh", 13, (x) => apply("tanh", x)),
  row(
    "Sigmoid",
    13,
    (x) => apply("div", number(1), apply("add", number(1), apply("exp", apply("negate", x)))),
  ),
  row("Erf", 13, (x) => apply("erf", x)),
  row("Reciprocal", 13, (x) => apply("div", number(1), x)),
];
