/**
 * The wasm engine's speed on one matrix, in turns with ONNX Runtime's quantizer on the same values
 * (in a process of Python) and with a copy of the same bytes.
 */
import assert from "node:assert/strict";
import type { Engine, Method, QuantizeJob } from "../../src/quantization/engine.ts";
import { ROOT } from "../../tests/install.ts";
import { inTurns, type Part, type Row, speedRow, timed } from "../harness.ts";
import { openEngine } from "./engine.ts";
import { randomMatrix, SIZE } from "./matrix.ts";
import { startRival } from "./rival.ts";

const BYTES = 4 * SIZE * SIZE;
const TURNS = 9;
const MATRIX = `${ROOT}/.cache/bench/matrix.f32`;

/** A job of 4 bits, block 32, float16 scales. */
function job(
  weights: Uint8Array,
  order: "rows" | "columns",
  method: Method,
  symmetric: boolean,
): QuantizeJob {
  return {
    weights,
    weightType: "float32",
    rows: SIZE,
    columns: SIZE,
    order,
    method,
    format: { bits: 4, symmetric, blockSize: 32, scaleType: "float16" },
    measure: false,
  };
}

/** Seconds that the engine takes for a job. */
function quantizing(engine: Engine, work: QuantizeJob): () => Promise<number> {
  return () => timed(async () => (await engine.quantize(work)).release());
}

/** One matrix on the wasm engine. */
export const speed: Part = {
  name: "speed",
  async run(): Promise<Row[]> {
    const values = randomMatrix();
    await Deno.mkdir(`${ROOT}/.cache/bench`, { recursive: true });
    await Deno.writeFile(MATRIX, new Uint8Array(values.buffer));
    const engine = await openEngine("wasm");
    await using rival = startRival();
    try {
      await rival.load(MATRIX, SIZE, SIZE);
      const memory = await engine.allocate(BYTES);
      memory.bytes.set(new Uint8Array(values.buffer));
      const cases = [
        { method: "rtn", symmetric: true, bar: 12 },
        { method: "mse", symmetric: true, bar: 3 },
        { method: "mse", symmetric: false, bar: 1 },
      ] as const;
      const rows: Row[] = [];
      for (const { method, symmetric, bar } of cases) {
        const kind = symmetric ? "symmetric" : "asymmetric";
        const kernels: number[] = [];
        const pair = await inTurns(
          TURNS,
          quantizing(engine, job(memory.bytes, "columns", method, symmetric)),
          async () => {
            const { seconds, kernel } = await rival.quantize(symmetric);
            kernels.push(kernel);
            return seconds;
          },
        );
        const kernel = kernels.toSorted((a, b) => a - b)[kernels.length >> 1]!;
        rows.push(speedRow(
          `wasm ${method} ${kind}, 4 bits, block 32, [${SIZE}, ${SIZE}] as [K, N], ` +
            "against ONNX Runtime's MatMulNBitsQuantizer, plain",
          pair,
          BYTES,
          bar,
          `all workers; the rival is process() on a model of this one MatMul, ${kind} too; its ` +
            `inner loop alone, without the handling of the model, runs at ` +
            `${(BYTES / 1e9 / kernel).toFixed(2)} GB/s; ${TURNS} turns`,
        ));
      }
      const copy = new Uint8Array(BYTES);
      const pair = await inTurns(
        TURNS,
        quantizing(engine, job(memory.bytes, "rows", "rtn", true)),
        () => timed(() => Promise.resolve(copy.set(memory.bytes))),
      );
      assert.equal(copy[BYTES - 1], memory.bytes[BYTES - 1]);
      rows.push(speedRow(
        `wasm rtn symmetric, 4 bits, block 32, [${SIZE}, ${SIZE}] as contiguous rows, ` +
          "against memcpy of the same bytes",
        pair,
        BYTES,
        0.9,
        "all workers; memcpy is Uint8Array.set into memory that was written before, on one " +
          `thread; ${TURNS} turns`,
      ));
      memory.release();
      return rows;
    } finally {
      engine.dispose();
      await Deno.remove(MATRIX);
    }
  },
};
