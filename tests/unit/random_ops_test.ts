/** Ops that draw random numbers: how their numbers are distributed, and that runs give the same. */
import assert from "node:assert/strict";
import type { Dense } from "./interpret.ts";
import { build, runOp } from "./op_models.ts";
import { float as number } from "../attributes.ts";
import { compileModel } from "../../src/codegen/mod.ts";
import { ints, makeGraph, makeModel, makeNode, makeValueInfo } from "../../src/ir.ts";

const COUNT = 40_000;

/** Mean and standard deviation. */
function moments({ data }: Dense): readonly [number, number] {
  const values = Array.from(data);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return [mean, Math.sqrt(square)];
}

function assertMoments(result: Dense | undefined, mean: number, deviation: number): void {
  const [m, d] = moments(result!);
  // Five times the standard error of a mean.
  const most = 5 * Math.max(deviation, 1e-3) / Math.sqrt(COUNT);
  assert.ok(Math.abs(m - mean) < most, `the mean is ${m} instead of ${mean}`);
  assert.ok(Math.abs(d - deviation) < 2 * most, `the deviation is ${d} instead of ${deviation}`);
}

Deno.test("RandomUniform fills its interval, and a seed tells its numbers", () => {
  const draw = (seed: number): Dense =>
    runOp("RandomUniform", [], {
      shape: [200, 200],
      low: number("low", -2),
      high: number("high", 4),
      seed: number("seed", seed),
    })[0]!;
  const first = draw(1.5);
  assert.deepEqual(first.dims, [200, 200]);
  assert.ok(Array.from(first.data).every((value) => value >= -2 && value < 4));
  assertMoments(first, 1, 6 / Math.sqrt(12));
  assert.deepEqual(Array.from(draw(1.5).data), Array.from(first.data));
  assert.notDeepEqual(Array.from(draw(2.5).data), Array.from(first.data));
});

Deno.test("RandomNormalLike has the mean and the deviation that it says", () => {
  const like = { ...build([4, 100, 100], () => 7), as: "symbolic" as const };
  const [result] = runOp("RandomNormalLike", [like], {
    mean: number("mean", 3),
    scale: number("scale", 0.5),
  });
  assert.deepEqual(result?.dims, like.dims);
  assertMoments(result, 3, 0.5);
  const tail = Array.from(result.data).filter((value) => Math.abs(value - 3) > 1).length / COUNT;
  assert.ok(Math.abs(tail - 0.0455) < 0.006, `${tail} lie beyond two deviations`);
});

Deno.test("neighbours are drawn apart", () => {
  const [result] = runOp("RandomNormal", [], { shape: [COUNT] });
  const values = Array.from(result!.data);
  const product = values.slice(1).reduce((sum, value, i) => sum + value * values[i]!, 0) / COUNT;
  assert.ok(Math.abs(product) < 5 / Math.sqrt(COUNT), `neighbours correlate by ${product}`);
});

Deno.test("Bernoulli gives one as often as its input says", () => {
  for (const chance of [0, 0.3, 1]) {
    const chances = build([200, 200], () => chance);
    const [result] = runOp("Bernoulli", [chances], { dtype: 6 });
    assert.ok(Array.from(result!.data).every((value) => value === 0 || value === 1));
    assertMoments(result, chance, Math.sqrt(chance * (1 - chance)));
  }
});

Deno.test("one number is drawn at conversion as it would be in a run", () => {
  const seed = number("seed", 9);
  const many = runOp("RandomUniform", [], { shape: [3], seed })[0]!;
  const one = runOp("RandomUniform", [], { shape: [1], seed })[0]!;
  assert.equal(one.data[0], many.data[0]);
});

Deno.test("results of one element compile, which the host can't draw", async () => {
  const single = [ints("shape", [1, 1])];
  for (
    const nodes of [
      [makeNode("RandomNormal", "", [], ["y"], single)],
      [makeNode("RandomUniform", "", [], ["r"], single), makeNode("Mul", "", ["x", "r"], ["y"])],
      [makeNode("Bernoulli", "", ["x"], ["y"])],
    ]
  ) {
    const graph = makeGraph("g", {
      nodes,
      inputs: [makeValueInfo("x", "float32", [1])],
      outputs: [makeValueInfo("y", "float32", null)],
    });
    const { pipelines } = await compileModel(
      makeModel("random.onnx", 14, new Map([["", 28]]), graph),
    );
    assert.equal(pipelines.length, 1);
  }
});
