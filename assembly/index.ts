/**
 * The entry points: quantization of a job's units, and the size of the scratch that it takes.
 */
import { searchByHalfQuadratic } from "./hqq.ts";
import { HQQ, Job, MSE, NON_FINITE, RTN, SATURATED, SCRATCH_BYTES } from "./job.ts";
import { clearNonFinite, loadBlock } from "./load.ts";
import { beginSums, measureBlock, noise, power, signal } from "./measure.ts";
import { searchByError } from "./mse.ts";
import { storeBlock } from "./pack.ts";
import { plainBlocks, quantizePlainBlocks } from "./rows.ts";
import { chooseByRounding } from "./rtn.ts";
import { beginBlock, beginJob, beginStrip, chunkCount, chunkLength, job, lanes, quads, scratch } from "./strip.ts";

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
    quantizeUnit(unit);
  }
}

let nonFinite: u32 = 0;
let saturated: u32 = 0;
let measured: u32 = 0;

function quantizeUnit(unit: u32): void {
  const first = unit * job.unitRows;
  const end = min(first + job.unitRows, job.rows);
  nonFinite = 0;
  saturated = 0;
  measured = 0;
  beginSums();
  if (job.columnsOrder) {
    // Neighbouring rows are neighbours in memory: all of them before the next blocks, which are taken
    // eight at a time so that a row's codes fill cache lines.
    for (let index: u32 = 0; index < job.blocks; index += 8) {
      const last = min(index + 8, job.blocks);
      for (let row = first; row < end; row += 16) {
        for (let each = index; each < last; each++) quantizeBlock(row, end, each);
      }
    }
  } else {
    const plain = plainBlocks();
    for (let row = first; row < end && plain > 0; row++) {
      for (let index: u32 = 0; index < plain; index += 4) {
        const clamped = quantizePlainBlocks(row, index);
        if (clamped >= 0) saturated += clamped;
        else for (let i: u32 = 0; i < 4; i++) quantizeBlock(row, row + 1, index + i);
      }
    }
    for (let row = first; row < end; row += 16) {
      for (let index = plain; index < job.blocks; index++) quantizeBlock(row, end, index);
    }
  }
  const statistics = job.statistics + unit * 48;
  store<f64>(statistics, signal);
  store<f64>(statistics, noise, 8);
  store<f64>(statistics, (signal + power - noise) * 0.5, 16);
  store<f64>(statistics, <f64>nonFinite, 24);
  store<f64>(statistics, <f64>saturated, 32);
  store<f64>(statistics, <f64>measured, 40);
}

/** Quantizes block `index` of up to 16 rows from `row` on. */
function quantizeBlock(row: u32, end: u32, index: u32): void {
  beginStrip(row, min(16, end - row));
  beginBlock(index);
  loadBlock();
  const whole = chunkCount() == 1;
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    chooseByRounding(quad);
    if (whole) clearNonFinite(quad, chunkLength(0));
  }
  if (job.method == MSE) searchByError();
  else if (job.method == HQQ) searchByHalfQuadratic();
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    nonFinite += popcnt(i32x4.bitmask(v128.load(scratch + quad, NON_FINITE)));
    saturated += popcnt(i32x4.bitmask(v128.load(scratch + quad, SATURATED)));
  }
  // A search leaves the tile normalized.
  const normalized = job.method != RTN;
  // Sampled along both axes, so that no row and no column is left out.
  if (job.measure && ((index + (row >> 4)) & (job.measure - 1)) == 0) {
    measureBlock(normalized);
    measured += lanes;
  }
  storeBlock(normalized);
}
