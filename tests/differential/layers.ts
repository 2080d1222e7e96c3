/** Random calls of convolutions, pooling, resampling and recurrent layers. */
import type { DType } from "../../src/dtype.ts";
import { int, ints } from "../../src/ir.ts";
import { type Call, type Draw, float, type Given, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

/** Sums of many terms in another order. */
const SUMS = { rtol: 2e-3, atol: 1e-4 } as const;

/** A window over spatial dimensions, as attributes say it. */
function windowed(draw: Draw, rank: number): {
  kernel: number[];
  attributes: NonNullable<Call["attributes"]>;
  extents: number[];
} {
  const kernel = Array.from({ length: rank }, () => draw.between(1, 3));
  const dilations = kernel.map(() => draw.chance(0.25) ? 2 : 1);
  const extents = kernel.map((size, i) => (size - 1) * dilations[i]! + draw.between(1, 7));
  // ONNX Runtime has no such padding where a window has gaps.
  const auto = draw.chance(0.2) && dilations.every((step) => step === 1);
  const pads = [...kernel, ...kernel].map((size) => draw.between(0, size - 1));
  return {
    kernel,
    extents,
    attributes: [
      ints("dilations", dilations),
      ints("strides", kernel.map(() => draw.between(1, 3))),
      auto
        ? text("auto_pad", draw.pick(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        : ints("pads", pads),
    ],
  };
}

const pool = (op: string, more: (draw: Draw) => NonNullable<Call["attributes"]>): Generators => ({
  [op]: (draw) => {
    const { kernel, extents, attributes } = windowed(draw, draw.between(1, 3));
    return {
      op,
      operands: [draw.tensor("float32", [draw.between(1, 2), draw.between(1, 3), ...extents])],
      outputs: ["float32"],
      attributes: [
        ints("kernel_shape", kernel),
        ...attributes.filter(({ name }) => op !== "LpPool" || name !== "dilations"),
        int("ceil_mode", draw.between(0, 1)),
        ...more(draw),
      ],
      opset: 22,
      ...SUMS,
    };
  },
});

const globalPool = (op: string): Generators => ({
  [op]: (draw) => ({
    op,
    operands: [draw.tensor("float32", draw.shape(3, 5, false))],
    outputs: ["float32"],
    ...SUMS,
  }),
});

/** Weights of a recurrent layer and what may stand beside them. */
function recurrent(draw: Draw, op: string, gates: number): Call {
  const direction = draw.pick(["forward", "reverse", "bidirectional"]);
  const directions = direction === "bidirectional" ? 2 : 1;
  const [steps, batch, size, hidden] = [5, 3, 4, 5].map((most) => draw.between(1, most)) as [
    number,
    number,
    number,
    number,
  ];
  const weights = (...dims: number[]): Given => draw.maybeFixed(draw.tensor("float32", dims));
  const state = (): Given => draw.tensor("float32", [directions, batch, hidden]);
  const rows = gates * hidden;
  const outputs: (DType | null)[] = ["float32", draw.chance(0.7) ? "float32" : null];
  const operands: (Given | null)[] = [
    draw.tensor("float32", [steps, batch, size]),
    weights(directions, rows, size),
    weights(directions, rows, hidden),
    draw.maybe(() => weights(directions, 2 * rows)),
    draw.maybe(() => draw.tensor("int32", [batch], 1, steps)),
    draw.maybe(state),
  ];
  if (op === "LSTM") {
    operands.push(draw.maybe(state), draw.maybe(() => weights(directions, 3 * hidden)));
    outputs.push(draw.chance(0.7) ? "float32" : null);
  }
  return {
    op,
    operands,
    outputs,
    attributes: [
      int("hidden_size", hidden),
      text("direction", direction),
      ...(op === "GRU" ? [int("linear_before_reset", draw.between(0, 1))] : []),
    ],
    ...SUMS,
  };
}

/** Everything of this kind. */
export const LAYERS: Generators = {
  Conv: (draw) => {
    const rank = draw.between(1, 3);
    const { kernel, extents, attributes } = windowed(draw, rank);
    const group = draw.pick([1, 1, 2, 3]);
    const [inputs, outputs] = [group * draw.between(1, 4), group * draw.between(1, 4)];
    const bias = draw.maybe(() => draw.maybeFixed(draw.tensor("float32", [outputs])));
    return {
      op: "Conv",
      operands: [
        draw.tensor("float32", [draw.between(1, 2), inputs, ...extents]),
        draw.maybeFixed(draw.tensor("float32", [outputs, inputs / group, ...kernel])),
        ...(bias === null ? [] : [bias]),
      ],
      outputs: ["float32"],
      attributes: [int("group", group), ...attributes],
      ...SUMS,
    };
  },
  ConvTranspose: (draw) => {
    const rank = draw.between(1, 3);
    const { kernel, extents, attributes: drawn } = windowed(draw, rank);
    // With a stride past the kernel, ONNX Runtime's results of padding like the input's are smaller.
    const attributes = drawn.filter(({ name }) => name !== "auto_pad");
    const group = draw.pick([1, 1, 2]);
    const [inputs, each] = [group * draw.between(1, 3), draw.between(1, 3)];
    const bias = draw.maybe(() => draw.maybeFixed(draw.tensor("float32", [group * each])));
    return {
      op: "ConvTranspose",
      operands: [
        draw.tensor("float32", [draw.between(1, 2), inputs, ...extents]),
        draw.maybeFixed(draw.tensor("float32", [inputs, each, ...kernel])),
        ...(bias === null ? [] : [bias]),
      ],
      outputs: ["float32"],
      attributes: [int("group", group), ...attributes],
      ...SUMS,
    };
  },
  ...pool("MaxPool", () => []),
  ...pool("AveragePool", (draw) => [int("count_include_pad", draw.between(0, 1))]),
  ...pool("LpPool", (draw) => [int("p", draw.between(1, 3))]),
  ...globalPool("GlobalAveragePool"),
  ...globalPool("GlobalMaxPool"),
  ...globalPool("GlobalLpPool"),
  LSTM: (draw) => recurrent(draw, "LSTM", 4),
  GRU: (draw) => recurrent(draw, "GRU", 3),
  RNN: (draw) => recurrent(draw, "RNN", 1),
  Resize: (draw) => {
    const rank = draw.pick([1, 2]);
    const dims = [draw.between(1, 2), draw.between(1, 3)];
    const extents = Array.from({ length: rank }, () => draw.between(1, 7));
    const mode = draw.pick(["nearest", "linear", ...(rank === 2 ? ["cubic"] : [])]);
    const byScales = draw.chance(0.5);
    const scales = extents.map(() => draw.pick([0.5, 0.7, 1, 1.5, 2, 3]));
    const usable = extents.every((extent, i) => Math.floor(extent * scales[i]!) > 0);
    const isWhole = extents.every((extent, i) => Number.isInteger(extent * scales[i]!));
    const drawn = draw.pick([
      "half_pixel",
      "asymmetric",
      "align_corners",
      "pytorch_half_pixel",
      "half_pixel_symmetric",
    ]);
    // Corners of a size that is no whole number lie elsewhere in ONNX Runtime than in ONNX's tests.
    const transformation = drawn === "align_corners" && byScales && !isWhole ? "half_pixel" : drawn;
    const size = given("int64", [rank + 2], [...dims, ...extents.map(() => draw.between(1, 9))]);
    return {
      op: "Resize",
      operands: [
        draw.tensor("float32", [...dims, ...extents]),
        null,
        byScales && usable
          ? {
            ...given("float32", [rank + 2], [1, 1, ...scales]),
            constant: draw.chance(0.7),
            static: true,
          }
          : null,
        byScales && usable ? null : { ...size, constant: draw.chance(0.7), static: true },
      ],
      outputs: ["float32"],
      attributes: [
        text("mode", mode),
        text("coordinate_transformation_mode", transformation),
        ...(mode === "nearest"
          ? [text(
            "nearest_mode",
            draw.pick(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
          )]
          : []),
      ],
      ...SUMS,
    };
  },
  GridSample: (draw) => {
    const [n, c] = [draw.between(1, 2), draw.between(1, 3)];
    const spatial = Array.from({ length: 2 }, () => draw.between(1, 6));
    return {
      op: "GridSample",
      operands: [
        draw.tensor("float32", [n, c, ...spatial]),
        draw.tensor("float32", [n, draw.between(1, 4), draw.between(1, 4), 2], -1.4, 1.4),
      ],
      outputs: ["float32"],
      attributes: [
        text("mode", draw.pick(["linear", "nearest", "cubic"])),
        text("padding_mode", draw.pick(["zeros", "border", "reflection"])),
        int("align_corners", draw.between(0, 1)),
      ],
      opset: 20,
      ...SUMS,
      atol: 1e-3,
    };
  },
  RoiAlign: (draw) => {
    const count = draw.between(1, 4);
    const batch = draw.between(1, 2);
    const corners = Array.from({ length: count }, () => {
      const [x, y] = [draw.number(0, 4), draw.number(0, 4)];
      return [x, y, x + draw.number(1, 4), y + draw.number(1, 4)];
    });
    return {
      op: "RoiAlign",
      operands: [
        draw.tensor("float32", [batch, 2, 8, 9]),
        given("float32", [count, 4], corners.flat()),
        draw.tensor("int64", [count], 0, batch - 1),
      ],
      outputs: ["float32"],
      attributes: [
        int("output_height", draw.between(1, 3)),
        int("output_width", draw.between(1, 3)),
        int("sampling_ratio", draw.between(0, 2)),
        float("spatial_scale", draw.pick([1, 0.5])),
        text("mode", draw.pick(["avg", "max"])),
        text(
          "coordinate_transformation_mode",
          draw.pick(["half_pixel", "output_half_pixel"]),
        ),
      ],
      ...SUMS,
    };
  },
  MaxRoiPool: (draw) => {
    const corners = [
      0,
      draw.between(0, 2),
      draw.between(0, 2),
      draw.between(3, 7),
      draw.between(3, 7),
    ];
    return {
      op: "MaxRoiPool",
      operands: [draw.tensor("float32", [1, 2, 8, 8]), given("float32", [1, 5], corners)],
      outputs: ["float32"],
      attributes: [ints("pooled_shape", [draw.between(1, 3), draw.between(1, 3)])],
    };
  },
};
