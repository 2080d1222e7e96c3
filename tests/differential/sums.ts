/** Random calls of operators that sum along axes: reductions, products, normalizations. */
import type { DType } from "../../src/dtype.ts";
import { int, ints } from "../../src/ir.ts";
import { type Draw, float, type Given, text } from "./draw.ts";
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
export const SUMMING: Generators = {
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
};
