/** What the schedule stores, and what it computes where it is read. */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import {
  elementCount,
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
  type Tensor,
} from "../../src/ir.ts";

const zeros = (name: string, ...dims: number[]): Tensor =>
  makeTensor(name, "float32", dims, {
    kind: "memory",
    bytes: new Uint8Array(4 * elementCount(dims)),
  });

const bytes = (name: string, ...dims: number[]): Tensor =>
  makeTensor(name, "uint8", dims, { kind: "memory", bytes: new Uint8Array(elementCount(dims)) });

/** The ops of the dispatches of a model from x [2, 8, 8, 8] or what `dims` says to `outputs`. */
async function dispatchesOf(
  nodes: Node[],
  initializers: Tensor[],
  { dims = [2, 8, 8, 8], outputs = ["y"] }: { dims?: number[]; outputs?: string[] } = {},
): Promise<string[]> {
  const graph = makeGraph("schedule", {
    nodes,
    initializers,
    inputs: [makeValueInfo("x", "float32", dims)],
    outputs: outputs.map((name) => makeValueInfo(name, "float32", null)),
  });
  const model = makeModel("schedule.onnx", 10, new Map([["", 21]]), graph);
  const { dispatches } = await compileModel(model);
  return dispatches.map(({ label }) => label.split(" ")[0]!);
}

Deno.test("what is made of a kernel's result alone is stored by it, though it is read twice", async () => {
  const found = await dispatchesOf([
    makeNode("Conv", "", ["x", "w"], ["c"]),
    makeNode("Sigmoid", "", ["c"], ["s"]),
    makeNode("Mul", "", ["c", "s"], ["silu"]),
    makeNode("GlobalAveragePool", "", ["silu"], ["mean"]),
    makeNode("Mul", "", ["silu", "mean"], ["y"]),
  ], [zeros("w", 8, 8, 3, 3)]);
  // The mean is of the rows that the last product stores.
  assert.deepEqual(found, ["Conv", "Mul"]);
});

Deno.test("a sum with what was before a product is stored by the product", async () => {
  const layer = (from: string, to: string): Node[] => [
    makeNode("LayerNormalization", "", [from, "one"], [`${to}n`], [int("axis", -1)]),
    makeNode("MatMul", "", [`${to}n`, "w"], [`${to}p`]),
    makeNode("Add", "", [`${to}p`, "b"], [`${to}b`]),
    makeNode("Add", "", [from, `${to}b`], [to]),
  ];
  const found = await dispatchesOf(
    [...layer("x", "a"), ...layer("a", "c"), ...layer("c", "y")],
    [zeros("one", 8), zeros("w", 8, 8), zeros("b", 8)],
  );
  assert.deepEqual(
    found,
    [1, 2, 3].flatMap(() => ["LayerNormalization", "MatMul"]),
  );
});

Deno.test("a kernel's result that is an output stays, whatever else is made of it", async () => {
  const found = await dispatchesOf(
    [
      makeNode("MatMul", "", ["x", "w"], ["p"]),
      makeNode("Add", "", ["p", "x"], ["a"]),
      makeNode("Relu", "", ["a"], ["y"]),
      makeNode("Neg", "", ["a"], ["z"]),
    ],
    [zeros("w", 8, 8)],
    { outputs: ["p", "y", "z"] },
  );
  assert.deepEqual(found, ["MatMul", "Relu", "Neg"]);
});

Deno.test("weights that several nodes take apart are read by their product as they are", async () => {
  const found = await dispatchesOf(
    [
      makeNode("Cast", "", ["codes"], ["f"], [int("to", 1)]),
      makeNode("Cast", "", ["zero"], ["z"], [int("to", 1)]),
      makeNode("Sub", "", ["f", "z"], ["d"]),
      makeNode("Mul", "", ["d", "scale"], ["w"]),
      makeNode("MatMul", "", ["x", "w"], ["y"]),
    ],
    [bytes("codes", 8, 64), bytes("zero", 8, 1), zeros("scale", 8, 1)],
  );
  assert.deepEqual(found, ["MatMul"]);
});
