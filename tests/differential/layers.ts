/** Random calls of operators that sum: reductions, products, convolutions, pooling, recurrence. */
import type { DType } from "../../src/dtype.ts";
import { int, ints } from "../../src/ir.ts";
import { type Call, type Draw, fixed, float, floats, type Given, given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const FLOATS = ["float32", "float32", "float16"] as const;
/** Sums of many terms in another order. */
const SUMS = { rtol: 2e-3, atol: 1e-4 } as const;

const reduction = (op: string, types: readonly DType[], least = -2, greatest = 2): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(types);
    const x = draw.tensor(dtype, draw.shape(0, 4, false), least, greatest);
    const axes = draw.maybe(() =>
      draw.integers(draw.axes(x.dims.length, draw.between(0, x.dims.length)))
    );
    return {
      op,
      operands: [x, ...(axes === null ? [] : [axes])],
      outputs: [dtype],
      attributes: [
        int("keepdims", draw.between(0, 1)),
        ...(draw.chance(0.2) ? [int("noop_with_empty_axes", 1)] : []),
      ],
      ...SUMS,
    };
  },
});

const along = (op: string, types: readonly DType[], output: DType | null = null): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(types);
    const x = draw.tensor(dtype, draw.shape(1, 4, false));
    return {
      op,
      operands: [x],
      outputs: [output ?? dtype],
      attributes: draw.chance(0.8) ? [int("axis", draw.axis(x.dims.length))] : [],
      ...(op.startsWith("Arg") && {
        attributes: [
          int("axis", draw.axis(x.dims.length)),
          int("keepdims", draw.between(0, 1)),
          int("select_last_index", draw.between(0, 1)),
        ],
      }),
    };
  },
});

const cumulative = (op: string): Generators => ({
  [op]: (draw) => {
    const dtype = draw.pick(["float32", "int32", "int64"] as const);
    const x = draw.tensor(dtype, draw.shape(1, 3));
    return {
      op,
      operands: [x, { ...draw.integer(draw.axis(x.dims.length), "int64"), dims: [] }],
      outputs: [dtype],
      attributes: [int("exclusive", draw.between(0, 1)), int("reverse", draw.between(0, 1))],
      ...SUMS,
    };
  },
});

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

/** Shapes of two matrices that can be multiplied, with batches that broadcast. */
function matrices(draw: Draw): [number[], number[]] {
  const [m, k, n] = [1, 2, 3].map(() => draw.chance(0.1) ? draw.between(20, 70) : draw.extent());
  const batch = draw.shape(0, 2);
  return draw.pick([
    [[...draw.broadcast(batch), m!, k!], [...batch, k!, n!]],
    [[...batch, m!, k!], [...draw.broadcast(batch), k!, n!]],
    [[k!], [...batch, k!, n!]],
    [[...batch, m!, k!], [k!]],
  ]);
}

/** Everything of this kind. */
export const LAYERS: Generators = {
  ...reduction("ReduceSum", [...FLOATS, "int32", "int64"]),
  ...reduction("ReduceMean", FLOATS),
  ...reduction("ReduceMax", [...FLOATS, "int32", "int64", "int8", "uint8"], 0, 9),
  ...reduction("ReduceMin", [...FLOATS, "int32", "int64", "int8", "uint8"], 0, 9),
  ...reduction("ReduceProd", ["float32", "int32"]),
  ...reduction("ReduceL1", ["float32", "int32"]),
  ...reduction("ReduceL2", ["float32"]),
  ...reduction("ReduceLogSum", ["float32"], 0.1, 4),
  ...reduction("ReduceLogSumExp", ["float32"]),
  ...reduction("ReduceSumSquare", ["float32", "int32"]),
  ...along("ArgMax", ["float32", "int32", "int8", "uint8"], "int64"),
  ...along("ArgMin", ["float32", "int32", "int8", "uint8"], "int64"),
  ...along("Softmax", FLOATS),
  ...along("LogSoftmax", FLOATS),
  ...along("Hardmax", ["float32"]),
  ...along("LpNormalization", ["float32"]),
  ...cumulative("CumSum"),
  MatMul: (draw) => {
    const [a, b] = matrices(draw);
    const dtype = draw.pick([...FLOATS, "int32"] as const);
    return {
      op: "MatMul",
      operands: [draw.tensor(dtype, a), draw.maybeFixed(draw.tensor(dtype, b))],
      outputs: [dtype],
      ...SUMS,
      ...(dtype === "float16" && { rtol: 1e-2, atol: 2e-2 }),
    };
  },
  Gemm: (draw) => {
    const [m, k, n] = draw.shape(3) as [number, number, number];
    const [transA, transB] = [draw.between(0, 1), draw.between(0, 1)];
    const bias = draw.maybe(() => draw.maybeFixed(draw.tensor("float32", draw.broadcast([m, n]))));
    return {
      op: "Gemm",
      operands: [
        draw.tensor("float32", transA === 1 ? [k, m] : [m, k]),
        draw.maybeFixed(draw.tensor("float32", transB === 1 ? [n, k] : [k, n])),
        ...(bias === null ? [] : [bias]),
      ],
      outputs: ["float32"],
      attributes: [
        int("transA", transA),
        int("transB", transB),
        float("alpha", draw.number(-1, 2)),
        float("beta", draw.number(-1, 2)),
      ],
      ...SUMS,
    };
  },
  Einsum: (draw) => {
    const [i, j, k, b] = draw.shape(4, 4, false) as [number, number, number, number];
    const [equation, ...shapes] = draw.pick<[string, ...number[][]]>([
      ["ij,jk->ik", [i, j], [j, k]],
      ["bij,bjk->bik", [b, i, j], [b, j, k]],
      ["bij,bkj->bik", [b, i, j], [b, k, j]],
      ["ij->ji", [i, j]],
      ["ij->i", [i, j]],
      ["ij,ij->", [i, j], [i, j]],
      ["i,j->ij", [i], [j]],
      ["...ij,...jk->...ik", [b, i, j], [b, j, k]],
      ["bhid,bhjd->bhij", [b, i, j, k], [b, i, b, k]],
      ["ii->i", [i, i]],
    ]);
    return {
      op: "Einsum",
      operands: shapes.map((dims) => draw.tensor("float32", dims)),
      outputs: ["float32"],
      attributes: [text("equation", equation)],
      ...SUMS,
    };
  },
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
    const { kernel, extents, attributes } = windowed(draw, rank);
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
  BatchNormalization: (draw) => {
    const x = draw.tensor("float32", draw.shape(2, 5, false));
    const own = (least: number): Given =>
      draw.maybeFixed(draw.tensor("float32", [x.dims[1]!], least, 2));
    return {
      op: "BatchNormalization",
      operands: [x, own(-2), own(-2), own(-2), own(0.2)],
      outputs: ["float32"],
      attributes: draw.chance(0.5) ? [float("epsilon", 0.01)] : [],
      ...SUMS,
    };
  },
  InstanceNormalization: (draw) => {
    const x = draw.tensor("float32", draw.shape(3, 5, false));
    const own = (): Given => draw.maybeFixed(draw.tensor("float32", [x.dims[1]!]));
    return {
      op: "InstanceNormalization",
      operands: [x, own(), own()],
      outputs: ["float32"],
      ...SUMS,
    };
  },
  GroupNormalization: (draw) => {
    const groups = draw.between(1, 3);
    const [n, c, ...rest] = draw.shape(3, 5, false) as [number, number, ...number[]];
    const x = draw.tensor("float32", [n, c * groups, ...rest]);
    const own = (): Given => draw.maybeFixed(draw.tensor("float32", [c * groups]));
    return {
      op: "GroupNormalization",
      operands: [x, own(), own()],
      outputs: ["float32"],
      attributes: [int("num_groups", groups)],
      ...SUMS,
    };
  },
  LayerNormalization: (draw) => {
    const x = draw.tensor("float32", draw.shape(1, 4, false));
    const axis = draw.axis(x.dims.length);
    const own = (): Given => draw.maybeFixed(draw.tensor("float32", x.dims.slice(axis)));
    const bias = draw.maybe(own);
    return {
      op: "LayerNormalization",
      operands: [x, own(), ...(bias === null ? [] : [bias])],
      outputs: [
        "float32",
        draw.chance(0.5) ? "float32" : null,
        draw.chance(0.5) ? "float32" : null,
      ],
      attributes: [int("axis", axis)],
      ...SUMS,
      // Rows of one or of equal elements have deviations of nothing but rounding.
      rtol: 5e-3,
      atol: 1e-3,
    };
  },
  RMSNormalization: (draw) => {
    const x = draw.tensor("float32", draw.shape(1, 4, false));
    const axis = draw.axis(x.dims.length);
    return {
      op: "RMSNormalization",
      operands: [x, draw.maybeFixed(draw.tensor("float32", x.dims.slice(axis)))],
      outputs: ["float32"],
      attributes: [int("axis", axis)],
      opset: 23,
      ...SUMS,
    };
  },
  MeanVarianceNormalization: (draw) => ({
    op: "MeanVarianceNormalization",
    operands: [draw.tensor("float32", draw.shape(4, 4, false).with(3, 6))],
    outputs: ["float32"],
    attributes: draw.chance(0.5)
      ? []
      : [ints("axes", draw.pick([[0, 2, 3], [0, 1, 2, 3], [2, 3]]))],
    ...SUMS,
    rtol: 5e-3,
  }),
  LRN: (draw) => ({
    op: "LRN",
    operands: [draw.tensor("float32", draw.shape(4, 4, false))],
    outputs: ["float32"],
    attributes: [int("size", draw.pick([1, 3, 5])), float("alpha", 0.5), float("bias", 1.5)],
  }),
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
    const transformation = draw.pick([
      "half_pixel",
      "asymmetric",
      "align_corners",
      "pytorch_half_pixel",
      "half_pixel_symmetric",
    ]);
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
  Det: (draw) => {
    const n = draw.between(1, 4);
    return {
      op: "Det",
      operands: [draw.tensor("float32", [...draw.shape(0, 2, false), n, n])],
      outputs: ["float32"],
      ...SUMS,
    };
  },
  DFT: (draw) => {
    const inverse = draw.between(0, 1);
    const dims = [draw.between(1, 2), draw.between(2, 9), draw.between(1, 3)];
    return {
      op: "DFT",
      operands: [
        { ...draw.tensor("float32", [...dims, draw.pick([1, 2])]), static: true },
        null,
        fixed(given("int64", [], [draw.pick([1, 2, -2, -3])])),
      ],
      outputs: ["float32"],
      attributes: [int("inverse", inverse)],
      opset: 20,
      ...SUMS,
    };
  },
  STFT: (draw) => {
    const length = draw.between(3, 8);
    const window = draw.maybe(() => draw.tensor("float32", [length]));
    return {
      op: "STFT",
      operands: [
        draw.tensor("float32", [draw.between(1, 2), draw.between(9, 20), 1]),
        fixed(given("int64", [], [draw.between(1, 4)])),
        window,
        fixed(given("int64", [], [length])),
      ],
      outputs: ["float32"],
      attributes: [int("onesided", draw.between(0, 1))],
      ...SUMS,
    };
  },
  HannWindow: (draw) => ({
    op: "HannWindow",
    operands: [{ ...draw.integer(draw.between(2, 9)), dims: [] }],
    outputs: ["float32"],
    attributes: [int("periodic", draw.between(0, 1))],
  }),
  HammingWindow: (draw) => ({
    op: "HammingWindow",
    operands: [{ ...draw.integer(draw.between(2, 9)), dims: [] }],
    outputs: ["float32"],
    attributes: [int("periodic", draw.between(0, 1))],
  }),
  BlackmanWindow: (draw) => ({
    op: "BlackmanWindow",
    operands: [{ ...draw.integer(draw.between(2, 9)), dims: [] }],
    outputs: ["float32"],
    attributes: [int("periodic", draw.between(0, 1))],
  }),
  TfIdfVectorizer: (draw) => {
    const most = draw.between(1, 3);
    const counts: number[] = [];
    const pool: number[] = [];
    const grams = new Set<string>();
    let total = 0;
    for (let length = 1; length <= most; length++) {
      counts.push(pool.length);
      for (let i = draw.between(length === most ? 1 : 0, 4); i > 0; i--) {
        const gram = Array.from({ length }, () => draw.between(0, 3));
        if (grams.has(gram.join())) continue;
        grams.add(gram.join());
        pool.push(...gram);
        total++;
      }
    }
    const least = draw.between(1, most);
    return {
      op: "TfIdfVectorizer",
      operands: [draw.tensor(draw.pick(["int32", "int64"]), draw.shape(1, 2, false), 0, 3)],
      outputs: ["float32"],
      attributes: [
        text("mode", draw.pick(["TF", "IDF", "TFIDF"])),
        int("min_gram_length", least),
        int("max_gram_length", most),
        int("max_skip_count", draw.between(0, 3)),
        ints("ngram_counts", counts),
        ints("ngram_indexes", draw.shuffled(Array.from({ length: total }, (_, i) => i))),
        ints("pool_int64s", pool),
        floats("weights", Array.from({ length: total }, () => draw.number(0.5, 2))),
      ],
    };
  },
  NonMaxSuppression: (draw) => {
    const boxes = draw.between(1, 9);
    const corners = Array.from({ length: boxes }, () => {
      const [y, x] = [draw.number(0, 5), draw.number(0, 5)];
      return [y, x, y + draw.number(0.5, 4), x + draw.number(0.5, 4)];
    });
    return {
      op: "NonMaxSuppression",
      operands: [
        given("float32", [1, boxes, 4], corners.flat()),
        draw.tensor("float32", [1, draw.between(1, 3), boxes], 0, 1),
        fixed(given("int64", [1], [draw.between(0, 5)])),
        fixed(given("float32", [1], [draw.number(0.1, 0.9)])),
        draw.maybe(() => fixed(given("float32", [1], [draw.number(0, 0.5)]))),
      ],
      outputs: ["int64"],
    };
  },
};
