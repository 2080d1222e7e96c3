/**
 * The errors that the benchmark measures: of engines' results against what an engine sums up itself,
 * and the exact optimum, which a search is held against, against every set of codes.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { leastNoise, noiseOf } from "../../bench/quantize/exact.ts";
import { leastError } from "../../bench/quantize/optimum.ts";
import { type BlockFormat, highestCode, symmetricZeroPoint } from "../../src/formats.ts";
import type { MatrixView } from "../../src/quantization/pipeline.ts";
import { createReferenceEngine } from "../../src/quantization/reference.ts";
import { noise } from "../encoding_models.ts";

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

Deno.test("errors of results are what the reference engine sums up, and above the optimum", async () => {
  const engine = createReferenceEngine();
  const [rows, columns] = [5, 70];
  const values = Float32Array.from(noise(3, 2 * rows * columns));
  for (const order of ["rows", "columns"] as const) {
    const view: MatrixView = { batch: 2, rows, columns, order, weightType: "float32" };
    for (const bits of [8, 4, 3, 2] as const) {
      for (const symmetric of [true, false]) {
        const format = { bits, symmetric, blockSize: 32, scaleType: "float16" } as const;
        let expected = 0;
        for (const matrix of [0, 1]) {
          const part = values.slice(matrix * rows * columns, (matrix + 1) * rows * columns);
          const weights = new Uint8Array(part.buffer);
          const job = { ...view, weights, format: format as BlockFormat, method: "mse" as const };
          const result = await engine.quantize({ ...job, measure: true });
          expected += result.error!.noise;
        }
        const found = await noiseOf(engine, { view, values }, format, "mse");
        assert.ok(Math.abs(found - expected) <= 1e-5 * expected, `${found} and ${expected}`);
        if (symmetric) assert.ok(leastNoise({ view, values }, bits, 32) <= found);
      }
    }
  }
});
