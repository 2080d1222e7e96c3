/**
 * The real models in half precision, in every installed runtime: they load, and compute nearly what
 * the originals do. The whole-graph form, and the storage forms that compute in float32.
 */
import assert from "node:assert/strict";
import type { FloatConversionOptions } from "../../src/quantization/float16.ts";
import { convertFile } from "../float_models.ts";
import type { PythonEnvironment } from "../install.ts";
import { REAL_MODELS } from "../real_models.ts";
import { startRuntime } from "./runtimes.ts";

const RUNTIMES: readonly PythonEnvironment[] = [
  "main",
  "onnxruntime-1.22",
  "onnxruntime-1.24",
  "openvino-2026.4",
];

/** Inputs that each model is run on. */
const INPUTS = 2;

/** Mean relative L2 that a form may have: bfloat16 keeps 8 bits, float16 11. */
const FORMS:
  readonly (FloatConversionOptions & { readonly name: string; readonly most: number })[] = [
    { name: "float16", to: "float16", form: "compute", most: 2e-2 },
    { name: "float16 storage", to: "float16", form: "storage", most: 1e-2 },
    { name: "bfloat16 storage", to: "bfloat16", form: "storage", most: 6e-2 },
  ];

Deno.test("the real models in half precision run in every runtime", async (t) => {
  const folder = await Deno.makeTempDir();
  try {
    const converted: { label: string; name: string; most: number; path: string }[] = [];
    for (const { label, path } of REAL_MODELS) {
      for (const { name, most, ...options } of FORMS) {
        const target = `${folder}/${label}-${name.replace(" ", "-")}.onnx`;
        await convertFile(path, target, options);
        const saved = 1 - (await Deno.stat(target)).size / (await Deno.stat(path)).size;
        assert.ok(saved > 0.42, `${label} as ${name} saves ${saved}`);
        converted.push({ label, name, most, path: target });
      }
    }
    for (const environment of RUNTIMES) {
      await using runtime = startRuntime(environment);
      for (const { label, path } of REAL_MODELS) {
        // OpenVINO takes no form of this model.
        if (environment.startsWith("openvino") && label === "silero") continue;
        assert.equal(await runtime.original(path, INPUTS), null, label);
        for (const form of converted.filter((one) => one.label === label)) {
          await t.step(`${form.label} as ${form.name} in ${environment}`, async () => {
            const { relativeL2, ...rest } = await runtime.compare(form.path, INPUTS);
            assert.deepEqual(rest, { error: null, integersEqual: true, finite: true });
            assert.ok(relativeL2 < form.most, `relative L2 ${relativeL2}`);
          });
        }
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
