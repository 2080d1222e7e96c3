/** The weight finder: what is a weight, as which matrix, who reads it, and why the rest is left. */
import assert from "node:assert/strict";
import type { Graph, Model, Node, Tensor } from "../../src/ir.ts";
import {
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  NOTHING_CARRIED,
} from "../../src/ir.ts";
import { Scopes } from "../../src/quantization/scopes.ts";
import { findWeights, type Weight } from "../../src/quantization/weights.ts";
import { constantNode, ENCODING_CASES, floats, integers } from "../encoding_models.ts";

function modelOf(parts: Partial<Graph>, irVersion = 8, opset = 17): Model {
  return makeModel("m.onnx", irVersion, new Map([["", opset]]), makeGraph("main", parts));
}

function find(parts: Partial<Graph>, irVersion = 8) {
  const { weights, skipped } = findWeights(new Scopes(modelOf(parts, irVersion)));
  return {
    weights: new Map(weights.map((weight) => [weight.name, weight])),
    reasons: new Map(skipped.map(({ name, reason }) => [name, reason])),
  };
}

const multiply = (w: string, y = "y") => makeNode("MatMul", "", ["x", w], [y]);

Deno.test("every case's weights are found", () => {
  for (const { name, build, weights } of ENCODING_CASES) {
    const names = findWeights(new Scopes(build())).weights.map((weight) => weight.name);
    for (const weight of weights) assert.ok(names.includes(weight), `${name}: ${weight}`);
  }
});

Deno.test("a weight's matrix has its columns along the axis that is summed over", () => {
  const views = (op: Node, dims: number[], before: Node[] = [], extra: Tensor[] = []) => {
    const parts = { nodes: [...before, op], initializers: [floats("w", dims), ...extra] };
    const { view } = find(parts).weights.get("w")!;
    return [view.batch, view.rows, view.columns, view.order];
  };
  const gemm = (transB: number) => makeNode("Gemm", "", ["x", "w"], ["y"], [int("transB", transB)]);
  assert.deepEqual(views(multiply("w"), [40, 9]), [1, 9, 40, "columns"]);
  assert.deepEqual(views(makeNode("MatMul", "", ["w", "x"], ["y"]), [9, 40]), [1, 9, 40, "rows"]);
  assert.deepEqual(views(multiply("w"), [3, 40, 9]), [3, 9, 40, "columns"]);
  assert.deepEqual(views(multiply("w"), [2, 3, 40, 9]), [6, 9, 40, "columns"]);
  assert.deepEqual(views(gemm(0), [40, 9]), [1, 9, 40, "columns"]);
  assert.deepEqual(views(gemm(1), [9, 40]), [1, 9, 40, "rows"]);
  const conv = (op: string, group = 1) =>
    makeNode(op, "", ["x", "w"], ["y"], [int("group", group)]);
  assert.deepEqual(views(conv("Conv"), [8, 5, 3, 3]), [1, 8, 45, "rows"]);
  assert.deepEqual(views(conv("Conv", 8), [8, 1, 5, 5]), [1, 8, 25, "rows"]);
  assert.deepEqual(views(conv("ConvTranspose"), [32, 5, 2, 2]), [1, 20, 32, "columns"]);
  assert.deepEqual(views(conv("ConvTranspose", 2), [64, 5, 2, 2]), [2, 20, 32, "columns"]);
  assert.deepEqual(views(conv("ConvTranspose", 32), [32, 5, 2, 2]), [1, 32, 20, "rows"]);
  const gather = makeNode("Gather", "", ["w", "i"], ["y"]);
  assert.deepEqual(views(gather, [30, 4, 6]), [1, 30, 24, "rows"]);
  const lstm = makeNode("LSTM", "", ["x", "r", "w"], ["y"]);
  assert.deepEqual(views(lstm, [2, 36, 9]), [1, 72, 9, "rows"]);
  const turned = [makeNode("Transpose", "", ["w"], ["t"], [ints("perm", [1, 0])])];
  assert.deepEqual(views(multiply("t"), [9, 40], turned), [1, 9, 40, "rows"]);
  const joined = [
    makeNode("Reshape", "", ["w", "s"], ["r"]),
    makeNode("Transpose", "", ["r"], ["t"]),
  ];
  const shape = [integers("s", [9, -1])];
  assert.deepEqual(views(multiply("t"), [9, 5, 8], joined, shape), [1, 9, 40, "rows"]);
  // Spatial axes first, as other frameworks store them.
  const spatial = [makeNode("Transpose", "", ["w"], ["t"], [ints("perm", [3, 2, 0, 1])])];
  const over = makeNode("Conv", "", ["x", "t"], ["y"]);
  assert.deepEqual(views(over, [3, 3, 5, 8], spatial), [1, 8, 45, "columns"]);
  // Heads first: [K, heads, size] as [heads, K, size].
  const heads = [makeNode("Transpose", "", ["w"], ["t"], [ints("perm", [1, 0, 2])])];
  assert.deepEqual(views(multiply("t"), [40, 3, 6], heads), [1, 18, 40, "columns"]);
});

Deno.test("a weight is seen through operators that move it, in branches and behind a shadow", () => {
  const branch = (name: string, nodes: Node[], initializers: Tensor[] = []) => ({
    name,
    value: {
      type: "graph",
      value: makeGraph(name, {
        nodes,
        initializers,
        outputs: [makeValueInfo(`${name}_y`, "float32", null)],
      }),
    } as const,
    carried: NOTHING_CARRIED,
  });
  const { weights, reasons } = find({
    nodes: [
      constantNode(floats("w", [64, 8])),
      constantNode(integers("zero", [0])),
      makeNode("Unsqueeze", "", ["w", "zero"], ["u"]),
      makeNode("If", "", ["p"], ["y"], [
        branch("then_branch", [
          makeNode("Squeeze", "", ["u", "zero"], ["s"]),
          multiply("s", "then_branch_y"),
        ]),
        // This branch's own w hides the outer one.
        branch("else_branch", [multiply("w", "else_branch_y")], [floats("w", [64, 6])]),
      ]),
    ],
  });
  assert.equal(reasons.size, 0);
  // Both are called w; the map holds the inner one, found last.
  assert.deepEqual(weights.get("w")!.view.rows, 6);
  const all = findWeights(
    new Scopes(modelOf({
      nodes: [makeNode("Neg", "", ["x"], ["n"]), multiply("w")],
      initializers: [floats("w", [64, 8])],
    })),
  ).weights;
  assert.equal(all.length, 1);
  assert.equal(all[0]!.uses[0]!.kind, "matmul");
});

Deno.test("a use that can't be rewritten keeps the weight as a tensor", () => {
  const kinds = (parts: Partial<Graph>): string[] =>
    (find(parts).weights.get("w") as Weight).uses.map((use) => use.kind);
  const w = [floats("w", [64, 8])];
  assert.deepEqual(kinds({ nodes: [multiply("w")], initializers: w }), ["matmul"]);
  const left = makeNode("MatMul", "", ["w", "x"], ["y"]);
  assert.deepEqual(kinds({ nodes: [left], initializers: w }), ["float"]);
  // Rows are looked up along one axis and multiplied along the other: no common matrix.
  const gather = makeNode("Gather", "", ["w", "i"], ["g"]);
  assert.deepEqual(kinds({ nodes: [multiply("w"), gather], initializers: w }), ["matmul", "float"]);
  const turned = makeNode("Transpose", "", ["w"], ["t"], [ints("perm", [1, 0])]);
  const tied = { nodes: [gather, turned, multiply("t")], initializers: w };
  assert.deepEqual(kinds(tied).sort(), ["gather", "matmul"]);
  const half = [
    makeNode("Slice", "", ["w", "a", "b"], ["s"]),
    multiply("s"),
  ];
  const sliced = { nodes: half, initializers: [...w, integers("a", [0]), integers("b", [32])] };
  assert.deepEqual(kinds(sliced), ["float"]);
});

Deno.test("what is no weight is left with the reason", () => {
  const node = (op: string, inputs: string[], output = "y") =>
    makeNode(op, "", inputs, [output], [], `the ${op}`);
  const reason = (parts: Partial<Graph>, irVersion?: number) =>
    find(parts, irVersion).reasons.get("w");
  const w = [floats("w", [64, 8])];
  assert.match(
    reason({ nodes: [node("Add", ["x", "w"])], initializers: [floats("w", [64])] })!,
    /^a vector that Add "the Add" reads$/,
  );
  assert.match(
    reason({ nodes: [node("Add", ["x", "w"])], initializers: w })!,
    /^Add "the Add" reads it, which takes no quantized weight there$/,
  );
  assert.match(reason({ nodes: [], initializers: w })!, /^nothing reads it$/);
  assert.match(
    reason({ nodes: [multiply("w"), node("Neg", ["w"], "z")], initializers: w })!,
    /^Neg "the Neg" reads it/,
  );
  const outputs = [makeValueInfo("w", "float32", [64, 8])];
  assert.match(reason({ nodes: [multiply("w")], initializers: w, outputs })!, /leaves the graph/);
  const inputs = [makeValueInfo("w", "float32", [64, 8])];
  assert.match(reason({ nodes: [multiply("w")], initializers: w, inputs })!, /caller may replace/);
  // Before IR version 4 every initializer was listed as an input.
  assert.equal(reason({ nodes: [multiply("w")], initializers: w, inputs }, 3), undefined);
  const small = makeTensor("w", "float8e4m3fn", [64, 8], {
    kind: "memory",
    bytes: new Uint8Array(512),
  });
  assert.match(
    reason({ nodes: [multiply("w")], initializers: [small] })!,
    /^float8e4m3fn is not quantized any further$/,
  );
});

Deno.test("tensors of integers are no candidates, hostile shapes no trap", () => {
  const { weights, reasons } = find({
    nodes: [
      makeNode("Reshape", "", ["w", "shape"], ["r"]),
      makeNode("Transpose", "", ["r"], ["t"], [ints("perm", [0, 7])]),
      multiply("t"),
      makeNode("Squeeze", "", ["v"], ["q"]),
      multiply("q"),
      makeNode("Split", "", ["u"], ["u1", "u2"], [int("axis", 9)]),
      multiply("u1"),
    ],
    initializers: [
      floats("w", [4, 4]),
      floats("v", [1, 4, 1, 4]),
      floats("u", [4, 4]),
      integers("shape", [-1, 0]),
    ],
  });
  // A Transpose whose order is no order reads it as an operator that can't be looked through.
  assert.match(reasons.get("w")!, /Transpose/);
  assert.deepEqual([...weights.keys()], ["v", "u"]);
});

Deno.test("a tensor that is cut and joined a thousandfold is left alone in no time", () => {
  const width = 200;
  const nodes: Node[] = [];
  for (let level = 0; level < 12; level++) {
    const parts = Array.from({ length: width }, (_, i) => `l${level}_${i}`);
    nodes.push(
      makeNode("Split", "", [level === 0 ? "w" : `j${level - 1}`], parts, [int("axis", 0)]),
      makeNode("Concat", "", parts, [`j${level}`], [int("axis", 0)]),
    );
  }
  const { reasons } = find({
    nodes: [...nodes, multiply("j11")],
    initializers: [floats("w", [width, 8])],
  });
  assert.match(reasons.get("w")!, /^too many operators read it/);
});

Deno.test("what callers of a function choose is not taken for its default", () => {
  const chosen = (name: string) => ({
    name,
    value: { type: "carried" } as const,
    carried: NOTHING_CARRIED,
  });
  const reason = (...nodes: Node[]) => find({ nodes, initializers: [floats("w", [40, 40])] });
  const gemm = (name: string) => makeNode("Gemm", "", ["x", "w"], ["y"], [chosen(name)]);
  const says = (nodes: Node[], text: RegExp) =>
    assert.match(reason(...nodes).reasons.get("w") ?? "", text);
  says([gemm("transB")], /^Gemm "y" reads it in a way that the callers of its function choose$/);
  says([makeNode("Gather", "", ["w", "i"], ["y"], [chosen("axis")])], /^Gather "y" .* choose$/);
  says(
    [makeNode("Transpose", "", ["w"], ["t"], [chosen("perm")]), multiply("t")],
    /^Transpose "t" .* choose$/,
  );
  // A factor of the result says nothing of the weight, but no other operator takes it over.
  assert.equal(reason(gemm("alpha")).weights.get("w")!.uses[0]!.kind, "float");
});

Deno.test("a sparse Constant is listed", () => {
  const values = floats("v", [3]);
  const indices = integers("i", [0, 5, 9]);
  const value = {
    type: "sparse_tensor",
    value: { values, indices, dims: [40, 9], carried: NOTHING_CARRIED },
  } as const;
  const attributes = [{ name: "sparse_value", value, carried: NOTHING_CARRIED }];
  const nodes = [makeNode("Constant", "", [], ["w"], attributes), multiply("w")];
  assert.equal(find({ nodes }).reasons.get("w"), "it is stored sparse");
});
