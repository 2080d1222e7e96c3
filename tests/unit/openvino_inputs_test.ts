/** What a conversion to OpenVINO finds out about a model before it asks Python. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { computesInHalf } from "../../src/converters/openvino_inputs.ts";
import { convertOnnx } from "../../src/converters/onnx_to_onnx.ts";
import { DEFAULTS } from "../../src/converters/options.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { NPM_MODELS } from "../real_models.ts";
import { withFolder } from "./onnx_models.ts";

const SILENT = { progress: () => {}, stage: () => {}, warn: () => {}, note: () => {} };
const never = new AbortController().signal;

Deno.test("a model that computes in float16 is known by its constants, nodes too", async () => {
  await withFolder(async (folder) => {
    for (const { path, label } of NPM_MODELS) {
      const source = await readModel(path);
      assert.equal(computesInHalf(source), false, label);
      for (const activations of ["float16", "float32"] as const) {
        const output = join(folder, `${label}.onnx`);
        const options = { ...DEFAULTS, source: path, output, activations };
        await convertOnnx({ ...options, precisions: ["float16"] }, SILENT, never);
        assert.equal(computesInHalf(await readModel(output)), true, label);
        const stored = { ...options, activations: "float32", storeFloats: true } as const;
        await convertOnnx({ ...stored, precisions: ["float16"] }, SILENT, never);
        assert.equal(computesInHalf(await readModel(output)), false, label);
      }
    }
  });
});
