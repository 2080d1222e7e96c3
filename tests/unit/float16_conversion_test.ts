/** The conversion of graphs between float precisions, on graphs made by hand. */
import assert from "node:assert/strict";
import { InputError } from "../../src/error.ts";
import type { DType } from "../../src/dtype.ts";
import {
  allGraphs,
  type Graph,
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
  type ValueInfo,
} from "../../src/ir.ts";
import {
  convertFloats,
  fillFloats,
  type FloatConversion,
  type FloatConversionOptions,
} from "../../src/quantization/float16.ts";
import { SCHEMAS } from "../../src/quantization/float16/schemas.ts";
import { schemaOf } from "../../src/quantization/float16/type_constraints.ts";
import { typedGraph } from "../../src/quantization/float16/resolver.ts";
import { allOperations } from "../../src/quantization/float16/typed_graph.ts";
import { graph as body, tensor as tensorAttribute } from "../attributes.ts";

const HALF: FloatConversionOptions = { to: "float16", form: "compute" };

function info(name: string, dtype: DType | null, shape: (number | string)[] = ["n"]): ValueInfo {
  return makeValueInfo(name, dtype, shape);
}

function floats(name: string, dims: number[], values: readonly number[]): Tensor {
  const bytes = new Uint8Array(new Float32Array(values).buffer);
  return makeTensor(name, "float32", dims, { kind: "memory", bytes });
}

function integers(name: string, values: readonly number[]): Tensor {
  const bytes = new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer);
  return makeTensor(name, "int64", [values.length], { kind: "memory", bytes });
}

function graphOf(parts: Partial<Graph>): Graph {
  return makeGraph("g", parts);
}

function modelOf(parts: Partial<Graph> & { nodes: Node[] }, opset = 17): Model {
  const opsets = new Map([["", opset], ["com.microsoft", 1]]);
  return makeModel("hand.onnx", 8, opsets, graphOf(parts));
}

function constant(name: string, tensor: Tensor): Node {
  return makeNode("Constant", "", [], [name], [tensorAttribute("value", tensor)]);
}

/** Nodes as text: `Op(inputs)->outputs`. */
function text(graph: Graph): string[] {
  return graph.nodes.map((node) => `${node.opType}(${node.inputs})->${node.outputs}`);
}

function ofType(graph: Graph, opType: string): Node[] {
  return graph.nodes.filter((node) => node.opType === opType);
}

function dtypesOf(graph: Graph): Record<string, DType | null> {
  return Object.fromEntries([
    ...graph.initializers.map((tensor) => [tensor.name, tensor.dtype]),
    ...graph.inputs.map((input) => [input.name, input.dtype]),
    ...graph.outputs.map((output) => [output.name, output.dtype]),
    ...graph.valueInfo.map((value) => [value.name, value.dtype]),
  ]);
}

function halves(tensor: Tensor): number[] {
  assert.equal(tensor.dtype, "float16");
  assert.ok(tensor.data.kind === "memory");
  return [...new Float16Array(tensor.data.bytes.slice().buffer)];
}

/** Every operator gets types that its schema takes, and names are defined before they are used. */
function assertWellTyped(model: Model): void {
  for (const operation of allOperations(typedGraph(model))) {
    for (const { slots, dtype, container, fixed, floats } of operation.variables) {
      for (const { value } of slots) {
        assert.equal(value.dtype, dtype, `"${value.name}" at ${operation.node.opType}`);
        const float = ["float16", "bfloat16", "float32", "float64"].includes(value.dtype ?? "");
        if (float && !fixed && !container && operation.known) {
          assert.ok(floats.has(value.dtype!), `${operation.node.opType} takes ${value.dtype}`);
        }
      }
    }
  }
  const check = (graph: Graph, outer: ReadonlySet<string>) => {
    const known = new Set([
      ...outer,
      ...graph.inputs.map((input) => input.name),
      ...graph.initializers.map((tensor) => tensor.name),
    ]);
    for (const node of graph.nodes) {
      for (const name of node.inputs) {
        assert.ok(name === "" || known.has(name), `"${name}" is used before it is made`);
      }
      for (const { value } of node.attributes) {
        if (value.type === "graph") check(value.value, known);
      }
      for (const name of node.outputs) {
        assert.ok(!known.has(name), `"${name}" is made twice`);
        if (name !== "") known.add(name);
      }
    }
    for (const output of graph.outputs) assert.ok(known.has(output.name), output.name);
  };
  check(model.graph, new Set());
}

async function convert(
  model: Model,
  options: FloatConversionOptions = HALF,
): Promise<FloatConversion> {
  const conversion = await convertFloats(model, options);
  assertWellTyped(model);
  return conversion;
}

function linear(weight = floats("w", [2, 2], [1, 2, 3, 4]), extra: Partial<Graph> = {}): Model {
  return modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [weight],
    nodes: [makeNode("MatMul", "", ["x", "w"], ["h"]), makeNode("Relu", "", ["h"], ["y"])],
    valueInfo: [info("h", "float32")],
    ...extra,
  });
}

Deno.test("the graph computes in float16 and its inputs and outputs stay as they were", async () => {
  const model = linear();
  const { report } = await convert(model);
  assert.deepEqual(text(model.graph), [
    "Cast(x)->x_float16",
    "MatMul(x_float16,w)->h",
    "Relu(h)->y_float16",
    "Cast(y_float16)->y",
  ]);
  assert.deepEqual(dtypesOf(model.graph), {
    w: "float16",
    x: "float32",
    y: "float32",
    h: "float16",
  });
  assert.deepEqual(halves(model.graph.initializers[0]!), [1, 2, 3, 4]);
  assert.deepEqual([report.castsAdded, report.castsRemoved], [2, 0]);
});

Deno.test("with io the inputs and outputs are float16 and nothing is cast", async () => {
  const model = linear();
  await convert(model, { ...HALF, io: true });
  assert.deepEqual(text(model.graph), ["MatMul(x,w)->h", "Relu(h)->y"]);
  assert.deepEqual(new Set(Object.values(dtypesOf(model.graph))), new Set(["float16"]));
});

Deno.test("a weight that overflows stays, and so does what computes with it", async () => {
  const model = linear(floats("w", [2, 2], [1, 2, 65520, 4]));
  const { report } = await convert(model);
  assert.deepEqual(text(model.graph), [
    "MatMul(x,w)->h",
    "Relu(h)->y",
  ]);
  assert.equal(report.kept[0]!.name, "w");
  assert.match(report.kept[0]!.reason, /1 values beyond float16's 65504, the largest 65520/);
  assert.match(report.keptNodes[0]!.reason, /"w" overflows float16/);
});

Deno.test("an overflowing weight is followed through what only moves it", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("w", [2, 2], [1, 2, 1e5, 4]), floats("b", [2], [1, 2])],
    nodes: [
      makeNode("Transpose", "", ["w"], ["t"]),
      makeNode("MatMul", "", ["x", "t"], ["h"]),
      makeNode("Sigmoid", "", ["h"], ["s"]),
      makeNode("Mul", "", ["s", "b"], ["y"]),
    ],
  });
  await convert(model);
  assert.deepEqual(text(model.graph), [
    "Transpose(w)->t",
    "MatMul(x,t)->h",
    "Cast(h)->h_float16",
    "Sigmoid(h_float16)->s",
    "Mul(s,b)->y_float16",
    "Cast(y_float16)->y",
  ]);
});

Deno.test("65519 rounds to 65504 and is no overflow; small elements are counted", async () => {
  const model = linear(floats("w", [2, 2], [65519, -1e-9, 1e-6, 0]));
  const { report } = await convert(model);
  assert.deepEqual(report.kept, []);
  const [{ vanished, subnormal, clamped }] = report.converted as [
    FloatConversion["report"][
      "converted"
    ][number],
  ];
  assert.deepEqual({ vanished, subnormal, clamped }, { vanished: 1, subnormal: 1, clamped: null });
  assert.equal(halves(model.graph.initializers[0]!)[0], 65504);
});

Deno.test("a weight with NaN or infinities stays and is cast where it is used", async () => {
  for (const [value, reason] of [[NaN, /1 NaN/], [-Infinity, /1 infinities/]] as const) {
    const model = linear(floats("w", [2, 2], [0.5, 2, value, 4]));
    const { report } = await convert(model);
    assert.equal(dtypesOf(model.graph).w, "float32");
    assert.ok(text(model.graph).includes("Cast(w)->w_float16"));
    assert.match(report.kept[0]!.reason, reason);
  }
});

Deno.test("a mask's huge numbers become large ones that survive an addition", async () => {
  const model = modelOf({
    inputs: [info("x", "float32"), info("mask", "bool")],
    outputs: [info("y", "float32")],
    nodes: [
      constant("lowest", floats("", [], [-3.4028234663852886e38])),
      constant("zero", floats("", [], [0])),
      constant("none", floats("", [], [-Infinity])),
      makeNode("Where", "", ["mask", "zero", "lowest"], ["bias"]),
      makeNode("Add", "", ["x", "bias"], ["s"]),
      makeNode("Where", "", ["mask", "s", "none"], ["t"]),
      makeNode("Softmax", "", ["t"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(report.kept, []);
  const clamped = report.converted.filter((one) => one.clamped !== null);
  assert.deepEqual(clamped.map((one) => [one.name, one.clamped]), [
    ["lowest", { count: 1, limit: 32752 }],
  ]);
  const held = ofType(model.graph, "Constant").map((node) => {
    const { value } = node.attributes[0]!;
    assert.ok(value.type === "tensor");
    return halves(value.value)[0];
  });
  assert.deepEqual(held, [-32752, 0, -Infinity]);
});

Deno.test("bounds of Clip become the largest numbers; a large factor is no mask", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("high", [], [3e38]), floats("low", [], [0]), floats("k", [], [1e5])],
    nodes: [
      makeNode("Clip", "", ["x", "low", "high"], ["c"]),
      makeNode("Mul", "", ["c", "k"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(dtypesOf(model.graph), {
    high: "float16",
    low: "float16",
    k: "float32",
    x: "float32",
    y: "float32",
  });
  assert.deepEqual(halves(model.graph.initializers[0]!), [65504]);
  assert.deepEqual(report.kept.map((one) => one.name), ["k"]);
});

Deno.test("ConstantOfShape fills with float16, and a mask's number is made smaller", async () => {
  const shape = integers("shape", [3]);
  const filler = (value: number) => tensorAttribute("value", floats("", [1], [value]));
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [shape],
    nodes: [
      makeNode("ConstantOfShape", "", ["shape"], ["a"]),
      makeNode("ConstantOfShape", "", ["shape"], ["b"], [filler(-1e30)]),
      makeNode("ConstantOfShape", "", ["shape"], ["c"], [filler(1e6)]),
      makeNode("Add", "", ["a", "b"], ["d"]),
      makeNode("Add", "", ["c", "c"], ["e"]),
      makeNode("Sum", "", ["x", "d", "e"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  const values = ofType(model.graph, "ConstantOfShape").map((node) => {
    const held = node.attributes[0]!.value;
    assert.ok(held.type === "tensor");
    return held.value.dtype === "float16" ? halves(held.value)[0] : held.value.dtype;
  });
  assert.deepEqual(values, [0, -32752, "float32"]);
  assert.match(report.keptNodes[0]!.reason, /1000000 overflows float16/);
});

Deno.test("variances stay in float32 from the square to the quotient, epsilon included", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [
      floats("two", [], [2]),
      floats("epsilon", [], [1e-12]),
      floats("w", [1], [1]),
    ],
    nodes: [
      makeNode("MatMul", "", ["x", "w"], ["a"]),
      makeNode("ReduceMean", "", ["a"], ["mean"], [ints("axes", [-1])]),
      makeNode("Sub", "", ["a", "mean"], ["d"]),
      makeNode("Pow", "", ["d", "two"], ["d2"]),
      makeNode("ReduceMean", "", ["d2"], ["variance"], [ints("axes", [-1])]),
      makeNode("Add", "", ["variance", "epsilon"], ["e"]),
      makeNode("Sqrt", "", ["e"], ["deviation"]),
      makeNode("Div", "", ["d", "deviation"], ["n"]),
      makeNode("Mul", "", ["n", "w"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(
    report.keptNodes.map((node) => node.opType),
    ["Pow", "ReduceMean", "Add", "Sqrt", "Div"],
  );
  assert.deepEqual(
    model.graph.initializers.map((tensor) => tensor.dtype),
    ["float32", "float32", "float16"],
  );
  assert.ok(text(model.graph).includes("Div(d_float32,deviation)->n"));
  assert.ok(text(model.graph).includes("Mul(n_float16,w)->y_float16"));
  assert.equal(report.castsAdded, 4);
});

Deno.test("a square that is no sum, and an exponential that is no sum, are converted", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32"), info("z", "float32")],
    initializers: [floats("three", [], [3]), floats("one", [], [1])],
    nodes: [
      makeNode("Mul", "", ["x", "x"], ["square"]),
      makeNode("Mul", "", ["square", "x"], ["cube"]),
      makeNode("Tanh", "", ["cube"], ["y"]),
      makeNode("Exp", "", ["x"], ["e"]),
      makeNode("Add", "", ["e", "one"], ["f"]),
      makeNode("Div", "", ["one", "f"], ["z"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(report.keptNodes, []);
});

Deno.test("unsafe converts the islands too", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    nodes: [
      makeNode("ReduceL2", "", ["x"], ["norm"]),
      makeNode("Div", "", ["x", "norm"], ["y"]),
    ],
  });
  const kept = await convert(structuredClone(model));
  assert.equal(kept.report.keptNodes.length, 2);
  const { report } = await convert(model, { ...HALF, unsafe: true });
  assert.deepEqual(report.keptNodes, []);
  assert.equal(report.castsAdded, 2);
});

Deno.test("positions stay in float32 up to the sine, masks made of integers do not", async () => {
  const model = modelOf({
    inputs: [info("ids", "int64"), info("mask", "int64"), info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("frequency", [2], [1, 0.5]), floats("lowest", [], [-1e9])],
    nodes: [
      makeNode("Cast", "", ["ids"], ["position"], [int("to", 1)]),
      makeNode("MatMul", "", ["position", "frequency"], ["angle"]),
      makeNode("Cos", "", ["angle"], ["rotation"]),
      makeNode("Cast", "", ["mask"], ["m"], [int("to", 1)]),
      makeNode("Mul", "", ["m", "lowest"], ["bias"]),
      makeNode("Mul", "", ["x", "rotation"], ["r"]),
      makeNode("Add", "", ["r", "bias"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(report.keptNodes.map((node) => node.opType), ["Cast", "MatMul", "Cos"]);
  assert.deepEqual(dtypesOf(model.graph).frequency, "float32");
  const casts = ofType(model.graph, "Cast").map((node) => {
    const to = node.attributes[0]!.value;
    return `${node.outputs[0]}:${to.type === "int" ? to.value : "?"}`;
  });
  assert.ok(casts.includes("m:10"));
  assert.ok(casts.includes("position:1"));
});

Deno.test("extents that are computed as floats stay exact", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("half", [1], [0.5])],
    nodes: [
      makeNode("Shape", "", ["x"], ["shape"]),
      makeNode("Cast", "", ["shape"], ["extents"], [int("to", 1)]),
      makeNode("Mul", "", ["extents", "half"], ["scaled"]),
      makeNode("Floor", "", ["scaled"], ["floor"]),
      makeNode("Cast", "", ["floor"], ["sizes"], [int("to", 7)]),
      makeNode("Resize", "", ["x", "", "", "sizes"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(report.keptNodes.map((node) => node.opType), ["Cast", "Mul", "Floor", "Cast"]);
  assert.ok(text(model.graph).includes("Shape(x)->shape"));
});

Deno.test("inputs that an operator takes in float32 only are cast or stay", async () => {
  const model = modelOf({
    inputs: [info("x", "float32"), info("scales", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("roi", [0], [])],
    nodes: [
      makeNode("Abs", "", ["scales"], ["factors"]),
      makeNode("Sigmoid", "", ["x"], ["s"]),
      makeNode("Resize", "", ["s", "roi", "factors"], ["y"]),
    ],
  });
  await convert(model);
  assert.ok(text(model.graph).includes("Resize(s,roi,factors_float32)->y_float16"));
  assert.equal(dtypesOf(model.graph).roi, "float32");
});

Deno.test("an operator that takes no float16 at the model's opset is left alone", async () => {
  // Where opset 19 lets the scale be float16, 13 does not.
  const model = (opset: number) =>
    modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("q", "uint8")],
      initializers: [floats("scale", [], [0.5])],
      nodes: [
        makeNode("Sigmoid", "", ["x"], ["s"]),
        makeNode("QuantizeLinear", "", ["s", "scale"], ["q"]),
      ],
    }, opset);
  assert.match((await convert(model(13))).report.keptNodes[0]!.reason, /does not take float16/);
  assert.deepEqual((await convert(model(19))).report.keptNodes, []);
});

Deno.test("running sums and ranges stay in float32", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [
      integers("axis", [0]),
      floats("zero", [], [0]),
      floats("limit", [], [5000]),
      floats("one", [], [1]),
    ],
    nodes: [
      makeNode("Sigmoid", "", ["x"], ["s"]),
      makeNode("CumSum", "", ["s", "axis"], ["c"]),
      makeNode("Range", "", ["zero", "limit", "one"], ["r"]),
      makeNode("Mul", "", ["c", "r"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(report.keptNodes.map((node) => node.opType).sort(), ["CumSum", "Range"]);
  assert.equal(dtypesOf(model.graph).limit, "float32");
});

Deno.test("a name that nothing before it makes is an error that says so", async () => {
  const model = modelOf({
    outputs: [info("y", "float32")],
    nodes: [makeNode("Relu", "", ["h"], ["y"]), makeNode("Relu", "", ["y"], ["h"])],
  });
  await assert.rejects(
    convertFloats(model, HALF),
    (error: Error) => error instanceof InputError && /Relu node "y" reads "h"/.test(error.message),
  );
});

Deno.test("a constant for both types is stored once and cast", async () => {
  for (const [count, stored] of [[4, "float32"], [256, "float16"]] as const) {
    const values = Array.from({ length: count }, (_, i) => i / 16);
    const model = modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("y", "float32")],
      initializers: [floats("w", [count], values), integers("axis", [0])],
      nodes: [
        makeNode("Mul", "", ["x", "w"], ["m"]),
        makeNode("CumSum", "", ["w", "axis"], ["c"]),
        makeNode("Add", "", ["m", "c"], ["y"]),
      ],
    }, 13);
    await convert(model);
    assert.equal(dtypesOf(model.graph).w, stored);
    const casts = ofType(model.graph, "Cast").filter((node) => node.inputs[0] === "w");
    assert.equal(casts.length, 1);
    assert.equal(model.graph.initializers.length, 2);
  }
});

Deno.test("branches are converted with the values that they take from outside", async () => {
  const branch = (name: string, nodes: Node[], output: string) =>
    body(name, graphOf({ nodes, outputs: [info(output, "float32")] }));
  const model = modelOf({
    inputs: [info("x", "float32"), info("flag", "bool")],
    outputs: [info("y", "float32")],
    initializers: [floats("w", [1], [2])],
    nodes: [
      makeNode("Sigmoid", "", ["x"], ["s"]),
      makeNode("If", "", ["flag"], ["y"], [
        branch("then_branch", [
          constant("k", floats("", [1], [3])),
          makeNode("Mul", "", ["s", "k"], ["out"]),
        ], "out"),
        branch("else_branch", [
          makeNode("ReduceL2", "", ["s"], ["norm"]),
          makeNode("Mul", "", ["norm", "w"], ["m"]),
          makeNode("Identity", "", ["m"], ["out"]),
        ], "out"),
      ]),
    ],
  });
  const { report } = await convert(model);
  const [, taken, other] = [...allGraphs(model.graph)];
  assert.equal(taken!.outputs[0]!.dtype, "float16");
  assert.equal(other!.outputs[0]!.dtype, "float16");
  assert.equal(other!.outputs[0]!.name, "out_float16");
  assert.deepEqual(report.keptNodes.map((node) => node.opType), ["ReduceL2", "Mul"]);
  assert.deepEqual(text(model.graph).at(-1), "Cast(y_float16)->y");
});

Deno.test("values that a loop carries, and those that it collects, are converted", async () => {
  const inner = graphOf({
    inputs: [info("i", "int64", []), info("go", "bool", []), info("state", "float32")],
    outputs: [info("again", "bool", []), info("next", "float32"), info("seen", "float32")],
    nodes: [
      makeNode("Identity", "", ["go"], ["again"]),
      makeNode("Add", "", ["state", "x"], ["next"]),
      makeNode("Sigmoid", "", ["state"], ["seen"]),
    ],
  });
  const model = modelOf({
    inputs: [info("x", "float32"), info("start", "float32")],
    outputs: [info("end", "float32"), info("all", "float32")],
    initializers: [integers("trips", [3])],
    nodes: [makeNode("Loop", "", ["trips", "", "start"], ["end", "all"], [body("body", inner)])],
  });
  await convert(model);
  assert.deepEqual(inner.inputs.map((one) => one.dtype), ["int64", "bool", "float16"]);
  assert.deepEqual(inner.outputs.map((one) => one.dtype), ["bool", "float16", "float16"]);
  assert.deepEqual(text(inner)[1], "Add(state,x_float16)->next");
  assert.deepEqual(text(model.graph), [
    "Cast(start)->start_float16",
    "Cast(x)->x_float16",
    "Loop(trips,,start_float16)->end_float16,all_float16",
    "Cast(end_float16)->end",
    "Cast(all_float16)->all",
  ]);
});

Deno.test("a scan's states and elements are converted", async () => {
  const inner = graphOf({
    inputs: [info("state", "float32"), info("element", "float32")],
    outputs: [info("next", "float32"), info("seen", "float32")],
    nodes: [
      makeNode("Add", "", ["state", "element"], ["next"]),
      makeNode("Identity", "", ["next"], ["seen"]),
    ],
  });
  const model = modelOf({
    inputs: [info("s", "float32"), info("xs", "float32")],
    outputs: [info("end", "float32"), info("all", "float32")],
    nodes: [
      makeNode("Scan", "", ["s", "xs"], ["end", "all"], [
        body("body", inner),
        int("num_scan_inputs", 1),
      ]),
    ],
  });
  await convert(model);
  for (const one of [...inner.inputs, ...inner.outputs]) assert.equal(one.dtype, "float16");
});

Deno.test("a Scan that scans a count that no node has leaves its body alone", async () => {
  for (const count of [-(2 ** 62), -1, 0, 7, 2 ** 62]) {
    const body = graphOf({
      inputs: [info("row", "float32", [4])],
      nodes: [makeNode("Relu", "", ["row"], ["out"])],
      outputs: [info("out", "float32", [4])],
    });
    const model = modelOf({
      inputs: [info("x", "float32", [3, 4])],
      outputs: [info("y", "float32", [3, 4])],
      nodes: [makeNode("Scan", "", ["x"], ["y"], [
        { name: "body", value: { type: "graph", value: body }, carried: NOTHING_CARRIED },
        int("num_scan_inputs", count),
      ])],
    });
    const start = performance.now();
    await convertFloats(model, HALF);
    assert.ok(performance.now() - start < 2000);
  }
});

Deno.test("sequences keep their types, and what is taken from them is cast", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [integers("first", [0])],
    nodes: [
      makeNode("Sigmoid", "", ["x"], ["s"]),
      makeNode("SequenceConstruct", "", ["s", "x"], ["list"]),
      makeNode("SequenceAt", "", ["list", "first"], ["element"]),
      makeNode("Sigmoid", "", ["element"], ["y"]),
    ],
  });
  await convert(model);
  assert.ok(text(model.graph).includes("SequenceConstruct(s_float32,x)->list"));
  assert.ok(text(model.graph).includes("Sigmoid(element_float16)->y_float16"));
});

Deno.test("an unknown operator is left alone with Casts around it", async () => {
  for (const opType of ["Mystery", "constructor", "__proto__"]) {
    const model = modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("y", "float32")],
      nodes: [
        makeNode("Sigmoid", "", ["x"], ["s"]),
        makeNode(opType, "my.domain", ["s"], ["m"]),
        makeNode("Sigmoid", "", ["m"], ["y"]),
      ],
      valueInfo: [info("m", "float32")],
    });
    const { report } = await convert(model);
    assert.ok(text(model.graph).includes(`${opType}(s_float32)->m`));
    assert.match(report.keptNodes[0]!.reason, /does not know the types/);
  }
});

Deno.test("a sparse Constant keeps its type, is listed, and is cast where it is used", async () => {
  const value = {
    type: "sparse_tensor",
    value: {
      values: floats("v", [2], [1, 2]),
      indices: integers("i", [0, 3]),
      dims: [2, 2],
      carried: NOTHING_CARRIED,
    },
  } as const;
  const model = modelOf({
    nodes: [
      makeNode("Constant", "", [], ["w"], [
        { name: "sparse_value", value, carried: NOTHING_CARRIED },
      ]),
      makeNode("MatMul", "", ["x", "w"], ["y"]),
    ],
    inputs: [info("x", "float32", ["n", 2])],
    outputs: [info("y", "float32", ["n", 2])],
  });
  const { report } = await convertFloats(model, HALF);
  assert.deepEqual(report.kept.map(({ name, reason }) => [name, reason]), [
    ["w", "it is stored sparse"],
  ]);
  const product = model.graph.nodes.find((node) => node.opType === "MatMul")!;
  const cast = model.graph.nodes.find((node) => node.outputs[0] === product.inputs[1])!;
  assert.deepEqual([cast.opType, cast.inputs], ["Cast", ["w"]]);
});

Deno.test("a type that nothing states follows from its users", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("w", [1], [2])],
    nodes: [
      makeNode("Mystery", "my.domain", ["x"], ["m"]),
      makeNode("Mul", "", ["m", "w"], ["y"]),
    ],
  });
  await convert(model);
  assert.ok(text(model.graph).includes("Mul(m_float16,w)->y_float16"));
});

Deno.test("a call of the model's own function is left alone and its result's type known", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    nodes: [
      makeNode("Double", "my.functions", ["x"], ["d"]),
      makeNode("Shape", "", ["d"], ["shape"]),
      makeNode("Sigmoid", "", ["d"], ["y"]),
    ],
  });
  model.functions.push({
    name: "Double",
    domain: "my.functions",
    overload: "",
    opsets: new Map([["", 17]]),
    inputs: ["a"],
    outputs: ["b"],
    attributes: [],
    nodes: [makeNode("Add", "", ["a", "a"], ["b"])],
    valueInfo: [],
    carried: NOTHING_CARRIED,
  });
  await convert(model);
  assert.deepEqual(text(model.graph), [
    "Double(x)->d",
    "Cast(d)->d_float16",
    "Shape(d)->shape",
    "Sigmoid(d_float16)->y_float16",
    "Cast(y_float16)->y",
  ]);
});

Deno.test("functions that call each other deeper than the stack goes are left alone", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    nodes: [makeNode("F0", "own", ["x"], ["d"]), makeNode("Sigmoid", "", ["x"], ["y"])],
  });
  for (let i = 0; i < 20_000; i++) {
    model.functions.push({
      name: `F${i}`,
      domain: "own",
      overload: "",
      opsets: new Map([["", 17], ["own", 1]]),
      inputs: ["a"],
      outputs: ["b"],
      attributes: [],
      nodes: [makeNode(`F${i + 1}`, "own", ["a"], ["b"])],
      valueInfo: [],
      carried: NOTHING_CARRIED,
    });
  }
  await convert(model);
  assert.deepEqual(text(model.graph), [
    "Cast(x)->x_float16",
    "F0(x)->d",
    "Sigmoid(x_float16)->y_float16",
    "Cast(y_float16)->y",
  ]);
});

Deno.test("Casts that the source has and nothing needs any more are taken out", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    nodes: [
      makeNode("Sigmoid", "", ["x"], ["s"]),
      makeNode("Cast", "", ["s"], ["low"], [int("to", 10)]),
      makeNode("Cast", "", ["low"], ["high"], [int("to", 1)]),
      makeNode("Sigmoid", "", ["high"], ["y"]),
    ],
    valueInfo: [info("low", "float16"), info("high", "float32")],
  });
  const { report } = await convert(model);
  assert.equal(report.castsRemoved, 2);
  assert.deepEqual(text(model.graph), [
    "Cast(x)->x_float16",
    "Sigmoid(x_float16)->s",
    "Sigmoid(s)->y_float16",
    "Cast(y_float16)->y",
  ]);
  assert.deepEqual(model.graph.valueInfo, []);
});

Deno.test("random numbers and the like get the new type by their attribute", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [integers("shape", [3])],
    nodes: [
      makeNode("RandomNormal", "", [], ["a"], [ints("shape", [3])]),
      makeNode("RandomNormalLike", "", ["x"], ["b"]),
      makeNode("Sum", "", ["a", "b", "x"], ["y"]),
    ],
  });
  await convert(model);
  const [first] = ofType(model.graph, "RandomNormal");
  assert.deepEqual(first!.attributes.at(-1)!.value, { type: "int", value: 10n });
});

Deno.test("a quantized graph: codes untouched, scales lose their Cast, pending ones are cast", async () => {
  const codes = makeTensor("codes", "uint8", [4, 1, 16], { kind: "pending", length: 64 });
  const scales = makeTensor("scales", "float16", [4, 1], { kind: "pending", length: 8 });
  const rows = makeTensor("rows", "uint8", [8, 16], { kind: "pending", length: 128 });
  const rowScales = makeTensor("row_scales", "float32", [8, 1], { kind: "pending", length: 32 });
  const model = modelOf({
    inputs: [info("ids", "int64")],
    outputs: [info("y", "float32")],
    initializers: [codes, scales, rows, rowScales, floats("bias", [4], [1, 2, 3, 4])],
    nodes: [
      makeNode("Cast", "", ["scales"], ["scales_float32"], [int("to", 1)]),
      makeNode("GatherBlockQuantized", "com.microsoft", ["rows", "ids", "row_scales"], ["e"]),
      makeNode("MatMulNBits", "com.microsoft", ["e", "codes", "scales_float32"], ["p"]),
      makeNode("Add", "", ["p", "bias"], ["y"]),
    ],
  }, 21);
  const { report, fills } = await convert(model);
  assert.deepEqual(text(model.graph), [
    "Cast(row_scales)->row_scales_float16",
    "GatherBlockQuantized(rows,ids,row_scales_float16)->e",
    "MatMulNBits(e,codes,scales)->p",
    "Add(p,bias)->y_float16",
    "Cast(y_float16)->y",
  ]);
  assert.equal(report.castsRemoved, 1);
  assert.deepEqual(fills, []);
  assert.deepEqual(model.graph.initializers.slice(0, 4), [codes, scales, rows, rowScales]);
  assert.equal(model.graph.initializers[0], codes);
});

Deno.test("DequantizeLinear gives float16 where its opset can, and is cast where it can't", async () => {
  for (const [opset, product] of [[21, "MatMul(x_float16,w)"], [13, "w_float16)"]] as const) {
    const model = modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("y", "float32")],
      initializers: [
        makeTensor("codes", "int8", [2, 2], { kind: "memory", bytes: new Uint8Array(4) }),
        floats("scale", [], [0.5]),
      ],
      nodes: [
        makeNode("DequantizeLinear", "", ["codes", "scale"], ["w"]),
        makeNode("MatMul", "", ["x", "w"], ["y"]),
      ],
    }, opset);
    await convert(model);
    assert.ok(text(model.graph).some((node) => node.includes(product)), text(model.graph).join());
    assert.equal(dtypesOf(model.graph).scale, opset === 21 ? "float16" : "float32");
  }
});

Deno.test("the storage form stores large weights and computes as before", async () => {
  const values = Array.from({ length: 1024 }, (_, i) => i / 8);
  for (const to of ["float16", "bfloat16"] as const) {
    const model = linear(floats("w", [32, 32], values), {
      nodes: [
        makeNode("MatMul", "", ["x", "w"], ["h"]),
        makeNode("Add", "", ["h", "b"], ["y"]),
      ],
    });
    model.graph.initializers.push(floats("b", [2], [1, 2]));
    const { report } = await convert(model, { to, form: "storage" });
    assert.deepEqual(text(model.graph), [
      "Cast(w)->w_float32",
      "MatMul(x,w_float32)->h",
      "Add(h,b)->y",
    ]);
    assert.equal(dtypesOf(model.graph).w, to);
    assert.match(report.kept[0]!.reason, /smaller than the Cast/);
    assert.deepEqual(report.keptNodes, []);
    // And back: the Cast goes, the weight has its type again.
    const back = await convert(model, { to: "float32", form: "compute" });
    assert.deepEqual(text(model.graph), ["MatMul(x,w)->h", "Add(h,b)->y"]);
    assert.deepEqual([back.report.castsAdded, back.report.castsRemoved], [0, 1]);
    assert.equal(dtypesOf(model.graph).w, "float32");
  }
});

Deno.test("bfloat16 needs opset 13, everything needs 7", async () => {
  await assert.rejects(
    convertFloats(modelOf({ nodes: [] }, 9), { to: "bfloat16", form: "storage" }),
    (error: Error) => error instanceof InputError && /opset 9.*needs 13/.test(error.message),
  );
  await assert.rejects(convertFloats(modelOf({ nodes: [] }, 6), HALF), InputError);
});

Deno.test("float16, bfloat16 and float64 models become float32", async () => {
  for (const dtype of ["float16", "bfloat16", "float64"] as const) {
    const bytes = new Uint8Array(4 * (dtype === "float64" ? 8 : 2));
    const model = linear(makeTensor("w", dtype, [2, 2], { kind: "memory", bytes }), {
      inputs: [info("x", dtype)],
      outputs: [info("y", dtype)],
      valueInfo: [info("h", dtype)],
    });
    await convert(model, { to: "float32", form: "compute" });
    assert.deepEqual(text(model.graph), [
      "Cast(x)->x_float32",
      "MatMul(x_float32,w)->h",
      "Relu(h)->y_float32",
      "Cast(y_float32)->y",
    ]);
    assert.deepEqual(dtypesOf(model.graph), { w: "float32", x: dtype, y: dtype, h: "float32" });
  }
});

Deno.test("constants and nodes are left alone on request", async () => {
  const kept = linear();
  await convert(kept, { ...HALF, keep: (name) => name === "w" });
  assert.equal(dtypesOf(kept.graph).w, "float32");
  assert.ok(text(kept.graph).includes("MatMul(x_float16,w_float16)->h"));
  const excluded = linear();
  const { report } = await convert(excluded, {
    ...HALF,
    exclude: (node) => node.opType === "MatMul",
  });
  assert.equal(dtypesOf(excluded.graph).w, "float32");
  assert.deepEqual(report.keptNodes.map((node) => node.reason), ["left alone on request"]);
});

Deno.test("an initializer that is listed as an input is no input any more", async () => {
  const model = linear();
  model.irVersion = 3;
  model.graph.inputs.push(info("w", "float32"));
  await convert(model);
  assert.deepEqual(model.graph.inputs.map((input) => input.name), ["x"]);
  assert.equal(model.irVersion, 4);
});

Deno.test("an initializer that is an output keeps its name and type there", async () => {
  const model = linear();
  model.graph.outputs.push(info("w", "float32"));
  await convert(model);
  assert.equal(dtypesOf(model.graph).w, "float32");
  assert.ok(text(model.graph).some((node) => node === "MatMul(x_float16,w_float16)->h"));
});

Deno.test("new names avoid those that are taken, in bodies too", async () => {
  const inner = graphOf({
    nodes: [makeNode("Sigmoid", "", ["x"], ["x_float16"])],
    outputs: [info("x_float16", "float32")],
  });
  const model = modelOf({
    inputs: [info("x", "float32"), info("flag", "bool")],
    outputs: [info("y", "float32")],
    nodes: [
      makeNode("If", "", ["flag"], ["y"], [
        body("then_branch", inner),
        body("else_branch", structuredClone(inner)),
      ]),
    ],
  });
  await convert(model);
  assert.equal(text(model.graph)[0], "Cast(x)->x_float16_2");
});

Deno.test("a Constant that names two outputs holds one tensor", async () => {
  const held = constant("w", floats("", [5000], Array(5000).fill(0.5)));
  const model = modelOf({
    inputs: [info("x", "float32", ["n", 5000])],
    outputs: [info("y", "float32", ["n", 5000])],
    nodes: [{ ...held, outputs: ["w", "more"] }, makeNode("Mul", "", ["x", "w"], ["y"])],
  });
  const { fills } = await convert(model);
  assert.deepEqual(fills.map(({ tensor }) => tensor.dims), [[5000]]);
});

Deno.test("large tensors wait and are filled in pieces", async () => {
  const count = 700_000;
  const values = Float32Array.from({ length: count }, (_, i) => (i % 4096) / 16 - 70);
  const model = linear(
    makeTensor("w", "float32", [700, 1000], {
      kind: "memory",
      bytes: new Uint8Array(values.buffer),
    }),
  );
  const { fills } = await convert(model);
  assert.equal(fills.length, 1);
  const [fill] = fills;
  assert.equal(fill!.tensor, model.graph.initializers[0]);
  assert.deepEqual(fill!.tensor.data, { kind: "pending", length: 2 * count });
  const filled = new Uint8Array(2 * count);
  let pieces = 0;
  let expected = 0;
  await fillFloats(fill!, (offset, bytes) => {
    assert.equal(offset, expected);
    filled.set(bytes, offset);
    expected += bytes.length;
    pieces++;
    return Promise.resolve();
  });
  assert.equal(expected, 2 * count);
  assert.ok(pieces > 1);
  assert.deepEqual(new Float16Array(filled.buffer), Float16Array.from(values));
});

Deno.test("every entry of the table of schemas can be read", () => {
  let versions = 0;
  for (const key of Object.keys(SCHEMAS)) {
    const at = key.lastIndexOf(":");
    const [domain, opType] = at < 0 ? ["", key] : [key.slice(0, at), key.slice(at + 1)];
    for (let opset = 1; opset <= 28; opset++) {
      const schema = schemaOf(domain, opType, opset);
      if (schema === null) continue;
      if (schema.since === opset) versions++;
      for (const { type } of [...schema.inputs, ...schema.outputs]) {
        if (type.kind === "variable") assert.ok(schema.variables.has(type.letter), key);
      }
    }
  }
  assert.ok(versions > 500, `${versions}`);
  assert.deepEqual(schemaOf("", "Cast", 12)!.variables.get("A")!.floats.has("bfloat16"), false);
  assert.deepEqual(schemaOf("", "Cast", 13)!.variables.get("A")!.floats.has("bfloat16"), true);
  assert.equal(schemaOf("", "Mystery", 20), null);
});
