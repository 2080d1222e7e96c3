/** The exact optimum that the benchmark holds the search against, itself against every set of codes. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { leastError } from "../../bench/quantize/optimum.ts";
import { highestCode, symmetricZeroPoint } from "../../src/formats.ts";

/** The least error over all codes, each set with its own best scale. */
function byAllCodes(weights: readonly number[], bits: 2 | 3): number {
  const square = weights.reduce((sum, weight) => sum + weight * weight, 0);
  let explained = 0;
  const visit = (i: number, wq: number, qq: number): void => {
    if (i === weights.length) {
      if (qq > 0) explained = Math.max(explained, (wq * wq) / qq);
      return;
    }
    for (let code = 0; code <= highestCode(bits); code++) {
      const q = code - symmetricZeroPoint(bits);
      visit(i + 1, wq + weights[i]! * q, qq + q * q);
    }
  };
  visit(0, 0, 0);
  return square - explained;
}

Deno.test("no set of codes has less error than the optimum, and one has as much", () => {
  const weight = fc.double({ min: -4, max: 4, noNaN: true });
  for (const [bits, most] of [[2, 5], [3, 4]] as const) {
    fc.assert(
      fc.property(fc.array(weight, { minLength: 1, maxLength: most }), (weights) => {
        const expected = byAllCodes(weights, bits);
        assert.ok(Math.abs(leastError(Float64Array.from(weights), bits) - expected) <= 1e-9);
      }),
    );
  }
});
