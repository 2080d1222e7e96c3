/** Functions that modules call on the host, by what they are defined by. */
import assert from "node:assert/strict";
import { keptByTwister } from "../../src/codegen/runtime/host.js";

/** The elements that are kept of `count` with `ratio` dropped. */
function kept(seed: number, count: number, ratio: number): number[] {
  const numbers = [count, ratio].map((value) => ({ dims: [], data: [value] }));
  const [mask] = keptByTwister(numbers, [seed]);
  assert.deepEqual(mask!.dims, [count]);
  return [...mask!.data as Uint32Array];
}

Deno.test("elements are kept by the numbers that NumPy's RandomState draws", () => {
  // RandomState(0).uniform(0, 1, 10).
  const drawn = [0.5488, 0.7152, 0.6028, 0.5449, 0.4237, 0.6459, 0.4376, 0.8918, 0.9637, 0.3834];
  for (const ratio of [0.4, 0.5, 0.55, 0.6, 0.65, 0.9]) {
    assert.deepEqual(kept(0, 10, ratio), drawn.map((value) => value >= ratio ? 1 : 0));
  }
  assert.deepEqual(kept(1, 3, 0), [1, 1, 1]);
  assert.notDeepEqual(kept(1, 64, 0.5), kept(2, 64, 0.5));
});

Deno.test("as many are dropped as the ratio says, past a turn of the generator", () => {
  const count = kept(7, 20_000, 0.25).reduce((a, b) => a + b, 0);
  assert.ok(Math.abs(count / 20_000 - 0.75) < 0.02);
});
