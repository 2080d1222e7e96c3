/**
 * Matrices at the edges of quantization, one list for every engine: shapes that fill no vector,
 * values that no trained model has but a file can hold.
 */
import { BLOCK_SIZES, type BlockFormat } from "../src/formats.ts";
import type { Method, QuantizeJob } from "../src/quantization/engine.ts";

/** A matrix by what is remarkable about it; row-major. */
export interface QuantizeCase {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly values: Float32Array;
}

/** Every bit width, symmetry and scale type with blocks of `blockSize`. */
export function formatsOf(blockSize: BlockFormat["blockSize"]): BlockFormat[] {
  return ([8, 4, 3, 2] as const).flatMap((bits) =>
    [true, false].flatMap((symmetric) =>
      (["float16", "float32"] as const).map((scaleType) => ({
        bits,
        symmetric,
        blockSize,
        scaleType,
      }))
    )
  );
}

/** Every block size; 0 takes a row as one block. */
export const ALL_BLOCK_SIZES = [...BLOCK_SIZES, 0] as const;

/** Every method. */
export const METHODS: readonly Method[] = ["rtn", "mse", "hqq"];

/** The matrices. */
export const QUANTIZE_CASES: readonly QuantizeCase[] = [
  matrix("one weight", 1, 1, () => -0.37),
  matrix("one row that fills no vector", 1, 17, wave),
  matrix("three rows, the last block short by one", 3, 31, wave),
  matrix("a row and a column more than vectors hold", 33, 65, wave),
  matrix("columns that fill all blocks", 5, 512, wave),
  matrix("a row of several chunks", 2, 1030, wave),
  matrix("zeros", 3, 40, () => 0),
  matrix("negative zeros", 2, 33, () => -0),
  matrix("a constant", 2, 48, () => 0.7),
  matrix("a negative constant", 2, 48, () => -0.7),
  matrix("alternating signs of one magnitude", 2, 64, (i) => i % 2 ? 1.5 : -1.5),
  matrix("all positive", 4, 70, (i) => 1 + (i % 7) / 10),
  matrix("all negative", 4, 70, (i) => -1 - (i % 7) / 10),
  matrix("ties at every half code", 4, 64, (i) => ((i * 5) % 33 - 16) / 2),
  matrix("one outlier a row", 3, 96, (i) => i % 96 === 41 ? 50 : wave(i) / 10),
  matrix("subnormal numbers", 2, 40, (i) => ((i % 9) - 4) * 2 ** -149),
  matrix("subnormal beside normal numbers", 2, 40, (i) => i % 5 ? 2 ** -140 : 2 ** -20 * (i + 1)),
  matrix("around the least magnitude that counts", 6, 16, (i) => wave(i) * 2 ** (-98 - (i >> 4))),
  matrix("scales that are subnormal in float16", 4, 32, (i) => wave(i) * 2 ** (-20 - (i >> 5))),
  matrix("scales that round to 0 in float16", 2, 32, (i) => wave(i) * 2 ** -40),
  matrix("scales that float16 can't hold", 2, 64, (i) => wave(i) * 2 ** 40),
  matrix("scales at the largest of float16", 4, 32, (i) => 65504 * (4 << (i >> 5)) * wave(i)),
  matrix("the largest numbers", 2, 32, (i) => (i % 3 ? -1 : 1) * 3.4028234663852886e38),
  matrix("large and tiny numbers", 2, 64, (i) => i % 3 ? 2 ** 100 : -(2 ** -100)),
  matrix("a NaN in one block", 2, 96, (i) => i === 50 ? NaN : wave(i)),
  matrix("infinities", 3, 64, (i) => i % 64 === 3 ? (i % 128 === 3 ? 1 : -1) * Infinity : wave(i)),
  matrix("a block of NaN alone", 1, 64, (i) => i < 32 ? NaN : wave(i)),
];

/** A job on `entry` in the given order. */
export function jobOf(
  entry: QuantizeCase,
  order: "rows" | "columns",
  format: BlockFormat,
  method: Method,
): QuantizeJob {
  const { rows, columns, values } = entry;
  const elements = order === "rows" ? values : transposed(values, rows, columns);
  return {
    weights: new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength),
    weightType: "float32",
    rows,
    columns,
    order,
    format,
    method,
    measure: true,
  };
}

/** `values` of a row-major matrix, column by column. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
}

function matrix(
  name: string,
  rows: number,
  columns: number,
  value: (index: number) => number,
): QuantizeCase {
  return {
    name,
    rows,
    columns,
    values: Float32Array.from({ length: rows * columns }, (_, i) => value(i)),
  };
}

/** Numbers within -1 .. 1 without a pattern in blocks. */
function wave(index: number): number {
  return Math.sin(index * 12.9898) * Math.cos(index * 0.7 + 1);
}
