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
import { ColumnImportance } from "../../src/quantization/importance.ts";
import { Scopes } from "../../src/quantization/scopes.ts";
import { findWeights } from "../../src/quantization/weights.ts";

const K = 4;
const SCALE = [1, 2, 0.5, 1];
const BIAS = [0, 1, 0.5, -1];
// scale^2 + bias^2, and without the bias.
const ENERGIES = [1, 5, 0.5, 2];
const SQUARES = [1, 4, 0.25, 1];
const EXPECTED = importanceOf(ENERGIES);

/** Energies times the root of those of the last normalization by itself, over the mean of that. */
function importanceOf(energies: number[], alone = energies): number[] {
  const products = energies.map((energy, i) => energy * Math.sqrt(alone[i]!));
  const mean = products.reduce((sum, value) => sum + value) / products.length;
  return products.map((value) => value / mean);
}

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
      constant("narrow", [2], [1, 2]),
      constant("zero", [K], [0, 0, 0, 0]),
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
  return await new ColumnImportance(scopes).of(weight);
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
  const rms = makeNode("SimplifiedLayerNormalization", "", ["x", "scale"], ["n"]);
  assertClose(await importanceIn([rms, product("n")]), importanceOf(SQUARES));
  const parts = [
    makeNode("Div", "", ["x", "y"], ["q"]),
    makeNode("Mul", "", ["scale", "q"], ["m"]),
    makeNode("Add", "", ["m", "bias"], ["n"]),
  ];
  assertClose(await importanceIn([...parts, product("n")]), EXPECTED);
});

/** Energies after a second normalization of the stream that left one of SCALE and BIAS. */
function energiesOfTwo(centered: boolean, bias = BIAS): number[] {
  const center = centered ? bias.reduce((sum, value) => sum + value) / K : 0;
  const means = bias.map((value) => value - center);
  const variances = SCALE.map((value) => value * value);
  const energy = means.reduce((sum, mean, i) => sum + mean * mean + variances[i]!, 0) / K;
  // What is added has a quarter of the energy.
  const spread = 1.25 * energy;
  return SCALE.map((scale, i) =>
    (scale * means[i]! / Math.sqrt(spread) + bias[i]!) ** 2 +
    scale * scale * (variances[i]! + 0.25 * energy) / spread
  );
}

Deno.test("a residual stream carries what one normalization leaves to the next", async () => {
  const first = makeNode("LayerNormalization", "", ["x", "scale", "bias"], ["s"]);
  const biased = makeNode("Add", "", ["bias", "y"], ["b"]);
  const dropped = makeNode("Dropout", "", ["b"], ["d"]);
  const sum = makeNode("Add", "", ["d", "s"], ["t"]);
  const second = makeNode("LayerNormalization", "", ["t", "scale", "bias"], ["n"]);
  const expected = importanceOf(energiesOfTwo(true), ENERGIES);
  const stream = [first, biased, dropped, sum];
  assertClose(await importanceIn([...stream, second, product("n")]), expected);

  const skip = makeNode(
    "SkipLayerNormalization",
    "com.microsoft",
    ["y", "s", "scale", "bias"],
    ["n"],
  );
  assertClose(await importanceIn([first, skip, product("n")]), expected);

  const parts = [
    makeNode("ReduceMean", "", ["t"], ["a"]),
    makeNode("Sub", "", ["t", "a"], ["c"]),
    makeNode("Div", "", ["c", "y"], ["q"]),
    makeNode("Mul", "", ["q", "scale"], ["m"]),
    makeNode("Add", "", ["m", "bias"], ["n"]),
  ];
  assertClose(await importanceIn([...stream, ...parts, product("n")]), expected);

  const roots = ["s", "n"].map((output, i) =>
    makeNode("SimplifiedLayerNormalization", "", [["x", "t"][i]!, "scale"], [output])
  );
  const [rms1, rms2] = roots;
  assertClose(
    await importanceIn([rms1!, biased, dropped, sum, rms2!, product("n")]),
    importanceOf(energiesOfTwo(false, [0, 0, 0, 0]), SQUARES),
  );
});

Deno.test("a normalization is read once for all weights that read its result", async () => {
  const nodes = ["w", "v", "w2"].map((weight) =>
    makeNode("MatMul", "", ["n", weight], [`of ${weight}`])
  );
  const model = modelOf([normalized(), ...nodes]);
  const { initializers } = model.graph;
  for (const name of ["v", "w2"]) initializers.push(constant(name, [K, 2], Array(2 * K).fill(1)));
  const scopes = new Scopes(model);
  const columnImportance = new ColumnImportance(scopes);
  const { weights } = findWeights(scopes);
  assert.equal(weights.length, 3);
  const [first, ...others] = await Promise.all(weights.map((one) => columnImportance.of(one)));
  assertClose(first!, EXPECTED);
  const scale = initializers.find(({ name }) => name === "scale")!;
  scale.data = { kind: "memory", bytes: new Uint8Array(0) };
  for (const other of [...others, await columnImportance.of(weights[0]!)]) {
    assert.deepEqual(other, first);
  }
});

Deno.test("a stream that is not known counts as even", async () => {
  const second = makeNode("LayerNormalization", "", ["t", "scale", "bias"], ["n"]);
  const norm = (output: string, constants = ["scale", "bias"]) =>
    makeNode("LayerNormalization", "", ["x", ...constants], [output]);
  const add = (inputs: string[], output = "t") => makeNode("Add", "", inputs, [output]);
  const cases = [
    // Normalized before sublayers, not after.
    [add(["x", "y"])],
    // Two normalizations' results are added: neither is the stream.
    [norm("s"), norm("u"), add(["s", "u"])],
    // More additions than are followed.
    [norm("s"), ...Array.from({ length: 9 }, (_, i) => add([i ? `t${i}` : "s", "y"], `t${i + 1}`))],
    // Of another width, as one axis of a larger tensor may have.
    [norm("s", ["narrow", "narrow"]), add(["s", "y"])],
  ];
  for (const [i, nodes] of cases.entries()) {
    if (i === 2) nodes.push(makeNode("Identity", "", ["t9"], ["t"]));
    assertClose(await importanceIn([...nodes, second, product("n")]), EXPECTED);
  }
});

Deno.test("many normalizations in a row, and a stream of zeros, are no problem", async () => {
  const chain = Array.from(
    { length: 500 },
    (_, i) => makeNode("LayerNormalization", "", [`n${i}`, "scale", "bias"], [`n${i + 1}`]),
  );
  const importance = await importanceIn([...chain, product("n500")]);
  assert(importance !== null && importance.every((value) => value > 0));
  const zeros = makeNode("LayerNormalization", "", ["x", "zero", "zero"], ["s"]);
  const after = makeNode("LayerNormalization", "", ["s", "scale", "bias"], ["n"]);
  assertClose(await importanceIn([zeros, after, product("n")]), EXPECTED);
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
