/**
 * The strip that this worker's instance is at. Globals of a module belong to its instance, so each
 * worker has its own.
 */
import { CHUNK, Job } from "./job.ts";

export let job: Job = changetype<Job>(0);
export let scratch: usize = 0;
/** Where the matrix's first weight lies, and weights from one row (or column, by its order) to the next. */
export let origin: usize = 0;
export let pitch: u32 = 0;
/** First row of the strip and how many it has, 1 to 16. */
export let firstRow: u32 = 0;
export let lanes: u32 = 0;
/** Vectors that hold these rows. */
export let quads: u32 = 0;
/** The block that is worked on. */
export let block: u32 = 0;

export function beginJob(work: Job, memory: usize): void {
  job = work;
  scratch = memory;
}

export function beginPiece(address: usize, distance: u32): void {
  origin = address;
  pitch = distance;
}

export function beginStrip(row: u32, count: u32): void {
  firstRow = row;
  lanes = count;
  quads = (count + 3) >> 2;
}

export function beginBlock(index: u32): void {
  block = index;
}

/** Chunks of a block. */
// @ts-ignore: decorator
@inline
export function chunkCount(): u32 {
  return (job.blockLength + CHUNK - 1) / CHUNK;
}

/** Weights of chunk `index`, padding included. */
// @ts-ignore: decorator
@inline
export function chunkLength(index: u32): u32 {
  return min(CHUNK, job.blockLength - index * CHUNK);
}

/** 2^-ceil(log2(chunks)): what keeps the sums of long blocks from overflowing. */
export function sumScale(): f32 {
  let exponent: u32 = 0;
  while ((1 << exponent) < <i32>chunkCount()) exponent++;
  return reinterpret<f32>((127 - exponent) << 23);
}
