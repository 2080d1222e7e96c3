/** Which graphs the compiler takes for attention, and what memory that saves. */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import { planMemory } from "../../src/codegen/memory_plan.ts";
import { runPasses } from "../../src/passes/mod.ts";
import { check } from "../../src/passes/check.ts";
import { upgradeModel } from "../../src/onnx/upgrade.ts";
import { HIGHEST_OPSET } from "../../src/onnx/upgrade/table.ts";
import { planWeights } from "../../src/codegen/weights_file.ts";
import { ATTENTION_CASES, longAttention } from "../attention_models.ts";

for (const { name, build, seen } of ATTENTION_CASES) {
  Deno.test(`${name}: ${{ "at once": "attention", stepwise: "its steps", not: "no attention" }[seen]}`, async () => {
    const model = build("attention.onnx");
    upgradeModel(model, { opset: HIGHEST_OPSET });
    await runPasses(model, { after: (_, now) => check(now) });
    const count = model.graph.nodes.filter(({ opType }) => opType === "SpelledAttention").length;
    assert.equal(count, seen === "not" ? 0 : 1);
    const { dispatches } = await compileModel(build("attention.onnx"));
    const own = dispatches.filter(({ label }) => label.startsWith("SpelledAttention"));
    assert.equal(own.length, { "at once": 1, stepwise: 3, not: 0 }[seen]);
  });
}

/** What a run of attention over `length` positions takes for activations. */
async function plan(length: number, declared: number | string): Promise<number> {
  const compiled = await compileModel(longAttention("long.onnx", declared));
  const table = planWeights("long.safetensors", compiled.weights);
  const found = planMemory(compiled, table, [[1, length, 64]]);
  assert.ok(typeof found !== "string", String(found));
  return found.arenaBytes;
}

Deno.test("a long sequence takes memory for its positions, not for pairs of them per head", async () => {
  const [scores, positions] = [4 * 4 * 2048 ** 2, 4 * 2048 * 64];
  for (const declared of [2048, "length"]) {
    const bytes = await plan(2048, declared);
    // Input, queries, keys, values, the result, and the mask, which has no heads.
    assert.ok(bytes <= 5 * positions + scores / 4, `${bytes} bytes`);
    assert.ok(bytes < scores / 3);
  }
});
