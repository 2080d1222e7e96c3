/** The conversion of graphs between float precisions, on graphs made by hand. */
import assert from "node:assert/strict";
import { InputError } from "../../src/error.ts";
import { int, ints, makeNode, makeTensor, NOTHING_CARRIED } from "../../src/ir.ts";
import { convertFloats, fillFloats } from "../../src/quantization/float16.ts";
import { SCHEMAS } from "../../src/quantization/float16/schemas.ts";
import { schemaOf } from "../../src/quantization/float16/type_constraints.ts";
import { graph as body } from "../attributes.ts";
import {
  constant,
  convert,
  dtypesOf,
  floats,
  graphOf,
  HALF,
  halves,
  info,
  integers,
  linear,
  modelOf,
  ofType,
  text,
} from "./float16_graphs.ts";

Deno.test("the graph computes in float16 and its inputs and outputs stay as they were", async () => {
  const model = linear();
  const { report } = await convert(model);
  assert.deepEqual(text(model.graph), [
    "Cast(x)->x_float16",
    "MatMul(x_float16,w)->h",
    "Relu(h)->y_float16",
    "Cast(y_float16)->y",
  ]);
  assert.deepEqual(dtypesOf(model.graph), {
    w: "float16",
    x: "float32",
    y: "float32",
    h: "float16",
  });
  assert.deepEqual(halves(model.graph.initializers[0]!), [1, 2, 3, 4]);
  assert.deepEqual([report.castsAdded, report.castsRemoved], [2, 0]);
});

Deno.test("with io the inputs and outputs are float16 and nothing is cast", async () => {
  const model = linear();
  await convert(model, { ...HALF, io: true });
  assert.deepEqual(text(model.graph), ["MatMul(x,w)->h", "Relu(h)->y"]);
  assert.deepEqual(new Set(Object.values(dtypesOf(model.graph))), new Set(["float16"]));
});

Deno.test("a name that nothing before it makes is an error that says so", async () => {
  const model = modelOf({
    outputs: [info("y", "float32")],
    nodes: [makeNode("Relu", "", ["h"], ["y"]), makeNode("Relu", "", ["y"], ["h"])],
  });
  await assert.rejects(
    convertFloats(model, HALF),
    (error: Error) => error instanceof InputError && /Relu node "y" reads "h"/.test(error.message),
  );
});

Deno.test("a constant for both types is stored once and cast", async () => {
  for (const [count, stored] of [[4, "float32"], [256, "float16"]] as const) {
    const values = Array.from({ length: count }, (_, i) => i / 16);
    const model = modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("y", "float32")],
      initializers: [floats("w", [count], values), integers("axis", [0])],
      nodes: [
        makeNode("Mul", "", ["x", "w"], ["m"]),
        makeNode("CumSum", "", ["w", "axis"], ["c"]),
        makeNode("Add", "", ["m", "c"], ["y"]),
      ],
    }, 13);
    await convert(model);
    assert.equal(dtypesOf(model.graph).w, stored);
    const casts = ofType(model.graph, "Cast").filter((node) => node.inputs[0] === "w");
    assert.equal(casts.length, 1);
    assert.equal(model.graph.initializers.length, 2);
  }
});

Deno.test("an unknown operator is left alone with Casts around it", async () => {
  for (const opType of ["Mystery", "constructor", "__proto__"]) {
    const model = modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("y", "float32")],
      nodes: [
        makeNode("Sigmoid", "", ["x"], ["s"]),
        makeNode(opType, "my.domain", ["s"], ["m"]),
        makeNode("Sigmoid", "", ["m"], ["y"]),
      ],
      valueInfo: [info("m", "float32")],
    });
    const { report } = await convert(model);
    assert.ok(text(model.graph).includes(`${opType}(s_float32)->m`));
    assert.match(report.keptNodes[0]!.reason, /does not know the types/);
  }
});

Deno.test("a sparse Constant keeps its type, is listed, and is cast where it is used", async () => {
  const value = {
    type: "sparse_tensor",
    value: {
      values: floats("v", [2], [1, 2]),
      indices: integers("i", [0, 3]),
      dims: [2, 2],
      carried: NOTHING_CARRIED,
    },
  } as const;
  const model = modelOf({
    nodes: [
      makeNode("Constant", "", [], ["w"], [
        { name: "sparse_value", value, carried: NOTHING_CARRIED },
      ]),
      makeNode("MatMul", "", ["x", "w"], ["y"]),
    ],
    inputs: [info("x", "float32", ["n", 2])],
    outputs: [info("y", "float32", ["n", 2])],
  });
  const { report } = await convertFloats(model, HALF);
  assert.deepEqual(report.kept.map(({ name, reason }) => [name, reason]), [
    ["w", "it is stored sparse"],
  ]);
  const product = model.graph.nodes.find((node) => node.opType === "MatMul")!;
  const cast = model.graph.nodes.find((node) => node.outputs[0] === product.inputs[1])!;
  assert.deepEqual([cast.opType, cast.inputs], ["Cast", ["w"]]);
});

Deno.test("a type that nothing states follows from its users", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("w", [1], [2])],
    nodes: [
      makeNode("Mystery", "my.domain", ["x"], ["m"]),
      makeNode("Mul", "", ["m", "w"], ["y"]),
    ],
  });
  await convert(model);
  assert.ok(text(model.graph).includes("Mul(m_float16,w)->y_float16"));
});

Deno.test("Casts that the source has and nothing needs any more are taken out", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    nodes: [
      makeNode("Sigmoid", "", ["x"], ["s"]),
      makeNode("Cast", "", ["s"], ["low"], [int("to", 10)]),
      makeNode("Cast", "", ["low"], ["high"], [int("to", 1)]),
      makeNode("Sigmoid", "", ["high"], ["y"]),
    ],
    valueInfo: [info("low", "float16"), info("high", "float32")],
  });
  const { report } = await convert(model);
  assert.equal(report.castsRemoved, 2);
  assert.deepEqual(text(model.graph), [
    "Cast(x)->x_float16",
    "Sigmoid(x_float16)->s",
    "Sigmoid(s)->y_float16",
    "Cast(y_float16)->y",
  ]);
  assert.deepEqual(model.graph.valueInfo, []);
});

Deno.test("random numbers and the like get the new type by their attribute", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [integers("shape", [3])],
    nodes: [
      makeNode("RandomNormal", "", [], ["a"], [ints("shape", [3])]),
      makeNode("RandomNormalLike", "", ["x"], ["b"]),
      makeNode("Sum", "", ["a", "b", "x"], ["y"]),
    ],
  });
  await convert(model);
  const [first] = ofType(model.graph, "RandomNormal");
  assert.deepEqual(first!.attributes.at(-1)!.value, { type: "int", value: 10n });
});

Deno.test("a quantized graph: codes untouched, scales lose their Cast, pending ones are cast", async () => {
  const codes = makeTensor("codes", "uint8", [4, 1, 16], { kind: "pending", length: 64 });
  const scales = makeTensor("scales", "float16", [4, 1], { kind: "pending", length: 8 });
  const rows = makeTensor("rows", "uint8", [8, 16], { kind: "pending", length: 128 });
  const rowScales = makeTensor("row_scales", "float32", [8, 1], { kind: "pending", length: 32 });
  const model = modelOf({
    inputs: [info("ids", "int64")],
    outputs: [info("y", "float32")],
    initializers: [codes, scales, rows, rowScales, floats("bias", [4], [1, 2, 3, 4])],
    nodes: [
      makeNode("Cast", "", ["scales"], ["scales_float32"], [int("to", 1)]),
      makeNode("GatherBlockQuantized", "com.microsoft", ["rows", "ids", "row_scales"], ["e"]),
      makeNode("MatMulNBits", "com.microsoft", ["e", "codes", "scales_float32"], ["p"]),
      makeNode("Add", "", ["p", "bias"], ["y"]),
    ],
  }, 21);
  const { report, fills } = await convert(model);
  assert.deepEqual(text(model.graph), [
    "Cast(row_scales)->row_scales_float16",
    "GatherBlockQuantized(rows,ids,row_scales_float16)->e",
    "MatMulNBits(e,codes,scales)->p",
    "Add(p,bias)->y_float16",
    "Cast(y_float16)->y",
  ]);
  assert.equal(report.castsRemoved, 1);
  assert.deepEqual(fills, []);
  assert.deepEqual(model.graph.initializers.slice(0, 4), [codes, scales, rows, rowScales]);
  assert.equal(model.graph.initializers[0], codes);
});

Deno.test("DequantizeLinear gives float16 where its opset can, and is cast where it can't", async () => {
  for (const [opset, product] of [[21, "MatMul(x_float16,w)"], [13, "w_float16)"]] as const) {
    const model = modelOf({
      inputs: [info("x", "float32")],
      outputs: [info("y", "float32")],
      initializers: [
        makeTensor("codes", "int8", [2, 2], { kind: "memory", bytes: new Uint8Array(4) }),
        floats("scale", [], [0.5]),
      ],
      nodes: [
        makeNode("DequantizeLinear", "", ["codes", "scale"], ["w"]),
        makeNode("MatMul", "", ["x", "w"], ["y"]),
      ],
    }, opset);
    await convert(model);
    assert.ok(text(model.graph).some((node) => node.includes(product)), text(model.graph).join());
    assert.equal(dtypesOf(model.graph).scale, opset === 21 ? "float16" : "float32");
  }
});

Deno.test("the storage form stores large weights and computes as before", async () => {
  const values = Array.from({ length: 1024 }, (_, i) => i / 8);
  for (const to of ["float16", "bfloat16"] as const) {
    const model = linear(floats("w", [32, 32], values), {
      nodes: [
        makeNode("MatMul", "", ["x", "w"], ["h"]),
        makeNode("Add", "", ["h", "b"], ["y"]),
      ],
    });
    model.graph.initializers.push(floats("b", [2], [1, 2]));
    const { report } = await convert(model, { to, form: "storage" });
    assert.deepEqual(text(model.graph), [
      "Cast(w)->w_float32",
      "MatMul(x,w_float32)->h",
      "Add(h,b)->y",
    ]);
    assert.equal(dtypesOf(model.graph).w, to);
    assert.match(report.kept[0]!.reason, /smaller than the Cast/);
    assert.deepEqual(report.keptNodes, []);
    // And back: the Cast goes, the weight has its type again.
    const back = await convert(model, { to: "float32", form: "compute" });
    assert.deepEqual(text(model.graph), ["MatMul(x,w)->h", "Add(h,b)->y"]);
    assert.deepEqual([back.report.castsAdded, back.report.castsRemoved], [0, 1]);
    assert.equal(dtypesOf(model.graph).w, "float32");
  }
});

Deno.test("bfloat16 needs opset 13, everything needs 7", async () => {
  await assert.rejects(
    convertFloats(modelOf({ nodes: [] }, 9), { to: "bfloat16", form: "storage" }),
    (error: Error) => error instanceof InputError && /opset 9.*needs 13/.test(error.message),
  );
  await assert.rejects(convertFloats(modelOf({ nodes: [] }, 6), HALF), InputError);
});

Deno.test("float16, bfloat16 and float64 models become float32", async () => {
  for (const dtype of ["float16", "bfloat16", "float64"] as const) {
    const bytes = new Uint8Array(4 * (dtype === "float64" ? 8 : 2));
    const model = linear(makeTensor("w", dtype, [2, 2], { kind: "memory", bytes }), {
      inputs: [info("x", dtype)],
      outputs: [info("y", dtype)],
      valueInfo: [info("h", dtype)],
    });
    await convert(model, { to: "float32", form: "compute" });
    assert.deepEqual(text(model.graph), [
      "Cast(x)->x_float32",
      "MatMul(x_float32,w)->h",
      "Relu(h)->y_float32",
      "Cast(y_float32)->y",
    ]);
    assert.deepEqual(dtypesOf(model.graph), { w: "float32", x: dtype, y: dtype, h: "float32" });
  }
});

Deno.test("constants and nodes are left alone on request", async () => {
  const kept = linear();
  await convert(kept, { ...HALF, keep: (name) => name === "w" });
  assert.equal(dtypesOf(kept.graph).w, "float32");
  assert.ok(text(kept.graph).includes("MatMul(x_float16,w_float16)->h"));
  const excluded = linear();
  const { report } = await convert(excluded, {
    ...HALF,
    exclude: (node) => node.opType === "MatMul",
  });
  assert.equal(dtypesOf(excluded.graph).w, "float32");
  assert.deepEqual(report.keptNodes.map((node) => node.reason), ["left alone on request"]);
});

Deno.test("an initializer that is listed as an input is no input any more", async () => {
  const model = linear();
  model.irVersion = 3;
  model.graph.inputs.push(info("w", "float32"));
  await convert(model);
  assert.deepEqual(model.graph.inputs.map((input) => input.name), ["x"]);
  assert.equal(model.irVersion, 4);
});

Deno.test("an initializer that is an output keeps its name and type there", async () => {
  const model = linear();
  model.graph.outputs.push(info("w", "float32"));
  await convert(model);
  assert.equal(dtypesOf(model.graph).w, "float32");
  assert.ok(text(model.graph).some((node) => node === "MatMul(x_float16,w_float16)->h"));
});

Deno.test("new names avoid those that are taken, in bodies too", async () => {
  const inner = graphOf({
    nodes: [makeNode("Sigmoid", "", ["x"], ["x_float16"])],
    outputs: [info("x_float16", "float32")],
  });
  const model = modelOf({
    inputs: [info("x", "float32"), info("flag", "bool")],
    outputs: [info("y", "float32")],
    nodes: [
      makeNode("If", "", ["flag"], ["y"], [
        body("then_branch", inner),
        body("else_branch", structuredClone(inner)),
      ]),
    ],
  });
  await convert(model);
  assert.equal(text(model.graph)[0], "Cast(x)->x_float16_2");
});

Deno.test("a Constant that names two outputs holds one tensor", async () => {
  const held = constant("w", floats("", [5000], Array(5000).fill(0.5)));
  const model = modelOf({
    inputs: [info("x", "float32", ["n", 5000])],
    outputs: [info("y", "float32", ["n", 5000])],
    nodes: [{ ...held, outputs: ["w", "more"] }, makeNode("Mul", "", ["x", "w"], ["y"])],
  });
  const { fills } = await convert(model);
  assert.deepEqual(fills.map(({ tensor }) => tensor.dims), [[5000]]);
});

Deno.test("large tensors wait and are filled in pieces", async () => {
  const count = 700_000;
  const values = Float32Array.from({ length: count }, (_, i) => (i % 4096) / 16 - 70);
  const model = linear(
    makeTensor("w", "float32", [700, 1000], {
      kind: "memory",
      bytes: new Uint8Array(values.buffer),
    }),
  );
  const { fills } = await convert(model);
  assert.equal(fills.length, 1);
  const [fill] = fills;
  assert.equal(fill!.tensor, model.graph.initializers[0]);
  assert.deepEqual(fill!.tensor.data, { kind: "pending", length: 2 * count });
  const filled = new Uint8Array(2 * count);
  let pieces = 0;
  let expected = 0;
  await fillFloats(fill!, (offset, bytes) => {
    assert.equal(offset, expected);
    filled.set(bytes, offset);
    expected += bytes.length;
    pieces++;
    return Promise.resolve();
  });
  assert.equal(expected, 2 * count);
  assert.ok(pieces > 1);
  assert.deepEqual(new Float16Array(filled.buffer), Float16Array.from(values));
});

Deno.test("every entry of the table of schemas can be read", () => {
  let versions = 0;
  for (const key of Object.keys(SCHEMAS)) {
    const at = key.lastIndexOf(":");
    const [domain, opType] = at < 0 ? ["", key] : [key.slice(0, at), key.slice(at + 1)];
    for (let opset = 1; opset <= 28; opset++) {
      const schema = schemaOf(domain, opType, opset);
      if (schema === null) continue;
      if (schema.since === opset) versions++;
      for (const { type } of [...schema.inputs, ...schema.outputs]) {
        if (type.kind === "variable") assert.ok(schema.variables.has(type.letter), key);
      }
    }
  }
  assert.ok(versions > 500, `${versions}`);
  assert.deepEqual(schemaOf("", "Cast", 12)!.variables.get("A")!.floats.has("bfloat16"), false);
  assert.deepEqual(schemaOf("", "Cast", 13)!.variables.get("A")!.floats.has("bfloat16"), true);
  assert.equal(schemaOf("", "Mystery", 20), null);
});
