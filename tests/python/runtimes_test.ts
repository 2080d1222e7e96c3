/** The Python environments hold the runtimes that they are named after, and the models run there. */
import assert from "node:assert/strict";
import { REAL_MODELS } from "../real_models.ts";
import type { PythonEnvironment } from "../install.ts";
import { startRuntime } from "./runtimes.ts";

const VERSIONS: Readonly<Record<Exclude<PythonEnvironment, "pytorch">, RegExp>> = {
  "main": /^1\.32\.0$/,
  "onnxruntime-1.22": /^1\.22\./,
  "onnxruntime-1.24": /^1\.24\./,
  "openvino-2026.4": /^2026\.4\./,
};

for (const [name, version] of Object.entries(VERSIONS)) {
  Deno.test(`${name} runs the real models, and sees when outputs differ`, async () => {
    await using runtime = startRuntime(name as PythonEnvironment);
    assert.match(await runtime.version(), version);
    for (const { label, path } of REAL_MODELS) {
      const error = await runtime.original(path, 1);
      if (name.startsWith("openvino") && label === "silero") {
        // OpenVINO's front end can't infer the rank that a Conv in a branch of this model gets.
        assert.match(error ?? "", /Model wasn't fully converted/);
        continue;
      }
      assert.equal(error, null, label);
      const same = await runtime.compare(path, 1);
      assert.deepEqual({ ...same, relativeL2: same.relativeL2 < 1e-5 }, {
        error: null,
        relativeL2: true,
        integersEqual: true,
        finite: true,
      });
    }
    const [first, second] = REAL_MODELS;
    await runtime.original(first!.path, 1);
    assert.match((await runtime.compare(second!.path, 1)).error ?? "", /./);
  });
}
