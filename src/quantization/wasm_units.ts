/**
 * How the wasm engine cuts a job into units, which its workers take one after another. The cut depends
 * on the job alone, not on how many workers there are.
 */
import type { Method } from "./engine.ts";

/** Bytes that a worker reads from a file before it quantizes them: what its cache holds. */
export const BUFFER_BYTES = 1024 * 1024;

/** Numbers along K that a unit has where a row's blocks are apart: their codes fill cache lines. */
const UNIT_LENGTH = 256;

/** A job as a grid of units: `across` of them a range of rows, `down` of them a range of blocks. */
export interface UnitPlan {
  readonly rows: number;
  readonly columns: number;
  readonly columnsOrder: boolean;
  readonly weightBytes: number;
  readonly blocks: number;
  readonly blockLength: number;
  readonly unitRows: number;
  readonly unitBlocks: number;
  readonly units: number;
}

/** Rows and blocks of a part of a job; `end` is not part of it. */
export interface Piece {
  readonly firstRow: number;
  readonly endRow: number;
  readonly firstBlock: number;
  readonly endBlock: number;
}

/** Cuts a job; of weights in a file, no block and no sixteen rows of one may pass the buffer. */
export function planUnits(
  job: Omit<UnitPlan, "unitRows" | "unitBlocks" | "units">,
  method: Method,
  inFile: boolean,
): UnitPlan {
  const { rows, columns, blocks, blockLength, columnsOrder } = job;
  const blockBytes = blockLength * job.weightBytes;
  const lengthBlocks = Math.max(1, Math.floor(UNIT_LENGTH / blockLength));
  const bufferRows = Math.floor(BUFFER_BYTES / (columnsOrder ? blockBytes : blocks * blockBytes));
  let unitRows: number;
  let unitBlocks = columnsOrder ? lengthBlocks : blocks;
  if (!inFile) {
    // Searches take long: many small units keep workers evenly busy.
    unitRows = method === "rtn" ? (columnsOrder ? 1024 : 64) : (columnsOrder ? 512 : 32);
    if (method !== "rtn" && columnsOrder) unitBlocks = Math.ceil(unitBlocks / 2);
    if (columns > UNIT_LENGTH * 64) unitRows = Math.min(unitRows, 256);
  } else if (columnsOrder || bufferRows >= 16) {
    unitRows = bufferRows - bufferRows % 16;
  } else {
    unitRows = 16;
    unitBlocks = Math.floor(BUFFER_BYTES / (16 * blockBytes));
  }
  unitRows = Math.min(unitRows, rows);
  unitBlocks = Math.min(unitBlocks, blocks);
  const units = Math.ceil(rows / unitRows) * Math.ceil(blocks / unitBlocks);
  return { ...job, unitRows, unitBlocks, units };
}

/** Unit `index` of a plan. */
export function unitAt(plan: UnitPlan, index: number): Piece {
  const across = Math.ceil(plan.rows / plan.unitRows);
  const firstRow = (index % across) * plan.unitRows;
  const firstBlock = Math.floor(index / across) * plan.unitBlocks;
  return {
    firstRow,
    endRow: Math.min(firstRow + plan.unitRows, plan.rows),
    firstBlock,
    endBlock: Math.min(firstBlock + plan.unitBlocks, plan.blocks),
  };
}

/** The parts of a unit that fit the buffer. */
export function* readablePieces(plan: UnitPlan, unit: Piece): Generator<Piece> {
  if (!plan.columnsOrder) return yield unit;
  const blockBytes = (unit.endRow - unit.firstRow) * plan.blockLength * plan.weightBytes;
  const step = Math.max(1, Math.floor(BUFFER_BYTES / blockBytes));
  for (let firstBlock = unit.firstBlock; firstBlock < unit.endBlock; firstBlock += step) {
    const endBlock = Math.min(firstBlock + step, unit.endBlock);
    yield { ...unit, firstBlock, endBlock };
  }
}

/** The bytes of a piece: `count` runs of `length`, from `offset` on, `stride` apart. */
export function runsOf(
  plan: UnitPlan,
  piece: Piece,
  pitch: number,
): { offset: number; count: number; length: number; stride: number } {
  const size = plan.weightBytes;
  const firstColumn = piece.firstBlock * plan.blockLength;
  const columns = Math.min(piece.endBlock * plan.blockLength, plan.columns) - firstColumn;
  const rows = piece.endRow - piece.firstRow;
  return plan.columnsOrder
    ? {
      offset: (firstColumn * pitch + piece.firstRow) * size,
      count: columns,
      length: rows * size,
      stride: pitch * size,
    }
    : {
      offset: (piece.firstRow * pitch + firstColumn) * size,
      count: rows,
      length: columns * size,
      stride: pitch * size,
    };
}
