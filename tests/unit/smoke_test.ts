/**
 * The program in short: a trained model through every precision by the command line, the result read
 * back, and every engine but the GPU's on one odd matrix.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { convert } from "../convert.ts";
import { command, conversionsIn } from "../command.ts";
import { mixedModel } from "../convert_models.ts";
import { NPM_MODELS } from "../real_models.ts";
import { withFolder } from "./onnx_models.ts";

Deno.test("smoke: help is printed", async () => {
  const { code, stdout } = await command(["convert", "--help"]);
  assert.equal(code, 0);
  assert.match(stdout, /--precision <name>/);
});

Deno.test("smoke: a trained model becomes smaller with every bit, and is whole", async () => {
  await withFolder(async (folder) => {
    const { path } = NPM_MODELS.find(({ label }) => label === "recognizer")!;
    const output = join(folder, "result.onnx");
    const { code, stdout, stderr } = await command([
      ...["convert", "--source", path, "--output", output, "--all-precisions", "--json"],
      ...["--method", "rtn", "--engine", "wasm"],
    ], { folder });
    assert.equal(code, 0, stderr);
    const reports = conversionsIn(stdout);
    const names = (await readModel(path)).graph.outputs.map(({ name }) => name);
    let before = Deno.statSync(path).size;
    let quality = Infinity;
    for (const { precision, files, totals } of reports) {
      const [file] = files;
      assert.equal(Deno.statSync(file!.path).size, file!.byteLength, precision);
      assert.ok(file!.byteLength < before, precision);
      const { graph, metadata } = await readModel(file!.path);
      assert.deepEqual(graph.outputs.map(({ name }) => name), names, precision);
      assert.ok(new Map(metadata).has("modelcast.source_sha256"));
      if (precision.endsWith("bit")) {
        assert.ok(totals.sqnr !== null && totals.sqnr < quality, precision);
        quality = totals.sqnr;
      }
      before = file!.byteLength;
    }
    assert.ok(quality > 5, `${quality} dB at 2 bits`);
  });
});

Deno.test("smoke: engines agree", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    const output = join(folder, "result.onnx");
    await writeModel(mixedModel(), source);
    for (const method of ["rtn", "mse", "hqq"] as const) {
      for (const precision of ["8bit", "4bit", "3bit", "2bit"] as const) {
        await convert({ source, output, precision, method, engine: "reference" });
        const expected = Deno.readFileSync(output);
        await convert({ source, output, precision, method, engine: "wasm" });
        assert.deepEqual(Deno.readFileSync(output), expected, `${method} at ${precision}`);
      }
    }
  });
});

Deno.test("smoke: a file that is no model is refused", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    Deno.writeTextFileSync(source, "GGUF and so on");
    const args = ["convert", "--source", source, "--dry-run", "--precision", "4bit"];
    const { code, stderr } = await command(args, { folder });
    assert.equal(code, 2);
    assert.match(stderr, /GGUF/);
  });
});
