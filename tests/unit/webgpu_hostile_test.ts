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
  makeValueInfo,
} from "../../src/ir.ts";
import { opRecords } from "../../src/ops/mod.ts";

const dtypes = fc.constantFrom<DType>("float32", "float16", "int64", "int32", "uint8", "bool");
const dims = fc.array(fc.constantFrom<Dim>(0, 1, 2, 3, 4, 8, "n", "s", null), { maxLength: 5 });
const names = opRecords().map(({ name, domain }) => ({ name, domain }));
const numbers = fc.constantFrom(-(2 ** 40), -3, -1, 0, 1, 2, 5, 2 ** 31, 2 ** 53 - 1);

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
