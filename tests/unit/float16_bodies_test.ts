/** The conversion between float precisions of bodies, sequences and functions. */
import assert from "node:assert/strict";
import { allGraphs, int, makeNode, type Node, NOTHING_CARRIED } from "../../src/ir.ts";
import { convertFloats } from "../../src/quantization/float16.ts";
import { graph as body } from "../attributes.ts";
import {
  constant,
  convert,
  floats,
  graphOf,
  HALF,
  info,
  integers,
  modelOf,
  text,
} from "./float16_graphs.ts";

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
