/**
 * Squared errors of a quantized weight to the last block, in binary64. Engines may measure a large
 * weight by a sample of its blocks, which is off by a few hundredths of a decibel.
 */
import { type Bits, type BlockFormat, blockLayout, symmetricZeroPoint } from "../../src/formats.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { plainCodes } from "../../src/quantization/encodings/code_bytes.ts";
import type { Engine, Method, QuantizeResult } from "../../src/quantization/engine.ts";
import { float16ToNumber } from "../../src/quantization/half.ts";
import type { MatrixView } from "../../src/quantization/pipeline.ts";
import type { Weight } from "../../src/quantization/weights.ts";
import { leastError } from "./optimum.ts";

/** A float32 weight in memory. */
export interface LoadedWeight {
  readonly view: MatrixView;
  readonly values: Float32Array;
}

/** Reads `weight`, which must be float32. */
export async function loadWeight({ view, tensor }: Weight): Promise<LoadedWeight> {
  if (tensor.dtype !== "float32") throw new Error(`"${tensor.name}" is ${tensor.dtype}`);
  return { view, values: new Float32Array((await tensorBytes(tensor)).slice().buffer) };
}

/** Sum of the squared weights. */
export function signalOf({ values }: LoadedWeight): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

/** Calls `visit` with every block of up to `length` weights of matrix number `matrix`, row by row. */
function eachBlock(
  { view: { rows, columns, order }, values }: LoadedWeight,
  matrix: number,
  length: number,
  visit: (block: Float64Array, row: number, number: number) => void,
): void {
  const [rowStride, columnStride] = order === "rows" ? [columns, 1] : [1, rows];
  for (let row = 0; row < rows; row++) {
    const start = matrix * rows * columns + row * rowStride;
    for (let first = 0, number = 0; first < columns; first += length, number++) {
      const block = new Float64Array(Math.min(length, columns - first));
      for (let i = 0; i < block.length; i++) block[i] = values[start + (first + i) * columnStride]!;
      visit(block, row, number);
    }
  }
}

/** Sum of the least squared errors that any scales reach, `length` weights to a scale, symmetric. */
export function leastNoise(weight: LoadedWeight, bits: Bits, length: number): number {
  let noise = 0;
  for (let matrix = 0; matrix < weight.view.batch; matrix++) {
    eachBlock(weight, matrix, length, (block) => noise += leastError(block, bits));
  }
  return noise;
}

/** Sum of the squared errors of `weight` quantized by `engine`; scales are float16. */
export async function noiseOf(
  engine: Engine,
  weight: LoadedWeight,
  format: BlockFormat & { readonly scaleType: "float16" },
  method: Method,
): Promise<number> {
  const { view: { batch, rows, columns, order }, values } = weight;
  let noise = 0;
  for (let matrix = 0; matrix < batch; matrix++) {
    const part = values.subarray(matrix * rows * columns, (matrix + 1) * rows * columns);
    const memory = await engine.allocate(part.byteLength);
    try {
      memory.bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
      const result = await engine.quantize({
        ...{ weights: memory.bytes, weightType: "float32", rows, columns, order, format, method },
        measure: false,
      });
      noise += matrixNoise(weight, matrix, format, result);
      result.release();
    } finally {
      memory.release();
    }
  }
  return noise;
}

function matrixNoise(
  weight: LoadedWeight,
  matrix: number,
  format: BlockFormat,
  { codes, scales, zeroPoints }: QuantizeResult,
): number {
  const { rows, columns } = weight.view;
  const { blocks, blockLength } = blockLayout(format, rows, columns);
  const plain = plainCodes(codes, format, rows, blocks);
  const halves = new DataView(scales.buffer, scales.byteOffset, scales.byteLength);
  const middle = symmetricZeroPoint(format.bits);
  let noise = 0;
  eachBlock(weight, matrix, blockLength, (block, row, number) => {
    const index = row * blocks + number;
    const scale = float16ToNumber(halves.getUint16(2 * index, true));
    const zeroPoint = zeroPoints === null ? middle : zeroPoints[index]!;
    for (let i = 0; i < block.length; i++) {
      const error = block[i]! - scale * (plain[index * blockLength + i]! - zeroPoint);
      noise += error * error;
    }
  });
  return noise;
}
