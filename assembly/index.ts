/**
 * The entry points: quantization of a piece of a job, and what workers need to share a job.
 */
import { addCounts, beginCounts, quantizeBlock, sampleBlocks } from "./block.ts";
import { CHUNK, Job, PANEL, SCRATCH_BYTES, STATISTICS_BYTES } from "./job.ts";
import { touchBlocks, weightBytes } from "./load.ts";
import { plainBlocks } from "./plain.ts";
import { quantizePlainColumns } from "./plain_columns.ts";
import { quantizePlainRow } from "./plain_rows.ts";
import { beginJob, beginPiece, job } from "./strip.ts";

/** Bytes of scratch that {@link quantize} needs, aligned to 16. */
export function scratchBytes(): usize {
  return SCRATCH_BYTES;
}

/** The number at `counter`, which becomes one more: by it workers share what is to be done. */
export function take(counter: usize): u32 {
  return atomic.add<u32>(counter, 1);
}

/** Takes units of the job at `work`, whose weights are in memory, and quantizes them until none is left. */
export function quantizeUnits(work: usize, scratch: usize): void {
  const task = changetype<Job>(work);
  const across = (task.rows + task.unitRows - 1) / task.unitRows;
  const counter = work + offsetof<Job>("taken");
  for (let unit = take(counter); unit < task.units; unit = take(counter)) {
    const row = (unit % across) * task.unitRows;
    const block = (unit / across) * task.unitBlocks;
    beginJob(task, scratch);
    beginPiece(task.weights, task.pitch);
    quantizePiece(
      row,
      min(row + task.unitRows, task.rows),
      block,
      min(block + task.unitBlocks, task.blocks),
      unit,
    );
  }
}

/**
 * Quantizes a piece of unit `unit` of the job at `work`: the blocks from `firstBlock` to before `endBlock`
 * of the rows from `first` to before `end`. The first of these weights lies at `address`; from one row (or
 * column, by the job's order) to the next it is `pitch` weights. Workers may do so at the same time, each
 * with a scratch of its own.
 */
export function quantize(
  work: usize,
  scratch: usize,
  address: usize,
  pitch: u32,
  first: u32,
  end: u32,
  firstBlock: u32,
  endBlock: u32,
  unit: u32,
): void {
  beginJob(changetype<Job>(work), scratch);
  const column = firstBlock * job.blockLength;
  const skipped = job.columnsOrder ? column * pitch + first : first * pitch + column;
  // May wrap around, as the addresses that are reached from there do.
  beginPiece(address - skipped * weightBytes(), pitch);
  quantizePiece(first, end, firstBlock, endBlock, unit);
}

/** Adds six f64 to those of the unit: signal, noise, dot, non-finite, saturated and measured blocks. */
function quantizePiece(first: u32, end: u32, firstBlock: u32, endBlock: u32, unit: u32): void {
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
  addCounts(job.statistics + unit * STATISTICS_BYTES);
}

/** Rows whose blocks are brought into the cache together: a few lines that follow each other. */
const TOUCHED_ROWS: u32 = 512;

/** Quantizes blocks of rows the general way. */
function quantizeBlocks(first: u32, end: u32, firstBlock: u32, endBlock: u32): void {
  if (!job.columnsOrder) {
    for (let row = first; row < end; row += 16) {
      for (let index = firstBlock; index < endBlock; index++) quantizeBlock(row, end, index, false);
    }
    return;
  }
  // Neighbouring rows are neighbours in memory: all of them before the next blocks, which are taken
  // eight at a time so that a row's codes fill cache lines.
  for (let index = firstBlock; index < endBlock; index += 8) {
    const last = min(index + 8, endBlock);
    for (let row = first; row < end; row += TOUCHED_ROWS) {
      const until = min(row + TOUCHED_ROWS, end);
      for (let each = index; each < last; each++) {
        if (job.blockLength <= CHUNK) touchBlocks(row, until, each);
        for (let strip = row; strip < until; strip += 16) quantizeBlock(strip, until, each, false);
      }
    }
  }
}
