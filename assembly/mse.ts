/**
 * Least squared error: every candidate's codes are judged at their own best scale, the winner's best
 * scale is stored, and its error is compared with that of rounding to nearest.
 */
import { beginSelection, isZeroPoint, keepBetter, lowestCodes, pairSum, stepsAt, tryPair } from "./candidates.ts";
import { isClamped, storedScale } from "./float.ts";
import {
  beginIntegers,
  gainOf,
  makeIntegers,
  requiredGain,
  scaleOfStored,
  scaleOfSums,
} from "./integers.ts";
import {
  BEST_A,
  BEST_B,
  BEST_LOWEST,
  BEST_STEPS,
  OTHER_SATURATED,
  OTHER_SCALE,
  OTHER_ZERO_POINT,
  PLAIN_STEPS,
  SATURATED,
  SCALE,
  SUM_0,
  SUM_1,
  SUMS,
  UP,
  ZEROED,
} from "./job.ts";
import { loadChunk } from "./load.ts";
import { searchInStages } from "./stages.ts";
import { accumulate } from "./sums.ts";
import { chunkCount, chunkLength, job, quads, scratch, sumScale } from "./strip.ts";

/**
 * Replaces the choices of the strip by those of the search where these are better. The tile of a
 * block of one chunk is loaded.
 */
export function searchByError(): void {
  const chunks = chunkCount();
  for (let quad: usize = 0; quad < quads << 4; quad += 16) beginIntegers(quad);
  const staged = job.staged && !job.symmetric;
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    if (chunks > 1) loadChunk(chunk);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) {
      makeIntegers(quad, chunkLength(chunk));
      if (!staged) sumCandidates(quad, chunk);
    }
  }
  if (staged) searchInStages();
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    if (!staged) selectCandidate(quad);
    storeCandidate(quad);
    takeBetter(quad);
  }
}

/** Candidates: that of the plain scale and those of the grids. */
// @ts-ignore: decorator
@inline
function candidateCount(): u32 {
  return 1 + (job.symmetric ? 2 : 3) * job.stepCount;
}

/** The steps of candidate `index`. */
// @ts-ignore: decorator
@inline
function candidateSteps(quad: usize, index: u32): v128 {
  if (index == 0) return v128.load(scratch + quad, PLAIN_STEPS);
  return stepsAt(job.symmetric ? index - 1 : (index - 1) % job.stepCount);
}

/** The lowest signed codes of candidate `index`, whose zero point may lie outside its bounds. */
// @ts-ignore: decorator
@inline
function candidateLowest(quad: usize, index: u32): v128 {
  const lowest = lowestCodes(quad);
  if (job.symmetric || index <= job.stepCount) return lowest;
  return i16x8.add(lowest, i16x8.splat(index <= 2 * job.stepCount ? 1 : -1));
}

/** Adds the sums of one chunk for all candidates; those of an odd last one twice. */
function sumCandidates(quad: usize, chunk: u32): void {
  const count = candidateCount();
  const nothing = i32x4.splat(0);
  let sums = scratch + SUMS + quad;
  for (let index: u32 = 0; index < count; index += 2) {
    const other = min(index + 1, count - 1);
    tryPair(
      quad,
      chunk,
      chunkLength(chunk),
      candidateSteps(quad, index),
      candidateLowest(quad, index),
      candidateSteps(quad, other),
      candidateLowest(quad, other),
      false,
      nothing,
      nothing,
      nothing,
      0,
    );
    accumulate(chunk, sums, pairSum(0));
    accumulate(chunk, sums + 64, pairSum(32));
    accumulate(chunk, sums + 128, pairSum(16));
    accumulate(chunk, sums + 192, pairSum(48));
    sums += 256;
  }
}

/** Selects the best candidate of a quad by the sums of all. */
function selectCandidate(quad: usize): void {
  const scaling = f32x4.splat(sumScale());
  const count = candidateCount();
  let sums = scratch + SUMS + quad;
  beginSelection(quad);
  for (let index: u32 = 0; index < count; index++) {
    const a = f32x4.mul(v128.load(sums), scaling);
    const b = f32x4.mul(v128.load(sums, 64), scaling);
    if (index == 0) {
      v128.store(scratch + quad, a, SUM_0);
      v128.store(scratch + quad, b, SUM_1);
    }
    const lowest = candidateLowest(quad, index);
    const valid = v128.and(a, isZeroPoint(lowest));
    const better = keepBetter(quad, valid, b, candidateSteps(quad, index), BEST_STEPS);
    const best = v128.load(scratch + quad, BEST_LOWEST);
    v128.store(scratch + quad, v128.bitselect(lowest, best, better), BEST_LOWEST);
    sums += 128;
  }
}

/** Makes the other choice of a quad from the candidate that was selected. */
function storeCandidate(quad: usize): void {
  const at = scratch + quad;
  const best = scaleOfSums(quad, v128.load(at, BEST_A), v128.load(at, BEST_B));
  const exact = f32x4.mul(best, v128.load(at, UP));
  v128.store(at, storedScale(exact), OTHER_SCALE);
  v128.store(at, isClamped(exact), OTHER_SATURATED);
  const lowest = i32x4.shr_s(v128.load(at, BEST_LOWEST), 16);
  v128.store(at, f32x4.convert_i32x4_s(i32x4.neg(lowest)), OTHER_ZERO_POINT);
}

/** Takes the other choice where it gains more than the integers are off. */
function takeBetter(quad: usize): void {
  const at = scratch + quad;
  const plain = scaleOfStored(quad, v128.load(at, SCALE));
  const other = scaleOfStored(quad, v128.load(at, OTHER_SCALE));
  const required = f32x4.mul(f32x4.mul(plain, plain), f32x4.splat(requiredGain()));
  const limit = f32x4.add(gainOf(v128.load(at, SUM_0), v128.load(at, SUM_1), plain), required);
  const gain = gainOf(v128.load(at, BEST_A), v128.load(at, BEST_B), other);
  const usable = v128.andnot(
    f32x4.ne(v128.load(at, OTHER_SCALE), f32x4.splat(0)),
    v128.or(v128.load(at, ZEROED), v128.load(at, SATURATED)),
  );
  const better = v128.and(f32x4.gt(gain, limit), usable);
  for (let field: usize = 0; field < 3 * 64; field += 64) {
    const chosen = v128.load(at + field, SCALE);
    const searched = v128.load(at + field, OTHER_SCALE);
    v128.store(at + field, v128.bitselect(searched, chosen, better), SCALE);
  }
}
