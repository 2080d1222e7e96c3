/**
 * The files of `--layout transformers.js` on ONNX Runtime's WebGPU provider, on SwiftShader in a child
 * process: each computes there what it computes on the CPU. float16 needs an adapter that has it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeTransformersJsLayout } from "../../src/layout/transformers_js.ts";
import { ENCODER_FILES, encoderModel, writeFiles, writeOnnx } from "../layout_folders.ts";
import { compareOnProvider } from "./driver_child.ts";

Deno.test("the files of a layout run on the WebGPU provider", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const model = encoderModel();
    model.graph.outputs[0]!.name = "y";
    model.graph.nodes[1]!.outputs[0] = "y";
    const path = await writeOnnx(model, join(folder, "float32.onnx"));
    const { models } = await writeTransformersJsLayout(
      {
        source: writeFiles(join(folder, "source"), ENCODER_FILES),
        models: [{ path, role: "model" }],
        output: join(folder, "out"),
        dtypes: ["fp32", "q8", "int8", "q4", "q2"],
        engine: "reference",
        verify: false,
      },
      { progress: () => {}, stage: () => {}, warn: () => {}, note: () => {} },
      new AbortController().signal,
    );
    const feeds = [{
      name: "input_ids",
      dtype: "int64" as const,
      dims: [2, 3],
      values: [0, 5, 59, 7, 5, 31],
    }];
    const pairs = models.map(({ dtype, conversion }) => {
      const file = conversion.files[0]!.path;
      return { label: dtype, model: file, expected: file, feeds };
    });
    for (const { label, difference, misplaced } of await compareOnProvider(folder, pairs)) {
      assert.ok(difference < 3e-5, `${label}: ${difference}`);
      assert.ok(!misplaced.some((op) => /^MatMul/.test(op)), `${label} ran on the CPU`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
