/**
 * The entry points: quantization of a job's units, and the size of the scratch that it takes.
 */
import { beginCounts, quantizeBlock, sampleBlocks, storeCounts } from "./block.ts";
import { Job, PANEL, SCRATCH_BYTES } from "./job.ts";
import { plainBlocks } from "./plain.ts";
import { quantizePlainColumns } from "./plain_columns.ts";
import { quantizePlainRow } from "./plain_rows.ts";
import { beginJob, beginPiece, job } from "./strip.ts";

/** Bytes of scratch that {@link run} needs, aligned to 16. */
export function scratchBytes(): usize {
  return SCRATCH_BYTES;
}

/**
 * Works on the job at `work` until no unit of it is left. Several workers may do so at the same
 * time, each with a scratch of its own.
 */
export function run(work: usize, memory: usize): void {
  const shared = changetype<Job>(work);
  beginJob(shared, memory);
  const next = work + offsetof<Job>("next");
  while (true) {
    const unit = atomic.add<u32>(next, 1);
    if (unit >= shared.units) return;
    beginPiece(shared.weights, shared.columnsOrder ? shared.rows : shared.columns);
    const first = unit * shared.unitRows;
    const end = min(first + shared.unitRows, shared.rows);
    quantizePiece(first, end, 0, shared.blocks, shared.statistics + unit * 48);
  }
}

/** Quantizes the blocks from `firstBlock` to before `endBlock` of the rows `first` to before `end`. */
function quantizePiece(first: u32, end: u32, firstBlock: u32, endBlock: u32, statistics: usize): void {
  beginCounts();
  const plain = max(firstBlock, min(endBlock, plainBlocks()));
  if (job.columnsOrder) {
    const whole = first + ((end - first) & ~15);
    for (let row = first; row < whole; row += PANEL) {
      const count = min(PANEL, whole - row);
      for (let index = firstBlock; index < plain; index++) quantizePlainColumns(row, count, index);
    }
    sampleBlocks(first, whole, firstBlock, plain);
    quantizeBlocks(whole, end, firstBlock, plain);
    quantizeBlocks(first, end, plain, endBlock);
  } else {
    const last = plain - ((plain - firstBlock) & 3);
    for (let row = first; row < end; row++) quantizePlainRow(row, firstBlock, last);
    sampleBlocks(first, end, firstBlock, last);
    quantizeBlocks(first, end, last, endBlock);
  }
  storeCounts(statistics);
}

/** As {@link quantizePiece}, the general way. */
function quantizeBlocks(first: u32, end: u32, firstBlock: u32, endBlock: u32): void {
  if (!job.columnsOrder) {
    for (let row = first; row < end; row += 16) {
      for (let index = firstBlock; index < endBlock; index++) quantizeBlock(row, end, index);
    }
    return;
  }
  // Neighbouring rows are neighbours in memory: all of them before the next blocks, which are taken
  // eight at a time so that a row's codes fill cache lines.
  for (let index = firstBlock; index < endBlock; index += 8) {
    const last = min(index + 8, endBlock);
    for (let row = first; row < end; row += 16) {
      for (let each = index; each < last; each++) quantizeBlock(row, end, each);
    }
  }
}
