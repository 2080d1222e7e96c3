/** The arena's placement: what is alive at the same time never shares a byte. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { planArena } from "../../src/codegen/runtime/arena.js";

const items = fc.array(
  fc.record({ bytes: fc.nat(100_000), first: fc.nat(40), length: fc.nat(12) })
    .map(({ bytes, first, length }) => ({ bytes, first, last: first + length })),
  { maxLength: 60 },
);
const alignments = fc.constantFrom(16, 32, 256);

/** Bytes that an item takes. */
function rounded(bytes: number, alignment: number): number {
  return Math.max(1, Math.ceil(bytes / alignment)) * alignment;
}

/** The most bytes alive at one step, by looking at every step. */
function mostAlive(
  list: readonly { bytes: number; first: number; last: number }[],
  sizeOf: (bytes: number) => number,
): number {
  let most = 0;
  for (let step = 0; step <= 60; step++) {
    const alive = list.filter(({ first, last }) => first <= step && step <= last);
    most = Math.max(most, alive.reduce((sum, { bytes }) => sum + sizeOf(bytes), 0));
  }
  return most;
}

/** Fails where two items that are alive together overlap, or one is out of place. */
function checkPlaces(
  list: readonly { bytes: number; first: number; last: number }[],
  { places, bins }: ReturnType<typeof planArena>,
  alignment: number,
): void {
  assert.equal(places.length, list.length);
  list.forEach((a, i) => {
    const at = places[i]!;
    const end = at.offset + rounded(a.bytes, alignment);
    assert.equal(at.offset % alignment, 0);
    assert.ok(at.offset >= 0 && end <= bins[at.bin]!);
    list.slice(i + 1).forEach((b, k) => {
      const other = places[i + 1 + k]!;
      if (other.bin !== at.bin || a.last < b.first || b.last < a.first) return;
      const otherEnd = other.offset + rounded(b.bytes, alignment);
      assert.ok(
        end <= other.offset || otherEnd <= at.offset,
        `items ${i} and ${i + 1 + k} overlap`,
      );
    });
  });
}

Deno.test("items that are alive together never overlap, and lie aligned within their buffer", () => {
  fc.assert(fc.property(items, alignments, (list, alignment) => {
    const plan = planArena(list, alignment, 2 ** 31);
    checkPlaces(list, plan, alignment);
    assert.ok(plan.bins.length <= 1);
    assert.equal(plan.bound, mostAlive(list, (bytes) => bytes));
    const total = plan.bins[0] ?? 0;
    assert.ok(total >= mostAlive(list, (bytes) => rounded(bytes, alignment)));
    assert.ok(total <= list.reduce((sum, { bytes }) => sum + rounded(bytes, alignment), 0));
  }));
});

Deno.test("what has a place keeps it, and the others go around it", () => {
  fc.assert(fc.property(items, items, alignments, (old, list, alignment) => {
    const before = planArena(old, alignment, 2 ** 31);
    const carried = old.map((item, i) => ({ ...item, place: before.places[i]! }));
    const plan = planArena([...carried, ...list], alignment, 2 ** 31);
    checkPlaces([...carried, ...list], plan, alignment);
    carried.forEach(({ place }, i) => assert.deepEqual(plan.places[i], place));
  }));
});

Deno.test("an arena past a buffer's size becomes several", () => {
  fc.assert(fc.property(items, fc.integer({ min: 100_096, max: 300_000 }), (list, limit) => {
    const capacity = Math.floor(limit / 256) * 256;
    const plan = planArena(list, 256, capacity);
    checkPlaces(list, plan, 256);
    for (const bin of plan.bins) assert.ok(bin <= capacity && bin > 0);
  }));
  const two = [{ bytes: 600, first: 0, last: 1 }, { bytes: 600, first: 1, last: 2 }];
  assert.equal(planArena(two, 256, 1024).bins.length, 2);
  assert.equal(planArena(two, 256, 2048).bins.length, 1);
  assert.throws(() => planArena([{ bytes: 4096, first: 0, last: 0 }], 256, 1024), RangeError);
});

Deno.test("a chain takes the memory of two neighbours, a transformer's block what is alive", () => {
  const chain = Array.from({ length: 100 }, (_, i) => ({ bytes: 4096, first: i, last: i + 1 }));
  assert.deepEqual(planArena(chain, 256, 2 ** 31).bins, [8192]);
  // Layers of a residual stream, three projections, scores, context, and a wide hidden value.
  const block = Array.from({ length: 12 }, (_, layer) => {
    const at = 10 * layer;
    const value = (bytes: number, first: number, last: number) => ({
      bytes,
      first: at + first,
      last: at + last,
    });
    return [
      value(98_304, 0, 8),
      value(98_304, 1, 4),
      value(98_304, 2, 4),
      value(98_304, 3, 5),
      value(786_432, 4, 5),
      value(98_304, 5, 6),
      value(98_304, 6, 9),
      value(393_216, 7, 8),
      value(98_304, 8, 10),
    ];
  }).flat();
  const { bins, bound } = planArena(block, 256, 2 ** 31);
  assert.ok(bins[0]! <= 1.1 * bound, `${bins[0]} bytes for ${bound}`);
});

Deno.test("two thousand items are placed quickly enough to do it at run time", () => {
  const list = Array.from({ length: 2000 }, (_, i) => ({
    bytes: 256 * (1 + (i * 7919) % 97),
    first: i,
    last: i + 1 + (i * 31) % 9,
  }));
  const plan = planArena(list, 256, 2 ** 31);
  checkPlaces(list, plan, 256);
  assert.ok(plan.bins[0]! <= 1.25 * plan.bound, `${plan.bins[0]} bytes for ${plan.bound}`);
});
