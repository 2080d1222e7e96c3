/** Random calls of operators on integers that stand for floats. */
import { int, ints } from "../../src/ir.ts";
import { BYTES, DOMAIN, kinds, NEARLY, packed, quantized, scale, scales, zero } from "./codes.ts";
import { type Call, type Draw, fixed, float, given } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

/** An operator of one such tensor. */
const unary = (
  op: string,
  rank: readonly [number, number],
  attributes: (draw: Draw, dims: readonly number[]) => Call["attributes"] = () => [],
): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(BYTES);
    const dims = draw.shape(...rank, false);
    return {
      op,
      domain: DOMAIN,
      operands: [...quantized(draw, dtype, dims), scale(draw), zero(draw, dtype)],
      outputs: [dtype],
      attributes: attributes(draw, dims) ?? [],
      ...NEARLY,
    };
  },
});

const binary = (op: string): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(BYTES);
    const dims = draw.shape(1, 4);
    return {
      op,
      domain: DOMAIN,
      operands: [
        ...quantized(draw, dtype, dims),
        ...quantized(draw, dtype, draw.broadcast(dims)),
        scale(draw, 0.5),
        zero(draw, dtype),
      ],
      outputs: [dtype],
      ...NEARLY,
    };
  },
});

/** Everything of this kind. */
export const QUANTIZED: Generators = {
  QuantizeLinear: (draw) => {
    const x = draw.tensor("float32", draw.shape(1, 4), -9, 9);
    const dtype = draw.pick(["uint8", "int8", "uint16", "int16"] as const);
    const axis = draw.axis(x.dims.length);
    const dims = draw.chance(0.5) ? [x.dims.at(axis)!] : [];
    const least = dtype.startsWith("u") ? 0 : -9;
    return {
      op: "QuantizeLinear",
      operands: [x, scales(draw, dims), draw.maybeFixed(draw.tensor(dtype, dims, least, 9))],
      outputs: [dtype],
      attributes: [int("axis", axis)],
      ...NEARLY,
    };
  },
  DequantizeLinear: (draw) => {
    const dtype = draw.pick(["uint8", "int8", "uint16", "int16", "int32"] as const);
    const x = draw.tensor(dtype, draw.shape(1, 4));
    const axis = draw.axis(x.dims.length);
    const dims = draw.chance(0.5) ? [x.dims.at(axis)!] : [];
    return {
      op: "DequantizeLinear",
      operands: [
        x,
        scales(draw, dims),
        ...(dtype !== "int32" ? [draw.maybeFixed(draw.tensor(dtype, dims, 0, 9))] : []),
      ],
      outputs: ["float32"],
      attributes: [int("axis", axis)],
    };
  },
  "DequantizeLinear of blocks": (draw) => {
    const dtype = draw.pick(["uint4", "int4"] as const);
    const [rows, blocks, block] = [draw.between(1, 4), draw.between(1, 3), draw.pick([2, 4, 8])];
    const dims = [rows, blocks * block];
    return {
      op: "DequantizeLinear",
      operands: [
        packed(draw, dtype, dims),
        scales(draw, [rows, blocks]),
        draw.chance(0.5) ? packed(draw, dtype, [rows, blocks]) : null,
      ],
      outputs: ["float32"],
      attributes: [int("axis", 1), int("block_size", block)],
    };
  },
  DynamicQuantizeLinear: (draw) => ({
    op: "DynamicQuantizeLinear",
    operands: [
      draw.tensor("float32", draw.shape(1, 4, false), draw.number(-3, 1), draw.number(1, 4)),
    ],
    outputs: ["uint8", "float32", "uint8"],
    ...NEARLY,
  }),
  MatMulInteger: (draw) => {
    const [m, k, n, b] = draw.shape(4, 4, false) as [number, number, number, number];
    const [types, by] = [draw.pick(BYTES), draw.pick(BYTES)];
    const depth = draw.chance(0.3) ? draw.between(300, 700) : k;
    return {
      op: "MatMulInteger",
      operands: [
        draw.tensor(types, draw.chance(0.5) ? [b, m, depth] : [m, depth]),
        draw.maybeFixed(draw.tensor(by, [depth, n])),
        draw.maybe(() => draw.maybeFixed(draw.tensor(types, []))),
        draw.maybe(() => draw.maybeFixed(draw.tensor(by, draw.pick([[], [n]])))),
      ],
      outputs: ["int32"],
    };
  },
  QLinearMatMul: (draw) => {
    const [m, k, n, b] = draw.shape(4, 4, false) as [number, number, number, number];
    const [types, by] = kinds(draw);
    const columns = draw.chance(0.4) ? [n] : [];
    return {
      op: "QLinearMatMul",
      operands: [
        ...quantized(draw, types, draw.chance(0.5) ? [b, m, k] : [m, k]),
        draw.maybeFixed(draw.tensor(by, [k, n])),
        scales(draw, columns),
        fixed(draw.tensor(by, columns, 0, 9)),
        scale(draw, 0.9),
        zero(draw, types),
      ],
      outputs: [types],
      ...NEARLY,
    };
  },
  ConvInteger: (draw) => {
    const group = draw.pick([1, 2]);
    const [inputs, outputs] = [group * draw.between(1, 3), group * draw.between(1, 3)];
    return {
      op: "ConvInteger",
      operands: [
        draw.tensor("uint8", [draw.between(1, 2), inputs, draw.between(3, 7), draw.between(3, 7)]),
        draw.maybeFixed(draw.tensor(draw.pick(BYTES), [outputs, inputs / group, 2, 3])),
        draw.maybe(() => draw.tensor("uint8", [])),
      ],
      outputs: ["int32"],
      attributes: [
        int("group", group),
        ints("strides", [draw.between(1, 2), draw.between(1, 2)]),
        ints("pads", [0, 1, 1, 1]),
      ],
    };
  },
  QLinearConv: (draw) => {
    const group = draw.pick([1, 2]);
    const [inputs, outputs] = [group * draw.between(1, 3), group * draw.between(1, 3)];
    const dtype = draw.pick(BYTES);
    const columns = draw.chance(0.5) ? [outputs] : [];
    const signed = dtype === "int8" || draw.chance(0.5);
    const weight = signed ? "int8" : "uint8";
    const bias = draw.maybe(() => fixed(draw.tensor("int32", [outputs], -2000, 2000)));
    return {
      op: "QLinearConv",
      operands: [
        ...quantized(draw, dtype, [1, inputs, draw.between(3, 7), draw.between(3, 7)]),
        fixed(draw.tensor(weight, [outputs, inputs / group, 3, 2])),
        scales(draw, columns),
        fixed(
          draw.tensor(weight, columns, weight === "int8" ? 0 : 120, weight === "int8" ? 0 : 120),
        ),
        scale(draw, 2),
        zero(draw, dtype),
        ...(bias === null ? [] : [bias]),
      ],
      outputs: [dtype],
      attributes: [
        int("group", group),
        ints("strides", [draw.between(1, 2), draw.between(1, 2)]),
        ints("pads", [1, 0, 1, 1]),
      ],
      ...NEARLY,
    };
  },
  "QLinearConv with channels last": (draw) => {
    const [inputs, outputs] = [draw.between(1, 4), draw.between(1, 4)];
    return {
      op: "QLinearConv",
      domain: DOMAIN,
      operands: [
        ...quantized(draw, "uint8", [1, draw.between(3, 7), draw.between(3, 7), inputs]),
        fixed(draw.tensor("int8", [outputs, inputs, 3, 2])),
        scales(draw, [outputs]),
        fixed(draw.tensor("int8", [outputs], 0, 0)),
        scale(draw, 2),
        zero(draw, "uint8"),
        fixed(draw.tensor("int32", [outputs], -2000, 2000)),
      ],
      outputs: ["uint8"],
      attributes: [int("channels_last", 1), ints("strides", [1, 2]), ints("pads", [1, 0, 1, 1])],
      ...NEARLY,
    };
  },
  ...binary("QLinearAdd"),
  ...binary("QLinearMul"),
  ...unary("QLinearLeakyRelu", [1, 4], () => [float("alpha", 0.2)]),
  ...unary("QLinearSigmoid", [1, 4]),
  QLinearSoftmax: (draw) => {
    const dtype = draw.pick(BYTES);
    // The one element of a row is 1, past what ONNX Runtime's codes hold: they begin anew.
    const dims = draw.shape(1, 4, false).map((extent) => Math.max(extent, 2));
    return {
      op: "QLinearSoftmax",
      domain: DOMAIN,
      operands: [
        ...quantized(draw, dtype, dims),
        fixed(given("float32", [], [1 / 256])),
        fixed(given(dtype, [], [dtype === "uint8" ? 0 : -128])),
      ],
      outputs: [dtype],
      attributes: [
        int("opset", draw.pick([11, 13])),
        ...(draw.chance(0.8) ? [int("axis", draw.axis(dims.length))] : []),
      ],
      ...NEARLY,
    };
  },
  QLinearAveragePool: (draw) => {
    const dtype = draw.pick(BYTES);
    const last = draw.between(0, 1);
    const [n, c, h, w] = [1, draw.between(1, 4), draw.between(3, 8), draw.between(3, 8)];
    return {
      op: "QLinearAveragePool",
      domain: DOMAIN,
      operands: [
        ...quantized(draw, dtype, last === 1 ? [n, h, w, c] : [n, c, h, w]),
        scale(draw),
        zero(draw, dtype),
      ],
      outputs: [dtype],
      attributes: [
        ints("kernel_shape", [2, 3]),
        ints("strides", [draw.between(1, 2), draw.between(1, 2)]),
        ints("pads", [0, 1, 1, 1]),
        int("count_include_pad", draw.between(0, 1)),
        int("ceil_mode", draw.between(0, 1)),
        int("channels_last", last),
      ],
      ...NEARLY,
    };
  },
  ...unary("QLinearGlobalAveragePool", [4, 4], (draw) => [
    int("channels_last", draw.between(0, 1)),
  ]),
  QLinearConcat: (draw) => {
    const dtype = draw.pick(BYTES);
    const dims = draw.shape(1, 4, false);
    const axis = draw.axis(dims.length);
    const at = axis < 0 ? axis + dims.length : axis;
    const parts = Array.from(
      { length: draw.between(1, 3) },
      () => quantized(draw, dtype, dims.with(at, draw.extent(false))),
    );
    return {
      op: "QLinearConcat",
      domain: DOMAIN,
      operands: [scale(draw), zero(draw, dtype), ...parts.flat()],
      outputs: [dtype],
      attributes: [int("axis", axis)],
      ...NEARLY,
    };
  },
  QLinearWhere: (draw) => {
    const dtype = draw.pick(BYTES);
    const dims = draw.shape(1, 3, false);
    return {
      op: "QLinearWhere",
      domain: DOMAIN,
      operands: [
        draw.tensor("bool", dims),
        ...quantized(draw, dtype, draw.broadcast(dims)),
        ...quantized(draw, dtype, draw.broadcast(dims)),
        scale(draw),
        zero(draw, dtype),
      ],
      outputs: [dtype],
      ...NEARLY,
    };
  },
  QGemm: (draw) => {
    const [m, k, n] = draw.shape(3, 3, false) as [number, number, number];
    const [transA, transB] = [draw.between(0, 1), draw.between(0, 1)];
    const [types, by] = kinds(draw);
    const columns = draw.chance(0.4) ? [n] : [];
    const isFloat = draw.chance(0.4);
    const bias = draw.maybe(() =>
      fixed(draw.tensor("int32", draw.pick([[n], [m, n], [1]]), -99, 99))
    );
    return {
      op: "QGemm",
      domain: DOMAIN,
      operands: [
        ...quantized(draw, types, transA === 1 ? [k, m] : [m, k]),
        fixed(draw.tensor(by, transB === 1 ? [n, k] : [k, n])),
        scales(draw, columns),
        fixed(draw.tensor(by, columns, 0, 9)),
        bias,
        ...(isFloat ? [] : [scale(draw, 0.9), zero(draw, types)]),
      ],
      outputs: [isFloat ? "float32" : types],
      attributes: [int("transA", transA), int("transB", transB), float("alpha", 0.75)],
      ...NEARLY,
    };
  },
  MatMulIntegerToFloat: (draw) => {
    const [m, k, n] = draw.shape(3, 3, false) as [number, number, number];
    const [types, by] = kinds(draw);
    const columns = draw.chance(0.5) ? [n] : [];
    return {
      op: "MatMulIntegerToFloat",
      domain: DOMAIN,
      operands: [
        draw.tensor(types, [m, k]),
        draw.maybeFixed(draw.tensor(by, [k, n])),
        scale(draw),
        scales(draw, columns),
        draw.maybe(() => zero(draw, types)),
        draw.maybe(() => fixed(draw.tensor(by, columns, 0, 9))),
        draw.maybe(() => fixed(draw.tensor("float32", [n]))),
      ],
      outputs: ["float32"],
      ...NEARLY,
    };
  },
  DynamicQuantizeMatMul: (draw) => {
    const [m, k, n] = draw.shape(3, 3, false) as [number, number, number];
    const by = draw.pick(BYTES);
    const columns = draw.chance(0.5) ? [n] : [];
    return {
      op: "DynamicQuantizeMatMul",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [m, k]),
        draw.maybeFixed(draw.tensor(by, [k, n])),
        scales(draw, columns),
        draw.maybe(() => fixed(draw.tensor(by, columns, 0, 9))),
        draw.maybe(() => fixed(draw.tensor("float32", [n]))),
      ],
      outputs: ["float32"],
      ...NEARLY,
      // A code of the input next to a half may be rounded to either side.
      atol: 0.1,
    };
  },
};
