/**
 * The wasm engine's contract beyond its arithmetic: memory within a budget, several jobs in flight,
 * errors, and an end.
 */
import assert from "node:assert/strict";
import { type Engine, EngineFault } from "../../src/quantization/engine.ts";
import { createReferenceEngine } from "../../src/quantization/reference.ts";
import { SharedMemory } from "../../src/quantization/shared_memory.ts";
import { createWasmEngine } from "../../src/quantization/wasm.ts";
import { differenceBetween } from "../gpu/identical.ts";
import { randomJobs } from "../gpu/random_jobs.ts";
import { jobOf, QUANTIZE_CASES, type QuantizeCase } from "../quantize_cases.ts";

const FORMAT = { bits: 4, symmetric: false, blockSize: 32, scaleType: "float16" } as const;

async function withEngine(
  options: Parameters<typeof createWasmEngine>[0],
  use: (engine: Engine) => Promise<void>,
): Promise<void> {
  const engine = await createWasmEngine(options);
  try {
    await use(engine);
  } finally {
    engine.dispose();
  }
}

Deno.test("allocations beyond the budget wait, in order, until memory is released", async () => {
  await withEngine({ workers: 1, budget: 3000 }, async (engine) => {
    const first = await engine.allocate(2000);
    const order: string[] = [];
    const second = engine.allocate(2000).then((memory) => (order.push("second"), memory));
    const third = engine.allocate(500).then((memory) => (order.push("third"), memory));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(order, []);
    first.release();
    first.release();
    (await second).release();
    (await third).release();
    assert.deepEqual(order, ["second", "third"]);
    // One that is larger than the budget is served alone.
    const large = await engine.allocate(100_000);
    assert.equal(large.bytes.length, 100_000);
    large.release();
  });
});

Deno.test("weights in the engine's memory are quantized where they lie", async () => {
  await withEngine({ workers: 2 }, async (engine) => {
    const reference = createReferenceEngine();
    for (const entry of QUANTIZE_CASES) {
      const job = jobOf(entry, "columns", FORMAT, "mse");
      const memory = await engine.allocate(job.weights.length);
      memory.bytes.set(job.weights);
      const result = await engine.quantize({ ...job, weights: memory.bytes });
      assert.equal(differenceBetween(result, await reference.quantize(job)), null, entry.name);
      assert.deepEqual(memory.bytes.slice(), job.weights);
      result.release();
      memory.release();
    }
  });
});

/** Every kind of value that rounding treats apart, spread over a matrix of many panels. */
function troubled(rows: number, columns: number): QuantizeCase {
  const values = Float32Array.from({ length: rows * columns }, (_, i) => {
    const place = (i * 2654435761) >>> 0;
    if (place % 4999 === 0) return [NaN, Infinity, -Infinity, 3e38, 1e9][place % 5]!;
    const row = Math.floor(i / columns);
    return row % 37 === 0 ? 0 : (place / 2 ** 32 - 0.4) * 2 ** (row % 11 === 0 ? 20 : -6);
  });
  return { name: `${rows} x ${columns}`, rows, columns, values };
}

Deno.test("panels give the reference's bytes, with blocks among them that need more care", async () => {
  await withEngine({ workers: 2 }, async (engine) => {
    const reference = createReferenceEngine();
    for (const [rows, columns] of [[1100, 70], [40, 1030]] as const) {
      const entry = troubled(rows, columns);
      for (const order of ["rows", "columns"] as const) {
        for (const blockSize of [32, 64] as const) {
          for (const symmetric of [true, false]) {
            const scaleType = blockSize === 32 ? "float16" : "float32";
            const job = jobOf(entry, order, { bits: 4, symmetric, blockSize, scaleType }, "rtn");
            const result = await engine.quantize(job);
            const label = `${entry.name}, ${order}, ${blockSize}, ${symmetric}`;
            assert.ok(result.nonFinite > 0 && result.nonFinite < rows * columns / blockSize, label);
            assert.equal(differenceBetween(result, await reference.quantize(job)), null, label);
            result.release();
          }
        }
      }
    }
  });
});

Deno.test("weights in a file are read by the workers, parts of a wider matrix too", async () => {
  const path = await Deno.makeTempFile();
  try {
    await withEngine({ workers: 2 }, async (engine) => {
      // More than a worker reads at a time, in either order, and a last block that is short.
      for (const entry of [troubled(3000, 330), troubled(3, 20_000), troubled(20, 17_000)]) {
        for (const order of ["rows", "columns"] as const) {
          const job = jobOf(entry, order, FORMAT, "rtn");
          await Deno.writeFile(path, job.weights);
          const [outer, inner] = order === "rows"
            ? [entry.rows, entry.columns]
            : [entry.columns, entry.rows];
          const expected = await engine.quantize(job);
          const whole = await engine.quantizeFile!({
            ...job,
            weights: { path, offset: 0, pitch: inner },
          });
          const label = `${entry.name}, ${order}`;
          assert.equal(differenceBetween(whole, expected), null, label);
          whole.release();
          expected.release();
          // All but the first and the last of what lies side by side.
          const part = new Uint8Array(outer * (inner - 2) * 4);
          for (let i = 0; i < outer; i++) {
            const from = (i * inner + 1) * 4;
            part.set(job.weights.subarray(from, from + (inner - 2) * 4), i * (inner - 2) * 4);
          }
          const narrow = {
            ...job,
            rows: order === "rows" ? entry.rows : entry.rows - 2,
            columns: order === "rows" ? entry.columns - 2 : entry.columns,
          };
          const of = await engine.quantizeFile!({
            ...narrow,
            weights: { path, offset: 4, pitch: inner },
          });
          const same = await engine.quantize({ ...narrow, weights: part });
          assert.equal(differenceBetween(of, same), null, `${label}, a part`);
          of.release();
          same.release();
        }
      }
    });
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a file that is missing or too short is a fault of the job alone", async () => {
  const path = await Deno.makeTempFile();
  const job = jobOf(QUANTIZE_CASES[3]!, "columns", FORMAT, "rtn");
  try {
    await Deno.writeFile(path, job.weights.subarray(1));
    await withEngine({ workers: 2 }, async (engine) => {
      for (const name of [path, `${path}.missing`]) {
        const weights = { path: name, offset: 0, pitch: job.rows };
        await assert.rejects(engine.quantizeFile!({ ...job, weights }), EngineFault);
      }
      (await engine.quantize(job)).release();
    });
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("many jobs in flight do not disturb each other", async () => {
  await withEngine({ workers: 2 }, async (engine) => {
    const reference = createReferenceEngine();
    const jobs = [...randomJobs(5, 200)];
    const results = await Promise.all(jobs.map(({ job }) => engine.quantize(job)));
    for (const [i, { job, text }] of jobs.entries()) {
      assert.equal(differenceBetween(results[i]!, await reference.quantize(job)), null, text);
      results[i]!.release();
    }
  });
});

Deno.test("an empty matrix gives empty codes", async () => {
  await withEngine({ workers: 1 }, async (engine) => {
    for (const [rows, columns] of [[0, 5], [5, 0], [0, 0]] as const) {
      const empty = { name: "", rows, columns, values: new Float32Array(0) };
      const result = await engine.quantize(jobOf(empty, "rows", FORMAT, "rtn"));
      assert.equal(result.codes.length, 0);
      assert.deepEqual(result.error, { signal: 0, noise: 0, dot: 0 });
    }
  });
});

Deno.test("a job whose arrays don't fit its shape is refused", async () => {
  const job = jobOf(QUANTIZE_CASES[2]!, "rows", FORMAT, "mse");
  await withEngine({ workers: 1 }, async (engine) => {
    for (const wrong of [engine, createReferenceEngine()]) {
      await assert.rejects(
        async () => await wrong.quantize({ ...job, rows: job.rows + 1 }),
        /Cannot quantize a matrix of 4 x 31 float32 weights: it has 372 bytes instead of 496/,
      );
      await assert.rejects(
        async () => await wrong.quantize({ ...job, importance: new Float32Array(30) }),
        /30 values/,
      );
      await assert.rejects(
        async () => await wrong.quantize({ ...job, importance: new Float32Array(31).fill(NaN) }),
        /not finite/,
      );
    }
  });
});

Deno.test("more memory than there can be is a fault of the engine", async () => {
  await withEngine({ workers: 1 }, async (engine) => {
    await assert.rejects(engine.allocate(5e9), EngineFault);
    const job = jobOf(QUANTIZE_CASES[3]!, "rows", FORMAT, "rtn");
    (await engine.quantize(job)).release();
  });
});

Deno.test("disposing of the engine ends what is in flight and refuses more", async () => {
  const engine = await createWasmEngine({ workers: 2, budget: 100 });
  const held = await engine.allocate(100);
  const waiting = assert.rejects(engine.allocate(100), EngineFault);
  const values = new Float32Array(512 * 4096).fill(1);
  const entry = { name: "", rows: 512, columns: 4096, values };
  const running = assert.rejects(
    engine.quantize(jobOf(entry, "columns", FORMAT, "mse")),
    EngineFault,
  );
  engine.dispose();
  engine.dispose();
  await Promise.all([waiting, running]);
  held.release();
  const job = jobOf(QUANTIZE_CASES[0]!, "rows", FORMAT, "rtn");
  await assert.rejects(engine.quantize(job), EngineFault);
  await assert.rejects(engine.allocate(1), EngineFault);
});

Deno.test("shared memory merges what is freed and grows only when nothing fits", () => {
  const heap = new SharedMemory();
  const before = heap.memory.buffer.byteLength;
  const third = Math.floor(before / 3) - 1024;
  const offsets = [0, 1, 2].map(() => heap.allocate(third)!);
  assert.equal(heap.memory.buffer.byteLength, before);
  for (const offset of [offsets[1]!, offsets[0]!, offsets[2]!]) heap.free(offset);
  heap.free(offsets[2]!);
  const whole = heap.allocate(third * 3)!;
  assert.equal(heap.memory.buffer.byteLength, before);
  const bytes = heap.bytes(whole, 8);
  bytes.fill(7);
  const more = heap.allocate(before)!;
  assert(heap.memory.buffer.byteLength > before);
  assert.equal(heap.offsetOf(bytes), whole);
  assert.deepEqual([...heap.bytes(whole, 8)], new Array(8).fill(7));
  assert.equal(heap.offsetOf(new Uint8Array(8)), null);
  assert.notEqual(more, whole);
});
