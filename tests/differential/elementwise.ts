/** Random calls of operators that compute each element from the elements at its place. */
import { type DType, DTYPES } from "../../src/dtype.ts";
import { int } from "../../src/ir.ts";
import { type Call, type Draw, fixed, float, type Given, given, text } from "./draw.ts";

/** A random call. */
export type Generator = (draw: Draw) => Call;

/** Generators by the name of what they call. */
export type Generators = Readonly<Record<string, Generator>>;

const FLOATS = ["float32", "float32", "float16"] as const;
const SIGNED = ["float32", "float16", "int32", "int64", "int8"] as const;
const NUMBERS = [...SIGNED, "uint8", "uint32"] as const;

/** A call with one input and an output of its type. */
const unary = (
  op: string,
  types: readonly DType[],
  range: readonly [number, number] | null = null,
  attributes: (draw: Draw) => Call["attributes"] = () => [],
  rest: Partial<Call> = {},
): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(types);
    const x = draw.tensor(dtype, draw.shape(0, 4), ...(range ?? []));
    return { op, operands: [x], outputs: [dtype], attributes: attributes(draw) ?? [], ...rest };
  },
});

/** Two shapes that broadcast to one. */
function pair(draw: Draw, dtype: DType, range: readonly number[] = []): [Given, Given] {
  const dims = draw.shape(0, 4);
  const operands = draw.shuffled([dims, draw.broadcast(dims)])
    .map((own) => draw.maybeFixed(draw.tensor(dtype, own, ...range)));
  return operands as [Given, Given];
}

const binary = (
  op: string,
  types: readonly DType[],
  output: DType | null = null,
  range: readonly number[] = [],
  attributes: (draw: Draw) => Call["attributes"] = () => [],
  rest: Partial<Call> = {},
): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(types);
    return {
      op,
      operands: pair(draw, dtype, range),
      outputs: [output ?? dtype],
      attributes: attributes(draw) ?? [],
      ...rest,
    };
  },
});

const variadic = (op: string, types: readonly DType[]): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(types);
    const dims = draw.shape(0, 4);
    const operands = Array.from(
      { length: draw.between(1, 4) },
      () => draw.maybeFixed(draw.tensor(dtype, draw.broadcast(dims))),
    );
    return { op, operands, outputs: [dtype] };
  },
});

const alpha = (fallback: number) => (draw: Draw): Call["attributes"] =>
  draw.chance(0.5) ? [float("alpha", draw.number(0.1, 2 * fallback + 0.2))] : [];

/** An integer without zeros, to divide by. */
function divisor(draw: Draw, dtype: DType, dims: readonly number[]): Given {
  const isUnsigned = DTYPES[dtype].kind === "uint";
  const made = draw.tensor(dtype, dims, 1, 9);
  if (isUnsigned || draw.chance(0.5)) return made;
  return given(
    dtype,
    dims,
    Array.from(
      made.data as ArrayLike<number | bigint>,
      (by) => draw.chance(0.5) ? Number(by) : -Number(by),
    ),
  );
}

const TYPES = [
  "float32",
  "float16",
  "float64",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "int64",
  "uint32",
  "bool",
] as const;

/** Everything of this kind. */
export const ELEMENTWISE: Generators = {
  ...unary("Abs", [...SIGNED, "uint8"]),
  ...unary("Neg", SIGNED),
  ...unary("Sign", NUMBERS),
  ...unary("Sqrt", FLOATS, [0, 9]),
  ...unary("Reciprocal", FLOATS, [0.2, 5]),
  ...unary("Exp", FLOATS, [-8, 8]),
  ...unary("Log", FLOATS, [0.01, 50]),
  ...unary("Ceil", FLOATS, [-9, 9]),
  ...unary("Floor", FLOATS, [-9, 9]),
  ...unary("Round", FLOATS, [-9, 9]),
  ...unary("Erf", FLOATS),
  ...unary("Sigmoid", FLOATS, [-20, 20]),
  ...unary("Sin", FLOATS, [-50, 50]),
  ...unary("Cos", FLOATS, [-50, 50]),
  ...unary("Tan", FLOATS, [-1.4, 1.4]),
  ...unary("Asin", FLOATS, [-1, 1]),
  ...unary("Acos", FLOATS, [-1, 1]),
  ...unary("Atan", FLOATS, [-9, 9]),
  ...unary("Sinh", FLOATS, [-5, 5]),
  ...unary("Cosh", FLOATS, [-5, 5]),
  ...unary("Tanh", FLOATS, [-99, 99]),
  ...unary("Asinh", FLOATS, [-9, 9]),
  ...unary("Acosh", FLOATS, [1, 9]),
  ...unary("Atanh", FLOATS, [-0.9, 0.9]),
  ...unary("Not", ["bool"]),
  ...unary("BitwiseNot", ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint32"]),
  ...unary("Identity", TYPES),
  ...unary("Relu", [...FLOATS, "int8", "int32"]),
  ...unary("LeakyRelu", FLOATS, null, alpha(0.01)),
  ...unary("Elu", FLOATS, null, alpha(1)),
  ...unary("Celu", ["float32"], null, alpha(1)),
  ...unary(
    "Selu",
    FLOATS,
    null,
    (draw) => draw.chance(0.5) ? [float("alpha", 1.3), float("gamma", 1.2)] : [],
  ),
  ...unary("ThresholdedRelu", FLOATS, null, alpha(1)),
  ...unary(
    "HardSigmoid",
    FLOATS,
    [-5, 5],
    (draw) => draw.chance(0.5) ? [float("alpha", 0.3), float("beta", 0.4)] : [],
  ),
  ...unary("HardSwish", FLOATS, [-5, 5]),
  ...unary("Softplus", FLOATS, [-30, 30]),
  ...unary("Softsign", FLOATS),
  ...unary("Mish", FLOATS, [-9, 9]),
  ...unary(
    "Gelu",
    FLOATS,
    [-5, 5],
    (draw) => draw.chance(0.5) ? [text("approximate", draw.pick(["none", "tanh"]))] : [],
  ),
  ...unary("Shrink", ["float32", "float16", "int32", "int8"], null, (draw) => [
    float("lambd", draw.number(0.1, 1.5)),
    ...(draw.chance(0.5) ? [float("bias", 0.25)] : []),
  ]),
  IsNaN: (draw) => {
    const x = draw.tensor("float32", draw.shape(0, 3));
    (x.data as Float32Array).forEach((_, i, all) => {
      if (draw.chance(0.3)) all[i] = draw.pick([NaN, Infinity, -Infinity]);
    });
    return { op: "IsNaN", operands: [x], outputs: ["bool"] };
  },
  IsInf: (draw) => {
    const x = draw.tensor("float32", draw.shape(0, 3));
    (x.data as Float32Array).forEach((_, i, all) => {
      if (draw.chance(0.5)) all[i] = draw.pick([NaN, Infinity, -Infinity]);
    });
    const attributes = [
      int("detect_negative", draw.between(0, 1)),
      int("detect_positive", draw.between(0, 1)),
    ];
    return { op: "IsInf", operands: [x], outputs: ["bool"], attributes };
  },
  ...binary("Add", NUMBERS),
  ...binary("Sub", NUMBERS),
  ...binary("Mul", NUMBERS),
  Div: (draw) => {
    const dtype = draw.pick(NUMBERS);
    const [a, b] = pair(draw, dtype);
    const isFloat = DTYPES[dtype].kind === "float";
    const by = isFloat ? draw.tensor(dtype, b.dims, 0.3, 3) : divisor(draw, dtype, b.dims);
    return { op: "Div", operands: [a, { ...by, constant: b.constant }], outputs: [dtype] };
  },
  Mod: (draw) => {
    const dtype = draw.pick(NUMBERS);
    const [a, b] = pair(draw, dtype);
    const isFloat = DTYPES[dtype].kind === "float";
    const by = isFloat ? draw.tensor(dtype, b.dims, 0.6, 3) : divisor(draw, dtype, b.dims);
    const fmod = isFloat || draw.chance(0.5) ? 1 : 0;
    return {
      op: "Mod",
      operands: [a, { ...by, constant: b.constant }],
      outputs: [dtype],
      attributes: [int("fmod", fmod)],
      // A quotient next to a whole number falls to either side.
      ...(isFloat && { atol: 1e-4 }),
    };
  },
  Pow: (draw) => {
    const isInteger = draw.chance(0.3);
    const dims = draw.shape(0, 3);
    const base = isInteger
      ? draw.tensor(draw.pick(["int32", "int64"]), dims, -4, 4)
      : draw.tensor(draw.pick(FLOATS), dims, 0.1, 4);
    const exponent = draw.chance(0.5)
      ? draw.tensor(draw.pick(["int32", "int64"]), draw.broadcast(dims), isInteger ? 0 : -3, 5)
      : draw.tensor("float32", draw.broadcast(dims), isInteger ? 0 : -2, 3);
    const power = isInteger && exponent.dtype === "float32"
      ? { ...exponent, data: (exponent.data as Float32Array).map(Math.floor) }
      : exponent;
    return { op: "Pow", operands: [base, draw.maybeFixed(power)], outputs: [base.dtype] };
  },
  ...binary("Equal", [...NUMBERS, "bool"], "bool"),
  ...binary("Greater", NUMBERS, "bool"),
  ...binary("GreaterOrEqual", NUMBERS, "bool"),
  ...binary("Less", NUMBERS, "bool"),
  ...binary("LessOrEqual", NUMBERS, "bool"),
  ...binary("And", ["bool"]),
  ...binary("Or", ["bool"]),
  ...binary("Xor", ["bool"]),
  ...binary("BitwiseAnd", ["int8", "uint8", "int32", "int64", "uint32"]),
  ...binary("BitwiseOr", ["int8", "uint8", "int32", "int64", "uint32"]),
  ...binary("BitwiseXor", ["int8", "uint8", "int32", "int64", "uint32"]),
  ...binary("BitShift", ["uint8", "uint32"], null, [0, 7], (draw) => [
    text("direction", draw.pick(["LEFT", "RIGHT"])),
  ]),
  PRelu: (draw) => {
    const dtype = draw.pick(FLOATS);
    const dims = draw.shape(1, 4);
    const slope = draw.tensor(dtype, draw.broadcast(dims));
    return {
      op: "PRelu",
      operands: [draw.tensor(dtype, dims), draw.maybeFixed(slope)],
      outputs: [dtype],
    };
  },
  ...variadic("Max", NUMBERS),
  ...variadic("Min", NUMBERS),
  ...variadic("Sum", FLOATS),
  ...variadic("Mean", FLOATS),
  Clip: (draw) => {
    const dtype = draw.pick(["float32", "float16", "int32", "int64", "int8", "uint8"]);
    const [least, greatest] = dtype === "uint8" ? [50, 150] : [-1, 1];
    const bound = (value: number): Given => draw.maybeFixed(draw.tensor(dtype, [], value, value));
    return {
      op: "Clip",
      operands: [
        draw.tensor(dtype, draw.shape(0, 4)),
        draw.maybe(() => bound(least)),
        draw.maybe(() => bound(greatest)),
      ],
      outputs: [dtype],
    };
  },
  Where: (draw) => {
    const dtype = draw.pick(["float32", "int32", "int64", "uint8", "bool", "float16"]);
    const dims = draw.shape(0, 4);
    const own = (type: DType): Given => draw.maybeFixed(draw.tensor(type, draw.broadcast(dims)));
    return { op: "Where", operands: [own("bool"), own(dtype), own(dtype)], outputs: [dtype] };
  },
  Cast: (draw) => {
    const [from, to] = [draw.pick(TYPES), draw.pick(TYPES)];
    const isFloat = DTYPES[from].kind === "float";
    const isUnsigned = DTYPES[to].kind === "uint";
    // What lies outside of a type is left open.
    const x = isFloat
      ? draw.tensor(from, draw.shape(0, 4), isUnsigned ? 0 : -99, 99)
      : draw.tensor(from, draw.shape(0, 4));
    const number = DTYPES[to].onnx;
    return { op: "Cast", operands: [x], outputs: [to], attributes: [int("to", number)] };
  },
  CastLike: (draw) => {
    const [from, to] = [draw.pick(TYPES), draw.pick(TYPES)];
    const x = draw.tensor(from, draw.shape(0, 3), 0, from === "bool" ? 1 : 99);
    const like = draw.maybeFixed(draw.tensor(to, draw.shape(0, 2)));
    return { op: "CastLike", operands: [x, like], outputs: [to] };
  },
  Dropout: (draw) => {
    const dtype = draw.pick(FLOATS);
    const ratio = draw.maybe(() => fixed(draw.tensor("float32", [], 0.1, 0.9)));
    return {
      op: "Dropout",
      operands: [draw.tensor(dtype, draw.shape(0, 3)), ratio],
      outputs: [dtype, draw.chance(0.5) ? "bool" : null],
    };
  },
};
