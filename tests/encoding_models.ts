/** Small models that hold a weight in every way that a weight is held. */
import type { DType } from "../src/dtype.ts";
import {
  elementCount,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Node,
  NOTHING_CARRIED,
  type Tensor,
} from "../src/ir.ts";
import { float, graph as graphAttribute, text } from "./attributes.ts";

/** A value that a model is run on. */
export interface Feed {
  readonly name: string;
  readonly dtype: "float32" | "float16" | "float64" | "int64" | "int32" | "bool";
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

/** A model with a weight, and what to run it on. */
export interface EncodingCase {
  readonly name: string;
  /** A new model each time; the same bytes each time. */
  readonly build: () => Model;
  readonly feeds: readonly Feed[];
  /** Weights that must be found, by name. */
  readonly weights: readonly string[];
  /** Tolerance of the outputs against their largest magnitude. */
  readonly tolerance: number;
}

/** Numbers in -1 .. 1, the same on every run. */
export function noise(seed: number, count: number): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31) - 1;
  });
}

/** A constant tensor of floats. */
export function floats(name: string, dims: readonly number[], dtype: DType = "float32"): Tensor {
  const seed = [...name].reduce((sum, char) => sum * 31 + char.charCodeAt(0), dims.length);
  // Rows of different magnitude, so that a scale in the wrong place shows.
  const values = noise(seed, elementCount(dims)).map((value, i) => value * (1 + (i % 7) / 3));
  return makeTensor(name, dtype, dims, { kind: "memory", bytes: encode(dtype, values) });
}

/** A constant tensor of int64. */
export function integers(name: string, values: readonly number[]): Tensor {
  return makeTensor(name, "int64", [values.length], {
    kind: "memory",
    bytes: encode("int64", values),
  });
}

/** Little-endian bytes of `values`. */
export function encode(dtype: DType, values: readonly number[]): Uint8Array {
  switch (dtype) {
    case "float32":
      return new Uint8Array(Float32Array.from(values).buffer);
    case "float16":
      return new Uint8Array(Float16Array.from(values).buffer);
    case "float64":
      return new Uint8Array(Float64Array.from(values).buffer);
    case "bfloat16": {
      const wide = new Uint32Array(Float32Array.from(values).buffer);
      return new Uint8Array(Uint16Array.from(wide, (bits) => (bits + 0x8000) >>> 16).buffer);
    }
    case "int64":
      return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    default:
      throw new TypeError(dtype);
  }
}

/** Values of little-endian bytes. */
export function decode(dtype: DType, bytes: Uint8Array): number[] {
  const { buffer } = bytes.slice();
  switch (dtype) {
    case "float32":
      return [...new Float32Array(buffer)];
    case "float16":
      return [...new Float16Array(buffer)];
    case "float64":
      return [...new Float64Array(buffer)];
    case "bfloat16":
      return [
        ...new Float32Array(Uint32Array.from(new Uint16Array(buffer), (b) => b << 16).buffer),
      ];
    default:
      throw new TypeError(dtype);
  }
}

/** A Constant node. */
export function constantNode(tensor: Tensor): Node {
  const value = { type: "tensor", value: tensor } as const;
  return makeNode("Constant", "", [], [tensor.name], [
    { name: "value", value, carried: NOTHING_CARRIED },
  ]);
}

/** A model of one graph with the output `y`. */
export function simpleModel(
  nodes: Node[],
  initializers: Tensor[],
  feeds: readonly Feed[],
  rank: number,
  opset = 17,
  output: DType = "float32",
): Model {
  const graph = makeGraph("main", {
    nodes,
    initializers,
    inputs: feeds.map((feed) => makeValueInfo(feed.name, feed.dtype, feed.dims)),
    outputs: [makeValueInfo("y", output, Array.from({ length: rank }, () => null))],
  });
  return makeModel("case.onnx", 8, new Map([["", opset]]), graph);
}

function feed(name: string, dims: readonly number[], dtype: Feed["dtype"] = "float32"): Feed {
  return { name, dtype, dims, values: noise(name.length + dims.length, elementCount(dims)) };
}

function indices(dims: readonly number[], values: readonly number[], dtype: Feed["dtype"]): Feed {
  return { name: "i", dtype, dims, values };
}

const TIGHT = 1e-5;
const HALF = 4e-3;

function simple(
  name: string,
  nodes: () => Node[],
  tensors: () => Tensor[],
  feeds: readonly Feed[],
  rank: number,
  weights: readonly string[],
  more: { opset?: number; output?: DType; tolerance?: number } = {},
): EncodingCase {
  return {
    name,
    build: () =>
      simpleModel(nodes(), tensors(), feeds, rank, more.opset ?? 17, more.output ?? "float32"),
    feeds,
    weights,
    tolerance: more.tolerance ?? TIGHT,
  };
}

const BRANCH_FEEDS: readonly Feed[] = [
  { name: "p", dtype: "bool", dims: [1], values: [1] },
  feed("x", [4, 64]),
];
const SEQUENCE_FEEDS: readonly Feed[] = [
  { name: "p", dtype: "bool", dims: [1], values: [1] },
  feed("x", [4, 1, 32]),
];
const FUNCTION_FEEDS: readonly Feed[] = [feed("x", [4, 64])];

/** Every way to hold and read a weight. */
export const ENCODING_CASES: readonly EncodingCase[] = [
  simple(
    "matmul",
    () => [makeNode("MatMul", "", ["x", "w"], ["y"])],
    () => [floats("w", [67, 21])],
    [feed("x", [2, 3, 67])],
    3,
    ["w"],
    { opset: 9 },
  ),
  simple(
    "matmul of whole blocks",
    () => [makeNode("MatMul", "", ["x", "w"], ["y"])],
    () => [floats("w", [128, 18])],
    [feed("x", [5, 128])],
    2,
    ["w"],
  ),
  simple(
    "matmul with a vector",
    () => [makeNode("MatMul", "", ["x", "w"], ["y"])],
    () => [floats("w", [70, 12])],
    [feed("x", [70])],
    1,
    ["w"],
  ),
  simple(
    "matmul over a transposed initializer",
    () => [
      makeNode("Identity", "", ["w"], ["v"]),
      makeNode("Transpose", "", ["v"], ["t"], [ints("perm", [1, 0])]),
      makeNode("MatMul", "", ["x", "t"], ["y"]),
    ],
    () => [floats("w", [19, 65])],
    [feed("x", [4, 65])],
    2,
    ["w"],
  ),
  simple(
    "matmul over a reshaped initializer",
    () => [
      makeNode("Reshape", "", ["w", "shape"], ["r"]),
      makeNode("Transpose", "", ["r"], ["t"]),
      makeNode("MatMul", "", ["x", "t"], ["y"]),
    ],
    () => [floats("w", [18, 6, 11]), integers("shape", [0, -1])],
    [feed("x", [4, 66])],
    2,
    ["w"],
  ),
  simple(
    "matmul with the constant on the left",
    () => [makeNode("MatMul", "", ["w", "x"], ["y"])],
    () => [floats("w", [17, 68])],
    [feed("x", [68, 3])],
    2,
    ["w"],
  ),
  simple(
    "batched matmul",
    () => [makeNode("MatMul", "", ["x", "w"], ["y"])],
    () => [floats("w", [3, 70, 18])],
    [feed("x", [3, 4, 70])],
    3,
    ["w"],
  ),
  simple(
    "two products of one weight",
    () => [
      makeNode("MatMul", "", ["x", "w"], ["a"]),
      makeNode("Neg", "", ["x"], ["n"]),
      makeNode("MatMul", "", ["n", "w"], ["b"]),
      makeNode("Mul", "", ["a", "b"], ["y"]),
    ],
    () => [floats("w", [64, 20])],
    [feed("x", [3, 64])],
    2,
    ["w"],
    { tolerance: 3e-5 },
  ),
  simple(
    "gemm",
    () => [
      makeNode("Gemm", "", ["x", "w", "c"], ["y"], [float("alpha", 0.5), float("beta", 2)]),
    ],
    () => [floats("w", [65, 18]), floats("c", [18])],
    [feed("x", [4, 65])],
    2,
    ["w"],
    { opset: 11 },
  ),
  simple(
    "gemm, both transposed",
    () => [makeNode("Gemm", "", ["x", "w"], ["y"], [int("transA", 1), int("transB", 1)])],
    () => [floats("w", [18, 96])],
    [feed("x", [96, 4])],
    2,
    ["w"],
  ),
  simple(
    "embedding",
    () => [makeNode("Gather", "", ["w", "i"], ["y"])],
    () => [floats("w", [23, 64])],
    [indices([2, 3], [0, 22, 7, -1, 3, 3], "int64")],
    3,
    ["w"],
    { opset: 9 },
  ),
  simple(
    "embedding with ragged rows",
    () => [makeNode("Gather", "", ["w", "i"], ["y"])],
    () => [floats("w", [21, 5, 7])],
    [indices([4], [0, 20, 7, 5], "int32")],
    3,
    ["w"],
  ),
  simple(
    "tied embedding",
    () => [
      makeNode("Gather", "", ["w", "i"], ["e"]),
      makeNode("Transpose", "", ["w"], ["t"], [ints("perm", [1, 0])]),
      makeNode("Tanh", "", ["e"], ["h"]),
      makeNode("MatMul", "", ["h", "t"], ["y"]),
    ],
    () => [floats("w", [33, 72])],
    [indices([2, 3], [0, 32, 7, 1, 3, 3], "int64")],
    3,
    ["w"],
    { tolerance: 2e-5 },
  ),
  simple(
    "convolution",
    () => [makeNode("Conv", "", ["x", "w", "c"], ["y"], [ints("kernel_shape", [3, 3])])],
    () => [floats("w", [18, 10, 3, 3]), floats("c", [18])],
    [feed("x", [1, 10, 6, 7])],
    4,
    ["w"],
    { opset: 9 },
  ),
  simple(
    "convolution of many weights",
    () => [makeNode("Conv", "", ["x", "w"], ["y"])],
    () => [floats("w", [24, 17, 3, 3])],
    [feed("x", [1, 17, 4, 4])],
    4,
    ["w"],
  ),
  simple(
    "depthwise convolution",
    () => [makeNode("Conv", "", ["x", "w"], ["y"], [int("group", 40)])],
    () => [floats("w", [40, 1, 5, 5])],
    [feed("x", [1, 40, 6, 6])],
    4,
    ["w"],
  ),
  simple(
    "transposed convolution",
    () => [makeNode("ConvTranspose", "", ["x", "w"], ["y"], [int("group", 2)])],
    () => [floats("w", [40, 6, 2, 2])],
    [feed("x", [1, 40, 4, 4])],
    4,
    ["w"],
  ),
  simple(
    "transposed convolution of few channels",
    () => [makeNode("ConvTranspose", "", ["x", "w"], ["y"])],
    () => [floats("w", [6, 12, 3, 3])],
    [feed("x", [1, 6, 4, 4])],
    4,
    ["w"],
  ),
  simple(
    "lstm",
    () => [makeNode("LSTM", "", ["x", "w", "r", "b"], ["y"], [int("hidden_size", 9)])],
    () => [floats("w", [1, 36, 37]), floats("r", [1, 36, 9]), floats("b", [1, 72])],
    [feed("x", [4, 1, 37])],
    4,
    ["w"],
    { tolerance: 1e-4 },
  ),
  simple(
    "gru, both directions",
    () => [
      makeNode("GRU", "", ["x", "w", "r"], ["y"], [
        int("hidden_size", 12),
        text("direction", "bidirectional"),
      ]),
    ],
    () => [floats("w", [2, 36, 40]), floats("r", [2, 36, 12])],
    [feed("x", [4, 1, 40])],
    4,
    ["w", "r"],
    { tolerance: 1e-4 },
  ),
  {
    name: "lstm from constants that are cut and joined in a branch",
    feeds: SEQUENCE_FEEDS,
    weights: ["w", "r"],
    tolerance: 1e-4,
    build: () => {
      const gates = (name: string) => {
        const part = (from: number, to: number, out: string) =>
          makeNode("Slice", "", [name, `n${from}`, `n${to}`], [out]);
        return [
          part(0, 32, `${name}a`),
          part(32, 128, `${name}b`),
          makeNode("Concat", "", [`${name}b`, `${name}a`], [`${name}c`], [int("axis", 0)]),
          makeNode("Unsqueeze", "", [`${name}c`, "n0"], [`${name}u`]),
        ];
      };
      const branch = (sign: string) =>
        makeGraph(`branch${sign}`, {
          nodes: [
            constantNode(integers("n0", [0])),
            constantNode(integers("n32", [32])),
            constantNode(integers("n128", [128])),
            constantNode(floats("w", [128, 32])),
            constantNode(floats("r", [128, 32])),
            ...gates("w"),
            ...gates("r"),
            makeNode("LSTM", "", ["x", "wu", "ru"], ["l"], [int("hidden_size", 32)]),
            makeNode(sign, "", ["l"], [`${sign}y`]),
          ],
          outputs: [makeValueInfo(`${sign}y`, "float32", null)],
        });
      return simpleModel(
        [
          makeNode("If", "", ["p"], ["y"], [
            graphAttribute("then_branch", branch("Neg")),
            graphAttribute("else_branch", branch("Tanh")),
          ]),
        ],
        [],
        SEQUENCE_FEEDS,
        4,
        16,
      );
    },
  },
  {
    name: "a weight of the outer graph in a branch that shadows another",
    feeds: BRANCH_FEEDS,
    weights: ["w", "v"],
    tolerance: TIGHT,
    build: () => {
      const branch = (name: string, nodes: Node[], initializers: Tensor[]) =>
        makeGraph(name, {
          nodes,
          initializers,
          outputs: [makeValueInfo(`${name}y`, "float32", null)],
        });
      const first = branch("a", [
        makeNode("MatMul", "", ["x", "w"], ["m"]),
        makeNode("MatMul", "", ["m", "v"], ["ay"]),
      ], [floats("v", [20, 32])]);
      const second = branch("b", [makeNode("MatMul", "", ["x", "w"], ["by"])], []);
      return simpleModel(
        [
          makeNode("If", "", ["p"], ["y"], [
            graphAttribute("then_branch", first),
            graphAttribute("else_branch", second),
          ]),
        ],
        [floats("w", [64, 20])],
        BRANCH_FEEDS,
        2,
        17,
      );
    },
  },
  {
    name: "a constant in a function",
    feeds: FUNCTION_FEEDS,
    weights: ["fw"],
    tolerance: TIGHT,
    build: () => {
      const model = simpleModel([makeNode("Layer", "own", ["x"], ["y"])], [], FUNCTION_FEEDS, 2);
      model.opsets.set("own", 1);
      model.functions.push({
        name: "Layer",
        domain: "own",
        overload: "",
        opsets: new Map([["", 17]]),
        inputs: ["fx"],
        outputs: ["fy"],
        attributes: [],
        nodes: [
          constantNode(floats("fw", [64, 24])),
          makeNode("MatMul", "", ["fx", "fw"], ["fm"]),
          makeNode("Relu", "", ["fm"], ["fy"]),
        ],
        valueInfo: [],
        carried: NOTHING_CARRIED,
      });
      return model;
    },
  },
  {
    name: "a constant in a branch of a function of an older opset",
    feeds: BRANCH_FEEDS,
    weights: ["fw"],
    tolerance: TIGHT,
    build: () => {
      const model = simpleModel(
        [makeNode("Layer", "own", ["x", "p"], ["y"])],
        [],
        BRANCH_FEEDS,
        2,
      );
      const branch = (weight: string, output: string) =>
        makeGraph(output, {
          nodes: [
            constantNode(floats(weight, [64, 24])),
            makeNode("MatMul", "", ["fx", weight], [output]),
          ],
          outputs: [makeValueInfo(output, "float32", [null, null])],
        });
      model.opsets.set("own", 1);
      model.functions.push({
        name: "Layer",
        domain: "own",
        overload: "",
        opsets: new Map([["", 9]]),
        inputs: ["fx", "fp"],
        outputs: ["fy"],
        attributes: [],
        nodes: [
          makeNode("If", "", ["fp"], ["fy"], [
            graphAttribute("then_branch", branch("fw", "ft")),
            graphAttribute("else_branch", branch("fv", "fe")),
          ]),
        ],
        valueInfo: [],
        carried: NOTHING_CARRIED,
      });
      return model;
    },
  },
  {
    name: "an embedding in a function",
    feeds: [indices([2, 2], [3, 0, -1, 19], "int64")],
    weights: ["fw"],
    tolerance: TIGHT,
    build: () => {
      const feeds = [indices([2, 2], [3, 0, -1, 19], "int64")];
      const model = simpleModel([makeNode("Look", "own", ["i"], ["y"])], [], feeds, 3);
      model.opsets.set("own", 1);
      model.functions.push({
        name: "Look",
        domain: "own",
        overload: "",
        opsets: new Map([["", 17]]),
        inputs: ["fi"],
        outputs: ["fy"],
        attributes: [],
        nodes: [
          constantNode(floats("fw", [20, 64])),
          makeNode("Gather", "", ["fw", "fi"], ["fy"]),
        ],
        valueInfo: [],
        carried: NOTHING_CARRIED,
      });
      return model;
    },
  },
  simple(
    "matmul of a weight that is transposed without an order of axes",
    () => [makeNode("Transpose", "", ["w"], ["t"]), makeNode("MatMul", "", ["x", "t"], ["y"])],
    () => [floats("w", [24, 64])],
    [feed("x", [4, 64])],
    2,
    ["w"],
  ),
  simple(
    "an embedding that nothing is looked up in",
    () => [makeNode("Gather", "", ["w", "i"], ["y"])],
    () => [floats("w", [20, 72])],
    [indices([1, 0], [], "int64")],
    3,
    ["w"],
  ),
  simple(
    "float16 matmul",
    () => [makeNode("MatMul", "", ["x", "w"], ["y"])],
    () => [floats("w", [96, 18], "float16")],
    [feed("x", [4, 96], "float16")],
    2,
    ["w"],
    { output: "float16", tolerance: HALF },
  ),
  simple(
    "float16 weights cast for float32",
    () => [
      makeNode("Cast", "", ["w"], ["f"], [int("to", 1)]),
      makeNode("MatMul", "", ["x", "f"], ["y"]),
    ],
    () => [floats("w", [96, 18], "float16")],
    [feed("x", [4, 96])],
    2,
    ["w"],
    // The operator keeps the digits that a float16 weight would have lost.
    { tolerance: 1e-3 },
  ),
  simple(
    "float16 embedding",
    () => [makeNode("Gather", "", ["w", "i"], ["y"])],
    () => [floats("w", [23, 64], "float16")],
    [indices([3], [0, 22, 7], "int64")],
    2,
    ["w"],
    { output: "float16", tolerance: HALF },
  ),
  simple(
    "float64 matmul",
    () => [makeNode("MatMul", "", ["x", "w"], ["y"])],
    () => [floats("w", [66, 18], "float64")],
    [feed("x", [4, 66], "float64")],
    2,
    ["w"],
    { output: "float64", tolerance: TIGHT },
  ),
  simple(
    "bfloat16 weights cast for float32",
    () => [
      makeNode("Cast", "", ["w"], ["f"], [int("to", 1)]),
      makeNode("Conv", "", ["x", "f"], ["y"]),
    ],
    () => [floats("w", [18, 8, 3, 3], "bfloat16")],
    [feed("x", [1, 8, 4, 4])],
    4,
    ["w"],
    { tolerance: 1e-2 },
  ),
];
