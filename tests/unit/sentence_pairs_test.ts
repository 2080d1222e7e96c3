/** The pairs of sentences and the rank correlation that tests of sentence encoders rely on. */
import assert from "node:assert/strict";
import { pairCosines, rankCorrelation, SENTENCE_PAIRS, SENTENCES } from "../sentence_pairs.ts";

Deno.test("there are twenty pairs of different sentences", () => {
  assert.equal(SENTENCE_PAIRS.length, 20);
  assert.equal(new Set(SENTENCES).size, 40);
});

Deno.test("rank correlation depends on order alone, and shares ranks between equals", () => {
  assert.equal(rankCorrelation([1, 2, 3, 4], [10, 11, 50, 1000]), 1);
  assert.equal(rankCorrelation([1, 2, 3, 4], [4, 3, 2, 1]), -1);
  // Of ranks 0, 1, 2, 3 and 0, 1.5, 1.5, 3 by hand: 4.5 / sqrt(5 * 4.5).
  const tied = rankCorrelation([1, 2, 3, 4], [1, 2, 2, 3]);
  assert.ok(Math.abs(tied - 4.5 / Math.sqrt(22.5)) < 1e-12);
});

Deno.test("the cosine of a pair is that of its two vectors", () => {
  const vectors = SENTENCES.map((_, index) => index % 2 === 0 ? [1, 0] : [3, 4 * (index % 4 - 2)]);
  assert.deepEqual(pairCosines(vectors).slice(0, 2), [3 / 5, 3 / 5]);
  assert.throws(() => pairCosines([]), RangeError);
});
