/**
 * 24 architectures beside the 14 families, drawn by a seed from transformers' and timm's registries:
 * they go through the same general path, or are refused with the cause.
 */
import assert from "node:assert/strict";
import { pythonLines } from "./lines.ts";

const SEED = 20261123;
const COUNT = 24;
const AT_LEAST = 17;

interface Line {
  readonly registry: "transformers" | "timm";
  readonly name: string;
  readonly outcome: "passed" | "refused" | "differs" | "unbuildable" | "slow" | "bug";
  readonly message: string | null;
  readonly error?: number;
}

Deno.test(`${COUNT} architectures drawn by the seed ${SEED}`, async (test) => {
  const folder = await Deno.makeTempDir();
  const lines: Line[] = [];
  try {
    const arguments_ = [folder, String(SEED), String(COUNT)];
    for await (const line of pythonLines("tests/python/architectures.py", arguments_)) {
      const drawn = line as unknown as Line;
      // A test's shrunk configuration that transformers itself can't build says nothing.
      if (drawn.outcome === "unbuildable") continue;
      lines.push(drawn);
      await test.step(`${drawn.registry}/${drawn.name}: ${drawn.outcome}`, () => {
        const { outcome, message, error } = drawn;
        assert.ok(outcome !== "bug", message ?? "");
        if (outcome === "passed") assert.ok(error !== undefined && error >= 0 && error < 1e-2);
        else if (outcome === "refused") assert.match(message ?? "", /^Cannot \w+.*: .*\. \S.*\.$/s);
        else assert.ok(message !== null && message.length > 0);
        assert.ok(!(message ?? "").includes("Traceback"), message ?? "");
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  assert.equal(lines.length, COUNT);
  const passed = lines.filter(({ outcome }) => outcome === "passed").length;
  const others = lines.filter(({ outcome }) => outcome !== "passed")
    .map(({ registry, name, outcome, message }) => `${registry}/${name} ${outcome}: ${message}`);
  assert.ok(passed >= AT_LEAST, `${passed} passed\n${others.join("\n")}`);
});
