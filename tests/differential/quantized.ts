/** Random calls of operators on integers that stand for floats. */
import { byteLength, type DType } from "../../src/dtype.ts";
import { elementCount, int, ints } from "../../src/ir.ts";
import { type Call, type Draw, fixed, float, type Given, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";
import { mask } from "./microsoft.ts";

const DOMAIN = "com.microsoft";
/** Codes of 8 bits whose numbers lie next to a half of the scale may differ by one. */
const NEARLY = { steps: 1, rtol: 2e-3, atol: 2e-4 } as const;
const BYTES = ["uint8", "int8"] as const;

/** The types of the factors of a product: the CPU takes no signed codes by unsigned ones. */
const kinds = (draw: Draw): readonly ["uint8" | "int8", "uint8" | "int8"] =>
  draw.pick([["uint8", "uint8"], ["uint8", "int8"], ["int8", "int8"]]);

/** A scale of a whole tensor. */
const scale = (draw: Draw, most = 0.1): Given =>
  fixed(given("float32", [], [draw.number(0.02, most)]));

const scales = (draw: Draw, dims: readonly number[], most = 0.1): Given =>
  fixed(draw.tensor("float32", dims, most / 5, most));

/** A zero point of a whole tensor. */
const zero = (draw: Draw, dtype: DType): Given =>
  fixed(draw.tensor(dtype, [], dtype === "uint8" ? 100 : -20, dtype === "uint8" ? 150 : 20));

/** Codes, their scale and their zero point. */
function quantized(draw: Draw, dtype: DType, dims: readonly number[]): [Given, Given, Given] {
  return [draw.tensor(dtype, dims), scale(draw), zero(draw, dtype)];
}

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

/** Packed codes as an initializer of a type of fewer than 8 bits. */
function packed(draw: Draw, dtype: DType, dims: readonly number[]): Given {
  const bytes = draw.tensor("uint8", [byteLength(dtype, elementCount(dims))]);
  return { dtype, dims, data: bytes.data, constant: true };
}

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
  MatMulNBits: (draw) => {
    const bits = draw.pick([2, 4, 4, 8]);
    const block = draw.pick([16, 32]);
    const [N, K] = [draw.between(1, 9), draw.pick([16, 17, 32, 40, 64, 95])];
    const blocks = Math.ceil(K / block);
    const zeros = draw.pick(["none", "packed", "float"]);
    const zeroPoints = zeros === "packed"
      ? fixed(draw.tensor("uint8", [N, Math.ceil((blocks * bits) / 8)]))
      : zeros === "float"
      ? fixed(draw.tensor("float32", [N, blocks], 0, 2 ** bits))
      : null;
    const bias = draw.maybe(() => fixed(draw.tensor("float32", [N])));
    // With groups of its own choice ONNX Runtime passes over zero points, and misreads other codes.
    const grouped = bits === 4 && zeros === "none" && draw.chance(0.5);
    const operands = [
      draw.tensor("float32", [...draw.shape(1, 2, false), K]),
      fixed(draw.tensor("uint8", [N, blocks, (block * bits) / 8])),
      scales(draw, [N, blocks]),
      zeroPoints,
      grouped ? fixed(draw.tensor("int32", [blocks * block], 0, blocks - 1)) : null,
      bias,
    ];
    while (operands.at(-1) === null) operands.pop();
    return {
      op: "MatMulNBits",
      domain: DOMAIN,
      operands,
      outputs: ["float32"],
      attributes: [int("K", K), int("N", N), int("bits", bits), int("block_size", block)],
      rtol: 2e-3,
      atol: 2e-3,
    };
  },
  MatMulBnb4: (draw) => {
    const [N, K] = [draw.between(1, 9), draw.pick([16, 18, 33, 64])];
    const block = draw.pick([16, 32]);
    return {
      op: "MatMulBnb4",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [...draw.shape(1, 2, false), K]),
        fixed(draw.tensor("uint8", [Math.ceil((N * K) / 2)])),
        scales(draw, [Math.ceil((N * K) / block)], 1),
      ],
      outputs: ["float32"],
      attributes: [
        int("K", K),
        int("N", N),
        int("block_size", block),
        int("quant_type", draw.between(0, 1)),
      ],
      rtol: 2e-3,
      atol: 1e-3,
    };
  },
  QEmbedLayerNormalization: (draw) => {
    const [b, s, h] = [draw.between(1, 3), draw.between(1, 6), draw.between(2, 9)];
    const segments = draw.chance(0.5);
    const table = (rows: number): Given => fixed(draw.tensor("uint8", [rows, h]));
    const ids = (end: number): Given => draw.tensor("int32", [b, s], 0, end - 1);
    return {
      op: "QEmbedLayerNormalization",
      domain: DOMAIN,
      operands: [
        ids(9),
        segments ? ids(2) : null,
        table(9),
        table(8),
        segments ? table(2) : null,
        fixed(draw.tensor("uint8", [h])),
        fixed(draw.tensor("uint8", [h])),
        draw.chance(0.5) ? ids(2) : null,
        ...[0, 1, 2, 3, 4].map((i) => i === 2 && !segments ? null : scale(draw, 0.03)),
        ...[0, 1, 2, 3, 4].map((i) => i === 2 && !segments ? null : zero(draw, "uint8")),
      ],
      outputs: ["float32", "int32"],
      attributes: [float("epsilon", 1e-5)],
      rtol: 2e-3,
      atol: 1e-3,
    };
  },
  GatherBlockQuantized: (draw) => {
    const inBytes = draw.chance(0.5);
    const block = 16;
    const [rows, blocks] = [draw.between(1, 7), draw.between(1, 3)];
    const width = blocks * block - (draw.chance(0.3) && !inBytes ? draw.between(1, 15) : 0);
    const indices = draw.tensor(
      draw.pick(["int32", "int64"]),
      draw.shape(0, 2, false),
      -rows,
      rows - 1,
    );
    const bits = inBytes ? draw.pick([2, 4, 8]) : 4;
    const dtype = draw.pick(["uint4", "int4"] as const);
    const zeros = draw.chance(0.5);
    return {
      op: "GatherBlockQuantized",
      domain: DOMAIN,
      operands: [
        inBytes
          ? fixed(draw.tensor("uint8", [rows, (width * bits) / 8]))
          : packed(draw, dtype, [rows, width]),
        draw.maybeFixed(indices),
        scales(draw, [rows, blocks]),
        ...(zeros
          ? [
            inBytes
              ? fixed(draw.tensor("uint8", [rows, Math.ceil((blocks * bits) / 8)]))
              : packed(draw, dtype, [rows, blocks]),
          ]
          : []),
      ],
      outputs: ["float32"],
      attributes: [
        int("block_size", block),
        int("gather_axis", 0),
        int("quantize_axis", 1),
        ...(inBytes ? [int("bits", bits)] : []),
      ],
    };
  },
  QAttention: (draw) => {
    const [batch, length, heads, size] = [2, 5, 3, 8].map((most) => draw.between(1, most)) as [
      number,
      number,
      number,
      number,
    ];
    const [depth, hidden] = [draw.between(1, 20), heads * size];
    const columns = draw.chance(0.5) ? [3 * hidden] : [];
    const past = draw.chance(0.4) ? draw.between(1, 3) : 0;
    const [types, by] = ["uint8", draw.pick(BYTES)] as const;
    const tail = past > 0 ? [draw.tensor("float32", [2, batch, heads, past, size])] : [];
    return {
      op: "QAttention",
      domain: DOMAIN,
      operands: [
        draw.tensor(types, [batch, length, depth]),
        fixed(draw.tensor(by, [depth, 3 * hidden])),
        fixed(draw.tensor("float32", [3 * hidden])),
        scale(draw, 0.03),
        scales(draw, columns, 0.03),
        draw.maybe(() => mask(draw, batch, length, past + length)),
        zero(draw, types),
        fixed(draw.tensor(by, columns, 0, 9)),
        ...tail,
      ],
      outputs: past > 0 ? ["float32", "float32"] : ["float32"],
      attributes: [int("num_heads", heads), int("unidirectional", draw.between(0, 1))],
      rtol: 2e-3,
      atol: 1e-3,
    };
  },
  NhwcMaxPool: (draw) => {
    const dtype = draw.pick(BYTES);
    return {
      op: "NhwcMaxPool",
      domain: DOMAIN,
      operands: [
        draw.tensor(dtype, [1, draw.between(3, 8), draw.between(3, 8), draw.between(1, 4)]),
      ],
      outputs: [dtype],
      attributes: [
        ints("kernel_shape", [2, 3]),
        ints("strides", [draw.between(1, 2), draw.between(1, 2)]),
        ints("pads", [0, 1, 1, 1]),
        int("ceil_mode", draw.between(0, 1)),
      ],
    };
  },
  DynamicQuantizeLSTM: (draw) => {
    const direction = draw.pick(["forward", "reverse", "bidirectional"]);
    const directions = direction === "bidirectional" ? 2 : 1;
    const [steps, batch, size, hidden] = [5, 3, 4, 5].map((most) => draw.between(1, most)) as [
      number,
      number,
      number,
      number,
    ];
    const dtype = draw.pick(BYTES);
    const isUnsigned = dtype === "uint8";
    // The CPU takes unsigned codes with one scale and without peepholes...
    const channels = draw.chance(0.5) && !isUnsigned ? [directions, 4 * hidden] : [directions];
    const state = (): Given => draw.tensor("float32", [directions, batch, hidden], -1, 1);
    const zeros = (): Given =>
      fixed(draw.tensor(dtype, channels, dtype === "int8" ? 0 : 100, dtype === "int8" ? 0 : 140));
    return {
      op: "DynamicQuantizeLSTM",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [steps, batch, size]),
        fixed(draw.tensor(dtype, [directions, size, 4 * hidden])),
        fixed(draw.tensor(dtype, [directions, hidden, 4 * hidden])),
        draw.maybe(() => fixed(draw.tensor("float32", [directions, 8 * hidden]))),
        draw.maybe(() => draw.tensor("int32", [batch], 1, steps)),
        draw.maybe(state),
        draw.maybe(state),
        draw.maybe(() => fixed(draw.tensor("float32", [directions, 3 * hidden]))),
        scales(draw, channels, 0.02),
        zeros(),
        scales(draw, channels, 0.02),
        zeros(),
      ],
      outputs: ["float32", "float32", "float32"],
      attributes: [int("hidden_size", hidden), text("direction", direction)],
      rtol: 2e-3,
      // Samples that share a thread of ONNX Runtime share a range.
      atol: batch > 1 ? 2e-2 : 2e-3,
    };
  },
};
