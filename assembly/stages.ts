/**
 * The search for the least squared error in stages: coarse steps, zero points, fine steps. For asymmetric
 * blocks of one chunk.
 */
import { beginSelection, highest, importanceAt, keepBetter, limitedCode, stepsAt } from "./candidates.ts";
import { constant, MAGIC, ONE } from "./constants.ts";
import { BEST_STEPS, OTHER_ZERO_POINT, PARTS, TILE, TILE_STRIDE, UNIT, WEIGHTED, ZERO_POINT } from "./job.ts";
import { chunkLength, job, scratch } from "./strip.ts";
import { joinParts } from "./sums.ts";

/**
 * Selects a candidate of a quad whose asymmetric block is one chunk: every second step of the grid,
 * then the neighbouring zero points with these steps and those on both sides, then the steps beside the
 * best.
 */
export function searchInStages(quad: usize): void {
  const at = scratch + quad;
  const zeroPoint = v128.load(at, ZERO_POINT);
  beginSelection(quad, 1);
  for (let step: u32 = 1; step < job.stepCount; step += 4) {
    tryPair(quad, stepsAt(step), zeroPoint, stepsAt(step + 2), zeroPoint);
  }
  const steps = v128.load(at, BEST_STEPS);
  const distance = f32x4.sub(stepsAt(1), stepsAt(0));
  tryZeroPoints(quad, steps, zeroPoint);
  tryZeroPoints(quad, f32x4.sub(steps, distance), zeroPoint);
  tryZeroPoints(quad, f32x4.add(steps, distance), zeroPoint);
  const middle = v128.load(at, BEST_STEPS);
  const best = v128.load(at, OTHER_ZERO_POINT);
  tryPair(quad, f32x4.sub(middle, distance), best, f32x4.add(middle, distance), best);
}

/** Tries the zero points beside `zeroPoint`. */
function tryZeroPoints(quad: usize, steps: v128, zeroPoint: v128): void {
  const one = constant(ONE);
  tryPair(quad, steps, f32x4.sub(zeroPoint, one), steps, f32x4.add(zeroPoint, one));
}

/** Tries two candidates of a quad, by their steps and zero points. */
function tryPair(quad: usize, steps: v128, zeroPoint: v128, otherSteps: v128, otherZeroPoint: v128): void {
  const unit = v128.load(scratch + quad, UNIT);
  const magic = constant(MAGIC);
  const inverse = f32x4.mul(unit, steps);
  const otherInverse = f32x4.mul(unit, otherSteps);
  const floor = f32x4.sub(magic, zeroPoint);
  const otherFloor = f32x4.sub(magic, otherZeroPoint);
  const ceiling = f32x4.add(floor, highest());
  const otherCeiling = f32x4.add(otherFloor, highest());
  if (job.importance) sumWeightedPair(quad, inverse, otherInverse, floor, otherFloor, ceiling, otherCeiling);
  else sumPair(quad, inverse, otherInverse, floor, otherFloor, ceiling, otherCeiling);
  keepBetter(quad, joinParts(PARTS), joinParts(PARTS + 128), zeroPoint, steps);
  keepBetter(quad, joinParts(PARTS + 64), joinParts(PARTS + 192), otherZeroPoint, otherSteps);
}

/** A = sum(u q) and B = sum(q q) of two candidates in four partial sums each. */
function sumPair(
  quad: usize,
  inverse: v128,
  otherInverse: v128,
  floor: v128,
  otherFloor: v128,
  ceiling: v128,
  otherCeiling: v128,
): void {
  const magic = constant(MAGIC);
  const base = scratch + TILE + quad;
  const bytes = chunkLength(0) * TILE_STRIDE;
  for (let part: usize = 0; part < 4; part++) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    let otherA = f32x4.splat(0);
    let otherB = f32x4.splat(0);
    let at = base + part * TILE_STRIDE;
    const end = at + bytes;
    while (at < end) {
      const u = v128.load(at);
      const q = limitedCode(f32x4.add(f32x4.mul(u, inverse), magic), magic, floor, ceiling);
      a = f32x4.add(a, f32x4.mul(u, q));
      b = f32x4.add(b, f32x4.mul(q, q));
      const p = limitedCode(f32x4.add(f32x4.mul(u, otherInverse), magic), magic, otherFloor, otherCeiling);
      otherA = f32x4.add(otherA, f32x4.mul(u, p));
      otherB = f32x4.add(otherB, f32x4.mul(p, p));
      at += 4 * TILE_STRIDE;
    }
    storePair(part, a, otherA, b, otherB);
  }
}

/** As {@link sumPair}, A = sum((h u) q) and B = sum((h q) q). */
function sumWeightedPair(
  quad: usize,
  inverse: v128,
  otherInverse: v128,
  floor: v128,
  otherFloor: v128,
  ceiling: v128,
  otherCeiling: v128,
): void {
  const magic = constant(MAGIC);
  const count = chunkLength(0);
  for (let part: usize = 0; part < 4; part++) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    let otherA = f32x4.splat(0);
    let otherB = f32x4.splat(0);
    for (let i = <u32>part; i < count; i += 4) {
      const at = scratch + quad + i * TILE_STRIDE;
      const u = v128.load(at, TILE);
      const hu = v128.load(at, WEIGHTED);
      const h = importanceAt(0, i);
      const q = limitedCode(f32x4.add(f32x4.mul(u, inverse), magic), magic, floor, ceiling);
      a = f32x4.add(a, f32x4.mul(hu, q));
      b = f32x4.add(b, f32x4.mul(f32x4.mul(h, q), q));
      const p = limitedCode(f32x4.add(f32x4.mul(u, otherInverse), magic), magic, otherFloor, otherCeiling);
      otherA = f32x4.add(otherA, f32x4.mul(hu, p));
      otherB = f32x4.add(otherB, f32x4.mul(f32x4.mul(h, p), p));
    }
    storePair(part, a, otherA, b, otherB);
  }
}

// @ts-ignore: decorator
@inline
function storePair(part: usize, a: v128, otherA: v128, b: v128, otherB: v128): void {
  const at = scratch + part * 16;
  v128.store(at, a, PARTS);
  v128.store(at, otherA, PARTS + 64);
  v128.store(at, b, PARTS + 128);
  v128.store(at, otherB, PARTS + 192);
}
