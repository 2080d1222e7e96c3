/** The opset upgrade on IR objects: names, places of constants, functions, versions, refusals. */
import assert from "node:assert/strict";
import { InputError } from "../../src/error.ts";
import { allGraphs, attribute, type Graph, type Model, type Node } from "../../src/ir.ts";
import { irVersionOf, upgradeModel } from "../../src/onnx/upgrade.ts";
import { WireBuilder } from "../../src/onnx/wire.ts";
import { declared, functionOf, graph, modelOf, node, tensor } from "../upgrade_models.ts";

/** Op types of all nodes, outer graphs first. */
function ops(top: Graph): string[] {
  return [...allGraphs(top)].flatMap((inner) => inner.nodes.map((entry) => entry.opType));
}

function upgraded(model: Model, opset: number): Model {
  upgradeModel(model, { opset });
  return model;
}

function refused(model: Model, opset: number, pattern: RegExp): void {
  assert.throws(() => upgradeModel(model, { opset }), (error: unknown) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, pattern);
    return true;
  });
}

const REFERENCE = (name: string, as: string) => ({
  name,
  value: { type: "carried" } as const,
  carried: new WireBuilder().string(1, name).string(21, as).finish(),
});

Deno.test("an upgrade to a version that the model has changes nothing", () => {
  const model = modelOf(18, graph([node("Relu", "x", "y")], ["y"], { inputs: [declared("x")] }));
  const before = structuredClone(model);
  upgradeModel(model, { opset: 13 });
  upgradeModel(model, { opset: 18 });
  assert.deepEqual(model, before);
});

Deno.test("the IR version rises to what the opset needs, or to what is asked for", () => {
  const make = () => modelOf(11, graph([node("Relu", "x", "y")], ["y"]));
  const raise = (opset: number, irVersion?: number) => {
    const model = make();
    upgradeModel(model, { opset, ...(irVersion === undefined ? {} : { irVersion }) });
    return model.irVersion;
  };
  assert.equal(raise(11), 6);
  assert.equal(raise(11, 10), 10);
  assert.equal(raise(13), 7);
  assert.equal(raise(21), 10);
  assert.equal(raise(21, 8), 10);
  assert.equal(raise(28), 14);
  const ahead = modelOf(11, graph([node("Relu", "x", "y")], ["y"]), { irVersion: 12 });
  assert.equal(upgraded(ahead, 13).irVersion, 12);
});

Deno.test("other domains and a model without the default domain keep their versions", () => {
  const own = graph([node("Gelu", "x", "y", {}, "com.microsoft")], ["y"]);
  const model = modelOf(11, own, { domains: [["com.microsoft", 1]] });
  assert.deepEqual([...upgraded(model, 21).opsets], [["", 21], ["com.microsoft", 1]]);
  const foreign = modelOf(11, own);
  foreign.opsets.delete("");
  foreign.opsets.set("com.microsoft", 1);
  assert.equal(upgraded(foreign, 21).opsets.get(""), 21);
});

Deno.test("versions out of range and a missing import are refused", () => {
  const make = (opset: number) => modelOf(opset, graph([node("Relu", "x", "y")], ["y"]));
  refused(make(5), 13, /its opset 5 is below 6, the lowest that is supported for \w+\./);
  refused(make(11), 29, /opset 29: the newest that is known is 28/);
  const without = make(11);
  without.opsets.clear();
  refused(without, 13, /imports no opset of it/);
});

Deno.test("equal constants of a graph are one, with names that nothing has", () => {
  const taken = graph([node("Squeeze", "axes", "axes_1", { axes: [0] })], [declared("axes_1")]);
  const model = modelOf(
    11,
    graph(
      [
        node("Squeeze", "x", "a", { axes: [0] }),
        node("Unsqueeze", "a", "b", { axes: [0] }),
        node("Squeeze", "b", "y", { axes: [0, 1] }),
        node("If", "c", "z", { then_branch: taken, else_branch: graph([], ["x"]) }),
      ],
      ["y", "z"],
      { inputs: [declared("x"), declared("axes"), declared("c", "bool", [])] },
    ),
  );
  upgraded(model, 13);
  const [first, second, third, conditional] = model.graph.nodes;
  assert.equal(first?.inputs[1], second?.inputs[1]);
  assert.notEqual(first?.inputs[1], third?.inputs[1]);
  assert.equal(model.graph.initializers.length, 2);
  assert.equal(taken.initializers.length, 1);
  const made = [...model.graph.initializers, ...taken.initializers].map((entry) => entry.name);
  assert.equal(new Set([...made, "axes", "axes_1", "x", "a", "b"]).size, 8);
  assert.equal(conditional?.opType, "If");
});

Deno.test("softmax of a known rank on its last axis stays one node", () => {
  const model = modelOf(
    11,
    graph(
      [
        node("Transpose", "x", "t", { perm: [0, 2, 1] }),
        node("Softmax", "t", "p", { axis: 2n }),
        node("Softmax", "p", "y"),
      ],
      ["y"],
      { inputs: [declared("x")] },
    ),
  );
  upgraded(model, 18);
  assert.deepEqual(ops(model.graph), [
    "Transpose",
    "Softmax",
    "Shape",
    "Flatten",
    "Softmax",
    "Reshape",
  ]);
});

Deno.test("an IR 3 model gets constants as nodes until it rises, then loses listed weights", () => {
  const make = () =>
    modelOf(
      6,
      graph([node("Add", "x,w", "y", { broadcast: 1n, axis: 1n })], ["y"], {
        inputs: [declared("x", "float32", [2, 3, 4]), declared("w", "float32", [3])],
        initializers: [tensor("w", "float32", [3], [1, 2, 3])],
      }),
    );
  const kept = upgraded(make(), 8);
  assert.equal(kept.irVersion, 3);
  assert.deepEqual(kept.graph.inputs.map((input) => input.name), ["x", "w"]);
  assert.deepEqual(ops(kept.graph), ["Unsqueeze", "Add"]);
  const raised = upgraded(make(), 13);
  assert.equal(raised.irVersion, irVersionOf(13));
  assert.deepEqual(raised.graph.inputs.map((input) => input.name), ["x"]);
  assert.equal(raised.graph.initializers.length, 2);
});

Deno.test("broadcasting by axis needs known ranks", () => {
  const model = modelOf(
    6,
    graph([node("Mul", "x,w", "y", { broadcast: 1n, axis: 1n })], ["y"], {
      inputs: [declared("x"), declared("w", "float32", [3])],
    }),
  );
  refused(model, 7, /node "y" \(Mul\) of "test\.onnx" to opset 7: the ranks of its inputs/);
});

Deno.test("functions are upgraded at their own version, with constants as nodes", () => {
  const shrink = functionOf("Shrink2", 11, [node("Squeeze", "a", "b", { axes: [0] })], ["a"], [
    "b",
  ]);
  const modern = functionOf("Modern", 21, [node("Relu", "a", "b")], ["a"], ["b"]);
  const foreign = functionOf("Foreign", 11, [node("Op", "a", "b", {}, "com.x")], ["a"], ["b"]);
  foreign.opsets = new Map([["com.x", 1]]);
  const model = modelOf(15, graph([node("Shrink2", "x", "y", {}, "local")], ["y"]), {
    functions: [shrink, modern, foreign],
  });
  upgraded(model, 18);
  assert.deepEqual(shrink.nodes.map((entry) => entry.opType), ["Constant", "Squeeze"]);
  assert.equal(shrink.nodes[1]?.inputs[1], shrink.nodes[0]?.outputs[0]);
  assert.equal(shrink.opsets.get(""), 18);
  assert.equal(modern.opsets.get(""), 21);
  assert.deepEqual([...foreign.opsets], [["com.x", 1]]);
  assert.equal(model.graph.nodes[0]?.opType, "Shrink2");
});

Deno.test("an operator that the model defines in the default domain is left alone", () => {
  const own = functionOf("Softmax", 18, [node("Identity", "a", "b")], ["a"], ["b"]);
  own.domain = "";
  const model = modelOf(11, graph([node("Softmax", "x", "y")], ["y"]), { functions: [own] });
  assert.deepEqual(ops(upgraded(model, 13).graph), ["Softmax"]);
});

function withReference(caller: Node): Model {
  const squeeze = node("Squeeze", "a", "b");
  squeeze.attributes.push(REFERENCE("axes", "where"));
  const body = functionOf("Drop", 11, [squeeze], ["a"], ["b"]);
  return modelOf(15, graph([caller], ["y"]), { functions: [body] });
}

Deno.test("a reference to an attribute of the function becomes a constant that refers to it", () => {
  const model = withReference(node("Drop", "x", "y", { where: [0] }, "local"));
  upgraded(model, 18);
  const [constant, squeeze] = model.functions[0]!.nodes;
  assert.deepEqual(
    constant?.attributes,
    [REFERENCE("value_ints", "where")].map((entry) => ({
      ...entry,
      carried: REFERENCE("axes", "where").carried,
    })),
  );
  assert.deepEqual(squeeze?.inputs, ["a", constant?.outputs[0]]);
  assert.equal(squeeze?.attributes.length, 0);
});

Deno.test("a caller that leaves out such an attribute is refused, unless it has a default", () => {
  const bare = () => node("Drop", "x", "y", {}, "local");
  refused(withReference(bare()), 18, /"local:Drop" in "test\.onnx": its body needs .* "where"/);
  const model = withReference(bare());
  model.functions[0]!.attributes.push(...node("Drop", "", "", { where: [0] }).attributes);
  upgraded(model, 18);
});

Deno.test("a constant of unknown type follows its operand, or is refused before CastLike", () => {
  const make = () =>
    modelOf(
      9,
      graph([node("Clip", "x", "y", { min: { float: 0.5 } })], [declared("y", null)], {
        inputs: [declared("x", null)],
      }),
    );
  assert.deepEqual(ops(upgraded(make(), 15).graph), ["CastLike", "Clip"]);
  refused(make(), 14, /\(Clip\) of "test\.onnx" to opset 14: the element type of "x" is not known/);
});

Deno.test("types are followed through the graph", () => {
  const model = modelOf(
    9,
    graph(
      [
        node("Shape", "x", "s"),
        node("Cast", "s", "d", { to: 11n }),
        node("Mul", "d,d", "m"),
        node("Clip", "m", "y", { max: { float: 2 } }),
      ],
      [declared("y", null)],
      { inputs: [declared("x")] },
    ),
  );
  upgraded(model, 11);
  assert.deepEqual(model.graph.initializers.map((entry) => entry.dtype), ["float64"]);
});

Deno.test("what has no equal is refused by node and operator", () => {
  const resize = node("Resize", "x,r,s", "y", {
    mode: "linear",
    coordinate_transformation_mode: "tf_half_pixel_for_nn",
  });
  refused(modelOf(11, graph([resize], ["y"])), 13, /"y" \(Resize\).*tf_half_pixel_for_nn/);
  const train = node("BatchNormalization", "x,s,b,m,v", "y,om,ov,sm,sv");
  refused(modelOf(9, graph([train], ["y", "sm"])), 14, /output "sm".*Export/);
  const spatial = node("BatchNormalization", "x,s,b,m,v", "y,om", { spatial: 0n });
  refused(modelOf(7, graph([spatial], ["y", "om"])), 9, /output "om".*Export/);
  const scan = node("Scan", "l,i,d", "f", {
    body: graph([node("Add", "s,x", "n")], [declared("n")], {
      inputs: [declared("s"), declared("x")],
    }),
    num_scan_inputs: 1n,
    directions: [1],
  });
  refused(modelOf(8, graph([scan], ["f"])), 9, /\(Scan\).*backwards with sequence lengths/);
  refused(modelOf(9, graph([node("Slice", "x", "y")], ["y"])), 10, /attribute "starts" is missing/);
});

Deno.test("training graphs are upgraded with the names of the main graph in view", () => {
  const model = modelOf(
    12,
    graph([node("Squeeze", "x", "y", { axes: [0] })], ["y"], { inputs: [declared("x")] }),
  );
  const algorithm = graph([node("Unsqueeze", "y", "axes", { axes: [0] })], ["axes"]);
  model.training.push({ initialization: null, algorithm, carried: new Uint8Array(0) });
  upgraded(model, 13);
  assert.equal(algorithm.nodes[0]?.inputs.length, 2);
  assert.notEqual(model.graph.initializers[0]?.name, "axes");
  assert.notEqual(algorithm.initializers[0]?.name, model.graph.initializers[0]?.name);
});

Deno.test("Upsample and Resize say what they had left open", () => {
  const text = (entry: Node | undefined, name: string) => {
    const value = attribute(entry!, name);
    return value?.type === "string" ? new TextDecoder().decode(value.value) : null;
  };
  const make = (op: string, opset: number, scales: number[]) =>
    modelOf(
      opset,
      graph([node(op, "x,s", "y")], ["y"], {
        inputs: [declared("x")],
        initializers: [tensor("s", "float32", [4], scales)],
      }),
    );
  const roundings = (model: Model) =>
    model.graph.nodes.filter((entry) => entry.opType === "Resize")
      .map((entry) => text(entry, "nearest_mode"));
  assert.deepEqual(roundings(upgraded(make("Upsample", 9, [1, 1, 2, 3]), 13)), ["floor"]);
  assert.deepEqual(roundings(upgraded(make("Resize", 10, [1, 1, 2, 3]), 13)), ["floor"]);
  assert.deepEqual(roundings(upgraded(make("Resize", 10, [1, 1, 0.5, 1]), 13)), ["ceil"]);
  assert.deepEqual(roundings(upgraded(make("Resize", 10, [1, 1, 0.5, 2]), 13)), ["floor", "ceil"]);
  assert.deepEqual(roundings(upgraded(make("Upsample", 9, [1, 1, 2, 3]), 10)), [null]);
});
