/**
 * Models that are made to exhaust the compiler: arithmetic of shapes whose formulas grow without end,
 * graphs in graphs, more nodes than there are. Each is compiled or refused in little time.
 */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import { InputError } from "../../src/error.ts";
import {
  type Graph,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Node,
  type Tensor,
} from "../../src/ir.ts";
import { graph } from "../attributes.ts";

const node = (op: string, inputs: string[], output: string): Node =>
  makeNode(op, "", inputs, [output]);

function whole(name: string, value: number, dims: number[] = []): Tensor {
  const bytes = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
  return makeTensor(name, "int64", dims, { kind: "memory", bytes });
}

function modelOf(nodes: Node[], dims: string[], initializers: Tensor[] = []): Model {
  const graph = makeGraph("g", {
    nodes,
    initializers,
    inputs: [makeValueInfo("x", "float32", dims), makeValueInfo("c", "bool", [])],
    outputs: [makeValueInfo("y", "float32", null)],
  });
  return makeModel("hostile.onnx", 14, new Map([["", 21]]), graph);
}

/** A tensor of as many zeros as `step`, repeated, makes of the extents d0, d1, ... of x. */
function shaped(rank: number, turns: number, step: (p: string, i: number) => Node[]): Model {
  const axes = Array.from({ length: rank }, (_, i) => i);
  const nodes = [
    node("Shape", ["x"], "shape"),
    ...axes.map((i) => node("Gather", ["shape", `k${i}`], `d${i}`)),
    node("Identity", ["d0"], "p0"),
    ...Array.from({ length: turns }, (_, i) => step(`p${i}`, i)).flat(),
    node("Unsqueeze", [`p${turns}`, "axis"], "dims"),
    node("ConstantOfShape", ["dims"], "y"),
  ];
  return modelOf(nodes, axes.map((i) => `n${i}`), [
    ...axes.map((i) => whole(`k${i}`, i)),
    whole("axis", 0, [1]),
    whole("two", 2),
  ]);
}

Deno.test("powers of sums of extents aren't written out", async () => {
  const { program } = await compileModel(shaped(8, 16, (p, i) => [
    node("Mul", [p, p], `m${i}`),
    node("Add", [`m${i}`, `d${i % 8}`], `p${i + 1}`),
  ]));
  assert.ok(program.length < 20_000, `${program.length} characters`);
});

Deno.test("quotients of quotients grow by their number", async () => {
  const model = shaped(1, 150, (p, i) => [
    node("Div", [p, "two"], `q${i}`),
    node("Add", [`q${i}`, "two"], `p${i + 1}`),
  ]);
  const { program } = await compileModel(model);
  assert.ok(program.length < 20_000, `${program.length} characters`);
});

Deno.test("what reads itself twice, again and again, is computed once a time", async () => {
  const model = shaped(2, 60, (p, i) => [
    node("Div", [p, "two"], `q${i}`),
    node("Div", [p, "d1"], `r${i}`),
    node("Add", [`q${i}`, `r${i}`], `p${i + 1}`),
  ]);
  const { program } = await compileModel(model);
  assert.ok(program.length < 100_000, `${program.length} characters`);
});

/** Ifs in Ifs. */
function nested(depth: number): Graph {
  const inner = depth === 0 ? [node("Relu", ["x"], "o0")] : [ifOf(depth, nested(depth - 1))];
  return makeGraph("branch", {
    nodes: inner,
    outputs: [makeValueInfo(`o${depth}`, "float32", null)],
  });
}

function ifOf(depth: number, first: Graph): Node {
  const other = makeGraph("other", {
    nodes: [node("Neg", ["x"], `e${depth}`)],
    outputs: [makeValueInfo(`e${depth}`, "float32", null)],
  });
  return makeNode("If", "", ["c"], [`o${depth}`], [
    graph("then_branch", first),
    graph("else_branch", other),
  ]);
}

Deno.test("graphs in graphs: a hundred are compiled, a thousand are too many", async () => {
  const of = (depth: number): Model =>
    modelOf([ifOf(depth, nested(depth - 1)), node("Abs", [`o${depth}`], "y")], ["n"]);
  assert.equal((await compileModel(of(100))).dispatches.length > 100, true);
  await assert.rejects(compileModel(of(1000)), (error) => {
    assert.ok(error instanceof InputError, String(error));
    assert.match(error.message, /"hostile\.onnx": .*nested too deep/);
    return true;
  });
});

Deno.test("a model of more nodes than the compiler takes is refused at once", async () => {
  const nodes = Array.from(
    { length: 1_000_000 },
    (_, i) => node("Relu", [i === 0 ? "x" : `t${i}`], i === 999_999 ? "y" : `t${i + 1}`),
  );
  await assert.rejects(compileModel(modelOf(nodes, ["n"])), /has 1000000 nodes, more than/);
});
