/**
 * A converted module on Deno's WebGPU: the classifier, imported from its file and run as a program
 * would, gives ONNX Runtime's numbers; at 4 bits those of the ONNX model of the same weights.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { convert } from "../../mod.ts";
import type { LoadOptions, Model } from "../../src/codegen/module.ts";
import type { ModuleReport } from "../../src/converters/webgpu_report.ts";
import { NPM_MODELS } from "../real_models.ts";
import { withFolder } from "../unit/onnx_models.ts";

const CLASSIFIER = NPM_MODELS.find(({ label }) => label === "classifier")!.path;

/** Name of the classifier's batch. */
const BATCH = "p2o.DynamicDimension.0";
const [HEIGHT, WIDTH] = ["p2o.DynamicDimension.1", "p2o.DynamicDimension.2"];

/** Loads the module at `path`, with its weights from the file beside it. */
async function loadModule(path: string): Promise<Model> {
  const module: { load(options: LoadOptions): Promise<Model> } = await import(
    pathToFileURL(path).href
  );
  const weights = (await Deno.open(path.replace(/\.js$/, ".safetensors"))).readable;
  return await module.load({ weights });
}

/** A picture of stripes, one of another width for each seed. */
function picture(batch: number, seed: number): Tensor {
  const dims = [batch, 3, 48, 192];
  const data = Float32Array.from(
    { length: batch * 3 * 48 * 192 },
    (_, index) => Math.sin(index / (seed + 2)) * Math.cos((index % 192) / (seed + 5)),
  );
  return new Tensor("float32", data, dims);
}

function relativeDistance(found: ArrayLike<number>, wanted: Float32Array): number {
  let [distance, norm] = [0, 0];
  wanted.forEach((value, index) => {
    distance += (found[index]! - value) ** 2;
    norm += value ** 2;
  });
  return Math.sqrt(distance / norm);
}

Deno.test("a converted module gives ONNX Runtime's numbers", async (test) => {
  await withFolder(async (folder) => {
    for (const [precision, bar] of [["float32", 1e-4], ["4bit", 1e-3]] as const) {
      await test.step(precision, async () => {
        const outputPath = join(folder, `classifier.${precision}.webgpu.js`);
        const options = { modelPath: CLASSIFIER, precision, engine: "wasm" } as const;
        const made = await convert({ ...options, outputPath });
        if (!made.success) throw made.error;
        let reference = CLASSIFIER;
        if (precision !== "float32") {
          reference = join(folder, "classifier.onnx");
          const quantized = await convert({ ...options, outputPath: reference });
          if (!quantized.success) throw quantized.error;
        }
        const session = await InferenceSession.create(reference);
        const model = await loadModule(outputPath);
        for (const [batch, seed] of [[1, 1], [3, 2], [1, 3]] as const) {
          const x = picture(batch, seed);
          const wanted = await session.run({ x });
          const found = await model.run({ x: { data: x.data as Float32Array, dims: x.dims } });
          for (const name of session.outputNames) {
            const output = found[name]!;
            assert.ok("data" in output);
            assert.deepEqual(output.dims, [...wanted[name]!.dims]);
            const distance = relativeDistance(
              output.data as Float32Array,
              wanted[name]!.data as Float32Array,
            );
            assert.ok(distance <= bar, `${name} of batch ${batch}: ${distance}`);
          }
        }
        model.dispose();
        await session.release();
      });
    }
  });
});

Deno.test("fixed and limited dimensions hold, and the report's plan is what a run takes", async () => {
  await withFolder(async (folder) => {
    const outputPath = join(folder, "classifier.webgpu.js");
    const made = await convert({
      modelPath: CLASSIFIER,
      outputPath,
      dims: { [HEIGHT]: 48, [WIDTH]: 192 },
      maxDims: { [BATCH]: 2 },
    });
    if (!made.success) throw made.error;
    const report: ModuleReport = JSON.parse(
      Deno.readTextFileSync(join(folder, "classifier.webgpu.report.json")),
    );
    assert.ok(typeof report.memory === "object", String(report.memory));
    assert.deepEqual(report.memory.dims, [[2, 3, 48, 192]]);
    const model = await loadModule(outputPath);
    const run = (x: Tensor) => model.run({ x: { data: x.data as Float32Array, dims: x.dims } });
    await run(picture(2, 1));
    const { dispatches, arenaBytes, liveBytes } = model.stats();
    assert.equal(report.memory.dispatches, dispatches);
    assert.equal(report.memory.liveBytes, liveBytes);
    assert.ok(arenaBytes <= 1.25 * report.memory.arenaBytes, `${arenaBytes}`);
    await assert.rejects(run(picture(3, 1)), /limited to 2/);
    const narrow = new Tensor("float32", new Float32Array(3 * 48 * 96), [1, 3, 48, 96]);
    await assert.rejects(run(narrow), /dimension 3 is 192/);
    // It goes on after a refusal.
    await run(picture(1, 1));
    model.dispose();
  });
});
