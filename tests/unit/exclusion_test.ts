/** The patterns of `--exclude`, against the regular expression that says the same. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { globMatcher } from "../../src/quantization/planner.ts";

/** What a pattern means, as a regular expression: right, but slow where stars meet long names. */
function expression(pattern: string): RegExp {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "su");
}

Deno.test("a pattern matches what its regular expression matches", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b", ".", "\n", "\u{1f600}"), maxLength: 8 });
  const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "*", "?"), maxLength: 6 });
  fc.assert(
    fc.property(pattern, name, (glob, text) => {
      assert.equal(globMatcher(glob).test(text), expression(glob).test(text));
    }),
    { numRuns: 5000 },
  );
});

Deno.test("a pattern of many stars against a long name of a model ends at once", () => {
  assert.equal(globMatcher("*a".repeat(50) + "*b").test("a".repeat(50_000)), false);
  assert.equal(globMatcher("*a".repeat(50) + "*").test("a".repeat(50_000)), true);
});
