/** What a conversion to float16 leaves in float32, because it would lose too much. */
import assert from "node:assert/strict";
import { int, ints, makeNode } from "../../src/ir.ts";
import {
  convert,
  dtypesOf,
  floats,
  HALF,
  info,
  integers,
  modelOf,
  ofType,
  text,
} from "./float16_graphs.ts";

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
