/**
 * The search for the least squared error in stages: coarse steps, zero points, fine steps. For
 * asymmetric blocks of one chunk. Each stage goes through all quads, so that one needs not wait for
 * what the last brought for the same quad.
 */
import {
  beginSelection,
  isZeroPoint,
  keepBetterOfPair,
  lowestCodes,
  pairSum,
  stepsAt,
  sumPair,
} from "./candidates.ts";
import { BEST_LOWEST, BEST_STEPS, PLAIN_STEPS, SUM_0, SUM_1 } from "./job.ts";
import { chunkLength, job, quads, scratch } from "./strip.ts";

/**
 * Selects candidates of the strip's asymmetric blocks of one chunk: the plain scale and every second
 * step of the grid, then the neighbouring zero points, then the steps beside the best.
 */
export function searchInStages(): void {
  const end = quads << 4;
  for (let quad: usize = 0; quad < end; quad += 16) {
    const at = scratch + quad;
    beginSelection(quad);
    trySteps(quad, v128.load(at, PLAIN_STEPS), stepsAt(0));
    v128.store(at, pairSum(0), SUM_0);
    v128.store(at, pairSum(32), SUM_1);
  }
  for (let step: u32 = 1; step < job.stepCount; step += 2) {
    // The second of an odd one's pair is the first again, which is not better than itself.
    const other = step + 1 < job.stepCount ? step + 1 : step;
    for (let quad: usize = 0; quad < end; quad += 16) trySteps(quad, stepsAt(step), stepsAt(other));
  }
  for (let quad: usize = 0; quad < end; quad += 16) tryZeroPoints(quad);
  const distance = stepsAt(job.stepCount);
  for (let quad: usize = 0; quad < end; quad += 16) {
    const steps = v128.load(scratch + quad, BEST_STEPS);
    trySteps(quad, i16x8.sub(steps, distance), i16x8.add(steps, distance));
  }
}

/** Tries two candidates of a quad with the best zero points so far. */
function trySteps(quad: usize, steps: v128, otherSteps: v128): void {
  const lowest = v128.load(scratch + quad, BEST_LOWEST);
  sumPair(quad, 0, chunkLength(0), steps, lowest, otherSteps, lowest);
  const always = i32x4.splat(-1);
  keepBetterOfPair(quad, always, steps, always, otherSteps, BEST_STEPS);
}

/** Tries the zero points beside those of a quad with the best steps so far. */
function tryZeroPoints(quad: usize): void {
  const steps = v128.load(scratch + quad, BEST_STEPS);
  const lowest = lowestCodes(quad);
  const less = i16x8.add(lowest, i16x8.splat(1));
  const more = i16x8.sub(lowest, i16x8.splat(1));
  sumPair(quad, 0, chunkLength(0), steps, less, steps, more);
  keepBetterOfPair(quad, isZeroPoint(less), less, isZeroPoint(more), more, BEST_LOWEST);
}
