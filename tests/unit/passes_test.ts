/** Passes: what each makes of a small model, and that models stay whole after every one. */
import assert from "node:assert/strict";
import type { DType } from "../../src/dtype.ts";
import {
  type Attribute,
  attribute,
  type Graph,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type ModelFunction,
  type Node,
  NOTHING_CARRIED,
  type Tensor,
} from "../../src/ir.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { check } from "../../src/passes/check.ts";
import { runPasses } from "../../src/passes/mod.ts";
import { graph as graphOf } from "../attributes.ts";

const float = (name: string, dims: number[], values: number[]): Tensor =>
  makeTensor(name, "float32", dims, {
    kind: "memory",
    bytes: new Uint8Array(Float32Array.from(values).buffer),
  });

const long = (name: string, dims: number[], values: number[]): Tensor =>
  makeTensor(name, "int64", dims, {
    kind: "memory",
    bytes: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
  });

/** A reference to the attribute `to` of the function around: field 21 of AttributeProto. */
const reference = (name: string, to: string): Attribute => ({
  name,
  value: { type: "carried" },
  carried: Uint8Array.of(0xaa, 0x01, to.length, ...new TextEncoder().encode(to)),
});

interface Parts {
  readonly initializers?: Tensor[];
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  readonly dtype?: DType;
}

function modelOf(nodes: Node[], parts: Parts = {}): Model {
  const info = (name: string) => makeValueInfo(name, parts.dtype ?? "float32", [2, 2]);
  const graph = makeGraph("main", {
    nodes,
    initializers: parts.initializers ?? [],
    inputs: (parts.inputs ?? ["x"]).map(info),
    outputs: (parts.outputs ?? ["y"]).map(info),
  });
  return makeModel("passes.onnx", 14, new Map([["", 28]]), graph);
}

/** Runs all passes, with the check of the model after each. */
async function passed(model: Model): Promise<Node[]> {
  const names: string[] = [];
  await runPasses(model, {
    after(pass, now) {
      names.push(pass);
      check(now);
    },
  });
  assert.ok(names.length > 8);
  return model.graph.nodes;
}

const spelled = (nodes: readonly Node[]): string[] =>
  nodes.map(({ opType, inputs, outputs }) => `${outputs} = ${opType}(${inputs})`);

Deno.test("the check sees a value made twice, read too early, or never made", () => {
  const twice = modelOf([makeNode("Relu", "", ["x"], ["y"]), makeNode("Abs", "", ["x"], ["y"])]);
  assert.throws(() => check(twice), /"y" is made twice, again by Abs/);
  const early = modelOf([makeNode("Relu", "", ["a"], ["y"]), makeNode("Abs", "", ["x"], ["a"])]);
  assert.throws(() => check(early), /Relu "" reads "a", which is not made before it/);
  assert.throws(() => check(modelOf([])), /an output of the model reads "y"/);
});

Deno.test("a value made twice is refused", async () => {
  const twice = modelOf([makeNode("Relu", "", ["x"], ["y"]), makeNode("Abs", "", ["x"], ["y"])]);
  await assert.rejects(
    runPasses(twice),
    /Cannot compile "passes.onnx": the value "y" is made twice/,
  );
});

Deno.test("nodes that wait for each other are refused", async () => {
  const circle = modelOf([
    makeNode("Relu", "", ["a"], ["y"]),
    makeNode("Add", "", ["y", "x"], ["a"]),
  ]);
  await assert.rejects(
    runPasses(circle),
    /Cannot compile "passes.onnx": Relu "" waits for a value that is made of its own/,
  );
});

Deno.test("names of branches become distinct, and stay tied to what they read", async () => {
  const branch = (opType: string): Graph =>
    makeGraph(opType, {
      nodes: [makeNode("Neg", "", ["a"], ["t"]), makeNode(opType, "", ["t"], ["a2"])],
      outputs: [makeValueInfo("a2", "float32", null)],
    });
  const model = modelOf([
    makeNode("Abs", "", ["x"], ["a"]),
    makeNode("Exp", "", ["a"], ["t"]),
    makeNode("If", "", ["p"], ["b"], [
      graphOf("then_branch", branch("Relu")),
      graphOf("else_branch", branch("Sqrt")),
    ]),
    makeNode("Add", "", ["b", "t"], ["y"]),
  ], { inputs: ["x", "p"] });
  const nodes = await passed(model);
  assert.deepEqual(spelled(nodes), ["a = Abs(x)", "t = Exp(a)", "b = If(p)", "y = Add(b,t)"]);
  const inner = ["then_branch", "else_branch"].map((name) => {
    const value = attribute(nodes[2]!, name);
    return value?.type === "graph" ? spelled(value.value.nodes) : [];
  });
  assert.deepEqual(inner, [
    ["t_1 = Neg(a)", "a2 = Relu(t_1)"],
    ["t_2 = Neg(a)", "a2_1 = Sqrt(t_2)"],
  ]);
});

const definition = (
  name: string,
  inputs: string[],
  outputs: string[],
  nodes: Node[],
  attributes: Attribute[] = [],
): ModelFunction => ({
  name,
  domain: "own",
  overload: "",
  opsets: new Map([["", 28]]),
  inputs,
  outputs,
  attributes,
  nodes,
  valueInfo: [],
  carried: NOTHING_CARRIED,
});

Deno.test("nodes are sorted where they aren't, branches and functions too", async () => {
  const branch = (nodes: Node[], output: string): Graph =>
    makeGraph("branch", { nodes, outputs: [makeValueInfo(output, "float32", [2, 2])] });
  const nodes = [
    makeNode("If", "", ["c"], ["y"], [
      graphOf(
        "then_branch",
        branch([makeNode("Neg", "", ["t"], ["u"]), makeNode("Exp", "", ["b"], ["t"])], "u"),
      ),
      graphOf("else_branch", branch([makeNode("Abs", "", ["x"], ["v"])], "v")),
    ]),
    makeNode("Cast", "", ["b"], ["c"], [int("to", 9)]),
    makeNode("twice", "own", ["a"], ["b"]),
    makeNode("Relu", "", ["x"], ["a"]),
  ];
  const model = modelOf(nodes);
  model.opsets.set("own", 1);
  const body = [makeNode("Sqrt", "", ["r"], ["q"]), makeNode("Exp", "", ["p"], ["r"])];
  model.functions.push(definition("twice", ["p"], ["q"], body));
  const sorted = await passed(model);
  assert.deepEqual(sorted.map(({ opType }) => opType), ["Relu", "Exp", "Sqrt", "Cast", "If"]);
});

Deno.test("functions are inlined: nested, with attributes of the call or the default", async () => {
  const model = modelOf([
    makeNode("Outer", "own", ["x"], ["a"], [int("k", 3)], "first"),
    makeNode("Outer", "own", ["a"], ["y"], [], "second"),
  ]);
  model.functions = [
    definition("Outer", ["u"], ["v"], [
      makeNode("Inner", "own", ["u"], ["w"], [reference("axis", "k")]),
      makeNode("Relu", "", ["w"], ["v"]),
    ], [int("k", 7)]),
    definition("Inner", ["u", "missing"], ["r"], [
      makeNode("Softmax", "", ["u"], ["t"], [reference("axis", "axis"), reference("none", "no")]),
      makeNode("Clip", "", ["t", "missing"], ["r"]),
    ]),
  ];
  const nodes = await passed(model);
  assert.deepEqual(spelled(nodes), [
    "first/Inner/t = Softmax(x)",
    "first/w = Clip(first/Inner/t,)",
    "a = Relu(first/w)",
    "second/Inner/t = Softmax(a)",
    "second/w = Clip(second/Inner/t,)",
    "y = Relu(second/w)",
  ]);
  const axes = nodes.filter(({ opType }) => opType === "Softmax").map((node) => node.attributes);
  assert.deepEqual(axes.map(([axis, ...rest]) => [axis!.name, axis!.value, rest.length]), [
    ["axis", { type: "int", value: 3n }, 0],
    ["axis", { type: "int", value: 7n }, 0],
  ]);
  assert.equal(model.functions.length, 0);
});

Deno.test("a function that gives its input back, and graphs in a function", async () => {
  const branch = (opType: string): Graph =>
    makeGraph(opType, {
      nodes: [makeNode(opType, "", ["u"], ["t"])],
      outputs: [makeValueInfo("t", "float32", null)],
    });
  const model = modelOf([
    makeNode("Choose", "own", ["x", "p"], ["a", "b"], [], "c"),
    makeNode("Add", "", ["a", "b"], ["y"]),
  ], { inputs: ["x", "p"] });
  model.functions = [
    definition("Choose", ["u", "q"], ["t", "u"], [
      makeNode("If", "", ["q"], ["t"], [
        graphOf("then_branch", branch("Relu")),
        graphOf("else_branch", branch("Sqrt")),
      ]),
    ]),
  ];
  const nodes = await passed(model);
  assert.deepEqual(spelled(nodes), ["a = If(p)", "y = Add(a,x)"]);
  const value = attribute(nodes[0]!, "else_branch");
  assert.deepEqual(value?.type === "graph" && spelled(value.value.nodes), ["c/t_1 = Sqrt(x)"]);
});

Deno.test("functions without end are refused", async () => {
  const itself = modelOf([makeNode("F", "own", ["x"], ["y"])]);
  itself.functions = [
    definition("F", ["u"], ["v"], [makeNode("G", "own", ["u"], ["v"])]),
    definition("G", ["u"], ["v"], [makeNode("F", "own", ["u"], ["v"])]),
  ];
  await assert.rejects(runPasses(itself), /its function "F" calls itself/);
  const doubling = modelOf([makeNode("F0", "own", ["x"], ["y"])]);
  doubling.functions = Array.from({ length: 40 }, (_, i) =>
    definition(`F${i}`, ["u"], ["v"], [
      makeNode(`F${i + 1}`, "own", ["u"], ["w"]),
      makeNode(`F${i + 1}`, "own", ["w"], ["v"]),
    ]));
  await assert.rejects(runPasses(doubling), /grow to more than 200000 nodes/);
});

Deno.test("calls within calls are followed 100 deep, in whatever order the functions stand", async () => {
  const chain = (length: number) => {
    const model = modelOf([makeNode("F0", "own", ["x"], ["y"])]);
    model.functions = Array.from(
      { length },
      (_, i) =>
        definition(`F${i}`, ["u"], ["v"], [
          makeNode(i === length - 1 ? "Relu" : `F${i + 1}`, i === length - 1 ? "" : "own", ["u"], [
            "v",
          ]),
        ]),
    );
    return model;
  };
  for (const reversed of [false, true]) {
    const [deep, deeper] = [chain(100), chain(20_000)];
    if (reversed) { for (const model of [deep, deeper]) model.functions.reverse(); }
    await runPasses(deep);
    assert.equal(deep.graph.nodes.length, 1);
    await assert.rejects(runPasses(deeper), /"F\d+" lies in calls more than 100 deep/);
  }
});

Deno.test("identities and dead nodes go; an output keeps its name", async () => {
  const nodes = await passed(modelOf([
    makeNode("Identity", "", ["x"], ["a"]),
    makeNode("Dropout", "", ["a"], ["b", "mask"]),
    makeNode("Transpose", "", ["b"], ["c"], [ints("perm", [0, 1])]),
    makeNode("Exp", "", ["b"], ["unread"]),
    makeNode("Transpose", "", ["c"], ["d"], [ints("perm", [1, 0])]),
    makeNode("Identity", "", ["d"], ["y"]),
  ]));
  assert.deepEqual(spelled(nodes), ["d = Transpose(x)", "y = Identity(d)"]);
});

Deno.test("a Dropout that trains stays, and one whose mask is read", async () => {
  const training = makeTensor("on", "bool", [], { kind: "memory", bytes: Uint8Array.of(1) });
  const nodes = await passed(modelOf([
    makeNode("Dropout", "", ["x", "", "on"], ["a"]),
    makeNode("Dropout", "", ["a"], ["b", "mask"]),
    makeNode("Where", "", ["mask", "a", "b"], ["y"]),
  ], { initializers: [training] }));
  assert.equal(nodes.length, 3);
});

Deno.test("what is computed twice is computed once, chains and all", async () => {
  const nodes = await passed(modelOf([
    makeNode("Exp", "", ["x"], ["a"]),
    makeNode("Exp", "", ["x"], ["b"]),
    makeNode("Softmax", "", ["a"], ["c"], [int("axis", 1)]),
    makeNode("Softmax", "", ["b"], ["d"], [int("axis", 1)]),
    makeNode("Softmax", "", ["b"], ["e"], [int("axis", 0)]),
    makeNode("RandomNormalLike", "", ["x"], ["r"]),
    makeNode("RandomNormalLike", "", ["x"], ["s"]),
    makeNode("Sum", "", ["c", "d", "e", "r", "s"], ["y"]),
    makeNode("Exp", "", ["x"], ["z"]),
  ], { outputs: ["y", "z"] }));
  assert.deepEqual(spelled(nodes), [
    "a = Exp(x)",
    "c = Softmax(a)",
    "e = Softmax(a)",
    "r = RandomNormalLike(x)",
    "s = RandomNormalLike(x)",
    "y = Sum(c,c,e,r,s)",
    "z = Identity(a)",
  ]);
});

Deno.test("equal constants become one; others of the same beginning don't", async () => {
  const wide = Array.from({ length: 3000 }, (_, i) => i);
  const model = modelOf([
    makeNode("Sum", "", ["x", "a", "b", "c"], ["s"]),
    makeNode("Sum", "", ["s", "p", "q", "r"], ["y"]),
  ], {
    initializers: [
      float("a", [1], [1]),
      float("b", [1], [1]),
      float("c", [1, 1], [1]),
      float("p", [3000], wide),
      float("q", [3000], wide),
      float("r", [3000], wide.map((value, i) => i === 2999 ? 0 : value)),
    ],
  });
  assert.deepEqual(spelled(await passed(model)), ["s = Sum(x,a,a,c)", "y = Sum(s,p,p,r)"]);
  assert.deepEqual(model.graph.initializers.map(({ name }) => name), ["a", "c", "p", "r"]);
});

Deno.test("sparse initializers become dense; bad ones are refused", async () => {
  const sparse = (dims: number[], indices: Tensor): Model => {
    const model = modelOf([makeNode("Add", "", ["x", "s"], ["y"])]);
    const values = float("s", [2], [5, 7]);
    model.graph.sparseInitializers = [{ values, indices, dims, carried: NOTHING_CARRIED }];
    return model;
  };
  for (const indices of [long("", [2], [1, 5]), long("", [2, 2], [0, 1, 1, 2])]) {
    const model = sparse([2, 3], indices);
    await passed(model);
    const [tensor] = model.graph.initializers;
    const bytes = await tensorBytes(tensor!);
    assert.deepEqual([...new Float32Array(bytes.slice().buffer)], [0, 5, 0, 0, 0, 7]);
  }
  const refused = (model: Model, reason: RegExp) => assert.rejects(runPasses(model), reason);
  await refused(sparse([2, 3], long("", [2], [1, 6])), /has the index 6 in an extent of 6/);
  await refused(sparse([2 ** 30, 3], long("", [2], [1, 6])), /takes \d+ bytes, more than/);
  await refused(sparse([2, 3], long("", [3], [1, 2, 3])), /has indices \[3\] for 2 values/);
});

Deno.test("a convolution takes in the batch normalization after it", async () => {
  for (const opType of ["Conv", "ConvTranspose"]) {
    for (const bias of [true, false]) {
      const weights = Array.from({ length: 8 }, (_, i) => i - 3);
      // [2, 2, 2]: outputs first for Conv, second for ConvTranspose.
      const model = modelOf([
        makeNode(opType, "", ["x", "w", ...(bias ? ["bias"] : [])], ["c"]),
        makeNode("BatchNormalization", "", ["c", "scale", "offset", "mean", "variance"], ["y"]),
      ], {
        initializers: [
          float("w", [2, 2, 2], weights),
          float("bias", [2], [1, -2]),
          float("scale", [2], [2, 3]),
          float("offset", [2], [0.5, 0.25]),
          float("mean", [2], [1, 2]),
          float("variance", [2], [4, 9]),
        ],
      });
      const nodes = await passed(model);
      assert.equal(nodes.length, 1);
      const values = await Promise.all(
        nodes[0]!.inputs.slice(1).map(async (name) => {
          const tensor = model.graph.initializers.find((entry) => entry.name === name);
          return [...new Float32Array((await tensorBytes(tensor!)).slice().buffer)];
        }),
      );
      const factors = [2 / Math.sqrt(4 + 1e-5), 3 / Math.sqrt(9 + 1e-5)];
      const channel = (i: number) => opType === "Conv" ? Math.floor(i / 4) : Math.floor(i / 2) % 2;
      const expected = [
        weights.map((weight, i) => weight * factors[channel(i)]!),
        [0, 1].map((i) => ((bias ? [1, -2][i]! : 0) - [1, 2][i]!) * factors[i]! + [0.5, 0.25][i]!),
      ];
      for (const [k, list] of expected.entries()) {
        for (const [i, value] of list.entries()) {
          assert.ok(Math.abs(values[k]![i]! - value) <= 1e-6 * Math.abs(value), `${opType} ${k}`);
        }
      }
    }
  }
});

Deno.test("a convolution that is read twice keeps its normalization", async () => {
  const vectors = ["scale", "offset", "mean", "variance"];
  const nodes = await passed(modelOf([
    makeNode("Conv", "", ["x", "w"], ["c"]),
    makeNode("BatchNormalization", "", ["c", ...vectors], ["b"]),
    makeNode("Add", "", ["b", "c"], ["y"]),
  ], {
    initializers: [
      float("w", [1, 1, 1], [3]),
      ...vectors.map((name, i) => float(name, [1], [i + 1])),
    ],
  }));
  assert.deepEqual(nodes.map(({ opType }) => opType), ["Conv", "BatchNormalization", "Add"]);
});

Deno.test("constants of branches are the model's, and a branch may give one", async () => {
  const branch = (value: number): Graph =>
    makeGraph("branch", {
      initializers: [float("k", [1], [value])],
      outputs: [makeValueInfo("k", "float32", [1])],
    });
  const model = modelOf([
    makeNode("If", "", ["p"], ["b"], [
      graphOf("then_branch", branch(1)),
      graphOf("else_branch", branch(2)),
    ]),
    makeNode("Add", "", ["x", "b"], ["y"]),
  ], { inputs: ["x", "p"] });
  await passed(model);
  assert.deepEqual(model.graph.initializers.map(({ name }) => name), ["k", "k_1"]);
});
