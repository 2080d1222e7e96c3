/**
 * Operators that no version of ONNX Runtime at hand has on the CPU: their modules compute what ONNX
 * Runtime computes by graphs of others that define them.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compare } from "../../conformance/compare.ts";
import { compileInto } from "../../conformance/compile.ts";
import { openOnnx } from "../../conformance/onnx.ts";
import { openWebGpu } from "../../conformance/webgpu.ts";
import {
  type Attribute,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Node,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { Draw, float, type Given, given } from "../differential/draw.ts";
import { withFolder } from "../unit/onnx_models.ts";

/** A call and a graph that gives the same, over inputs by name. */
interface Pair {
  readonly name: string;
  readonly call: Node;
  readonly graph: readonly Node[];
  readonly operands: Readonly<Record<string, Given>>;
  readonly outputs: readonly string[];
}

const draw = new Draw("equal graphs");
const tensor = (...dims: number[]): Given => draw.tensor("float32", dims);
const shape = (...values: number[]): Given => ({
  ...given("int64", [values.length], values),
  constant: true,
});

const microsoft = (
  op: string,
  inputs: string[],
  outputs: string[],
  attributes: Attribute[] = [],
): Node => makeNode(op, "com.microsoft", inputs, outputs, attributes);

const node = (op: string, inputs: string[], output: string, attributes: Attribute[] = []): Node =>
  makeNode(op, "", inputs, [output], attributes);

const groups = 2;
const groupNorm = (input: string, output: string, last: boolean, activated: boolean): Node[] => [
  node("Transpose", [input], "second", [ints("perm", last ? [0, 3, 1, 2] : [0, 1, 2, 3])]),
  node("GroupNormalization", ["second", "scale", "bias"], "normal", [int("num_groups", groups)]),
  node("Sigmoid", ["normal"], "sigmoid"),
  node("Mul", ["normal", "sigmoid"], "swish"),
  node("Transpose", [activated ? "swish" : "normal"], output, [
    ints("perm", last ? [0, 2, 3, 1] : [0, 1, 2, 3]),
  ]),
];

function* pairs(): Generator<Pair> {
  const channels = { scale: tensor(4), bias: tensor(4) };
  for (const last of [true, false]) {
    const dims = last ? [2, 3, 5, 4] : [2, 4, 3, 5];
    const attributes = [int("groups", groups), int("channels_last", last ? 1 : 0)];
    yield {
      name: `GroupNorm, channels ${last ? "last" : "second"}`,
      call: microsoft("GroupNorm", ["x", "scale", "bias"], ["y"], [
        ...attributes,
        int("activation", last ? 1 : 0),
      ]),
      graph: groupNorm("x", "y", last, last),
      operands: { x: tensor(...dims), ...channels },
      outputs: ["y"],
    };
    yield {
      name: `SkipGroupNorm, channels ${last ? "last" : "second"}`,
      call: microsoft("SkipGroupNorm", ["x", "scale", "bias", "skip", "more"], ["y", "sum"], [
        ...attributes,
        int("activation", 1),
      ]),
      graph: [
        node("Unsqueeze", ["skip", "axes"], "wide"),
        node("Unsqueeze", ["more", "inner"], "more3"),
        node("Add", ["x", "wide"], "partly"),
        node("Add", ["partly", "more3"], "sum"),
        ...groupNorm("sum", "y", last, true),
      ],
      operands: {
        x: tensor(...dims),
        ...channels,
        skip: tensor(2, 4),
        more: tensor(4),
        axes: shape(...(last ? [1, 2] : [2, 3])),
        inner: last ? shape(0, 1) : shape(1, 2),
      },
      outputs: ["y", "sum"],
    };
  }
  yield {
    name: "SkipGroupNorm, a skip connection of the input's shape",
    call: microsoft("SkipGroupNorm", ["x", "scale", "bias", "skip"], ["y"], [
      int("groups", groups),
      int("activation", 0),
    ]),
    graph: [node("Add", ["x", "skip"], "sum"), ...groupNorm("sum", "y", true, false)],
    operands: { x: tensor(2, 3, 5, 4), ...channels, skip: tensor(2, 3, 5, 4) },
    outputs: ["y"],
  };
  yield {
    name: "BiasAdd",
    call: microsoft("BiasAdd", ["x", "bias", "skip"], ["y"]),
    graph: [node("Add", ["x", "bias"], "z"), node("Add", ["z", "skip"], "y")],
    operands: { x: tensor(2, 5, 6), bias: tensor(6), skip: tensor(2, 5, 6) },
    outputs: ["y"],
  };
  yield {
    name: "BiasSplitGelu",
    call: microsoft("BiasSplitGelu", ["x", "bias"], ["y"]),
    graph: [
      node("Add", ["x", "bias"], "z"),
      makeNode("Split", "", ["z"], ["left", "right"], [int("axis", -1), int("num_outputs", 2)]),
      node("Gelu", ["right"], "gelu"),
      node("Mul", ["left", "gelu"], "y"),
    ],
    operands: { x: tensor(2, 5, 8), bias: tensor(8) },
    outputs: ["y"],
  };
  yield {
    name: "NhwcConv",
    call: microsoft("NhwcConv", ["x", "w", "b"], ["y"], [
      ints("pads", [1, 0, 1, 1]),
      ints("strides", [2, 1]),
    ]),
    graph: [
      node("Transpose", ["x"], "second", [ints("perm", [0, 3, 1, 2])]),
      node("Conv", ["second", "w", "b"], "z", [
        ints("pads", [1, 0, 1, 1]),
        ints("strides", [2, 1]),
      ]),
      node("Transpose", ["z"], "y", [ints("perm", [0, 2, 3, 1])]),
    ],
    operands: { x: tensor(2, 6, 7, 3), w: tensor(5, 3, 3, 2), b: tensor(5) },
    outputs: ["y"],
  };
  yield {
    name: "SwiGLU of com.microsoft",
    call: microsoft("SwiGLU", ["x"], ["y"], [
      float("activation_alpha", 1.702),
      float("activation_beta", 1),
      float("limit", 1),
    ]),
    graph: [
      makeNode("Split", "", ["x"], ["gate", "up"], [int("axis", -1), int("num_outputs", 2)]),
      node("Clip", ["gate", "", "most"], "below"),
      node("Clip", ["up", "least", "most"], "held"),
      node("Mul", ["below", "alpha"], "scaled"),
      node("Sigmoid", ["scaled"], "sigmoid"),
      node("Mul", ["below", "sigmoid"], "swish"),
      node("Add", ["held", "most"], "moved"),
      node("Mul", ["swish", "moved"], "y"),
    ],
    operands: {
      x: tensor(3, 10),
      least: { ...given("float32", [], [-1]), constant: true },
      most: { ...given("float32", [], [1]), constant: true },
      alpha: { ...given("float32", [], [1.702]), constant: true },
    },
    outputs: ["y"],
  };
}

/** A model of `nodes` over those of `operands` that they read. */
function modelOf(nodes: readonly Node[], { operands, outputs }: Pair): Model {
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  const used = Object.entries(operands).filter(([name]) => read.has(name));
  return makeModel(
    "model.onnx",
    10,
    new Map([["", 21], ["com.microsoft", 1]]),
    makeGraph("pair", {
      nodes: [...nodes],
      initializers: used.filter(([, { constant }]) => constant).map((
        [name, { dtype, dims, data }],
      ) =>
        makeTensor(name, dtype, dims, {
          kind: "memory",
          bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        })
      ),
      inputs: used.filter(([, { constant }]) => !constant).map(([name, { dtype, dims }]) =>
        makeValueInfo(name, dtype, dims.map((_, axis) => `${name}_${axis}`))
      ),
      outputs: outputs.map((name) => makeValueInfo(name, "float32", null)),
    }),
  );
}

Deno.test("operators give what graphs of others that define them give in ONNX Runtime", async (test) => {
  await withFolder(async (folder) => {
    const onnx = await openOnnx();
    const webgpu = await openWebGpu(compileInto(folder));
    for (const pair of pairs()) {
      await test.step(pair.name, async () => {
        const [own, other] = [join(folder, "own.onnx"), join(folder, "other.onnx")];
        await writeModel(modelOf([pair.call], pair), own);
        await writeModel(modelOf(pair.graph, pair), other);
        const inputs = new Map(
          Object.entries(pair.operands).filter(([, { constant }]) => !constant),
        );
        const taken = (model: Model) =>
          new Map([...inputs].filter(([name]) => model.graph.inputs.some((i) => i.name === name)));
        const [ownModel, otherModel] = [await readModel(own), await readModel(other)];
        await using module = await webgpu.prepare(ownModel);
        await using session = await onnx.prepare(otherModel);
        const found = await module.run(taken(ownModel));
        const wanted = await session.run(taken(otherModel));
        for (const name of pair.outputs) {
          const tolerance = { rtol: 1e-3, atol: 1e-4 };
          const { difference } = compare(name, found.get(name)!, wanted.get(name)!, tolerance);
          assert.equal(difference, null);
        }
      });
    }
  });
});
