/**
 * The search for the least squared error in stages: coarse steps, then the zero point and the steps
 * beside the best. For asymmetric blocks of one chunk. Each stage goes through all quads, so that one
 * needs not wait for what the last brought for the same quad.
 */
import {
  beginSelection,
  codesOfEnds,
  highestCode,
  isZeroPoint,
  lowestCodes,
  pairSum,
  stepsAt,
  tryPair,
} from "./candidates.ts";
import { BEST_A, BEST_B, BEST_LOWEST, BEST_STEPS, PLAIN_STEPS, SUM_0, SUM_1 } from "./job.ts";
import { chunkLength, job, quads, scratch } from "./strip.ts";

/**
 * Selects candidates of the strip's asymmetric blocks of one chunk: the plain scale and the coarse
 * steps, then the zero point and the steps next to the best in the direction that promises a gain.
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
  for (let quad: usize = 0; quad < end; quad += 16) tryNeighbours(quad);
}

/** Tries two candidates of a quad with the zero points of rounding to nearest. */
function trySteps(quad: usize, steps: v128, otherSteps: v128): void {
  const lowest = v128.load(scratch + quad, BEST_LOWEST);
  tryPair(
    quad,
    0,
    chunkLength(0),
    steps,
    lowest,
    otherSteps,
    lowest,
    true,
    i32x4.splat(-1),
    steps,
    otherSteps,
    BEST_STEPS,
  );
}

/**
 * Tries the zero points with which both ends are clipped more evenly, and the steps towards the best
 * candidates' own best scales.
 */
function tryNeighbours(quad: usize): void {
  const at = scratch + quad;
  const steps = v128.load(at, BEST_STEPS);
  const lowest = v128.load(at, BEST_LOWEST);
  const high = i16x8.gt_s(
    codesOfEnds(quad, steps),
    i16x8.add(i16x8.add(lowest, lowest), highestCode()),
  );
  const one = i16x8.splat(1);
  const otherLowest = i16x8.sub(lowest, v128.or(high, one));
  const product = f32x4.mul(
    v128.load(at, BEST_A),
    f32x4.convert_i32x4_s(i32x4.shr_s(steps, 16)),
  );
  const grows = f32x4.gt(product, f32x4.mul(v128.load(at, BEST_B), f32x4.splat(32768)));
  const distance = stepsAt(job.stepCount);
  const otherSteps = v128.bitselect(
    i16x8.sub(steps, distance),
    i16x8.add(steps, distance),
    grows,
  );
  tryPair(
    quad,
    0,
    chunkLength(0),
    steps,
    otherLowest,
    otherSteps,
    lowest,
    true,
    isZeroPoint(otherLowest),
    otherLowest,
    lowest,
    BEST_LOWEST,
  );
}
