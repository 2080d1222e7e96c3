/** Which outputs the graph shows to be probabilities. */
import assert from "node:assert/strict";
import {
  type Attribute,
  makeGraph,
  makeModel,
  makeNode,
  makeValueInfo,
  type Node,
} from "../../src/ir.ts";
import { probabilityOutputs } from "../../src/verify/bounds.ts";

const branch = (name: string, nodes: Node[], output: string): Attribute => ({
  name,
  value: {
    type: "graph",
    value: makeGraph(name, { nodes, outputs: [makeValueInfo(output, "float32", null)] }),
  },
  carried: new Uint8Array(0),
});
const op = (opType: string, inputs: string[], output: string, attributes: Attribute[] = []) =>
  makeNode(opType, "", inputs, [output], attributes);

function probabilities(nodes: Node[], outputs: string[]): string[] {
  const graph = makeGraph("g", {
    nodes,
    outputs: outputs.map((name) => makeValueInfo(name, "float32", null)),
  });
  return [...probabilityOutputs(makeModel("m.onnx", 9, new Map([["", 18]]), graph))];
}

Deno.test("made by Softmax or Sigmoid and rearranged: yes; computed with: no", () => {
  const nodes = [
    op("Softmax", ["x"], "p"),
    op("Transpose", ["p"], "t"),
    op("Reshape", ["t", "s"], "r"),
    op("Sigmoid", ["x"], "q"),
    op("Concat", ["r", "q"], "both"),
    op("Mul", ["p", "x"], "scaled"),
    op("Concat", ["q", "x"], "mixed"),
    makeNode("Softmax", "com.example", ["x"], ["foreign"]),
  ];
  const outputs = ["p", "r", "both", "scaled", "mixed", "foreign", "missing"];
  assert.deepEqual(probabilities(nodes, outputs), ["p", "r", "both"]);
});

Deno.test("an If whose branches both give probabilities", () => {
  const yes = branch("then_branch", [op("Sigmoid", ["x"], "a")], "a");
  const no = branch("else_branch", [op("ReduceMean", ["d"], "b"), op("Sigmoid", ["x"], "d")], "b");
  const raw = branch("else_branch", [op("Neg", ["x"], "c")], "c");
  const nodes = [op("If", ["k"], "y", [yes, no]), op("If", ["k"], "z", [yes, raw])];
  assert.deepEqual(probabilities(nodes, ["y", "z"]), ["y"]);
});

Deno.test("a graph that goes in circles, or a hundred thousand nodes deep, ends", () => {
  const deep = Array.from({ length: 100_000 }, (_, i) => op("Identity", [`v${i}`], `v${i + 1}`));
  deep.unshift(op("Sigmoid", ["x"], "v0"));
  assert.deepEqual(probabilities(deep, ["v100000", "v100"]), ["v100"]);
  assert.deepEqual(probabilities([op("Cast", ["b"], "a"), op("Cast", ["a"], "b")], ["a"]), []);
});
