/**
 * The files of `--layout transformers.js` on ONNX Runtime's WebGPU provider, on SwiftShader in a child
 * process: each computes there what it computes on the CPU. float16 needs an adapter that has it.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeTransformersJsLayout } from "../../src/layout/transformers_js.ts";
import { ROOT } from "../install.ts";
import { ENCODER_FILES, encoderModel, writeFiles, writeOnnx } from "../layout_folders.ts";
import { driverEnvironment, drivers } from "./adapters.ts";

Deno.test("the files of a layout run on the WebGPU provider", async () => {
  const { found } = await drivers();
  const driver = found.find(({ name }) => name === "swiftshader");
  assert.ok(driver !== undefined, "SwiftShader is needed");
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
      dtype: "int64",
      dims: [2, 3],
      values: [0, 5, 59, 7, 5, 31],
    }];
    const pairs = models.map(({ dtype, conversion }) => {
      const file = conversion.files[0]!.path;
      return { label: dtype, model: file, expected: file, feeds };
    });
    await Deno.writeTextFile(`${folder}/pairs.json`, JSON.stringify(pairs));
    const { stdout, stderr } = await new Deno.Command("deno", {
      args: [
        ...["run", "--no-prompt", "--config", `${ROOT}/deno.json`],
        ...[`--allow-read=${ROOT},${folder}`, `--allow-write=${folder}`],
        ...[`--allow-ffi=${ROOT}/node_modules`, "--allow-env=ORT_DISABLE_TELEMETRY"],
        ...[`${ROOT}/tests/gpu/encodings_child.ts`, `${folder}/pairs.json`, folder],
      ],
      env: { ...driverEnvironment(driver), TMPDIR: folder },
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.notEqual(text, "", new TextDecoder().decode(stderr));
    const answers: { difference: number; misplaced: string[]; error: string | null }[] = JSON.parse(
      text,
    );
    assert.equal(answers.length, pairs.length);
    for (const [index, { difference, misplaced, error }] of answers.entries()) {
      const { label } = pairs[index]!;
      assert.equal(error, null, `${label}: ${error}`);
      assert.ok(difference < 3e-5, `${label}: ${difference}`);
      assert.ok(!misplaced.some((op) => /^MatMul/.test(op)), `${label} ran on the CPU`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
