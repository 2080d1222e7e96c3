/** Whole conversions on the GPU give the bytes that they give on the processor. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { PRECISIONS } from "../../mod.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { convert } from "../convert.ts";
import { mixedModel } from "../convert_models.ts";
import { NPM_MODELS } from "../real_models.ts";

Deno.test("conversions on WebGPU equal those on WASM", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const mixed = join(folder, "mixed.onnx");
    await writeModel(mixedModel(), mixed);
    const trained = NPM_MODELS.filter(({ label }) => label === "classifier" || label === "silero");
    for (const source of [mixed, ...trained.map(({ path }) => path)]) {
      for (const method of ["rtn", "mse"] as const) {
        const bytes = async (engine: "wasm" | "webgpu") => {
          const output = join(folder, `${engine}.onnx`);
          const warnings: string[] = [];
          const events = {
            warn: (text: string) => {
              // Of small convolutions; the others would tell of an engine that failed.
              if (!/are padded to one/.test(text)) warnings.push(text);
            },
          };
          const precision = PRECISIONS.filter((name) => name.endsWith("bit"));
          const reports = await convert({ source, output, precision, method, engine, events });
          assert.deepEqual(warnings, []);
          assert.equal(reports[0]!.engine!.name, engine);
          return reports.map(({ files }) => Deno.readFileSync(files[0]!.path));
        };
        assert.deepEqual(await bytes("webgpu"), await bytes("wasm"), `${source} ${method}`);
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
