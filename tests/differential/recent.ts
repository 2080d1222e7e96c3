/** Random calls of operators that are new in ONNX, or that few models have. */
import type { DType } from "../../src/dtype.ts";
import { int, ints } from "../../src/ir.ts";
import { type Draw, fixed, float, type Given, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const SUMS = { rtol: 2e-3, atol: 2e-4 } as const;

/** Losses by class: scores (N, C, ...), labels (N, ...), weights of classes. */
const loss = (op: string): Generators => ({
  [op]: (draw) => {
    const [n, c] = [draw.between(1, 4), draw.between(2, 5)];
    const rest = draw.shape(0, 2, false);
    const weights = draw.maybe(() => draw.tensor("float32", [c], 0.2, 2));
    const labels = draw.tensor(draw.pick(["int64", "int32"]), [n, ...rest], 0, c - 1);
    return {
      op,
      operands: [
        draw.tensor("float32", [n, c, ...rest]),
        labels,
        ...(weights === null ? [] : [weights]),
      ],
      outputs: ["float32"],
      attributes: [
        text("reduction", draw.pick(["none", "sum", "mean"])),
        ...(draw.chance(0.4) ? [int("ignore_index", draw.between(0, c - 1))] : []),
      ],
      ...SUMS,
    };
  },
});

/** Attention of ONNX; inputs of rank 3 or 4, with or without a past. */
function attention(draw: Draw) {
  const [batch, groups] = [draw.between(1, 2), draw.between(1, 2)];
  const heads = groups * draw.between(1, 3);
  const [length, size] = [draw.pick([1, 2, 5]), draw.pick([4, 8])];
  const past = draw.chance(0.4) ? draw.between(1, 3) : 0;
  const keys = draw.between(1, 6);
  const packed = draw.chance(0.5);
  const tensor = (count: number, positions: number): Given =>
    draw.tensor(
      "float32",
      packed ? [batch, positions, count * size] : [batch, count, positions, size],
    );
  const total = past + keys;
  const dims = draw.pick([
    [length, total],
    [1, 1, length, total],
    [batch, 1, length, total],
    [batch, heads, length, total],
  ]);
  // A query that may see no key is left open.
  const flags = draw.tensor("bool", dims);
  flags.data.forEach((_, i) => {
    if (i % total === 0) flags.data[i] = 1;
  });
  const mask = draw.pick([() => null, () => flags, () => draw.tensor("float32", dims)])();
  const cache = (): Given => draw.tensor("float32", [batch, groups, past, size]);
  const outputs: readonly (DType | null)[] = past > 0
    ? ["float32", "float32", "float32"]
    : ["float32"];
  return {
    op: "Attention",
    operands: [
      tensor(heads, length),
      tensor(groups, keys),
      tensor(groups, keys),
      mask,
      ...(past > 0 ? [cache(), cache()] : []),
    ],
    outputs,
    attributes: [
      ...(packed ? [int("q_num_heads", heads), int("kv_num_heads", groups)] : []),
      ...(draw.chance(0.3) && past === 0 && mask === null ? [int("is_causal", 1)] : []),
      ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
      ...(draw.chance(0.3) ? [float("softcap", 2)] : []),
    ],
    opset: 23,
    ...SUMS,
  };
}

/** Everything of this kind. */
export const RECENT: Generators = {
  ...loss("NegativeLogLikelihoodLoss"),
  ...loss("SoftmaxCrossEntropyLoss"),
  Attention: attention,
  RotaryEmbedding: (draw) => {
    const [batch, heads] = [draw.between(1, 2), draw.between(1, 3)];
    const [length, size] = [draw.between(1, 5), draw.pick([4, 8])];
    const packed = draw.chance(0.5);
    const placed = draw.chance(0.5);
    const rows = placed ? [9, size / 2] : [batch, length, size / 2];
    return {
      op: "RotaryEmbedding",
      operands: [
        draw.tensor(
          "float32",
          packed ? [batch, length, heads * size] : [batch, heads, length, size],
        ),
        draw.tensor("float32", rows),
        draw.tensor("float32", rows),
        ...(placed ? [draw.tensor("int64", [batch, length], 0, 8)] : []),
      ],
      outputs: ["float32"],
      attributes: [
        int("interleaved", draw.between(0, 1)),
        ...(packed ? [int("num_heads", heads)] : []),
      ],
      opset: 23,
    };
  },
  "MaxPool with indices": (draw) => {
    const dtype = draw.pick(["float32", "uint8", "int8"]);
    const extents = [draw.between(3, 8), draw.between(3, 8)];
    const kernel = [draw.between(1, 3), draw.between(1, 3)];
    return {
      op: "MaxPool",
      operands: [draw.tensor(dtype, [draw.between(1, 2), draw.between(1, 3), ...extents])],
      outputs: [dtype, "int64"],
      attributes: [
        ints("kernel_shape", kernel),
        ints("strides", [draw.between(1, 3), draw.between(1, 3)]),
        ints("pads", [...kernel, ...kernel].map((size) => draw.between(0, size - 1))),
        int("storage_order", draw.between(0, 1)),
        int("ceil_mode", draw.between(0, 1)),
      ],
    };
  },
  Col2Im: (draw) => {
    const [h, w] = [draw.between(2, 6), draw.between(2, 6)];
    const [kh, kw] = [draw.between(1, 2), draw.between(1, 2)];
    const [channels, positions] = [draw.between(1, 3), (h - kh + 1) * (w - kw + 1)];
    return {
      op: "Col2Im",
      operands: [
        draw.tensor("float32", [draw.between(1, 2), channels * kh * kw, positions]),
        draw.integers([h, w]),
        draw.integers([kh, kw]),
      ],
      outputs: ["float32"],
      ...SUMS,
    };
  },
  AffineGrid: (draw) => {
    const n = draw.between(1, 3);
    const extents = draw.chance(0.5)
      ? [draw.between(2, 5), draw.between(2, 5)]
      : [draw.between(2, 4), draw.between(2, 4), draw.between(2, 4)];
    const rank = extents.length;
    return {
      op: "AffineGrid",
      operands: [
        draw.tensor("float32", [n, rank, rank + 1]),
        fixed(given("int64", [rank + 2], [n, draw.between(1, 3), ...extents])),
      ],
      outputs: ["float32"],
      attributes: [int("align_corners", draw.between(0, 1))],
      opset: 20,
      ...SUMS,
    };
  },
  MelWeightMatrix: (draw) => {
    const scalar = (value: number): Given => fixed(given("int64", [], [value]));
    const hertz = (value: number): Given => fixed(given("float32", [], [value]));
    return {
      op: "MelWeightMatrix",
      operands: [
        scalar(draw.between(3, 12)),
        scalar(draw.pick([16, 32, 64])),
        scalar(8192),
        hertz(draw.number(0, 300)),
        hertz(draw.number(2000, 4096)),
      ],
      outputs: ["float32"],
      ...SUMS,
    };
  },
  MaxUnpool: (draw) => {
    const [n, c, h, w] = [1, draw.between(1, 3), draw.between(1, 4), draw.between(1, 4)];
    const places = Array.from({ length: n * c * h * w }, (_, i) => {
      const [plane, rest] = [Math.floor(i / (h * w)), i % (h * w)];
      const [row, column] = [2 * Math.floor(rest / w), 2 * (rest % w)];
      return plane * 4 * h * w + (row + draw.between(0, 1)) * 2 * w + column + draw.between(0, 1);
    });
    return {
      op: "MaxUnpool",
      operands: [draw.tensor("float32", [n, c, h, w]), given("int64", [n, c, h, w], places)],
      outputs: ["float32"],
      attributes: [ints("kernel_shape", [2, 2]), ints("strides", [2, 2])],
    };
  },
  DeformConv: (draw) => {
    const [h, w] = [draw.between(3, 5), draw.between(3, 5)];
    const [inputs, outputs] = [draw.between(1, 3), draw.between(1, 3)];
    const [oh, ow] = [h - 1, w - 1];
    return {
      op: "DeformConv",
      operands: [
        draw.tensor("float32", [1, inputs, h, w]),
        draw.tensor("float32", [outputs, inputs, 2, 2]),
        draw.tensor("float32", [1, 8, oh, ow], -1, 1),
        draw.maybe(() => draw.tensor("float32", [outputs])),
        ...(draw.chance(0.5) ? [draw.tensor("float32", [1, 4, oh, ow], 0, 1)] : []),
      ],
      outputs: ["float32"],
      attributes: [ints("kernel_shape", [2, 2]), ints("pads", [0, 0, 0, 0])],
      ...SUMS,
    };
  },
  Swish: (draw) => ({
    op: "Swish",
    operands: [draw.tensor("float32", draw.shape(1, 3), -5, 5)],
    outputs: ["float32"],
    attributes: draw.chance(0.5) ? [float("alpha", draw.number(0.5, 2))] : [],
    opset: 24,
  }),
  TensorScatter: (draw) => {
    const [batch, heads, most, size] = [draw.between(1, 3), draw.between(1, 2), 6, 4];
    const length = draw.between(1, 3);
    const begins = Array.from({ length: batch }, () => draw.between(0, most - length));
    return {
      op: "TensorScatter",
      operands: [
        draw.tensor("float32", [batch, heads, most, size]),
        draw.tensor("float32", [batch, heads, length, size]),
        ...(draw.chance(0.7) ? [given("int64", [batch], begins)] : []),
      ],
      outputs: ["float32"],
      attributes: [text("mode", draw.pick(["linear", "circular"]))],
      opset: 24,
    };
  },
};
