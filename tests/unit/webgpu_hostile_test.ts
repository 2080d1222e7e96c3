/**
 * Models that are not what ONNX says: whatever is wrong with ranks, types, attributes or symbols, the
 * compiler ends with an error of modelcast's own, in little time.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { compileModel } from "../../src/codegen/mod.ts";
import type { DType } from "../../src/dtype.ts";
import { ModelcastError } from "../../src/error.ts";
import {
  type Dim,
  int,
  ints,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Node,
  type Tensor,
} from "../../src/ir.ts";
import { opRecords } from "../../src/ops/mod.ts";
import { graph as graphAttribute } from "../attributes.ts";
import { floats, integers } from "../encoding_models.ts";

const dtypes = fc.constantFrom<DType>("float32", "float16", "int64", "int32", "uint8", "bool");
const dims = fc.array(fc.constantFrom<Dim>(0, 1, 2, 3, 4, 8, "n", "s", null), { maxLength: 5 });
const names = opRecords().map(({ name, domain }) => ({ name, domain }));
const numbers = fc.constantFrom(-(2 ** 40), -3, -1, 0, 1, 2, 5, 2 ** 31, 2 ** 53 - 1);

/** The refusal of a model of these nodes over inputs of these shapes. */
async function refusal(
  nodes: Node[],
  inputs: Readonly<Record<string, readonly Dim[]>>,
  initializers: Tensor[] = [],
  kind: typeof Error | typeof ModelcastError = ModelcastError,
): Promise<string> {
  const graph = makeGraph("g", {
    nodes,
    inputs: Object.entries(inputs).map(([name, dims]) =>
      makeValueInfo(name, name === "c" && dims.length === 0 ? "bool" : "float32", [...dims])
    ),
    initializers,
    outputs: [makeValueInfo("y", "float32", null)],
  });
  const start = performance.now();
  const error = await compileModel(makeModel("hostile.onnx", 14, new Map([["", 28]]), graph))
    .then(() => null, (cause) => cause);
  assert.ok(error instanceof kind, String(error));
  assert.ok(performance.now() - start < 10_000);
  return error.message;
}

Deno.test("a thousand axes and extents past what shaders count to are refused at once", async () => {
  const many = Array.from({ length: 1000 }, (_, i) => `d${i}`);
  assert.match(
    await refusal([makeNode("ReduceSum", "", ["x"], ["y"])], { x: many }),
    /the input "x" has 1000 axes/,
  );
  const ones = floats("w", Array(1000).fill(1));
  assert.match(
    await refusal([makeNode("Add", "", ["x", "w"], ["y"])], { x: ["n"] }, [ones]),
    /the constant "w" has 1000 axes/,
  );
  assert.match(
    await refusal([makeNode("Expand", "", ["x", "shape"], ["y"])], { x: [1, 4] }, [
      integers("shape", [2 ** 40, 4]),
    ]),
    /a result of Expand 0 has an extent of 1099511627776/,
  );
});

Deno.test("counts, kernels and steps that no tensor has are refused by name", async () => {
  for (const count of [1, 3, 2 ** 31, 2 ** 40]) {
    const split = makeNode("Split", "", ["x"], ["y", "z"], [int("num_outputs", count)]);
    assert.match(await refusal([split], { x: ["n"] }), /num_outputs is \d+, and it has 2 outputs/);
  }
  const image = { x: [1, 3, 8, 8] };
  for (const [name, values] of [["strides", [2 ** 31, 1]], ["kernel_shape", [0, 1]]] as const) {
    const kernel = name === "kernel_shape" ? [] : [ints("kernel_shape", [2, 2])];
    const pool = makeNode("MaxPool", "", ["x"], ["y"], [...kernel, ints(name, values)]);
    assert.match(
      await refusal([pool], image),
      /Cannot compile MaxPool "y" .*(strides is 2147483648, 1|its kernel has no elements)/,
    );
  }
  const conv = makeNode("Conv", "", ["x", "w"], ["y"]);
  const empty = makeTensor("w", "float32", [8, 3, 0, 3], {
    kind: "memory",
    bytes: new Uint8Array(0),
  });
  assert.match(await refusal([conv], image, [empty]), /its kernel has no elements/);
  const rotary = makeNode("RotaryEmbedding", "", ["x", "c", "c"], ["y"], [int("num_heads", 1000)]);
  assert.match(
    await refusal([rotary], { x: [1, 4, 64], c: [1, 4, 8] }),
    /num_heads is 1000 and rotary_embedding_dim 0/,
  );
  const pad = makeNode("Pad", "", ["x", "pads"], ["y"]);
  assert.match(
    await refusal([pad], { x: ["n", 4] }, [integers("pads", [2 ** 50, 2 ** 33, 0, 0])], Error),
    /counted by -?\d+, past the 32 bits|has an extent of/,
  );
});

Deno.test("bodies that give too little, and counts that nothing fits, are refused by name", async () => {
  const body = graphAttribute("body", makeGraph("body", {}));
  assert.match(
    await refusal([makeNode("Loop", "", ["", "c"], ["y"], [body])], { c: [] }),
    /Cannot compile Loop "y" .* carries 0 values, and its body gives 0 outputs/,
  );
  for (const count of [-1, 0, 2, 2 ** 31]) {
    assert.match(
      await refusal(
        [makeNode("Scan", "", ["x"], ["y"], [body, int("num_scan_inputs", count)])],
        { x: [3, 4] },
      ),
      /Cannot compile Scan "y" .* it scans -?\d+ of 1 inputs|its body gives 0 outputs/,
    );
  }
});

Deno.test("calls of every op with any ranks, types and attributes end in time", async () => {
  const call = fc.record({
    op: fc.constantFrom(...names),
    inputs: fc.array(fc.record({ dtype: dtypes, dims }), { maxLength: 5 }),
    outputs: fc.integer({ min: 1, max: 3 }),
    attributes: fc.array(
      fc.record({
        name: fc.constantFrom("axis", "axes", "kernel_shape", "num_heads", "perm", "to", "group"),
        values: fc.array(numbers, { maxLength: 4 }),
        list: fc.boolean(),
      }),
      { maxLength: 3 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(call, async ({ op, inputs, outputs, attributes }) => {
      const infos = inputs.map((input, i) => makeValueInfo(`x${i}`, input.dtype, input.dims));
      const results = Array.from({ length: outputs }, (_, i) => `y${i}`);
      const node = makeNode(
        op.name,
        op.domain,
        infos.map(({ name }) => name),
        results,
        attributes.map(({ name, values, list }) =>
          list ? ints(name, values) : int(name, values[0] ?? 0)
        ),
      );
      const graph = makeGraph("g", {
        nodes: [node],
        inputs: infos,
        outputs: results.map((name) => makeValueInfo(name, "float32", null)),
      });
      const opsets = new Map([["", 28], ["com.microsoft", 1], ["ai.onnx.preview", 1]]);
      try {
        await compileModel(makeModel("hostile.onnx", 14, opsets, graph));
      } catch (error) {
        assert.ok(error instanceof ModelcastError, String((error as Error).stack));
        assert.match(error.message, /^Cannot /);
        assert.match(error.message, /hostile\.onnx/);
      }
    }),
    {
      numRuns: 10_000,
      seed: 20261123,
      interruptAfterTimeLimit: 60_000,
      markInterruptAsFailure: true,
    },
  );
});
