/** What the graph says about an input's values. */
import assert from "node:assert/strict";
import { int, makeGraph, makeModel, makeNode, makeTensor, makeValueInfo } from "../../src/ir.ts";
import { inputHints } from "../../src/verify/hints.ts";
import { graph as graphAttribute, tensor as tensorAttribute } from "../attributes.ts";

const table = (name: string, ...dims: number[]) =>
  makeTensor(name, "float32", dims, { kind: "pending", length: 0 });
const scalar = (name: string, value: number) =>
  makeTensor(name, "int64", [], {
    kind: "memory",
    bytes: new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
  });
const graph = (parts: Parameters<typeof makeGraph>[1]) =>
  makeModel("m.onnx", 9, new Map([["", 18]]), makeGraph("g", parts));

Deno.test("the smallest table that an input indexes, through casts, on any axis", async () => {
  const model = graph({
    inputs: [makeValueInfo("ids", "int32", [1, null]), makeValueInfo("free", "float32", [null])],
    initializers: [table("words", 300, 8), table("types", 8, 40)],
    nodes: [
      makeNode("Cast", "", ["ids"], ["wide"], [int("to", 7)]),
      makeNode("Gather", "", ["words", "wide"], ["a"]),
      makeNode("Identity", "", ["types"], ["same"]),
      makeNode("Gather", "", ["same", "ids"], ["b"], [int("axis", 1)]),
      makeNode("MatMul", "", ["free", "types"], ["c"]),
    ],
  });
  const hints = await inputHints(model);
  assert.deepEqual(hints.get("ids")!.vocabulary, { rows: 40, table: "types" });
  assert.equal(hints.get("free")!.vocabulary, null);
  assert.deepEqual(hints.get("free")!.nearbyExtents, [8, 40]);
});

Deno.test("numbers that an input is compared with, inside subgraphs too", async () => {
  const inner = makeGraph("inner", {
    nodes: [
      makeNode("Constant", "", [], ["eight"], [tensorAttribute("value", scalar("", 8000))]),
      makeNode("Equal", "", ["eight", "sr"], ["low"]),
    ],
  });
  const model = graph({
    inputs: [makeValueInfo("sr", "int64", []), makeValueInfo("ok", "bool", [])],
    initializers: [scalar("sixteen", 16000)],
    nodes: [
      makeNode("Equal", "", ["sr", "sixteen"], ["high"]),
      makeNode("If", "", ["ok"], ["y"], [graphAttribute("then_branch", inner)]),
    ],
  });
  const hints = await inputHints(model);
  assert.deepEqual(hints.get("sr")!.comparedWith, [16000, 8000]);
  assert.deepEqual(hints.get("ok"), { vocabulary: null, comparedWith: [], nearbyExtents: [] });
});
