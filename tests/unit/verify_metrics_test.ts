/** Comparison of outputs: the numbers, and the plain words for a collapse. */
import assert from "node:assert/strict";
import { judge, warningsOf } from "../../src/verify/judge.ts";
import { difference, OutputComparator, ShapeMismatch } from "../../src/verify/metrics.ts";
import type { HostTensor } from "../../src/verify/values.ts";
import { defaultTolerance } from "../../src/verify/tolerance.ts";

const f32 = (dims: number[], ...values: number[]): HostTensor => ({
  dtype: "float32",
  dims,
  data: Float32Array.from(values),
});

function compare(...pairs: [HostTensor, HostTensor][]) {
  const comparator = new OutputComparator("y");
  for (const [original, result] of pairs) comparator.add(original, result);
  return comparator.finish();
}

const near = (value: number | null, expected: number) =>
  assert.ok(value !== null && Math.abs(value - expected) < 1e-12 * Math.abs(expected), `${value}`);

Deno.test("errors of one float output are those of their definitions", () => {
  const { float, equalShare, dtype } = compare([f32([4], 3, 4, 0, 0), f32([4], 3, 4, 1, 0)]);
  assert.deepEqual(dtype, { original: "float32", result: "float32" });
  assert.equal(equalShare, 0.75);
  assert.equal(float!.maxAbsError, 1);
  near(float!.relativeL2, 1 / 5);
  near(float!.cosine, 25 / (5 * Math.sqrt(26)));
  near(float!.sqnr, 10 * Math.log10(25));
});

Deno.test("samples: mean and worst relative L2, pooled SQNR", () => {
  const { float, elements } = compare(
    [f32([2], 1, 0), f32([2], 1, 0.1)],
    [f32([2], 2, 0), f32([2], 2, 0.6)],
  );
  assert.equal(elements, 4);
  near(float!.relativeL2, (Math.fround(0.1) + Math.fround(0.6) / 2) / 2);
  near(float!.worstRelativeL2, Math.fround(0.6) / 2);
  near(float!.pooledRelativeL2, 10 ** (-float!.sqnr! / 20));
  near(float!.sqnr, 10 * Math.log10(5 / (Math.fround(0.1) ** 2 + Math.fround(0.6) ** 2)));
});

Deno.test("equal outputs have no SQNR, silent originals no relative error", () => {
  const equal = compare([f32([2], 1, 2), f32([2], 1, 2)]);
  assert.equal(equal.float!.sqnr, null);
  assert.equal(equal.float!.relativeL2, 0);
  assert.equal(equal.equalShare, 1);
  const silent = compare([f32([2], 0, 0), f32([2], 0, 1)]);
  assert.equal(silent.float!.relativeL2, null);
  assert.equal(compare([f32([0]), f32([0])]).equalShare, 1);
});

Deno.test("NaN and infinities that the original has not are failures, wherever it has others", () => {
  const failuresOf = (original: number[], result: number[]) => {
    const failures: string[] = [];
    const dims = [original.length];
    judge(compare([f32(dims, ...original), f32(dims, ...result)]), false, null, failures);
    return failures;
  };
  const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
  for (
    const [original, result] of [
      [[1, nan, inf, -inf], [1, nan, inf, -inf]],
      [[1, nan, nan, 2], [1, nan, 3, 2]],
      [[inf, nan], [1, 2]],
    ] as const
  ) assert.deepEqual(failuresOf([...original], [...result]), []);
  for (
    const [original, result, pattern] of [
      [[1, 2], [1, nan], /1 NaN, the original has 0/],
      [[1, nan, 2], [1, 2, nan], /in other places than the original, or of another sign/],
      [[inf, 1], [-inf, 1], /of another sign/],
      [[inf, nan, nan], [nan, 1, inf], /in other places/],
    ] as const
  ) {
    const failures = failuresOf([...original], [...result]);
    assert.equal(failures.length, 1, failures.join("\n"));
    assert.match(failures[0]!, pattern);
  }
});

Deno.test("an output of which nothing was compared is warned of", () => {
  const warned = (original: HostTensor) => warningsOf([compare([original, original])], "cpu");
  assert.deepEqual(warned(f32([2], NaN, 1)), []);
  assert.match(warned(f32([2], NaN, -Infinity)).join(), /NaN or infinite throughout/);
  assert.match(warned(f32([0, 3])).join(), /has no elements on these inputs: nothing of it was/);
});

Deno.test("types are compared by value, float16 by its numbers", () => {
  const half: HostTensor = { dtype: "float16", dims: [2], data: Uint16Array.of(0x3c00, 0xc000) };
  assert.equal(compare([f32([2], 1, -2), half]).float!.maxAbsError, 0);
  const wide: HostTensor = { dtype: "int64", dims: [2], data: BigInt64Array.of(1n, 2n ** 60n) };
  const other: HostTensor = {
    dtype: "int64",
    dims: [2],
    data: BigInt64Array.of(1n, 2n ** 60n + 1n),
  };
  assert.equal(compare([wide, other]).equalShare, 0.5);
  assert.equal(compare([wide, other]).float, null);
  const text = (...data: string[]): HostTensor => ({ dtype: "string", dims: [2], data });
  assert.equal(compare([text("a", "b"), text("a", "c")]).equalShare, 0.5);
});

Deno.test("values that are not finite are counted and left out of the sums", () => {
  const { float, collapsed } = compare(
    [f32([4], 1, NaN, Infinity, -Infinity), f32([4], 1, NaN, Infinity, Infinity)],
  );
  assert.deepEqual(float!.nan, { original: 1, result: 1 });
  assert.deepEqual(float!.infinite, { original: 2, result: 2 });
  assert.equal(float!.nonFiniteMismatches, 1);
  assert.equal(float!.relativeL2, 0);
  assert.equal(collapsed, null);
});

Deno.test("other extents are no numbers but an error", () => {
  assert.throws(() => compare([f32([2], 1, 2), f32([1, 2], 1, 2)]), ShapeMismatch);
  assert.throws(() => difference(f32([2], 1, 2), f32([1, 2], 1, 2)), ShapeMismatch);
});

Deno.test("a collapse is said in plain words", () => {
  const wave = (phase: number) =>
    f32([8, 4], ...Array.from({ length: 32 }, (_, i) => Math.sin(1.3 * i + phase)));
  const same = f32([8, 4], ...Array.from({ length: 32 }, (_, i) => Math.cos(1.3 * i)));
  const always = (value: number) => f32([8, 4], ...new Array<number>(32).fill(value));
  const first = f32([8, 4], ...Array.from({ length: 32 }, (_, i) => i % 4 === 0 ? 1 : 0.01 * i));
  const cases: [RegExp, [HostTensor, HostTensor][]][] = [
    [/1 of its 32 values are NaN/, [[
      wave(0),
      f32([8, 4], NaN, ...wave(0).data.slice(1) as Float32Array),
    ]]],
    [/all its values are zero/, [[wave(0), always(0)]]],
    [/the same number, 0\.5/, [[wave(0), always(0.5)]]],
    [/no longer depends on the input/, [[wave(0), same], [wave(1), same]]],
    [/largest value at place 0, where the original's has 4/, [[wave(0), first]]],
    [/as large as the output itself/, [[wave(0), wave(1.4)]]],
  ];
  for (const [reason, pairs] of cases) assert.match(compare(...pairs).collapsed ?? "", reason);
  assert.equal(compare([wave(0), wave(0.01)], [wave(1), wave(1.01)]).collapsed, null);
  // Two rows have their largest value at one place by chance.
  const rows = (...data: number[]) => f32([2, 2], ...data);
  assert.equal(compare([rows(1, 0.9, 0.9, 1), rows(1, 0.9, 1, 0.9)]).collapsed, null);
  // An original that is constant itself has not collapsed.
  assert.equal(compare([always(1), always(1)]).collapsed, null);
});

Deno.test("the lean difference agrees with the whole comparison", () => {
  const a = f32([3], 1, -2, 3);
  const b = f32([3], 1.5, -2, NaN);
  const whole = compare([a, b]).float!;
  const lean = difference(a, b);
  assert.equal(lean.error, whole.relativeL2);
  assert.equal(lean.nonFiniteMismatches, whole.nonFiniteMismatches);
  const bools = (...data: number[]): HostTensor => ({
    dtype: "bool",
    dims: [4],
    data: Uint8Array.from(data),
  });
  assert.equal(difference(bools(1, 0, 1, 0), bools(1, 1, 1, 0)).error, 0.25);
});

Deno.test("tolerances grow with coarser precisions and end below 8 bits", () => {
  const limits = ["float32", "float16", "bfloat16", "8bit"].map((name) =>
    defaultTolerance(name)!.relativeL2
  );
  assert.deepEqual(limits, limits.toSorted((a, b) => a - b));
  for (const name of ["4bit", "3bit", "2bit", "toString"]) {
    assert.equal(defaultTolerance(name), null);
  }
});
