/**
 * The opset upgrade against the official tools: the operators' versions that `onnx.defs` tells, and
 * the models of opsets 6 to 12 that come with `onnx`, which upgraded give their expected outputs.
 */
import assert from "node:assert/strict";
import { readModel } from "../../src/onnx/reader.ts";
import { upgradeModel } from "../../src/onnx/upgrade.ts";
import { run } from "../../src/process.ts";
import { pythonPath, ROOT } from "../install.ts";
import known from "../unit/operator_versions.json" with { type: "json" };
import { bytesOf } from "../upgrade_models.ts";

async function python(script: string, args: string[], stdin = ""): Promise<string> {
  const { success, stdout, stderr } = await run({
    program: pythonPath(),
    args: [`${ROOT}/tests/python/${script}`, ...args],
    stdin,
    install: "Run deno task test, which installs it.",
  });
  assert.ok(success, stderr);
  return new TextDecoder().decode(stdout);
}

Deno.test("the operator versions of the upgrade table's test are those of onnx.defs", async () => {
  assert.deepEqual(JSON.parse(await python("operator_versions.py", [])), known);
});

Deno.test("old models give their expected outputs at newer opsets", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const requests: { path: string; upgraded: string; opset: number }[] = [];
    const paths: string[] = JSON.parse(await python("old_models.py", ["list"]));
    assert.ok(paths.length > 100, "onnx came without its models");
    for (const path of paths) {
      for (const opset of [7, 9, 11, 13, 18, 21, 25, 28]) {
        const model = await readModel(path);
        if ((model.opsets.get("") ?? 0) > opset) continue;
        upgradeModel(model, { opset });
        const upgraded = `${folder}/${requests.length}.onnx`;
        await Deno.writeFile(upgraded, bytesOf(model));
        requests.push({ path, upgraded, opset });
      }
    }
    const lines = requests.map((request) => `${JSON.stringify(request)}\n`).join("");
    const answers: { path: string; opset: number; error: string | null }[] = JSON.parse(
      await python("old_models.py", ["check"], lines),
    );
    assert.equal(answers.length, requests.length);
    assert.deepEqual(answers.filter((answer) => answer.error !== null), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
