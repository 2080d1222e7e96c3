/** The main job in a few seconds: a trained model is quantized, read back, and bad input refused. */
import assert from "node:assert/strict";
import { convert, InputError } from "../../mod.ts";
import { allGraphs } from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { NPM_MODELS } from "../real_models.ts";

const [{ path: source } = { path: "" }] = NPM_MODELS;

/** Runs `body` with a fresh folder. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a trained model becomes 4 bits, the same on two engines", () =>
  inFolder(async (folder) => {
    const hashes = new Set<string | null>();
    for (const engine of ["wasm", "reference"] as const) {
      const output = `${folder}/${engine}.onnx`;
      const [result] = await convert({ source, output, precision: "4bit", method: "rtn", engine });
      const { totals, files } = result!;
      assert.equal(files[0]!.byteLength, (await Deno.stat(output)).size);
      assert.ok(files[0]!.byteLength < 0.4 * (await Deno.stat(source)).size);
      assert.ok(totals.bitsPerWeight > 4 && totals.bitsPerWeight < 6, `${totals.bitsPerWeight}`);
      assert.ok(totals.sqnr !== null && totals.sqnr > 15, `${totals.sqnr} dB`);
      hashes.add(files[0]!.sha256);
      const ops = new Set<string>();
      for (const graph of allGraphs((await readModel(output)).graph)) {
        for (const node of graph.nodes) ops.add(node.opType);
      }
      assert.ok(ops.has("DequantizeLinear") || ops.has("MatMulNBits"), [...ops].join(" "));
    }
    assert.equal(hashes.size, 1);
  }));

Deno.test("what is no model is refused, and nothing is written", () =>
  inFolder(async (folder) => {
    const broken = `${folder}/broken.onnx`;
    await Deno.writeFile(broken, (await Deno.readFile(source)).subarray(0, 100_000));
    const output = `${folder}/out.onnx`;
    await assert.rejects(
      convert({ source: broken, output, precision: "4bit" }),
      (error) => error instanceof InputError && error.message.includes("broken.onnx"),
    );
    assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name), ["broken.onnx"]);
  }));
