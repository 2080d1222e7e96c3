/**
 * Runs that ask for more than there is: elements past what a GPU binds or counts, extents below zero,
 * loops without end. Each ends with an error that names the node, in little time and memory.
 */
import assert from "node:assert/strict";
import { int, makeGraph, makeValueInfo } from "../../src/ir.ts";
import { floats, graph, int64, modelOf, node, refuses, truth, whole } from "./both_sides.ts";

const floatInput = { x: ["float32", ["n"]] } as const;

Deno.test("a shape of more elements than any memory has", async () => {
  const nodes = [node("ConstantOfShape", ["s"], ["y"])];
  const run = modelOf(nodes, { s: ["int64", [2]] }, { y: "float32" });
  await refuses(
    run,
    { s: int64([2 ** 30, 2 ** 30]) },
    /result of ConstantOfShape 0 takes \d+ bytes, this GPU binds at most/,
  );
  // What the model says itself is refused before there is a module.
  const constants = modelOf(nodes, {}, { y: "float32" }, [whole("s", [2 ** 40])]);
  await assert.rejects(
    refuses(constants, {}, /never run/),
    /a result of ConstantOfShape 0 has an extent of 1099511627776/,
  );
});

Deno.test("a shape below zero", async () => {
  const model = modelOf(
    [node("ConstantOfShape", ["s"], ["y"])],
    { s: ["int64", [2]] },
    { y: "float32" },
  );
  await refuses(model, { s: int64([-5, -7]) }, /a dimension of ConstantOfShape 0 comes to -5/);
});

Deno.test("Expand, Tile, Pad, Range and OneHot past what a GPU holds", async () => {
  const expand = modelOf(
    [node("Expand", ["x", "s"], ["y"])],
    { ...floatInput, s: ["int64", [2]] },
    { y: "float32" },
  );
  await refuses(expand, { x: floats(2), s: int64([2 ** 40, 2]) }, /result of Expand 0 takes/);
  const tile = modelOf(
    [node("Tile", ["x", "s"], ["y"])],
    { ...floatInput, s: ["int64", [1]] },
    { y: "float32" },
  );
  await refuses(tile, { x: floats(2), s: int64([2 ** 40]) }, /result of Tile 0 takes/);
  await refuses(tile, { x: floats(2), s: int64([-2]) }, /a dimension of Tile 0 comes to -4/);
  const pad = modelOf(
    [node("Pad", ["x", "s"], ["y"])],
    { ...floatInput, s: ["int64", [2]] },
    { y: "float32" },
  );
  await refuses(pad, { x: floats(2), s: int64([0, 2 ** 50]) }, /result of Pad 0 takes/);
  await refuses(pad, { x: floats(2), s: int64([-3, -4]) }, /a dimension of Pad 0 comes to -5/);
  const range = modelOf(
    [node("Range", ["zero", "end", "one"], ["y"])],
    { end: ["int64", []] },
    { y: "int64" },
    [whole("zero", 0), whole("one", 1)],
  );
  await refuses(range, { end: int64(10 ** 12) }, /result of Range 0 takes/);
  await refuses(range, { end: int64(2n ** 63n - 1n) }, /result of Range 0 takes/);
});

Deno.test("a sum that counts past 32 bits", async () => {
  const model = modelOf(
    [node("ConstantOfShape", ["s"], ["t"]), node("ReduceSum", ["t"], ["y"])],
    { s: ["int64", [1]] },
    { y: "float32" },
  );
  await refuses(model, { s: int64([2 ** 40]) }, /ReduceSum 1 counts to 1099511627776/);
});

/** The graph of a loop that carries one tensor. */
function turnOf(nodes: ReturnType<typeof node>[], state: string) {
  return makeGraph("body", {
    nodes: [...nodes, node("Identity", ["goes"], ["on"])],
    inputs: [
      makeValueInfo("i", "int64", []),
      makeValueInfo("goes", "bool", []),
      makeValueInfo("state", "float32", ["k"]),
    ],
    outputs: [makeValueInfo("on", "bool", []), makeValueInfo(state, "float32", ["l"])],
  });
}

Deno.test("loops without end", async () => {
  const computing = modelOf(
    [node("Loop", ["", "go", "x"], ["y"], [
      graph("body", turnOf([node("Relu", ["state"], ["next"])], "next")),
    ])],
    { ...floatInput, go: ["bool", []] },
    { y: "float32" },
  );
  await refuses(
    computing,
    { x: floats(2), go: truth(true) },
    /more than \d+ dispatches in a row; the next is of Relu 1/,
  );
  const idle = modelOf(
    [node("Loop", ["turns", "", "x"], ["y"], [graph("body", turnOf([], "state"))])],
    { ...floatInput, turns: ["int64", []] },
    { y: "float32" },
  );
  await refuses(idle, { x: floats(2), turns: int64(2n ** 62n) }, /Loop 0: .* more than \d+ turns/);
  const growing = modelOf(
    [node("Loop", ["turns", "", "x"], ["y"], [
      graph(
        "body",
        turnOf([node("Concat", ["state", "state"], ["next"], [int("axis", 0)])], "next"),
      ),
    ])],
    { ...floatInput, turns: ["int64", []] },
    { y: "float32" },
  );
  await refuses(growing, { x: floats(2), turns: int64(100) }, /result of Concat \d+ takes/);
});
