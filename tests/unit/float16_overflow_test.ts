/** The conversion to float16 of numbers that it can't hold: weights, masks, bounds. */
import assert from "node:assert/strict";
import { makeNode } from "../../src/ir.ts";
import type { FloatConversion } from "../../src/quantization/float16.ts";
import { tensor as tensorAttribute } from "../attributes.ts";
import {
  constant,
  convert,
  dtypesOf,
  floats,
  halves,
  info,
  integers,
  linear,
  modelOf,
  ofType,
  text,
} from "./float16_graphs.ts";

Deno.test("a weight that overflows stays, and so does what computes with it", async () => {
  const model = linear(floats("w", [2, 2], [1, 2, 65520, 4]));
  const { report } = await convert(model);
  assert.deepEqual(text(model.graph), [
    "MatMul(x,w)->h",
    "Relu(h)->y",
  ]);
  assert.equal(report.kept[0]!.name, "w");
  assert.match(report.kept[0]!.reason, /1 values beyond float16's 65504, the largest 65520/);
  assert.match(report.keptNodes[0]!.reason, /"w" overflows float16/);
});

Deno.test("an overflowing weight is followed through what only moves it", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("w", [2, 2], [1, 2, 1e5, 4]), floats("b", [2], [1, 2])],
    nodes: [
      makeNode("Transpose", "", ["w"], ["t"]),
      makeNode("MatMul", "", ["x", "t"], ["h"]),
      makeNode("Sigmoid", "", ["h"], ["s"]),
      makeNode("Mul", "", ["s", "b"], ["y"]),
    ],
  });
  await convert(model);
  assert.deepEqual(text(model.graph), [
    "Transpose(w)->t",
    "MatMul(x,t)->h",
    "Cast(h)->h_float16",
    "Sigmoid(h_float16)->s",
    "Mul(s,b)->y_float16",
    "Cast(y_float16)->y",
  ]);
});

Deno.test("65519 rounds to 65504 and is no overflow; small elements are counted", async () => {
  const model = linear(floats("w", [2, 2], [65519, -1e-9, 1e-6, 0]));
  const { report } = await convert(model);
  assert.deepEqual(report.kept, []);
  const [{ vanished, subnormal, clamped }] = report.converted as [
    FloatConversion["report"][
      "converted"
    ][number],
  ];
  assert.deepEqual({ vanished, subnormal, clamped }, { vanished: 1, subnormal: 1, clamped: null });
  assert.equal(halves(model.graph.initializers[0]!)[0], 65504);
});

Deno.test("a weight with NaN or infinities stays and is cast where it is used", async () => {
  for (const [value, reason] of [[NaN, /1 NaN/], [-Infinity, /1 infinities/]] as const) {
    const model = linear(floats("w", [2, 2], [0.5, 2, value, 4]));
    const { report } = await convert(model);
    assert.equal(dtypesOf(model.graph).w, "float32");
    assert.ok(text(model.graph).includes("Cast(w)->w_float16"));
    assert.match(report.kept[0]!.reason, reason);
  }
});

Deno.test("a mask's huge numbers become large ones that survive an addition", async () => {
  const model = modelOf({
    inputs: [info("x", "float32"), info("mask", "bool")],
    outputs: [info("y", "float32")],
    nodes: [
      constant("lowest", floats("", [], [-3.4028234663852886e38])),
      constant("zero", floats("", [], [0])),
      constant("none", floats("", [], [-Infinity])),
      makeNode("Where", "", ["mask", "zero", "lowest"], ["bias"]),
      makeNode("Add", "", ["x", "bias"], ["s"]),
      makeNode("Where", "", ["mask", "s", "none"], ["t"]),
      makeNode("Softmax", "", ["t"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(report.kept, []);
  const clamped = report.converted.filter((one) => one.clamped !== null);
  assert.deepEqual(clamped.map((one) => [one.name, one.clamped]), [
    ["lowest", { count: 1, limit: 32752 }],
  ]);
  const held = ofType(model.graph, "Constant").map((node) => {
    const { value } = node.attributes[0]!;
    assert.ok(value.type === "tensor");
    return halves(value.value)[0];
  });
  assert.deepEqual(held, [-32752, 0, -Infinity]);
});

Deno.test("bounds of Clip become the largest numbers; a large factor is no mask", async () => {
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [floats("high", [], [3e38]), floats("low", [], [0]), floats("k", [], [1e5])],
    nodes: [
      makeNode("Clip", "", ["x", "low", "high"], ["c"]),
      makeNode("Mul", "", ["c", "k"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  assert.deepEqual(dtypesOf(model.graph), {
    high: "float16",
    low: "float16",
    k: "float32",
    x: "float32",
    y: "float32",
  });
  assert.deepEqual(halves(model.graph.initializers[0]!), [65504]);
  assert.deepEqual(report.kept.map((one) => one.name), ["k"]);
});

Deno.test("ConstantOfShape fills with float16, and a mask's number is made smaller", async () => {
  const shape = integers("shape", [3]);
  const filler = (value: number) => tensorAttribute("value", floats("", [1], [value]));
  const model = modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [shape],
    nodes: [
      makeNode("ConstantOfShape", "", ["shape"], ["a"]),
      makeNode("ConstantOfShape", "", ["shape"], ["b"], [filler(-1e30)]),
      makeNode("ConstantOfShape", "", ["shape"], ["c"], [filler(1e6)]),
      makeNode("Add", "", ["a", "b"], ["d"]),
      makeNode("Add", "", ["c", "c"], ["e"]),
      makeNode("Sum", "", ["x", "d", "e"], ["y"]),
    ],
  });
  const { report } = await convert(model);
  const values = ofType(model.graph, "ConstantOfShape").map((node) => {
    const held = node.attributes[0]!.value;
    assert.ok(held.type === "tensor");
    return held.value.dtype === "float16" ? halves(held.value)[0] : held.value.dtype;
  });
  assert.deepEqual(values, [0, -32752, "float32"]);
  assert.match(report.keptNodes[0]!.reason, /1000000 overflows float16/);
});
