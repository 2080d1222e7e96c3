/** Random calls of com.microsoft's operators on floats: fused activations, products, norms. */
import { int, ints } from "../../src/ir.ts";
import { type Call, type Draw, fixed, float, type Given, text } from "./draw.ts";
import type { Generators } from "./elementwise.ts";

const DOMAIN = "com.microsoft";
const SUMS = { rtol: 2e-3, atol: 2e-4 } as const;

const unary = (
  op: string,
  attributes: (draw: Draw) => Call["attributes"] = () => [],
): Generators => ({
  [op]: (draw) => ({
    op,
    domain: DOMAIN,
    operands: [draw.tensor("float32", draw.shape(1, 4), -5, 5)],
    outputs: ["float32"],
    attributes: attributes(draw) ?? [],
  }),
});

/** An activation with a bias along the last dimension. */
const biased = (op: string, optional: boolean): Generators => ({
  [op]: (draw) => {
    const x = draw.tensor("float32", draw.shape(1, 4, false), -5, 5);
    const bias = draw.maybeFixed(draw.tensor("float32", [x.dims.at(-1)!]));
    const operands = optional && draw.chance(0.5) ? [x] : [x, bias];
    return { op, domain: DOMAIN, operands, outputs: ["float32"], rtol: 2e-3, atol: 1e-4 };
  },
});

/** The activations that fused operators name. */
function activation(draw: Draw): { name: string; parameters: number[] } {
  return draw.pick([
    { name: "Relu", parameters: [] },
    { name: "Tanh", parameters: [] },
    { name: "Sigmoid", parameters: [] },
    { name: "LeakyRelu", parameters: [0.2] },
    { name: "Clip", parameters: [-0.5, 1.5] },
    { name: "HardSigmoid", parameters: [0.3, 0.4] },
  ]) as { name: string; parameters: number[] };
}

/** Everything of this kind. */
export const MICROSOFT: Generators = {
  ...unary("Gelu"),
  ...unary("QuickGelu", (draw) => draw.chance(0.5) ? [float("alpha", draw.number(0.5, 2))] : []),
  ...biased("BiasGelu", false),
  ...biased("FastGelu", true),
  FusedMatMul: (draw) => {
    const [m, k, n, b] = draw.shape(4, 4, false) as [number, number, number, number];
    const flags = [1, 2, 3, 4].map(() => draw.between(0, 1)) as [number, number, number, number];
    const [transA, transB, batchA, batchB] = flags;
    const batches = draw.between(1, 2) === 1 ? [b] : [b, draw.between(1, 3)];
    const dims = (rows: number, columns: number, transposed: number, moved: number): number[] => {
      const [first, last] = transposed === 1 ? [columns, rows] : [rows, columns];
      return moved === 1 ? [first, ...batches, last] : [...batches, first, last];
    };
    return {
      op: "FusedMatMul",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", dims(m, k, transA, batchA)),
        draw.maybeFixed(draw.tensor("float32", dims(k, n, transB, batchB))),
      ],
      outputs: ["float32"],
      attributes: [
        int("transA", transA),
        int("transB", transB),
        int("transBatchA", batchA),
        int("transBatchB", batchB),
        float("alpha", draw.number(-2, 2)),
      ],
      ...SUMS,
    };
  },
  FusedGemm: (draw) => {
    const [m, k, n] = draw.shape(3, 3, false) as [number, number, number];
    const { name, parameters } = activation(draw);
    const names = ["activation_alpha", "activation_beta"];
    return {
      op: "FusedGemm",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [m, k]),
        draw.tensor("float32", [k, n]),
        ...(draw.chance(0.5) ? [draw.tensor("float32", draw.broadcast([m, n]))] : []),
      ],
      outputs: ["float32"],
      attributes: [
        text("activation", name),
        ...parameters.map((value, i) => float(names[i]!, value)),
      ],
      ...SUMS,
    };
  },
  FusedConv: (draw) => {
    const { name, parameters } = activation(draw);
    const group = draw.pick([1, 2]);
    const [inputs, outputs] = [group * draw.between(1, 3), group * draw.between(1, 3)];
    const [h, w] = [draw.between(3, 8), draw.between(3, 8)];
    const summed = draw.chance(0.4);
    return {
      op: "FusedConv",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [2, inputs, h, w]),
        draw.maybeFixed(draw.tensor("float32", [outputs, inputs / group, 3, 3])),
        ...(summed || draw.chance(0.5)
          ? [draw.chance(0.5) ? null : draw.maybeFixed(draw.tensor("float32", [outputs]))]
          : []),
        ...(summed ? [draw.tensor("float32", [2, outputs, h, w])] : []),
      ],
      outputs: ["float32"],
      attributes: [
        int("group", group),
        ints("pads", [1, 1, 1, 1]),
        ints("kernel_shape", [3, 3]),
        text("activation", name),
        ...(parameters.length > 0
          ? [{
            name: "activation_params",
            value: { type: "floats" as const, value: parameters },
            carried: new Uint8Array(0),
          }]
          : []),
      ],
      ...SUMS,
    };
  },
  SkipLayerNormalization: (draw) => {
    const [b, s, h] = draw.shape(3, 3, false).with(2, draw.between(2, 9)) as [
      number,
      number,
      number,
    ];
    const own = (): Given => draw.maybeFixed(draw.tensor("float32", [h]));
    const skip = draw.pick([[b, s, h], [1, s, h], [s, h]]);
    return {
      op: "SkipLayerNormalization",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [b, s, h]),
        draw.tensor("float32", skip),
        own(),
        draw.maybe(own),
        draw.maybe(own),
      ],
      outputs: ["float32", null, null, draw.chance(0.5) ? "float32" : null],
      attributes: [float("epsilon", 1e-5)],
      ...SUMS,
      atol: 1e-3,
    };
  },
  SkipSimplifiedLayerNormalization: (draw) => {
    const dims = draw.shape(2, 3, false);
    const own = (): Given => draw.maybeFixed(draw.tensor("float32", [dims.at(-1)!]));
    const bias = draw.maybe(own);
    return {
      op: "SkipSimplifiedLayerNormalization",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", dims),
        draw.tensor("float32", dims),
        own(),
        ...(bias === null ? [] : [bias]),
      ],
      outputs: ["float32", null, null, draw.chance(0.5) ? "float32" : null],
      attributes: [float("epsilon", 1e-5)],
      ...SUMS,
      atol: 1e-3,
    };
  },
  SimplifiedLayerNormalization: (draw) => {
    const x = draw.tensor("float32", draw.shape(1, 4, false));
    const axis = draw.axis(x.dims.length);
    return {
      op: "SimplifiedLayerNormalization",
      operands: [x, draw.maybeFixed(draw.tensor("float32", x.dims.slice(axis)))],
      outputs: ["float32", draw.chance(0.5) ? "float32" : null],
      attributes: [int("axis", axis), float("epsilon", 1e-5), int("stash_type", 1)],
      ...SUMS,
    };
  },
  EmbedLayerNormalization: (draw) => {
    const [b, s, h] = [draw.between(1, 3), draw.between(1, 6), draw.between(2, 9)];
    const table = (rows: number): Given => ({
      ...draw.maybeFixed(draw.tensor("float32", [rows, h])),
      static: true,
    });
    const segments = draw.chance(0.5);
    const ids = (end: number, rows = b): Given => draw.tensor("int32", [rows, s], 0, end - 1);
    const masked = draw.chance(0.5);
    return {
      op: "EmbedLayerNormalization",
      domain: DOMAIN,
      operands: [
        ids(9),
        segments ? ids(2) : null,
        table(9),
        table(8),
        segments ? table(2) : null,
        fixed(draw.tensor("float32", [h])),
        fixed(draw.tensor("float32", [h])),
        masked ? ids(2) : null,
        ...(draw.chance(0.5) ? [ids(8, draw.pick([1, b]))] : []),
      ],
      outputs: ["float32", masked ? "int32" : null, draw.chance(0.5) ? "float32" : null],
      attributes: [float("epsilon", 1e-5), ...(masked ? [int("mask_index_type", 1)] : [])],
      ...SUMS,
      atol: 1e-3,
    };
  },
};
