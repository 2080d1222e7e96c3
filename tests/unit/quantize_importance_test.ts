/** What a graph tells about the importance of a weight's columns. */
import assert from "node:assert/strict";
import {
  type Attribute,
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  type Model,
  type Node,
} from "../../src/ir.ts";
import { columnImportance } from "../../src/quantization/importance.ts";
import { Scopes } from "../../src/quantization/scopes.ts";
import { findWeights } from "../../src/quantization/weights.ts";

const K = 4;
const SCALE = [1, 2, 0.5, 1];
const BIAS = [0, 1, 0.5, -1];
// (scale^2 + bias^2)^2 over its mean.
const EXPECTED = [1, 25, 0.25, 4].map((value) => value / 7.5625);

function constant(name: string, dims: number[], values: number[]) {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return makeTensor(name, "float32", dims, { kind: "memory", bytes });
}

function modelOf(nodes: Node[]): Model {
  const value = (name: string) => ({ name, dtype: "float32" as const, shape: null, wire: null });
  const graph = makeGraph("", {
    nodes,
    initializers: [
      constant("scale", [K], SCALE),
      constant("bias", [K], BIAS),
      constant("w", [K, 3], Array.from({ length: 3 * K }, (_, i) => i - 5)),
    ],
    inputs: [value("x"), value("y")],
    outputs: [value("out")],
  });
  return makeModel("test.onnx", 10, new Map([["", 21], ["com.microsoft", 1]]), graph);
}

async function importanceIn(nodes: Node[]): Promise<Float32Array | null> {
  const scopes = new Scopes(modelOf(nodes));
  const weight = findWeights(scopes).weights.find(({ name }) => name === "w");
  assert(weight !== undefined);
  return await columnImportance(scopes, weight);
}

const normalized = (attributes: Attribute[] = []) =>
  makeNode("LayerNormalization", "", ["x", "scale", "bias"], ["n"], attributes);
const product = (input: string, output = "out") => makeNode("MatMul", "", [input, "w"], [output]);

function assertClose(actual: Float32Array | null, expected: number[]): void {
  assert(actual !== null);
  assert.equal(actual.length, expected.length);
  expected.forEach((value, i) => assert(Math.abs(actual[i]! - value) < 1e-6));
}

Deno.test("after a normalization the channels' energies tell", async () => {
  assertClose(await importanceIn([normalized(), product("n")]), EXPECTED);
  const explicit = normalized([int("axis", -1)]);
  assertClose(await importanceIn([explicit, product("n")]), EXPECTED);
});

Deno.test("operators that hand channels on are passed", async () => {
  const cast = makeNode("Identity", "", ["n"], ["i"]);
  const dropout = makeNode("Dropout", "", ["i"], ["d"]);
  assertClose(await importanceIn([normalized(), cast, dropout, product("d")]), EXPECTED);
});

Deno.test("skipping, root mean square and decomposed normalizations count too", async () => {
  const skip = makeNode(
    "SkipLayerNormalization",
    "com.microsoft",
    ["x", "y", "scale", "bias"],
    ["n"],
  );
  assertClose(await importanceIn([skip, product("n")]), EXPECTED);
  const squares = [1, 16, 0.0625, 1];
  const mean = squares.reduce((sum, value) => sum + value) / 4;
  const rms = makeNode("SimplifiedLayerNormalization", "", ["x", "scale"], ["n"]);
  assertClose(await importanceIn([rms, product("n")]), squares.map((value) => value / mean));
  const parts = [
    makeNode("Div", "", ["x", "y"], ["q"]),
    makeNode("Mul", "", ["scale", "q"], ["m"]),
    makeNode("Add", "", ["m", "bias"], ["n"]),
  ];
  assertClose(await importanceIn([...parts, product("n")]), EXPECTED);
});

Deno.test("where the graph tells nothing there is no importance", async () => {
  assert.equal(await importanceIn([product("x")]), null);
  const relu = makeNode("Relu", "", ["n"], ["r"]);
  assert.equal(await importanceIn([normalized(), relu, product("r")]), null);
  const earlier = normalized([int("axis", 1)]);
  assert.equal(await importanceIn([earlier, product("n")]), null);
  // One reader of two has an input of which nothing is known.
  const sum = makeNode("Add", "", ["a", "b"], ["out"]);
  const both = [normalized(), product("n", "a"), product("y", "b"), sum];
  assert.equal(await importanceIn(both), null);
  const other = makeNode("LayerNormalization", "", ["x", "y", "bias"], ["n"]);
  assert.equal(await importanceIn([other, product("n")]), null);
});
