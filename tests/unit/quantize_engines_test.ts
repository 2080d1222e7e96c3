/**
 * The wasm engine against the reference engine, byte by byte: matrices at the edges in every format
 * and method, random ones of every type of weight, both orders, one worker and two.
 */
import assert from "node:assert/strict";
import type { Engine, Method } from "../../src/quantization/engine.ts";
import { createReferenceEngine } from "../../src/quantization/reference.ts";
import { createWasmEngine } from "../../src/quantization/wasm.ts";
import { compareEngines, differenceBetween } from "../gpu/identical.ts";
import { type RandomJob, randomJobs } from "../gpu/random_jobs.ts";
import { ALL_BLOCK_SIZES, formatsOf, jobOf, METHODS, QUANTIZE_CASES } from "../quantize_cases.ts";

/** The engines that are compared with the reference. */
const ENGINES: readonly { name: string; create(): Promise<Engine> }[] = [
  { name: "wasm with one worker", create: () => createWasmEngine({ workers: 1 }) },
  { name: "wasm with two workers", create: () => createWasmEngine({ workers: 2 }) },
];

/** Every case in every format with `blockSize`. */
function* edgeJobs(
  blockSize: typeof ALL_BLOCK_SIZES[number],
  method: Method,
): Generator<RandomJob> {
  for (const entry of QUANTIZE_CASES) {
    for (const format of formatsOf(blockSize)) {
      for (const order of ["rows", "columns"] as const) {
        const text = `${method} ${JSON.stringify(format)} of ${entry.name} by ${order}`;
        yield { job: jobOf(entry, order, format, method), text };
      }
    }
  }
}

for (const { name, create } of ENGINES) {
  for (const method of METHODS) {
    Deno.test(`${name} gives the reference's bytes at the edges: ${method}`, async () => {
      const engine = await create();
      try {
        for (const blockSize of ALL_BLOCK_SIZES) {
          const { count, mismatches } = await compareEngines([engine], edgeJobs(blockSize, method));
          assert.equal(count, QUANTIZE_CASES.length * 16 * 2);
          assert.deepEqual(mismatches["wasm"], []);
        }
      } finally {
        engine.dispose();
      }
    });
  }
}

Deno.test("wasm gives the reference's bytes on random matrices of every kind", async () => {
  const engine = await createWasmEngine({ workers: 2 });
  try {
    // One job of every combination of format, method, order and type of weight.
    const { count, mismatches } = await compareEngines([engine], randomJobs(11, 2304));
    assert.equal(count, 2304);
    assert.deepEqual(mismatches["wasm"], []);
  } finally {
    engine.dispose();
  }
});

Deno.test("rows and columns order give the same bytes", async () => {
  const engine = createReferenceEngine();
  for (const entry of QUANTIZE_CASES) {
    for (const format of formatsOf(32)) {
      const byRows = await engine.quantize(jobOf(entry, "rows", format, "rtn"));
      const byColumns = await engine.quantize(jobOf(entry, "columns", format, "rtn"));
      assert.equal(differenceBetween(byColumns, byRows), null, entry.name);
    }
  }
});

Deno.test("more rows than a unit of work holds give the reference's bytes", async () => {
  const rows = 300;
  const columns = 45;
  const values = Float32Array.from(
    { length: rows * columns },
    (_, i) => Math.sin(i * 1.7) * Math.cos(i),
  );
  const entry = { name: "many rows", rows, columns, values };
  const engine = await createWasmEngine({ workers: 2 });
  const reference = createReferenceEngine();
  try {
    for (const order of ["rows", "columns"] as const) {
      for (const method of METHODS) {
        for (const format of formatsOf(16)) {
          const job = jobOf(entry, order, format, method);
          const result = await engine.quantize(job);
          assert.equal(differenceBetween(result, await reference.quantize(job)), null);
          result.release();
        }
      }
    }
  } finally {
    engine.dispose();
  }
});

Deno.test("contiguous rows of many blocks give the reference's bytes without being measured", async () => {
  const engine = await createWasmEngine({ workers: 2 });
  const reference = createReferenceEngine();
  const [rows, columns] = [7, 700];
  try {
    for (const { name, values } of QUANTIZE_CASES) {
      // Each case's values over and over, among tame ones that fill most blocks.
      const repeated = Float32Array.from(
        { length: rows * columns },
        (_, i) => i % 640 < 160 ? values[i % values.length]! : Math.sin(i * 3.3),
      );
      for (const blockSize of [32, 64, 128, 256] as const) {
        for (const format of formatsOf(blockSize)) {
          if (format.bits !== 4) continue;
          const entry = { name, rows, columns, values: repeated };
          const job = { ...jobOf(entry, "rows", format, "rtn"), measure: false };
          const result = await engine.quantize(job);
          assert.equal(differenceBetween(result, await reference.quantize(job)), null, name);
          result.release();
        }
      }
    }
  } finally {
    engine.dispose();
  }
});
