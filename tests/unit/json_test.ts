/** What `--json` prints is what docs/json.md says: no field more, none less. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeModel } from "../../src/onnx/writer.ts";
import { command } from "../command.ts";
import { mixedModel } from "../convert_models.ts";
import { ROOT } from "../install.ts";
import { fieldsOf, MODULE, PRINTED } from "../json_schema.ts";
import { withFolder } from "./onnx_models.ts";

Deno.test("conversions, dry runs and failures print what the page says", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    await writeModel(mixedModel(), source);
    const wasm = ["--engine", "wasm", "--json"];
    const lines: readonly (readonly [code: number, args: readonly string[]])[] = [
      [0, ["--output", join(folder, "a.onnx"), "--precision", "4bit", "--sha256"]],
      [0, ["--output", join(folder, "a.onnx"), "--all-precisions", "--dry-run"]],
      [0, ["--output", join(folder, "a.webgpu.js"), "--precision", "8bit", "--sha256"]],
      [0, ["--output", join(folder, "a.webgpu.js"), "--dry-run"]],
      [2, ["--output", join(folder, "absent", "a.onnx"), "--precision", "4bit"]],
      [4, ["--output", join(folder, "a.webgpu.js"), "--verify"]],
    ];
    for (const [code, args] of lines) {
      const result = await command(["convert", "--source", source, ...args, ...wasm], { folder });
      assert.equal(result.code, code, result.stderr);
      assert.equal(result.stdout.trim().split("\n").length, 1);
      const printed = PRINTED.parse(JSON.parse(result.stdout));
      assert.equal(printed.success, code === 0);
    }
    MODULE.parse(JSON.parse(Deno.readTextFileSync(join(folder, "a.webgpu.report.json"))));
  });
});

Deno.test("the page names every field, and none that there isn't", () => {
  const page = Deno.readTextFileSync(join(ROOT, "docs", "json.md"));
  const named = new Set([...page.matchAll(/`(\w+)`/g)].map(([, name]) => name!));
  const fields = fieldsOf(PRINTED);
  assert.ok(fields.size > 100);
  assert.deepEqual([...fields].filter((name) => !named.has(name)), []);
  // Of the words that stand as code those are no fields.
  const others = new Set(["kind"]);
  assert.deepEqual([...named].filter((name) => !fields.has(name) && !others.has(name)), []);
});
