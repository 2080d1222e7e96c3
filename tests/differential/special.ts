/** Calls on infinities, NaN, signed zeros, subnormal and extreme numbers. */
import type { DType } from "../../src/dtype.ts";
import { int } from "../../src/ir.ts";
import { type Call, fixed, given } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const NUMBERS = [
  ...[NaN, Infinity, -Infinity, 0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, 100, -100, 1e-8, 1e-40],
  ...[3e38, -3e38],
];
/** For functions that say nothing of angles past some. */
const ANGLES = NUMBERS.map((value) => Math.abs(value) === 3e38 ? Math.sign(value) * 9000 : value);

const call = (op: string, output: DType, operands: Call["operands"], more: Partial<Call> = {}) => ({
  [`${op} of special values`]: (): Call => ({ op, operands, outputs: [output], ...more }),
});

const row = (values = NUMBERS) => given("float32", [values.length], values);
const column = given("float32", [NUMBERS.length, 1], NUMBERS);

const SAME = [
  ..."Abs Neg Sign Sqrt Reciprocal Exp Log Ceil Floor Round Erf Sigmoid Asin Acos Atan Sinh".split(
    " ",
  ),
  ..."Cosh Tanh Asinh Acosh Atanh Relu LeakyRelu Elu Celu Selu ThresholdedRelu HardSigmoid".split(
    " ",
  ),
  ..."HardSwish Softplus Softsign Mish Gelu Softmax LogSoftmax ReduceMax ReduceMin ReduceSum".split(
    " ",
  ),
  ..."ReduceLogSumExp Shrink".split(" "),
];

/** Everything of this kind. */
export const SPECIAL: Generators = Object.assign(
  {},
  ...SAME.map((op) => call(op, "float32", [row()], { opset: 22 })),
  ...["Sin", "Cos", "Tan"].map((op) => call(op, "float32", [row(ANGLES)])),
  ...["IsNaN", "IsInf"].map((op) => call(op, "bool", [row()])),
  ...["ArgMax", "ArgMin"].map((op) => call(op, "int64", [row()])),
  ...["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu"].map((op) =>
    call(op, "float32", [column, row()])
  ),
  ...["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"].map((op) =>
    call(op, "bool", [column, row()])
  ),
  call("Mod", "float32", [column, row()], { attributes: [int("fmod", 1)] }),
  call("Clip", "float32", [
    row(),
    fixed(given("float32", [], [-1])),
    fixed(given("float32", [], [1])),
  ]),
) as Generators;
