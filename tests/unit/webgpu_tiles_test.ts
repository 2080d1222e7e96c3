/**
 * Tiles of the WebGPU engine: they cover every block once, keep to their limit, and what is packed
 * for them and put back from them is what a whole job has.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { BLOCK_SIZES, blockLayout } from "../../src/formats.ts";
import type { QuantizeJob } from "../../src/quantization/engine.ts";
import { quantizeMatrix } from "../../src/quantization/reference.ts";
import { packWeights, placeResults, planTiles } from "../../src/quantization/webgpu_tiles.ts";

const JOB = fc.record({
  rows: fc.integer({ min: 1, max: 40 }),
  columns: fc.integer({ min: 1, max: 400 }),
  order: fc.constantFrom("rows" as const, "columns" as const),
  weightType: fc.constantFrom("float32" as const, "float16" as const, "float64" as const),
  format: fc.record({
    bits: fc.constantFrom(8 as const, 4 as const, 3 as const, 2 as const),
    symmetric: fc.boolean(),
    blockSize: fc.constantFrom(...BLOCK_SIZES, 0 as const),
    scaleType: fc.constantFrom("float16" as const, "float32" as const),
  }),
}).map((shape): QuantizeJob => {
  const count = shape.rows * shape.columns;
  const values = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898));
  const weights = {
    float32: () => values,
    float64: () => Float64Array.from(values),
    // Any pattern of bits will do, but for those of infinities and NaN.
    float16: () => Uint16Array.from(values, (value) => 0x3000 + Math.floor(value * 0x2000)),
  }[shape.weightType]();
  return {
    ...shape,
    weights: new Uint8Array(weights.buffer),
    method: "rtn",
    measure: false,
  };
});
const LIMIT = fc.integer({ min: 64, max: 20_000 });

Deno.test("tiles cover every block once, within the limit", () => {
  fc.assert(fc.property(JOB, LIMIT, (job, limit) => {
    const { blocks, blockLength } = blockLayout(job.format, job.rows, job.columns);
    const covered = new Uint8Array(job.rows * blocks);
    const size = job.weightType === "float16" ? 2 : 4;
    for (const tile of planTiles(job, limit)) {
      assert.equal(tile.firstColumn, tile.firstBlock * blockLength);
      assert.equal(Math.ceil(tile.columns / blockLength), tile.blocks);
      const single = tile.rows * tile.blocks === 1;
      assert.ok(single || tile.rows * tile.blocks * blockLength * size <= limit);
      for (let row = tile.firstRow; row < tile.firstRow + tile.rows; row++) {
        for (let block = tile.firstBlock; block < tile.firstBlock + tile.blocks; block++) {
          covered[row * blocks + block]!++;
        }
      }
    }
    assert.ok(covered.every((count) => count === 1));
  }));
});

Deno.test("quantizing tile by tile gives the whole", () => {
  fc.assert(
    fc.property(JOB, LIMIT, (job, limit) => {
      const whole = quantizeMatrix(job);
      const into = {
        codes: new Uint8Array(whole.codes.length),
        scales: new Uint8Array(whole.scales.length),
        zeroPoints: whole.zeroPoints && new Uint8Array(whole.zeroPoints.length),
      };
      for (const tile of planTiles(job, limit)) {
        const part = quantizeMatrix({
          ...job,
          weights: packWeights(job, tile),
          weightType: job.weightType === "float64" ? "float32" : job.weightType,
          rows: tile.rows,
          columns: tile.columns,
        });
        placeResults(job, tile, part, into);
      }
      assert.deepEqual(into.codes, whole.codes);
      assert.deepEqual(into.scales, whole.scales);
      assert.deepEqual(into.zeroPoints, whole.zeroPoints);
    }),
    { numRuns: 60 },
  );
});
