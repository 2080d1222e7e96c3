/**
 * What the search for the least squared error gains over rounding to nearest, on the weights of a
 * trained model, tensor by tensor.
 */
import { elementCount } from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { openTensor, tensorBytes } from "../../src/onnx/tensor.ts";
import type { Engine, ErrorSums, Method } from "../../src/quantization/engine.ts";
import type { Bits, BlockFormat } from "../../src/formats.ts";
import { Scopes } from "../../src/quantization/scopes.ts";
import { findWeights, type Weight } from "../../src/quantization/weights.ts";
import { differenceRow, type Part, type Row } from "../harness.ts";
import { openEngine } from "./engine.ts";
import { leastError } from "./optimum.ts";
import { miniLmPath } from "../../tests/real_models.ts";

/** dB that `mse` must gain over `rtn`. */
const CASES = [
  { bits: 4, symmetric: true, bar: 0.4 },
  { bits: 3, symmetric: true, bar: 0.6 },
  { bits: 2, symmetric: true, bar: 0.8 },
  { bits: 4, symmetric: false, bar: 0.4 },
  { bits: 3, symmetric: false, bar: 0.6 },
  { bits: 2, symmetric: false, bar: 1.7 },
] as const;

/** Error sums of a weight in a format by a method. */
async function measure(
  engine: Engine,
  weight: Weight,
  format: BlockFormat,
  method: Method,
): Promise<ErrorSums> {
  const { batch, rows, columns, order, weightType } = weight.view;
  const reader = openTensor(weight.tensor);
  const memory = await engine.allocate(reader.byteLength);
  try {
    await reader.read(0, memory.bytes);
    const sums = { signal: 0, noise: 0, dot: 0 };
    const length = reader.byteLength / batch;
    for (let index = 0; index < batch; index++) {
      const weights = memory.bytes.subarray(index * length, (index + 1) * length);
      const job = { weights, weightType, rows, columns, order, format, method, measure: true };
      const result = await engine.quantize(job);
      if (result.error === undefined) throw new Error("the engine measured nothing");
      sums.signal += result.error.signal;
      sums.noise += result.error.noise;
      sums.dot += result.error.dot;
      result.release();
    }
    return sums;
  } finally {
    memory.release();
    reader.close();
  }
}

/** Sum of the least squared errors that any scales reach, 32 weights to a scale, symmetric. */
async function leastNoise({ view, tensor }: Weight, bits: Bits): Promise<number> {
  const { batch, rows, columns, order, weightType } = view;
  if (weightType !== "float32") throw new Error(`"${tensor.name}" is ${weightType}`);
  const bytes = await tensorBytes(tensor);
  const values = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [rowStride, columnStride] = order === "rows" ? [columns, 1] : [1, rows];
  let noise = 0;
  for (let matrix = 0; matrix < batch; matrix++) {
    for (let row = 0; row < rows; row++) {
      const start = matrix * rows * columns + row * rowStride;
      for (let first = 0; first < columns; first += 32) {
        const block = new Float64Array(Math.min(32, columns - first));
        for (let i = 0; i < block.length; i++) {
          block[i] = values.getFloat32(4 * (start + (first + i) * columnStride), true);
        }
        noise += leastError(block, bits);
      }
    }
  }
  return noise;
}

/** SQNR in dB. */
function sqnr(sums: { signal: number; noise: number }): number {
  return 10 * Math.log10(sums.signal / sums.noise);
}

/** `mse` against `rtn`. */
export const quality: Part = {
  name: "quality",
  async run(): Promise<Row[]> {
    const { weights } = findWeights(new Scopes(await readModel(miniLmPath())));
    const bytes = weights.reduce((sum, weight) => sum + 4 * elementCount(weight.tensor.dims), 0);
    const engine = await openEngine("wasm");
    try {
      const rows: Row[] = [];
      for (const { bits, symmetric, bar } of CASES) {
        const format = { bits, symmetric, blockSize: 32, scaleType: "float16" } as const;
        const total = { mse: { signal: 0, noise: 0 }, rtn: { signal: 0, noise: 0 } };
        let worst = { name: "", gain: Infinity };
        for (const weight of weights) {
          const sums = {
            mse: await measure(engine, weight, format, "mse"),
            rtn: await measure(engine, weight, format, "rtn"),
          };
          for (const method of ["mse", "rtn"] as const) {
            total[method].signal += sums[method].signal;
            total[method].noise += sums[method].noise;
          }
          const gain = sqnr(sums.mse) - sqnr(sums.rtn);
          if (gain < worst.gain) worst = { name: weight.name, gain };
        }
        const kind = symmetric ? "symmetric" : "asymmetric";
        if (bits === 2 && symmetric) {
          let least = 0;
          for (const weight of weights) least += await leastNoise(weight, bits);
          const { signal } = total.rtn;
          rows.push({
            ...differenceRow(
              "the least error of any scales against rtn, symmetric, 2 bits, block 32",
              { ours: sqnr({ signal, noise: least }), rival: sqnr(total.rtn), unit: "dB" },
              bar,
              "every scale tried, in binary64: no method gains more",
            ),
            bar: "",
            pass: null,
          });
        }
        const name = `mse against rtn, ${kind}, ${bits} bits, block 32, MiniLM's weights`;
        rows.push(differenceRow(
          name,
          { ours: sqnr(total.mse), rival: sqnr(total.rtn), unit: "dB" },
          bar,
          `SQNR over ${weights.length} tensors, ${(bytes / 1e6).toFixed(1)} MB, float16 scales`,
        ));
        rows.push(differenceRow(
          `${name}, the tensor that gains least`,
          { ours: worst.gain, rival: 0, unit: "dB" },
          0,
          worst.name,
        ));
      }
      return rows;
    } finally {
      engine.dispose();
    }
  },
};
