/** The opset upgrade of nodes that no exporter writes: done or refused, never a crash. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../../src/error.ts";
import { type AttributeValue, ints, makeNode, type Node, NOTHING_CARRIED } from "../../src/ir.ts";
import { upgradeModel } from "../../src/onnx/upgrade.ts";
import { HIGHEST_OPSET, LOWEST_OPSET, ROWS } from "../../src/onnx/upgrade/table.ts";
import { declared, functionOf, graph, modelOf, tensor } from "../upgrade_models.ts";

const OPS = [...new Set(ROWS.filter((row) => typeof row.change !== "string").map(({ op }) => op))];

/** Attributes that the rows read. */
const ATTRIBUTES = (
  "axis axes broadcast starts ends k split min max pads value mode scales spatial is_test ratio " +
  "num_groups body directions num_scan_inputs coordinate_transformation_mode nearest_mode " +
  "height_scale width_scale keepdims"
).split(" ");

const NAMES = ["", "x", "w", "s", "axes", "y", "z"];

const inner = () => graph([makeNode("Softmax", "", ["x"], ["q"])], ["q"], { name: "inner" });

const value: fc.Arbitrary<AttributeValue> = fc.oneof(
  fc.bigInt({ min: -9n, max: 9n }).map((value) => ({ type: "int", value }) as const),
  fc.double().map((value) => ({ type: "float", value }) as const),
  fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 4 })
    .map((value) => ({ type: "ints", value }) as const),
  fc.array(fc.double(), { maxLength: 4 }).map((value) => ({ type: "floats", value }) as const),
  fc.constantFrom("nearest", "linear", "tf_half_pixel_for_nn", "bilinear", "\u0000")
    .map((text) => ({ type: "string", value: new TextEncoder().encode(text) }) as const),
  fc.constant({ type: "carried" } as const),
  fc.constant(null).map(() => ({ type: "graph", value: inner() }) as const),
);

const node: fc.Arbitrary<Node> = fc.record({
  op: fc.constantFrom(...OPS),
  inputs: fc.array(fc.constantFrom(...NAMES), { maxLength: 6 }),
  outputs: fc.array(fc.constantFrom("", "a", "b", "c"), { maxLength: 5 }),
  attributes: fc.uniqueArray(
    fc.record({ name: fc.constantFrom(...ATTRIBUTES), value }),
    { selector: (entry) => entry.name, maxLength: 6 },
  ),
}).map(({ op, inputs, outputs, attributes }) =>
  makeNode(
    op,
    "",
    inputs,
    outputs,
    attributes.map((entry) => ({ ...entry, carried: NOTHING_CARRIED })),
  )
);

Deno.test("any node is upgraded or refused with an InputError", () => {
  fc.assert(
    fc.property(
      node,
      fc.integer({ min: LOWEST_OPSET, max: HIGHEST_OPSET }),
      fc.integer({ min: LOWEST_OPSET, max: HIGHEST_OPSET }),
      fc.boolean(),
      (entry, from, opset, inFunction) => {
        const inputs = [declared("x", "float32", [2, 3]), declared("s", null)];
        const initializers = [tensor("w", "float32", [3], [1, 0.5, 2])];
        const model = inFunction
          ? modelOf(from, graph([], []), { functions: [functionOf("f", from, [entry], ["x"], [])] })
          : modelOf(from, graph([entry], ["a"], { inputs, initializers }));
        try {
          upgradeModel(model, { opset });
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
        }
      },
    ),
    { numRuns: 20_000, seed: 7 },
  );
});

Deno.test("fifty thousand different constants get fifty thousand names", () => {
  const squeezes = Array.from(
    { length: 50_000 },
    (_, i) => makeNode("Squeeze", "", ["x"], [`v${i}`], [ints("axes", [i])]),
  );
  const model = modelOf(11, graph(squeezes, ["v0"], { inputs: [declared("x")] }));
  upgradeModel(model, { opset: 13 });
  assert.equal(new Set(model.graph.initializers.map((entry) => entry.name)).size, 50_000);
});
