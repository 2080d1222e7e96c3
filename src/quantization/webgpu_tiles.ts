/**
 * Cuts a job into tiles whose every part fits one storage binding, packs the weights of a tile for
 * upload, and puts a tile's results where they belong in the job's.
 */
import type { BlockLayout } from "../formats.ts";
import { blockLayout } from "../formats.ts";
import type { QuantizeJob, QuantizeResult, WeightType } from "./engine.ts";

/** A range of rows by a range of blocks of a job's matrix. */
export interface Tile {
  readonly firstRow: number;
  readonly rows: number;
  readonly firstBlock: number;
  readonly blocks: number;
  readonly firstColumn: number;
  readonly columns: number;
}

/** The arrays of a result. */
export type ResultArrays = Pick<QuantizeResult, "codes" | "scales" | "zeroPoints">;

/** Bytes of an element after upload: float64 is rounded to float32 on the way. */
export const UPLOADED_BYTES: Readonly<Record<WeightType, number>> = {
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float64: 4,
};

/** Bytes of the error sums of a block: three sums and a factor. */
export const SUMS_BYTES = 16;

/** Weights of a long block that a thread takes, and bytes at most that it finds in a pass. */
export const LONG_RUN = 256;
const LONG_RUN_BYTES = 2 * 48 * 4;

/** Bytes of an element in the job's memory. */
const SOURCE_BYTES: Readonly<Record<WeightType, number>> = { ...UPLOADED_BYTES, float64: 8 };

/** Sizes of the whole job. */
export function jobLayout(job: QuantizeJob): BlockLayout {
  return blockLayout(job.format, job.rows, job.columns);
}

/** Bytes that a block takes in the largest of the buffers that hold a part of it. */
function blockFootprint(job: QuantizeJob): number {
  const { blockLength, blockBytes } = jobLayout(job);
  const runs = job.format.blockSize === 0 ? Math.ceil(blockLength / LONG_RUN) : 1;
  const found = job.format.blockSize === 0 ? runs * LONG_RUN_BYTES : SUMS_BYTES;
  return Math.max(blockLength * UPLOADED_BYTES[job.weightType], blockBytes, found);
}

/**
 * Tiles of `job` whose every buffer holds at most `limit` bytes, or a single block where that is
 * more. Cut along the outer dimension of the memory first, so that tiles are contiguous there.
 */
export function planTiles(job: QuantizeJob, limit: number): Tile[] {
  const { blocks, blockLength } = jobLayout(job);
  const capacity = Math.max(1, Math.floor(limit / blockFootprint(job)));
  let tileRows: number;
  let tileBlocks: number;
  if (job.order === "columns") {
    tileRows = Math.min(job.rows, capacity);
    tileBlocks = Math.min(blocks, Math.max(1, Math.floor(capacity / Math.max(1, job.rows))));
  } else {
    tileBlocks = Math.min(blocks, capacity);
    tileRows = Math.min(job.rows, Math.max(1, Math.floor(capacity / Math.max(1, blocks))));
  }
  const tiles: Tile[] = [];
  for (let firstRow = 0; firstRow < job.rows; firstRow += tileRows) {
    for (let firstBlock = 0; firstBlock < blocks; firstBlock += tileBlocks) {
      const firstColumn = firstBlock * blockLength;
      const rows = Math.min(tileRows, job.rows - firstRow);
      const tiled = Math.min(tileBlocks, blocks - firstBlock);
      const columns = Math.min(tiled * blockLength, job.columns - firstColumn);
      tiles.push({ firstRow, rows, firstBlock, blocks: tiled, firstColumn, columns });
    }
  }
  return tiles;
}

/**
 * The weights of `range` in the job's order, dense, as they are uploaded. A view of the job's own
 * memory where they lie so already, else a copy.
 */
export function packWeights(
  job: QuantizeJob,
  range: Pick<Tile, "firstRow" | "rows" | "firstColumn" | "columns">,
): Uint8Array {
  const size = SOURCE_BYTES[job.weightType];
  const [inner, firstInner, innerCount, firstOuter, outerCount] = job.order === "rows"
    ? [job.columns, range.firstColumn, range.columns, range.firstRow, range.rows]
    : [job.rows, range.firstRow, range.rows, range.firstColumn, range.columns];
  const length = innerCount * size;
  let packed: Uint8Array;
  if (innerCount === inner || outerCount === 1) {
    const start = (firstOuter * inner + firstInner) * size;
    packed = job.weights.subarray(start, start + outerCount * length);
  } else {
    packed = new Uint8Array(outerCount * length);
    for (let outer = 0; outer < outerCount; outer++) {
      const start = ((firstOuter + outer) * inner + firstInner) * size;
      packed.set(job.weights.subarray(start, start + length), outer * length);
    }
  }
  return job.weightType === "float64" ? roundToFloat32(packed) : packed;
}

/** Copies the results of `tile`, whose arrays are laid out as those of a job of its size. */
export function placeResults(
  job: QuantizeJob,
  tile: Tile,
  from: ResultArrays,
  into: ResultArrays,
): void {
  const whole = jobLayout(job);
  const planes = job.format.bits === 3 ? 3 : 1;
  const blockBytes = whole.blockBytes / planes;
  const scaleBytes = job.format.scaleType === "float16" ? 2 : 4;
  const copy = (source: Uint8Array, target: Uint8Array, bytes: number, plane: number) => {
    const sourceStart = plane * tile.rows * tile.blocks * bytes;
    const targetStart = plane * job.rows * whole.blocks * bytes;
    const run = tile.blocks * bytes;
    if (tile.blocks === whole.blocks) {
      const length = tile.rows * run;
      target.set(
        source.subarray(sourceStart, sourceStart + length),
        targetStart + tile.firstRow * run,
      );
      return;
    }
    for (let row = 0; row < tile.rows; row++) {
      const start = sourceStart + row * run;
      const block = (tile.firstRow + row) * whole.blocks + tile.firstBlock;
      target.set(source.subarray(start, start + run), targetStart + block * bytes);
    }
  };
  for (let plane = 0; plane < planes; plane++) copy(from.codes, into.codes, blockBytes, plane);
  copy(from.scales, into.scales, scaleBytes, 0);
  if (from.zeroPoints !== null && into.zeroPoints !== null) {
    copy(from.zeroPoints, into.zeroPoints, 1, 0);
  }
}

/** The float32 values nearest to little-endian float64 values, as bytes. */
function roundToFloat32(bytes: Uint8Array): Uint8Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const doubles = new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 8);
  return new Uint8Array(new Float32Array(doubles).buffer);
}
