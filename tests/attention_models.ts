/**
 * Attention as exporters spell it out, and graphs that look like it and are not: models with inputs to
 * run them on, and what the compiler has to see in each.
 */
import {
  type Attribute,
  elementCount,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Tensor,
} from "../src/ir.ts";
import type { Value } from "../conformance/values.ts";
import { type Given, given, some } from "./microsoft_ops.ts";
import { float as floatAttribute } from "./attributes.ts";

/** A model. */
export interface AttentionCase {
  readonly name: string;
  /** A new model each time. */
  readonly build: (path: string) => Model;
  readonly inputs: ReadonlyMap<string, Value>;
  /**
   * One dispatch that stores no scores; the steps one by one, because of shapes; or nodes that are
   * left alone.
   */
  readonly seen: "at once" | "stepwise" | "not";
}

/** The types of constants. */
type Type = "float32" | "float16" | "int64" | "bool";

const BYTES: { readonly [T in Type]: (values: readonly number[]) => ArrayBufferView } = {
  float32: (values) => Float32Array.from(values),
  float16: (values) => Float16Array.from(values),
  int64: (values) => BigInt64Array.from(values, BigInt),
  bool: (values) => Uint8Array.from(values),
};

/** The least number of float32. */
const LOWEST = -3.4028234663852886e38;

/** ONNX's numbers of types. */
const [FLOAT, FLOAT16] = [1, 10];

/** A graph that is being written. */
class Writer {
  readonly nodes: ReturnType<typeof makeNode>[] = [];
  readonly constants: Tensor[] = [];
  #count = 0;

  /** A node; its result. */
  call(
    opType: string,
    inputs: readonly string[],
    attributes: Attribute[] = [],
    domain = "",
  ): string {
    const output = `v${this.#count++}`;
    this.nodes.push(makeNode(opType, domain, [...inputs], [output], attributes));
    return output;
  }

  constant(dtype: Type, dims: readonly number[], values: readonly number[]): string {
    const name = `c${this.#count++}`;
    const { buffer } = BYTES[dtype](values);
    const bytes = new Uint8Array(buffer as ArrayBuffer);
    this.constants.push(makeTensor(name, dtype, dims, { kind: "memory", bytes }));
    return name;
  }

  number(value: number): string {
    return this.constant("float32", [], [value]);
  }

  /** [batch, positions, heads * size] as [batch, heads, positions, size], turned by `perm`. */
  heads(x: string, count: number, size: number, perm: readonly number[] = [0, 2, 1, 3]): string {
    const shape = this.constant("int64", [4], [0, -1, count, size]);
    return this.call("Transpose", [this.call("Reshape", [x, shape])], [ints("perm", perm)]);
  }

  /** Heads of results beside each other again. */
  merged(x: string, width: number): string {
    const turned = this.call("Transpose", [x], [ints("perm", [0, 2, 1, 3])]);
    return this.call("Reshape", [turned, this.constant("int64", [3], [0, -1, width])]);
  }

  softmax(x: string, axis = -1): string {
    return this.call("Softmax", [x], [int("axis", axis)]);
  }

  product(a: string, b: string): string {
    return this.call("MatMul", [a, b]);
  }

  transposed(x: string, ...perm: number[]): string {
    return this.call("Transpose", [x], [ints("perm", perm)]);
  }
}

interface Options {
  readonly seen?: AttentionCase["seen"];
  readonly opset?: number;
  /** Whether extents are symbols that the model runs with. */
  readonly symbolic?: boolean;
}

/** What extents are called: a mask's keys have a name of their own, as if they weren't positions. */
function symbolOf(extent: number, isLast: boolean): number | string {
  if (extent === 2) return "batch";
  return extent === 6 ? isLast ? "keys" : "positions" : extent;
}

/** A model of what `write` writes; it gives the output's name, or names. */
function spelled(
  name: string,
  inputs: Readonly<Record<string, Given>>,
  write: (graph: Writer) => string | readonly string[],
  { seen = "at once", opset = 18, symbolic = false }: Options = {},
): AttentionCase {
  return {
    name,
    seen,
    inputs: new Map(Object.entries(inputs)),
    build(path) {
      const graph = new Writer();
      const outputs = [write(graph)].flat();
      return makeModel(
        path,
        10,
        new Map([["", opset], ["com.microsoft", 1]]),
        makeGraph("attention", {
          nodes: graph.nodes,
          initializers: graph.constants,
          inputs: Object.entries(inputs).map(([name, { dtype, dims }]) =>
            makeValueInfo(
              name,
              dtype,
              dims.map((extent, i) => symbolic ? symbolOf(extent, i === dims.length - 1) : extent),
            )
          ),
          outputs: outputs.map((output) => {
            const { dtype } = Object.values(inputs)[0]!;
            return makeValueInfo(output, dtype, null);
          }),
        }),
      );
    },
  };
}

/** A mask of `dims` of truth values. */
const truths = (dims: readonly number[], holds: (i: number) => boolean): Given =>
  given("bool", dims, Array.from({ length: elementCount(dims) }, (_, i) => holds(i) ? 1 : 0));

/** Two samples of 6 positions, 3 heads of 8. */
const rows = (): Given => some("float32", 2, 6, 24);
/** Two samples, 3 heads, positions, elements. */
const split = (positions: number, size = 8): Given => some("float32", 2, 3, positions, size);
/** Keys that samples see: the second sees nothing. */
const flags = (): Given => given("int64", [2, 6], [1, 1, 1, 1, 0, 0, ...new Array(6).fill(0)]);
/** Pairs of 6 and 6 positions: causal, but that position 2 sees nothing. */
const pairs = (): Given =>
  truths([2, 1, 6, 6], (i) => {
    const [key, query] = [i % 6, Math.floor(i / 6) % 6];
    return key <= query && query !== 2;
  });

/** BERT by PyTorch's older exporter: scores divided, a mask of -10000. */
function bert(graph: Writer, axis = -1): string {
  const query = graph.heads("q", 3, 8);
  const key = graph.heads("k", 3, 8, [0, 2, 3, 1]);
  const scores = graph.call("Div", [graph.product(query, key), graph.number(Math.sqrt(8))]);
  const axes = graph.constant("int64", [2], [1, 2]);
  const seen = graph.call("Cast", [graph.call("Unsqueeze", ["flags", axes])], [int("to", FLOAT)]);
  const unseen = graph.call("Sub", [graph.number(1), seen]);
  const mask = graph.call("Mul", [unseen, graph.number(-10000)]);
  const logits = graph.call("Add", [scores, mask]);
  return graph.merged(graph.product(graph.softmax(logits, axis), graph.heads("v", 3, 8)), 24);
}

/** PyTorch's scaled_dot_product_attention by its older exporter: a root of the scale on each side. */
function scaledDotProduct(graph: Writer): string {
  const last = graph.call("Slice", [
    graph.call("Shape", ["q"]),
    graph.constant("int64", [1], [-1]),
    graph.constant("int64", [1], [2 ** 53]),
  ]);
  const size = graph.call("Sqrt", [graph.call("Cast", [last], [int("to", FLOAT)])]);
  const scale = graph.call("Div", [graph.constant("float32", [1], [1]), size]);
  const query = graph.call("Mul", ["q", graph.call("Sqrt", [scale])]);
  const key = graph.call("Mul", [graph.transposed("k", 0, 1, 3, 2), graph.call("Sqrt", [scale])]);
  const mask = graph.call("Where", ["mask", graph.number(0), graph.number(-Infinity)]);
  const logits = graph.call("Add", [graph.product(query, key), mask]);
  return graph.product(graph.softmax(logits), "v");
}

/** The same by its newer exporter, with the guard for rows that see nothing. */
function guarded(graph: Writer): string {
  const root = graph.number(8 ** -0.25);
  const query = graph.call("Mul", ["q", root]);
  const key = graph.call("Mul", [graph.transposed("k", 0, 1, 3, 2), root]);
  const mask = graph.call("Where", ["mask", graph.number(0), graph.number(-Infinity)]);
  const shares = graph.softmax(graph.call("Add", [graph.product(query, key), mask]));
  const isNan = graph.call("IsNaN", [shares]);
  return graph.product(graph.call("Where", [isNan, graph.number(0), shares]), "v");
}

/** Batches of heads, as BART has them: the mask is added in four dimensions. */
function batchedHeads(graph: Writer): string {
  const flat = graph.constant("int64", [3], [-1, 6, 8]);
  const [query, key, value] = ["q", "k", "v"].map((x) => graph.call("Reshape", [x, flat]));
  const scores = graph.product(query!, graph.transposed(key!, 0, 2, 1));
  const parted = graph.call("Reshape", [scores, graph.constant("int64", [4], [-1, 3, 6, 6])]);
  const masked = graph.call("Add", [parted, "bias"]);
  const joined = graph.call("Reshape", [masked, graph.constant("int64", [3], [-1, 6, 6])]);
  const made = graph.product(graph.softmax(joined), value!);
  return graph.merged(
    graph.call("Reshape", [made, graph.constant("int64", [4], [-1, 3, 6, 8])]),
    24,
  );
}

/** Keys and values of 2 heads for 6 of queries, repeated as transformers' repeat_kv does. */
function groupedQueries(graph: Writer): string {
  const repeated = (x: string): string => {
    const parted = graph.call("Unsqueeze", [x, graph.constant("int64", [1], [2])]);
    const wide = graph.call("Expand", [parted, graph.constant("int64", [5], [1, 2, 3, 5, 8])]);
    return graph.call("Reshape", [wide, graph.constant("int64", [4], [1, 6, 5, 8])]);
  };
  const key = graph.transposed(repeated("k"), 0, 1, 3, 2);
  const scores = graph.call("Mul", [graph.product("q", key), graph.number(8 ** -0.5)]);
  return graph.product(graph.softmax(scores), repeated("v"));
}

/** Keras by tf2onnx: queries scaled, heads moved to the front, a mask of -1e9. */
function keras(graph: Writer, axis = -1): string {
  const query = graph.transposed(graph.call("Mul", ["q", graph.number(8 ** -0.5)]), 0, 2, 1, 3);
  const scores = graph.product(query, graph.transposed("k", 0, 2, 3, 1));
  const seen = graph.call("Cast", ["mask"], [int("to", FLOAT)]);
  const unseen = graph.call("Sub", [graph.number(1), seen]);
  const logits = graph.call("Add", [scores, graph.call("Mul", [unseen, graph.number(-1e9)])]);
  const made = graph.product(graph.softmax(logits, axis), graph.transposed("v", 0, 2, 1, 3));
  return graph.transposed(made, 0, 2, 1, 3);
}

/** Scores with `change` made to them, and what follows. */
const simple = (change: (graph: Writer, scores: string) => string) => (graph: Writer): string => {
  const scores = graph.product("q", graph.transposed("k", 0, 1, 3, 2));
  return graph.product(graph.softmax(change(graph, scores)), "v");
};

const three = (): Record<"q" | "k" | "v", Given> => ({ q: split(6), k: split(6), v: split(6) });

/** Every model. */
export const ATTENTION_CASES: readonly AttentionCase[] = [
  spelled("BERT", { q: rows(), k: rows(), v: rows(), flags: flags() }, bert),
  spelled("BERT of any size", { q: rows(), k: rows(), v: rows(), flags: flags() }, bert, {
    symbolic: true,
  }),
  spelled(
    "BERT of opset 11, whose softmax is over all axes from one on",
    { q: rows(), k: rows(), v: rows(), flags: flags() },
    (graph) => {
      const made = bert(graph, 3);
      // Before opset 13 axes were an attribute.
      const unsqueeze = graph.nodes.find(({ opType }) => opType === "Unsqueeze")!;
      unsqueeze.inputs = unsqueeze.inputs.slice(0, 1);
      unsqueeze.attributes = [ints("axes", [1, 2])];
      return made;
    },
    { opset: 11 },
  ),
  spelled(
    "scaled_dot_product_attention, rows that see nothing",
    { ...three(), mask: pairs() },
    scaledDotProduct,
  ),
  spelled(
    "scaled_dot_product_attention of any size",
    { ...three(), mask: pairs() },
    scaledDotProduct,
    { symbolic: true },
  ),
  spelled("a guard for rows that see nothing", { ...three(), mask: pairs() }, guarded),
  spelled(
    "batches of heads",
    { ...three(), bias: some("float32", 2, 1, 6, 6) },
    batchedHeads,
  ),
  spelled(
    "grouped queries",
    {
      q: some("float32", 1, 6, 4, 8),
      k: some("float32", 1, 2, 5, 8),
      v: some("float32", 1, 2, 5, 8),
    },
    groupedQueries,
  ),
  spelled(
    "Keras",
    {
      q: some("float32", 2, 6, 3, 8),
      k: some("float32", 2, 6, 3, 8),
      v: some("float32", 2, 6, 3, 8),
      mask: pairs(),
    },
    keras,
  ),
  spelled(
    "Keras, the axis counted from the first, any size",
    {
      q: some("float32", 2, 6, 3, 8),
      k: some("float32", 2, 6, 3, 8),
      v: some("float32", 2, 6, 3, 8),
      mask: pairs(),
    },
    (graph) => keras(graph, 3),
    { symbolic: true },
  ),
  spelled(
    "scores that give way to the least number, a row of nothing else",
    { ...three(), mask: pairs() },
    simple((graph, scores) => graph.call("Where", ["mask", scores, graph.number(LOWEST)])),
  ),
  spelled(
    "scores that give way to -10000 where a mask holds, and an addend after that",
    { ...three(), mask: pairs(), bias: some("float32", 3, 1, 6) },
    simple((graph, scores) => {
      const masked = graph.call("Where", ["mask", graph.number(-10000), scores]);
      return graph.call("Add", ["bias", masked]);
    }),
  ),
  spelled(
    "the least number added to a row",
    { ...three(), mask: pairs() },
    simple((graph, scores) => {
      const mask = graph.call("Where", ["mask", graph.number(0), graph.number(LOWEST)]);
      return graph.call("Add", [scores, mask]);
    }),
  ),
  spelled(
    "a soft cap before the mask",
    { ...three(), mask: some("float32", 6) },
    simple((graph, scores) => {
      const small = graph.call("Div", [scores, graph.number(3)]);
      const capped = graph.call("Mul", [graph.call("Tanh", [small]), graph.number(3)]);
      return graph.call("Add", [capped, "mask"]);
    }),
  ),
  spelled(
    "a scale after the mask, two addends",
    { ...three(), a: some("float32", 1, 3, 6, 6), b: some("float32", 2, 1, 1, 6) },
    simple((graph, scores) => {
      const sum = graph.call("Add", [graph.call("Add", [scores, "a"]), "b"]);
      return graph.call("Div", [sum, graph.number(2)]);
    }),
  ),
  spelled(
    "other positions and sizes of keys and values, of one sample for all",
    { q: split(5), k: some("float32", 1, 3, 9, 8), v: some("float32", 3, 9, 7) },
    simple((_, scores) => scores),
  ),
  spelled(
    "matrices",
    { q: some("float32", 5, 8), k: some("float32", 8, 9), v: some("float32", 9, 4) },
    (graph) => graph.product(graph.softmax(graph.product("q", "k")), "v"),
  ),
  spelled(
    "ONNX Runtime's product with a transposed operand",
    three(),
    (graph) => {
      const attributes = [int("transB", 1), floatAttribute("alpha", 0.25)];
      const scores = graph.call("FusedMatMul", ["q", "k"], attributes, "com.microsoft");
      return graph.product(graph.softmax(scores), "v");
    },
  ),
  spelled(
    "float16 with a softmax in float32",
    {
      q: some("float16", 1, 2, 6, 8),
      k: some("float16", 1, 2, 6, 8),
      v: some("float16", 1, 2, 6, 8),
    },
    (graph) => {
      const scores = graph.product("q", graph.transposed("k", 0, 1, 3, 2));
      const half = graph.call("Mul", [scores, graph.constant("float16", [], [0.25])]);
      const shares = graph.softmax(graph.call("Cast", [half], [int("to", FLOAT)]));
      return graph.product(graph.call("Cast", [shares], [int("to", FLOAT16)]), "v");
    },
  ),
  spelled(
    "a softmax over the queries",
    three(),
    (graph) => {
      const scores = graph.product("q", graph.transposed("k", 0, 1, 3, 2));
      return graph.product(graph.softmax(scores, -2), "v");
    },
    { seen: "stepwise" },
  ),
  spelled(
    "a softmax over queries and keys at once",
    three(),
    (graph) => {
      const scores = graph.product("q", graph.transposed("k", 0, 1, 3, 2));
      return graph.product(graph.softmax(scores, 2), "v");
    },
    { seen: "stepwise", opset: 11 },
  ),
  spelled(
    "a mask of more samples than there are",
    {
      q: some("float32", 1, 3, 6, 8),
      k: split(6),
      v: split(6),
      mask: some("float32", 4, 1, 1, 1, 6),
    },
    simple((graph, scores) => graph.call("Add", [scores, "mask"])),
    { seen: "stepwise" },
  ),
  spelled(
    "one query",
    { q: split(1), k: split(9), v: split(9) },
    simple((_, scores) => scores),
    { seen: "stepwise" },
  ),
  spelled(
    "scores that are an output",
    three(),
    (graph) => {
      const scores = graph.product("q", graph.transposed("k", 0, 1, 3, 2));
      return [graph.product(graph.softmax(scores), "v"), scores];
    },
    { seen: "not" },
  ),
  spelled(
    "probabilities that are read twice",
    three(),
    (graph) => {
      const shares = graph.softmax(graph.product("q", graph.transposed("k", 0, 1, 3, 2)));
      return graph.call("Add", [graph.product(shares, "v"), graph.product(shares, "q")]);
    },
    { seen: "not" },
  ),
  spelled(
    "scores times a value that is no number",
    { ...three(), factor: some("float32", 2, 3, 1, 1) },
    simple((graph, scores) => graph.call("Mul", [scores, "factor"])),
    { seen: "not" },
  ),
  spelled(
    "values times probabilities",
    three(),
    (graph) => {
      const shares = graph.softmax(graph.product("q", graph.transposed("k", 0, 1, 3, 2)));
      return graph.product(graph.transposed("v", 0, 1, 3, 2), shares);
    },
    { seen: "not" },
  ),
];

/** Self-attention over `length` positions of 4 heads of 16, with a causal mask and nothing else. */
export function longAttention(path: string, length: number | string): Model {
  const graph = new Writer();
  const range = (start: string): string =>
    graph.call("Range", [
      graph.constant("int64", [], [0]),
      start,
      graph.constant("int64", [], [1]),
    ]);
  const size = graph.call("Squeeze", [
    graph.call("Shape", ["x"], [int("start", 1), int("end", 2)]),
    graph.constant("int64", [1], [0]),
  ]);
  const [first, second] = [0, 1].map((axis) =>
    graph.call("Unsqueeze", [range(size), graph.constant("int64", [1], [axis])])
  );
  const seen = graph.call("LessOrEqual", [first!, second!]);
  const mask = graph.call("Where", [seen, graph.number(0), graph.number(-Infinity)]);
  const weights = [0, 1, 2].map((i) =>
    graph.constant("float32", [64, 64], Array.from({ length: 4096 }, (_, k) => Math.sin(k + i)))
  );
  const [q, k, v] = weights.map((weight) => graph.product("x", weight));
  const scores = graph.product(graph.heads(q!, 4, 16), graph.heads(k!, 4, 16, [0, 2, 3, 1]));
  const scaled = graph.call("Mul", [scores, graph.number(0.25)]);
  const shares = graph.softmax(graph.call("Add", [scaled, mask]));
  const output = graph.merged(graph.product(shares, graph.heads(v!, 4, 16)), 64);
  return makeModel(
    path,
    10,
    new Map([["", 18]]),
    makeGraph("long", {
      nodes: graph.nodes,
      initializers: graph.constants,
      inputs: [makeValueInfo("x", "float32", [1, length, 64])],
      outputs: [makeValueInfo(output, "float32", null)],
    }),
  );
}
