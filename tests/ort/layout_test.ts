/**
 * `--layout transformers.js` with verification: the card has the measured errors, and what can't be
 * vouched for is kept aside.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { VerificationError } from "../../src/error.ts";
import { makeTensor } from "../../src/ir.ts";
import { type Dtype, writeTransformersJsLayout } from "../../src/layout/transformers_js.ts";
import {
  ENCODER_FILES,
  encoderModel,
  namesBelow,
  writeFiles,
  writeOnnx,
} from "../layout_folders.ts";

const events = { progress: () => {}, stage: () => {}, warn: () => {}, note: () => {} };

/** A folder with a source, and what lays `model` out as `out` in it. */
async function withModel(
  model: ReturnType<typeof encoderModel>,
  use: (
    root: string,
    write: (dtypes: readonly Dtype[]) => ReturnType<typeof writeTransformersJsLayout>,
  ) => Promise<void>,
): Promise<void> {
  const root = Deno.makeTempDirSync();
  try {
    const source = writeFiles(join(root, "source"), ENCODER_FILES);
    const path = await writeOnnx(model, join(root, "float32.onnx"));
    await use(root, (dtypes) =>
      writeTransformersJsLayout(
        {
          source,
          models: [{ path, role: "model" }],
          output: join(root, "out"),
          dtypes,
          engine: "reference",
        },
        events,
        new AbortController().signal,
      ));
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

Deno.test("every file runs, and the card tells how far it is from float32", async () => {
  await withModel(encoderModel(), async (root, write) => {
    const dtypes: Dtype[] = [
      "fp32",
      "fp16",
      "q8",
      "int8",
      "uint8",
      "q4",
      "q4f16",
      "q2",
      "q2f16",
    ];
    const { models } = await write(dtypes);
    const errors = new Map(models.map(({ dtype, verification }) => {
      assert.deepEqual(verification?.failures, []);
      return [dtype, verification!.outputs[0]!.float!.pooledRelativeL2!];
    }));
    assert.ok(errors.get("fp32")! < 1e-6);
    assert.ok(errors.get("fp16")! < 2e-3);
    assert.ok(errors.get("q8")! < errors.get("q4")! && errors.get("q4")! < errors.get("q2")!);
    const card = Deno.readTextFileSync(join(root, "out", "README.md"));
    for (const dtype of ["q8", "q4", "q2"] as const) {
      const row = card.split("\n").find((line) => line.startsWith(`| \`${dtype}\` |`))!;
      assert.ok(row.includes(` | ${errors.get(dtype)!.toPrecision(2)} | 0.`), row);
    }
    assert.match(card, /ONNX Runtime 1\.\d+\.\d+ \(cpu\) on made-up inputs \(seed 1\)/);
  });
});

Deno.test("a folder with a file that fails its verification is kept aside", async () => {
  // Channel 0 is always 0 but sets the scale of the weights that count.
  const model = encoderModel();
  model.graph.initializers = model.graph.initializers.map(({ name, dims }) => {
    const [rows, columns] = dims as [number, number];
    const values = new Float32Array(rows * columns).map((_, index) => Math.cos(index));
    if (name === "weight") values.fill(1e6, 0, columns);
    else for (let row = 0; row < rows; row++) values[row * columns] = 0;
    const bytes = new Uint8Array(values.buffer);
    return makeTensor(name, "float32", dims, { kind: "memory", bytes });
  });
  await withModel(model, async (root, write) => {
    await write(["fp32"]);
    const before = namesBelow(join(root, "out"));
    await assert.rejects(write(["fp32", "q8"]), (error) => {
      assert.ok(error instanceof VerificationError, String(error));
      assert.match(error.message, /Cannot vouch for.*model_quantized\.onnx.*out\.unverified/);
      assert.ok(!error.message.includes('"model.onnx"'));
      return true;
    });
    assert.deepEqual(namesBelow(join(root, "out")), before);
    assert.deepEqual([...Deno.readDirSync(root)].map(({ name }) => name).sort(), [
      "float32.onnx",
      "out",
      "out.unverified",
      "source",
    ]);
    const aside = join(root, "out.unverified");
    assert.ok(namesBelow(aside).includes("onnx/model_quantized.onnx"));
    // It goes with the next one that passes, unless it has become something else.
    Deno.writeTextFileSync(join(aside, "notes.txt"), "mine");
    await write(["fp32"]);
    assert.ok(namesBelow(aside).includes("onnx/model_quantized.onnx"));
    Deno.removeSync(join(aside, "notes.txt"));
    await write(["fp32"]);
    assert.deepEqual([...Deno.readDirSync(root)].map(({ name }) => name).sort(), [
      "float32.onnx",
      "out",
      "source",
    ]);
  });
});
