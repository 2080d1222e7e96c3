/**
 * The general way, for every format and method: one block of up to sixteen rows at a time, and what is
 * counted and measured on it.
 */
import { searchByHalfQuadratic } from "./hqq.ts";
import { HQQ, MSE, NON_FINITE, SATURATED } from "./job.ts";
import { clearNonFinite, loadBlock } from "./load.ts";
import { beginSums, measureBlock, noise, power, signal } from "./measure.ts";
import { searchByError } from "./mse.ts";
import { storeBlock } from "./pack.ts";
import { chooseByRounding } from "./rtn.ts";
import { beginBlock, beginStrip, chunkCount, chunkLength, job, lanes, quads, scratch } from "./strip.ts";

let nonFinite: u32 = 0;
let saturated: u32 = 0;
let measured: u32 = 0;

/** Begins to count anew. */
export function beginCounts(): void {
  nonFinite = 0;
  saturated = 0;
  measured = 0;
  beginSums();
}

/** Counts scales that the fast way clamped. */
export function countSaturated(count: u32): void {
  saturated += count;
}

/** Adds what was counted since {@link beginCounts} to the six numbers at `statistics`. */
export function addCounts(statistics: usize): void {
  addTo(statistics, signal);
  addTo(statistics + 8, noise);
  addTo(statistics + 16, (signal + power - noise) * 0.5);
  addTo(statistics + 24, <f64>nonFinite);
  addTo(statistics + 32, <f64>saturated);
  addTo(statistics + 40, <f64>measured);
}

// @ts-ignore: decorator
@inline
function addTo(at: usize, number: f64): void {
  store<f64>(at, load<f64>(at) + number);
}

/**
 * Quantizes block `index` of up to 16 rows from `row` on, and measures it where it is sampled, unless
 * `elsewhere` says that it is measured elsewhere.
 */
export function quantizeBlock(row: u32, end: u32, index: u32, elsewhere: bool): void {
  chooseBlock(row, end, index);
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    nonFinite += popcnt(i32x4.bitmask(v128.load(scratch + quad, NON_FINITE)));
    saturated += popcnt(i32x4.bitmask(v128.load(scratch + quad, SATURATED)));
  }
  const normalized = job.method == HQQ;
  if (!elsewhere && isSampled(row, index)) {
    measureBlock(normalized);
    measured += lanes;
  }
  storeBlock(normalized);
}

/** Measures what is sampled of blocks that the fast way takes. */
export function sampleBlocks(first: u32, end: u32, firstBlock: u32, endBlock: u32): void {
  for (let row = first; row < end; row += 16) {
    for (let index = firstBlock; index < endBlock; index++) {
      if (!isSampled(row, index)) continue;
      chooseBlock(row, end, index);
      measureBlock(false);
      measured += lanes;
    }
  }
}

/** Sampled along both axes, so that no row and no column is left out. */
function isSampled(row: u32, index: u32): bool {
  return job.measure != 0 && ((index + (row >> 4)) & (job.measure - 1)) == 0;
}

/** Loads a block into the tile and chooses its scales and zero points. */
function chooseBlock(row: u32, end: u32, index: u32): void {
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
}
