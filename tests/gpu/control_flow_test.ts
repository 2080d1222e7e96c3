/**
 * Models of which a run decides more than numbers: Ifs whose branches give other ranks, and slices that
 * run "to the end" by the largest int64.
 */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import { int, ints, makeGraph, makeTensor, makeValueInfo } from "../../src/ir.ts";
import { noise } from "../encoding_models.ts";
import {
  branch,
  compareRuns,
  floats,
  graph,
  int64,
  modelOf,
  node,
  truth,
  whole,
} from "./both_sides.ts";

/** An If that squeezes axis 0 of `x`, or doubles it. */
const squeezeIf = (condition: string, x: string, y: string) =>
  node("If", [condition], [y], [
    graph("then_branch", branch([node("Squeeze", [x, "zero"], [`${y}_t`])], [`${y}_t`])),
    graph("else_branch", branch([node("Add", [x, x], [`${y}_e`])], [`${y}_e`])),
  ]);

Deno.test("an If gives a model's output in one rank or the other", async () => {
  const model = modelOf(
    [node("Relu", ["x"], ["r"]), squeezeIf("c", "r", "y"), node("Neg", ["x"], ["z"])],
    { x: ["float32", [1, "n"]], c: ["bool", []] },
    { y: "float32", z: "float32" },
    [whole("zero", [0])],
  );
  await compareRuns(
    model,
    [true, false, true].map((value, i) => ({ inputs: { x: floats(1, 3 + i), c: truth(value) } })),
  );
  const { outputs } = await compileModel(model);
  assert.deepEqual(outputs.map(({ dims }) => dims), [null, [1, "n"]]);
});

Deno.test("ops after an If take either rank, by extents that a run gives", async () => {
  const model = modelOf(
    [
      node("Shape", ["x"], ["shape"]),
      node("Gather", ["shape", "zero_"], ["rows"]),
      node("Equal", ["rows", "one"], ["c"]),
      squeezeIf("c", "x", "s"),
      node("Tanh", ["s"], ["t"]),
      node("Softmax", ["t"], ["u"], [int("axis", -1)]),
      node("ReduceSum", ["u", "last"], ["y"], [int("keepdims", 1)]),
    ],
    { x: ["float32", ["n", 6]] },
    { y: "float32", u: "float32" },
    [whole("zero", [0]), whole("zero_", 0), whole("one", 1), whole("last", [-1])],
  );
  await compareRuns(model, [1, 4, 1, 2].map((rows) => ({ inputs: { x: floats(rows, 6) } })));
});

Deno.test("two such Ifs one after another, all four ways", async () => {
  const model = modelOf(
    [squeezeIf("c", "x", "a"), squeezeIf("d", "a", "b"), node("Sin", ["b"], ["y"])],
    { x: ["float32", [1, 1, 5]], c: ["bool", []], d: ["bool", []] },
    { y: "float32" },
    [whole("zero", [0])],
  );
  const runs = [[true, true], [true, false], [false, true], [false, false], [true, true]] as const;
  await compareRuns(
    model,
    runs.map(([c, d]) => ({
      inputs: { x: floats(1, 1, 5), c: truth(c), d: truth(d) },
    })),
  );
});

Deno.test("a condition that the GPU computes, and an If in an If", async () => {
  const inner = branch([squeezeIf("d", "x", "i"), node("Exp", ["i"], ["j"])], ["j"]);
  const model = modelOf(
    [
      node("ReduceMax", ["x"], ["most"], [int("keepdims", 0)]),
      node("Greater", ["most", "limit"], ["c"]),
      node("If", ["c"], ["s"], [
        graph("then_branch", inner),
        graph("else_branch", branch([node("Squeeze", ["x"], ["q"])], ["q"])),
      ]),
      node("Abs", ["s"], ["y"]),
    ],
    { x: ["float32", [1, 1, 4]], d: ["bool", []], limit: ["float32", []] },
    { y: "float32" },
    [whole("zero", [0])],
  );
  const runs = [[0, true], [0, false], [9, true], [9, false]] as const;
  await compareRuns(
    model,
    runs.map(([limit, d]) => ({
      inputs: {
        x: floats(1, 1, 4),
        d: truth(d),
        limit: { dtype: "float32", dims: [], data: Float32Array.of(limit) },
      },
    })),
  );
});

Deno.test("what fits one rank alone is run for it, and refused for the other", async () => {
  const model = modelOf(
    [
      squeezeIf("c", "x", "s"),
      node("Transpose", ["s"], ["y"], [ints("perm", [1, 0])]),
    ],
    { x: ["float32", [1, "n", 3]], c: ["bool", []] },
    { y: "float32" },
    [whole("zero", [0])],
  );
  await compareRuns(model, [
    { inputs: { x: floats(1, 4, 3), c: truth(true) } },
    { inputs: { x: floats(1, 4, 3), c: truth(false) }, refused: /If 0: .* other ranks.*Transpose/ },
  ]);
  const other = modelOf(
    [
      squeezeIf("c", "x", "s"),
      node("Transpose", ["s"], ["y"], [ints("perm", [1, 0, 2])]),
    ],
    { x: ["float32", [1, "n", 3]], c: ["bool", []] },
    { y: "float32" },
    [whole("zero", [0])],
  );
  await compareRuns(other, [
    { inputs: { x: floats(1, 4, 3), c: truth(false) } },
    { inputs: { x: floats(1, 4, 3), c: truth(true) }, refused: /If 0: .* other ranks/ },
  ]);
});

Deno.test("an If in a loop takes one branch in all turns", async () => {
  const body = makeGraph("body", {
    nodes: [
      squeezeIf("c", "state", "s"),
      node("ReduceSum", ["s"], ["sum"], [int("keepdims", 0)]),
      node("Add", ["state", "sum"], ["next"]),
      node("Identity", ["goes"], ["on"]),
    ],
    inputs: [
      makeValueInfo("i", "int64", []),
      makeValueInfo("goes", "bool", []),
      makeValueInfo("state", "float32", [1, "n"]),
    ],
    outputs: [
      makeValueInfo("on", "bool", []),
      makeValueInfo("next", "float32", [1, "n"]),
      makeValueInfo("sum", "float32", []),
    ],
  });
  const model = modelOf(
    [node("Loop", ["turns", "", "x"], ["y", "sums"], [graph("body", body)])],
    { x: ["float32", [1, "n"]], c: ["bool", []], turns: ["int64", []] },
    { y: "float32", sums: "float32" },
    [whole("zero", [0])],
  );
  const runs = [[true, 3], [false, 12], [true, 1]] as const;
  await compareRuns(
    model,
    runs.map(([c, turns]) => ({
      inputs: { x: floats(1, 4), c: truth(c), turns: int64(turns) },
    })),
  );
});

Deno.test("a slice that a run ends at the largest int64 goes to the end", async () => {
  const [most, least] = [2n ** 63n - 1n, -(2n ** 63n)];
  const model = modelOf(
    [node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])],
    {
      x: ["float32", ["n", 7]],
      starts: ["int64", [2]],
      ends: ["int64", [2]],
      steps: ["int64", [2]],
    },
    { y: "float32" },
    [whole("axes", [0, 1])],
  );
  const x = floats(5, 7);
  await compareRuns(model, [
    { inputs: { x, starts: int64([1, 2]), ends: int64([most, most]), steps: int64([1, 2]) } },
    {
      inputs: { x, starts: int64([most, -1]), ends: int64([least, least]), steps: int64([-1, -2]) },
    },
    { inputs: { x, starts: int64([least, 0]), ends: int64([2, 3]), steps: int64([1, 1]) } },
  ]);
});

const table = (name: string, count: number) =>
  makeTensor(name, "float32", [count], {
    kind: "memory",
    bytes: new Uint8Array(Float32Array.from(noise(count, count)).buffer),
  });

Deno.test("a branch gives a constant, or what is read beside it", async () => {
  const model = modelOf(
    [
      node("If", ["c"], ["a", "b"], [
        graph(
          "then_branch",
          branch([node("Identity", ["w"], ["t"]), node("Identity", ["x"], ["u"])], ["t", "u"]),
        ),
        graph(
          "else_branch",
          branch([node("Add", ["x", "x"], ["e"]), node("Identity", ["e"], ["f"])], ["e", "f"]),
        ),
      ]),
      node("Add", ["a", "x"], ["s"]),
      node("Add", ["s", "b"], ["y"]),
    ],
    { x: ["float32", [2000]], c: ["bool", []] },
    { y: "float32", a: "float32" },
    [table("w", 2000)],
  );
  await compareRuns(
    model,
    [true, false].map((value) => ({ inputs: { x: floats(2000), c: truth(value) } })),
  );
});

Deno.test("a loop begins with constants and inputs, one of them twice, that it reads as well", async () => {
  const body = makeGraph("body", {
    nodes: [
      node("Add", ["p", "q"], ["sum"]),
      node("Add", ["sum", "x"], ["with_x"]),
      node("Add", ["with_x", "r"], ["next"]),
      node("Identity", ["next"], ["again"]),
      node("Identity", ["x"], ["r_next"]),
      node("Identity", ["w"], ["each"]),
      node("Identity", ["goes"], ["on"]),
    ],
    inputs: [
      makeValueInfo("i", "int64", []),
      makeValueInfo("goes", "bool", []),
      ...["p", "q", "r"].map((name) => makeValueInfo(name, "float32", ["k"])),
    ],
    outputs: [
      makeValueInfo("on", "bool", []),
      ...["next", "again", "r_next", "each"].map((name) => makeValueInfo(name, "float32", ["k"])),
    ],
  });
  const model = modelOf(
    [node("Loop", ["turns", "", "x", "x", "w"], ["y", "z", "r_", "all"], [graph("body", body)])],
    { x: ["float32", ["k"]], turns: ["int64", []] },
    { y: "float32", z: "float32", r_: "float32", all: "float32" },
    [table("w", 2000)],
  );
  await compareRuns(
    model,
    [0, 1, 3, 12].map((turns) => ({ inputs: { x: floats(2000), turns: int64(turns) } })),
  );
});

Deno.test("constants are outputs, packed ones too", async () => {
  const half = new Uint8Array(Float16Array.from(noise(5, 2001)).buffer);
  const model = modelOf(
    [node("Identity", ["w"], ["y"]), node("Identity", ["h"], ["z"]), node("Relu", ["x"], ["o"])],
    { x: ["float32", [2]] },
    { y: "float32", z: "float16", o: "float32" },
    [table("w", 2000), makeTensor("h", "float16", [2001], { kind: "memory", bytes: half })],
  );
  await compareRuns(model, [{ inputs: { x: floats(2) } }]);
});

Deno.test("nothing at all goes through", async () => {
  const model = modelOf(
    [
      node("NonZero", ["x"], ["i"]),
      node("Transpose", ["i"], ["t"]),
      node("GatherND", ["x", "t"], ["g"]),
      node("ScatterND", ["x", "t", "g"], ["y"]),
      node("Compress", ["x", "c"], ["rows"], [int("axis", 0)]),
      node("Softmax", ["rows"], ["soft"]),
      node("MatMul", ["rows", "x"], ["product"]),
      node("Concat", ["soft", "product", "x"], ["joined"], [int("axis", 0)]),
      node("ReduceSum", ["g"], ["sum"]),
    ],
    { x: ["float32", ["n", "n"]], c: ["bool", ["n"]] },
    { i: "int64", g: "float32", y: "float32", soft: "float32", joined: "float32", sum: "float32" },
  );
  const choice = (...values: number[]) =>
    ({ dtype: "bool", dims: [values.length], data: Uint8Array.from(values) }) as const;
  const zeros = { dtype: "float32", dims: [2, 2], data: new Float32Array(4) } as const;
  await compareRuns(model, [
    { inputs: { x: floats(3, 3), c: choice(1, 0, 1) } },
    { inputs: { x: zeros, c: choice(0, 0) } },
    { inputs: { x: floats(0, 0), c: choice() } },
    { inputs: { x: floats(1, 1), c: choice(1) } },
  ]);
});
