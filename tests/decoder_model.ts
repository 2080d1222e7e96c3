/**
 * A small decoder in the form that ONNX Runtime's tools for generation write: grouped attention with a
 * cache and rotary embeddings, products with 4-bit weights, norms that carry the residual along.
 */
import {
  elementCount,
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
} from "../src/ir.ts";
import type { Model, Node, Tensor } from "../src/ir.ts";
import { Draw, elementsOf, float } from "./differential/draw.ts";

const MICROSOFT = "com.microsoft";

/** Sizes of the decoder. */
export const DECODER = {
  layers: 2,
  vocabulary: 48,
  hidden: 64,
  heads: 4,
  groups: 2,
  /** Elements of a head. */
  size: 16,
  inner: 96,
  positions: 32,
  block: 32,
} as const;

/** The decoder; `seed` decides its weights. */
export function decoderModel(path: string, seed = "decoder"): Model {
  const draw = new Draw(seed);
  const nodes: Node[] = [];
  const initializers: Tensor[] = [];
  const { layers, vocabulary, hidden, heads, groups, size, inner, positions, block } = DECODER;

  const constant = (
    name: string,
    dtype: "float32" | "uint8" | "int64",
    dims: readonly number[],
    values: readonly number[],
  ): string => {
    const { buffer } = elementsOf(dtype, values);
    initializers.push(
      makeTensor(name, dtype, dims, {
        kind: "memory",
        bytes: new Uint8Array(buffer as ArrayBuffer),
      }),
    );
    return name;
  };
  const floats = (name: string, dims: readonly number[], least: number, most: number): string =>
    constant(
      name,
      "float32",
      dims,
      Array.from({ length: elementCount(dims) }, () => draw.number(least, most)),
    );
  const node = (
    op: string,
    inputs: string[],
    outputs: string[],
    attributes: Node["attributes"] = [],
    domain = "",
  ): string => {
    nodes.push(makeNode(op, domain, inputs, outputs, attributes));
    return outputs[0]!;
  };
  /** `input` [..., K] by 4-bit weights [N, K]. */
  const product = (input: string, name: string, K: number, N: number): string => {
    const blocks = K / block;
    const count = N * blocks * (block / 2);
    const bytes = Array.from({ length: count }, () => draw.between(0, 255));
    const zeros = Array.from(
      { length: N * Math.ceil(blocks / 2) },
      () => draw.between(6, 9) * 16 + draw.between(6, 9),
    );
    return node(
      "MatMulNBits",
      [
        input,
        constant(`${name}.codes`, "uint8", [N, blocks, block / 2], bytes),
        floats(`${name}.scales`, [N, blocks], 0.01, 0.03),
        constant(`${name}.zeros`, "uint8", [N, Math.ceil(blocks / 2)], zeros),
      ],
      [`${name}.out`],
      [int("K", K), int("N", N), int("bits", 4), int("block_size", block)],
      MICROSOFT,
    );
  };
  const norm = (name: string): string => floats(`${name}.weight`, [hidden], 0.5, 1.5);
  const epsilon = float("epsilon", 1e-5);
  /** The sum of two tensors normalized, and the sum. */
  const skipNorm = (sum: string, more: string, name: string): [string, string] => {
    node(
      "SkipSimplifiedLayerNormalization",
      [sum, more, norm(name)],
      [`${name}.out`, "", "", `${name}.sum`],
      [epsilon],
      MICROSOFT,
    );
    return [`${name}.out`, `${name}.sum`];
  };

  const one = constant("one", "int64", [1], [1]);
  const counts = node("ReduceSum", ["attention_mask", one], ["counts"], [int("keepdims", 0)]);
  const lengths = node("Sub", [counts, one], ["lengths64"]);
  node("Cast", [lengths], ["lengths"], [int("to", 6)]);
  node("Shape", ["attention_mask"], ["mask_shape"]);
  const scalarOne = constant("scalar_one", "int64", [], [1]);
  node("Gather", ["mask_shape", scalarOne], ["total64"]);
  node("Cast", ["total64"], ["total"], [int("to", 6)]);

  const angle = (position: number, pair: number): number => position / 10000 ** (2 * pair / size);
  const table = (name: string, of: (x: number) => number): string =>
    constant(
      name,
      "float32",
      [positions, size / 2],
      Array.from(
        { length: positions * size / 2 },
        (_, i) => of(angle(Math.floor(i / (size / 2)), i % (size / 2))),
      ),
    );
  const [cosines, sines] = [table("cosines", Math.cos), table("sines", Math.sin)];

  const embedding = floats("embedding", [vocabulary, hidden], -1, 1);
  let sum = node("Gather", [embedding, "input_ids"], ["embedded"]);
  let normed = node(
    "SimplifiedLayerNormalization",
    [sum, norm("norm.0")],
    ["norm.0.out"],
    [int("axis", -1), int("stash_type", 1), epsilon],
  );
  for (let layer = 0; layer < layers; layer++) {
    const at = (name: string): string => `layer.${layer}.${name}`;
    const attended = node(
      "GroupQueryAttention",
      [
        product(normed, at("q"), hidden, heads * size),
        product(normed, at("k"), hidden, groups * size),
        product(normed, at("v"), hidden, groups * size),
        `past.${layer}.key`,
        `past.${layer}.value`,
        "lengths",
        "total",
        cosines,
        sines,
      ],
      [at("attended"), `present.${layer}.key`, `present.${layer}.value`],
      [
        int("num_heads", heads),
        int("kv_num_heads", groups),
        int("do_rotary", 1),
        int("rotary_interleaved", 0),
        int("local_window_size", -1),
        float("softcap", 0),
        float("scale", 1 / Math.sqrt(size)),
      ],
      MICROSOFT,
    );
    const projected = product(attended, at("o"), heads * size, hidden);
    [normed, sum] = skipNorm(sum, projected, at("norm"));
    const gate = product(normed, at("gate"), hidden, inner);
    const sigmoid = node("Sigmoid", [gate], [at("sigmoid")]);
    const swish = node("Mul", [gate, sigmoid], [at("swish")]);
    const up = product(normed, at("up"), hidden, inner);
    const gated = node("Mul", [swish, up], [at("gated")]);
    const down = product(gated, at("down"), inner, hidden);
    [normed, sum] = skipNorm(sum, down, at("next"));
  }
  node("Identity", [product(normed, "head", hidden, vocabulary)], ["logits"]);

  const caches = (kind: "past" | "present", length: string) =>
    Array.from(
      { length: layers },
      (_, layer) =>
        ["key", "value"].map((part) =>
          makeValueInfo(`${kind}.${layer}.${part}`, "float32", ["batch", groups, length, size])
        ),
    ).flat();
  return makeModel(
    path,
    10,
    new Map([["", 21], [MICROSOFT, 1]]),
    makeGraph("decoder", {
      nodes,
      initializers,
      inputs: [
        makeValueInfo("input_ids", "int64", ["batch", "sequence"]),
        makeValueInfo("attention_mask", "int64", ["batch", "total_sequence"]),
        ...caches("past", "past_sequence"),
      ],
      outputs: [
        makeValueInfo("logits", "float32", ["batch", "sequence", vocabulary]),
        ...caches("present", "total_sequence"),
      ],
    }),
  );
}
