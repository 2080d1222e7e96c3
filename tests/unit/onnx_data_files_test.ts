/**
 * External data in several files: how they are called, how large they may be, and when the weights
 * lie in the model file instead.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { beginModel, type LayoutOptions, planModel, writeModel } from "../../src/onnx/writer.ts";
import { memoryTensor, namesIn, sumModel, withFolder } from "./onnx_models.ts";

/** A model of five tensors of 40,000 bytes, one of 4 bytes and one of 200,000. */
function model() {
  const lengths = [40_000, 40_000, 40_000, 4, 200_000, 40_000, 40_000];
  return sumModel(
    lengths.map((length, index) => memoryTensor(`t${index}`, Array(length / 4).fill(index))),
  );
}

const named: LayoutOptions = {
  dataFileSuffix: (index) => index === 0 ? "_data" : `_data_${index}`,
  dataFileBytes: 100_000,
};

Deno.test("data files are filled up to a limit; a larger tensor has one alone", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "m.onnx");
    const layout = await writeModel(model(), target, { ...named, externalData: "always" });
    const names = ["m.onnx", "m.onnx_data", "m.onnx_data_1", "m.onnx_data_2", "m.onnx_data_3"];
    assert.deepEqual(layout.files.map(({ path }) => basename(path)), names);
    assert.deepEqual(namesIn(folder), names);
    for (const { path, byteLength } of layout.files) {
      assert.equal(Deno.statSync(path).size, byteLength);
    }
    const sizes = layout.files.slice(1).map(({ byteLength }) => byteLength);
    assert.equal(sizes[2], 200_000);
    assert.ok(sizes.every((size, index) => index === 2 || (size > 0 && size <= 100_000)));
    const read = await readModel(target);
    for (const [index, tensor] of read.graph.initializers.entries()) {
      const [first, ...rest] = new Float32Array((await tensorBytes(tensor)).slice().buffer);
      assert.equal(first, index);
      assert.ok(rest.every((value) => value === index));
    }
  });
});

Deno.test("without names and a limit there is one data file, .data", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "m.onnx");
    await writeModel(model(), target, { externalData: "always" });
    assert.deepEqual(namesIn(folder), ["m.onnx", "m.onnx.data"]);
  });
});

Deno.test("with `large` the model file holds everything up to its limit", () => {
  const inside = planModel(model(), "m.onnx", { ...named, externalData: "large" });
  assert.equal(inside.files.length, 1);
  const bytes = inside.totalBytes;
  const fits = { ...named, externalData: "large", modelFileBytes: bytes } as const;
  assert.equal(planModel(model(), "m.onnx", fits).files.length, 1);
  const less = planModel(model(), "m.onnx", { ...fits, modelFileBytes: bytes - 1 });
  assert.ok(less.files.length > 1);
  // Where even that is too much for the limit, the model is still written.
  assert.ok(planModel(model(), "m.onnx", { ...fits, modelFileBytes: 1 }).files.length > 1);
});

Deno.test("a data file that can't be published leaves the old ones", async () => {
  await withFolder(async (folder) => {
    const target = join(folder, "m.onnx");
    await writeModel(model(), target, { ...named, externalData: "always" });
    const before = namesIn(folder).map((name) => [name, Deno.readFileSync(join(folder, name))]);
    const writer = await beginModel(
      planModel(model(), target, { ...named, externalData: "always" }),
    );
    await writer.complete();
    const partial = namesIn(folder).find((name) => /^m\.onnx_data\.[0-9a-f]{16}/.test(name))!;
    Deno.removeSync(join(folder, partial));
    assert.throws(() => writer.publish());
    writer.abort();
    const after = namesIn(folder).map((name) => [name, Deno.readFileSync(join(folder, name))]);
    assert.deepEqual(after, before);
  });
});
