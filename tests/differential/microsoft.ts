/** Random calls of com.microsoft's operators on floats: fused activations, products, norms, attention. */
import { int, ints } from "../../src/ir.ts";
import { type Call, type Draw, fixed, float, type Given, given, text } from "./draw.ts";
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

/** Numbers of samples, positions, heads and elements of a head. */
function sizes(draw: Draw): { batch: number; length: number; heads: number; size: number } {
  return {
    batch: draw.between(1, 3),
    length: draw.pick([1, 1, 2, 3, 5, 7]),
    heads: draw.between(1, 4),
    size: draw.pick([4, 8, 16]),
  };
}

/** The forms that a mask of keys has; `total` keys, of which `length` are of the call itself. */
export function mask(draw: Draw, batch: number, length: number, total: number): Given {
  const ends = Array.from({ length: batch }, () => draw.between(1, total));
  const form = draw.between(1, 5);
  if (form === 1) return given("int32", [batch], ends);
  if (form === 5) {
    // Lengths, then where the queries and the keys of each sample begin among all.
    const begins = ends.map((_, i) => i * length);
    const all = [...begins, batch * length];
    return given("int32", [3 * batch + 2], [...ends, ...all, ...all]);
  }
  if (form === 2) {
    const starts = ends.map((end) => draw.between(0, end - 1));
    return given("int32", [2 * batch], [...ends, ...starts]);
  }
  const dims = form === 3 ? [batch, total] : [batch, length, total];
  const made = draw.tensor("int32", dims, 0, 1);
  // A query that may see no key sees all of them alike.
  return made;
}

const rotary = (draw: Draw, positions: number, pairs: number): [Given, Given] => [
  draw.maybeFixed(draw.tensor("float32", [positions, pairs], -1, 1)),
  draw.maybeFixed(draw.tensor("float32", [positions, pairs], -1, 1)),
];

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
  RotaryEmbedding: (draw) => {
    const { batch, length, heads, size } = sizes(draw);
    const packed = draw.chance(0.5);
    const partial = draw.chance(0.4) ? size / 2 : 0;
    const first = draw.chance(0.5);
    const most = 16;
    return {
      op: "RotaryEmbedding",
      domain: DOMAIN,
      operands: [
        draw.tensor(
          "float32",
          packed ? [batch, length, heads * size] : [batch, heads, length, size],
        ),
        first
          ? given("int64", [1], [draw.between(0, most - length)])
          : draw.tensor("int64", [batch, length], 0, most - 1),
        ...rotary(draw, most, (partial || size) / 2),
      ],
      outputs: ["float32"],
      attributes: [
        int("interleaved", draw.between(0, 1)),
        ...(partial > 0 ? [int("rotary_embedding_dim", partial), int("num_heads", heads)] : []),
      ],
    };
  },
  Attention: (draw) => {
    const { batch, length, heads, size } = sizes(draw);
    const past = draw.chance(0.4) ? draw.between(1, 4) : 0;
    const [hidden, depth] = [heads * size, draw.between(2, 9)];
    const valueSize = past === 0 && draw.chance(0.3) ? 2 * size : size;
    const width = 2 * hidden + heads * valueSize;
    const total = past + length;
    return {
      op: "Attention",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [batch, length, depth]),
        draw.maybeFixed(draw.tensor("float32", [depth, width], -0.5, 0.5)),
        // Without it ONNX Runtime ends its process.
        draw.maybeFixed(draw.tensor("float32", [width])),
        draw.maybe(() => mask(draw, batch, length, total)),
        past > 0 ? draw.tensor("float32", [2, batch, heads, past, size]) : null,
        ...(draw.chance(0.4)
          ? [draw.tensor("float32", [draw.pick([1, batch]), draw.pick([1, heads]), length, total])]
          : []),
      ],
      outputs: ["float32", past > 0 || valueSize === size ? "float32" : null],
      attributes: [
        int("num_heads", heads),
        int("unidirectional", draw.between(0, 1)),
        ...(valueSize !== size
          ? [ints("qkv_hidden_sizes", [hidden, hidden, heads * valueSize])]
          : []),
        ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
        ...(draw.chance(0.3) ? [float("mask_filter_value", -50)] : []),
      ],
      ...SUMS,
    };
  },
  MultiHeadAttention: (draw) => {
    const { batch, length, heads, size } = sizes(draw);
    const hidden = heads * size;
    // The CPU takes no packed queries, keys and values.
    const form = draw.pick(["separate", "heads", "past"]);
    const keys = form === "past" ? length : draw.between(1, 7);
    const past = form === "past" ? draw.between(1, 4) : 0;
    const total = past + keys;
    const valueSize = form === "separate" && draw.chance(0.3) ? 2 * size : size;
    const tensor = (...dims: number[]): Given => draw.tensor("float32", dims);
    const biased = form !== "heads" && draw.chance(0.4);
    const operands: (Given | null)[] = form === "heads"
      ? [
        tensor(batch, length, hidden),
        tensor(batch, heads, keys, size),
        tensor(batch, heads, keys, size),
      ]
      : [
        tensor(batch, length, hidden),
        tensor(batch, keys, hidden),
        tensor(batch, keys, heads * valueSize),
      ];
    const padding = draw.chance(0.5)
      ? draw.pick([
        () => given("int32", [batch], Array.from({ length: batch }, () => draw.between(1, total))),
        () => draw.tensor("int32", [batch, total], 0, 1),
        () => draw.tensor("int32", [batch, length, total], 0, 1),
      ])()
      : null;
    operands.push(
      biased ? draw.maybeFixed(tensor(2 * hidden + heads * valueSize)) : null,
      padding,
      draw.chance(0.4) ? tensor(draw.pick([1, batch]), draw.pick([1, heads]), length, total) : null,
    );
    if (past > 0) {
      operands.push(tensor(batch, heads, past, size), tensor(batch, heads, past, size));
    }
    const cached = past > 0 || (form === "separate" && draw.chance(0.4));
    return {
      op: "MultiHeadAttention",
      domain: DOMAIN,
      operands,
      outputs: ["float32", ...(cached ? ["float32", "float32"] as const : [])],
      attributes: [
        int("num_heads", heads),
        ...(draw.chance(0.3) && keys === length ? [int("unidirectional", 1)] : []),
        ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
        ...(draw.chance(0.3) ? [float("mask_filter_value", -50)] : []),
      ],
      ...SUMS,
    };
  },
  CausalConvWithState: (draw) => {
    const [batch, channels] = [draw.between(1, 2), draw.between(1, 5)];
    const [length, size] = [draw.between(1, 6), draw.between(1, 4)];
    return {
      op: "CausalConvWithState",
      domain: DOMAIN,
      operands: [
        draw.tensor("float32", [batch, channels, length]),
        draw.maybeFixed(draw.tensor("float32", [channels, 1, size])),
        draw.maybe(() => draw.tensor("float32", [channels])),
        draw.chance(0.5) ? draw.tensor("float32", [batch, channels, size - 1]) : null,
      ],
      outputs: ["float32", "float32"],
      attributes: [text("activation", draw.pick(["none", "silu", "swish"]))],
      ...SUMS,
    };
  },
  LinearAttention: (draw) => {
    const { batch, length, size } = sizes(draw);
    const groups = draw.between(1, 2);
    const heads = groups * draw.between(1, 2);
    const width = draw.pick([4, 8]);
    const rule = draw.pick(["linear", "gated", "delta", "gated_delta"]);
    const tensor = (last: number, least = -0.5, most = 0.5): Given => ({
      ...draw.tensor("float32", [batch, length, last], least, most),
      static: true,
    });
    return {
      op: "LinearAttention",
      domain: DOMAIN,
      operands: [
        tensor(heads * size),
        tensor(groups * size),
        tensor(groups * width),
        draw.chance(0.5) ? draw.tensor("float32", [batch, groups, size, width]) : null,
        rule.startsWith("gated") ? tensor(draw.pick([groups, groups * size]), -1, 0) : null,
        rule.endsWith("delta") ? tensor(draw.pick([1, groups]), 0, 1) : null,
      ],
      outputs: ["float32", "float32"],
      attributes: [
        int("q_num_heads", heads),
        int("kv_num_heads", groups),
        text("update_rule", rule),
        ...(draw.chance(0.5) ? [float("scale", 0.3)] : []),
      ],
      ...SUMS,
    };
  },
  GroupQueryAttention: (draw) => {
    const [batch, size] = [draw.between(1, 3), draw.pick([8, 16])];
    const groups = draw.between(1, 2);
    const heads = groups * draw.between(1, 3);
    const decoding = draw.chance(0.6);
    const length = decoding ? 1 : draw.between(2, 6);
    const before = decoding ? draw.between(1, 6) : 0;
    const total = before + length;
    // A cache grows, or is as long as it ever gets from the beginning.
    const capacity = draw.chance(0.4) ? 12 : before;
    const packed = draw.chance(0.4);
    const turned = size >= 16 && draw.chance(0.6);
    const lengths = Array.from(
      { length: batch },
      (_, i) => i === 0 || !decoding ? total - 1 : draw.between(1, total - 1),
    );
    const tensor = (...dims: number[]): Given => draw.tensor("float32", dims);
    const sink = draw.chance(0.3);
    const biased = draw.chance(0.3);
    const positions = draw.chance(0.3) && turned;
    const operands: (Given | null)[] = [
      tensor(batch, length, (packed ? heads + 2 * groups : heads) * size),
      packed ? null : tensor(batch, length, groups * size),
      packed ? null : tensor(batch, length, groups * size),
      capacity > 0 ? tensor(batch, groups, capacity, size) : null,
      capacity > 0 ? tensor(batch, groups, capacity, size) : null,
      given("int32", [batch], lengths),
      { ...given("int32", [1], [total]), constant: draw.chance(0.3), static: true },
      ...(turned ? rotary(draw, 16, size / 2) : [null, null]),
      positions
        ? given(
          "int64",
          [batch, length],
          lengths.flatMap((last) => Array.from({ length }, (_, i) => last + 1 - length + i)),
        )
        : null,
      biased ? tensor(draw.pick([1, batch]), draw.pick([1, heads]), length, total) : null,
      sink ? tensor(heads) : null,
    ];
    while (operands.at(-1) === null) operands.pop();
    return {
      op: "GroupQueryAttention",
      domain: DOMAIN,
      operands,
      outputs: ["float32", "float32", "float32"],
      attributes: [
        int("num_heads", heads),
        int("kv_num_heads", groups),
        ...(turned ? [int("do_rotary", 1), int("rotary_interleaved", draw.between(0, 1))] : []),
        ...(draw.chance(0.3) ? [float("softcap", 3)] : []),
        ...(draw.chance(0.3) ? [int("local_window_size", draw.between(1, 4))] : []),
        ...(draw.chance(0.3) ? [float("scale", 0.4)] : []),
        ...(!sink && draw.chance(0.2) ? [int("smooth_softmax", 1)] : []),
      ],
      ...SUMS,
    };
  },
};
