/**
 * Least squared error: every candidate's codes are judged at their own best scale, the winner's best
 * scale is stored, and its error is compared with that of rounding to nearest.
 */
import { beginSelection, highest, importanceAt, keepBetter, limitedCode, stepsAt } from "./candidates.ts";
import { constant, MAGIC, ONE } from "./constants.ts";
import { clamp, isClamped, reciprocal, roundToEven, storedScale } from "./float.ts";
import {
  BEST_A,
  BEST_B,
  DOWN,
  OTHER_SATURATED,
  OTHER_SCALE,
  OTHER_ZERO_POINT,
  PARTS,
  SATURATED,
  SCALE,
  SUM_0,
  SUM_1,
  SUMS,
  TILE,
  TILE_STRIDE,
  UNIT,
  UP,
  WEIGHTED,
  ZERO_POINT,
  ZEROED,
} from "./job.ts";
import { clearNonFinite, loadChunk } from "./load.ts";
import { searchInStages } from "./stages.ts";
import { accumulate, joinParts } from "./sums.ts";
import { normalizeTile, range, signedLargest } from "./rtn.ts";
import { chunkCount, chunkLength, job, quads, scratch, sumScale } from "./strip.ts";

/**
 * Replaces the choices of the strip by those of the search where these are better. The tile of a
 * block of one chunk is loaded, and is normalized afterwards.
 */
export function searchByError(): void {
  const chunks = chunkCount();
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    const one = constant(ONE);
    const extent = job.symmetric
      ? f32x4.neg(f32x4.mul(signedLargest(quad), v128.load(scratch + quad, DOWN)))
      : range(quad);
    v128.store(scratch + quad, f32x4.div(one, extent), UNIT);
  }
  const staged = job.staged && !job.symmetric;
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    if (chunks > 1) loadChunk(chunk);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) {
      clearNonFinite(quad, chunkLength(chunk));
      normalizeTile(quad, chunkLength(chunk));
      if (job.importance) weigh(quad, chunk);
      if (staged) searchInStages(quad);
      else sumCandidates(quad, chunk);
    }
  }
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    if (!staged) selectCandidate(quad);
    storeCandidate(quad);
  }
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    if (chunks > 1) loadChunk(chunk);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) {
      if (chunks > 1) {
        clearNonFinite(quad, chunkLength(chunk));
        normalizeTile(quad, chunkLength(chunk));
      }
      sumErrors(quad, chunk, SCALE, SUM_0);
      sumErrors(quad, chunk, OTHER_SCALE, SUM_1);
    }
  }
  for (let quad: usize = 0; quad < quads << 4; quad += 16) takeBetter(quad);
}

// @ts-ignore: decorator
@inline
function candidateCount(): u32 {
  return job.symmetric ? 2 * job.stepCount : 3 * job.stepCount;
}

/** The reciprocal of candidate `index`'s scale. */
// @ts-ignore: decorator
@inline
function candidateInverse(quad: usize, index: u32): v128 {
  const unit = v128.load(scratch + quad, UNIT);
  if (!job.symmetric) {
    return f32x4.mul(unit, v128.load32_splat(job.steps + (index % job.stepCount) * 4));
  }
  const steps = v128.load32_splat(job.steps + index * 4);
  return f32x4.mul(index < job.stepCount ? unit : f32x4.neg(unit), steps);
}

/** The zero point of candidate `index`, which may lie outside its bounds. */
// @ts-ignore: decorator
@inline
function candidateZeroPoint(quad: usize, index: u32): v128 {
  const zeroPoint = v128.load(scratch + quad, ZERO_POINT);
  if (job.symmetric || index < job.stepCount) return zeroPoint;
  const shift: f32 = index < 2 * job.stepCount ? -1 : 1;
  return f32x4.add(zeroPoint, f32x4.splat(shift));
}

/** Multiplies a quad of the normalized tile by importance. */
function weigh(quad: usize, chunk: u32): void {
  const count = chunkLength(chunk);
  for (let i: u32 = 0; i < count; i++) {
    const at = scratch + quad + i * TILE_STRIDE;
    v128.store(at, f32x4.mul(importanceAt(chunk, i), v128.load(at, TILE)), WEIGHTED);
  }
}

/** Adds the sums of one chunk for all candidates. */
function sumCandidates(quad: usize, chunk: u32): void {
  const count = candidateCount();
  for (let index: u32 = 0; index < count; index++) {
    const inverse = candidateInverse(quad, index);
    const zeroPoint = candidateZeroPoint(quad, index);
    const lower = f32x4.neg(zeroPoint);
    const upper = f32x4.sub(highest(), zeroPoint);
    const sums = scratch + SUMS + index * 128 + quad;
    if (job.importance) sumWeightedCandidate(quad, chunk, inverse, lower, upper, sums);
    else sumCandidate(quad, chunk, inverse, lower, upper, sums);
  }
}

/**
 * A = sum(u q) in four partial sums, B = sum(q q). Within a chunk B is an integer below 2^24, so the
 * order of its sum does not matter.
 */
function sumCandidate(
  quad: usize,
  chunk: u32,
  inverse: v128,
  lower: v128,
  upper: v128,
  sums: usize,
): void {
  const magic = constant(MAGIC);
  const floor = f32x4.add(magic, lower);
  const ceiling = f32x4.add(magic, upper);
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let even = f32x4.splat(0);
  let odd = f32x4.splat(0);
  let at = scratch + TILE + quad;
  const end = at + chunkLength(chunk) * TILE_STRIDE;
  while (at < end) {
    const u0 = v128.load(at);
    const q0 = limitedCode(f32x4.add(f32x4.mul(u0, inverse), magic), magic, floor, ceiling);
    a0 = f32x4.add(a0, f32x4.mul(u0, q0));
    even = f32x4.add(even, f32x4.mul(q0, q0));
    const u1 = v128.load(at, TILE_STRIDE);
    const q1 = limitedCode(f32x4.add(f32x4.mul(u1, inverse), magic), magic, floor, ceiling);
    a1 = f32x4.add(a1, f32x4.mul(u1, q1));
    odd = f32x4.add(odd, f32x4.mul(q1, q1));
    const u2 = v128.load(at, 2 * TILE_STRIDE);
    const q2 = limitedCode(f32x4.add(f32x4.mul(u2, inverse), magic), magic, floor, ceiling);
    a2 = f32x4.add(a2, f32x4.mul(u2, q2));
    even = f32x4.add(even, f32x4.mul(q2, q2));
    const u3 = v128.load(at, 3 * TILE_STRIDE);
    const q3 = limitedCode(f32x4.add(f32x4.mul(u3, inverse), magic), magic, floor, ceiling);
    a3 = f32x4.add(a3, f32x4.mul(u3, q3));
    odd = f32x4.add(odd, f32x4.mul(q3, q3));
    at += 4 * TILE_STRIDE;
  }
  accumulate(chunk, sums, f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)));
  accumulate(chunk, sums + 64, f32x4.add(even, odd));
}

/** A = sum((h u) q) and B = sum((h q) q), both in four partial sums. */
function sumWeightedCandidate(
  quad: usize,
  chunk: u32,
  inverse: v128,
  lower: v128,
  upper: v128,
  sums: usize,
): void {
  const count = chunkLength(chunk);
  for (let part: u32 = 0; part < 4; part++) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    for (let i = part; i < count; i += 4) {
      const at = scratch + quad + i * TILE_STRIDE;
      const q = clamp(roundToEven(f32x4.mul(v128.load(at, TILE), inverse)), lower, upper);
      a = f32x4.add(a, f32x4.mul(v128.load(at, WEIGHTED), q));
      b = f32x4.add(b, f32x4.mul(f32x4.mul(importanceAt(chunk, i), q), q));
    }
    v128.store(scratch + part * 16, a, PARTS);
    v128.store(scratch + part * 16, b, PARTS + 64);
  }
  accumulate(chunk, sums, joinParts(PARTS));
  accumulate(chunk, sums + 64, joinParts(PARTS + 64));
}

/** Selects the best candidate of a quad by the sums of all. */
function selectCandidate(quad: usize): void {
  const scaling = f32x4.splat(sumScale());
  const runs: u32 = job.symmetric ? 2 : 3;
  let sums = scratch + SUMS + quad;
  beginSelection(quad, 0);
  for (let run: u32 = 0; run < runs; run++) {
    const zeroPoint = candidateZeroPoint(quad, run * job.stepCount);
    for (let step: u32 = 0; step < job.stepCount; step++) {
      const a = f32x4.mul(v128.load(sums), scaling);
      const b = f32x4.mul(v128.load(sums, 64), scaling);
      keepBetter(quad, a, b, zeroPoint, stepsAt(step));
      sums += 128;
    }
  }
}

/** Makes the other choice of a quad from the candidate that was selected. */
function storeCandidate(quad: usize): void {
  const at = scratch + quad;
  const best = f32x4.div(v128.load(at, BEST_A), v128.load(at, BEST_B));
  const exact = f32x4.mul(best, v128.load(at, UP));
  v128.store(at, storedScale(exact), OTHER_SCALE);
  v128.store(at, isClamped(exact), OTHER_SATURATED);
}

/**
 * Adds the squared errors of one chunk under the choice whose scale is at `choice` and whose zero
 * point lies a vector of the strip further.
 */
function sumErrors(quad: usize, chunk: u32, choice: usize, sum: usize): void {
  const scale = f32x4.mul(v128.load(scratch + quad + choice), v128.load(scratch + quad, DOWN));
  const inverse = reciprocal(scale);
  const zeroPoint = v128.load(scratch + quad + choice, 64);
  const lower = f32x4.neg(zeroPoint);
  const upper = f32x4.sub(highest(), zeroPoint);
  const count = chunkLength(chunk);
  if (job.importance) {
    for (let part: u32 = 0; part < 4; part++) {
      let total = f32x4.splat(0);
      for (let i = part; i < count; i += 4) {
        const u = v128.load(scratch + quad + i * TILE_STRIDE, TILE);
        const error = errorOf(u, scale, inverse, lower, upper);
        total = f32x4.add(total, f32x4.mul(f32x4.mul(importanceAt(chunk, i), error), error));
      }
      v128.store(scratch + part * 16, total, PARTS);
    }
    accumulate(chunk, scratch + quad + sum, joinParts(PARTS));
    return;
  }
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  let at = scratch + TILE + quad;
  const end = at + count * TILE_STRIDE;
  while (at < end) {
    const e0 = errorOf(v128.load(at), scale, inverse, lower, upper);
    sum0 = f32x4.add(sum0, f32x4.mul(e0, e0));
    const e1 = errorOf(v128.load(at, TILE_STRIDE), scale, inverse, lower, upper);
    sum1 = f32x4.add(sum1, f32x4.mul(e1, e1));
    const e2 = errorOf(v128.load(at, 2 * TILE_STRIDE), scale, inverse, lower, upper);
    sum2 = f32x4.add(sum2, f32x4.mul(e2, e2));
    const e3 = errorOf(v128.load(at, 3 * TILE_STRIDE), scale, inverse, lower, upper);
    sum3 = f32x4.add(sum3, f32x4.mul(e3, e3));
    at += 4 * TILE_STRIDE;
  }
  const total = f32x4.add(f32x4.add(sum0, sum1), f32x4.add(sum2, sum3));
  accumulate(chunk, scratch + quad + sum, total);
}

/** u less the value of its code. */
// @ts-ignore: decorator
@inline
function errorOf(u: v128, scale: v128, inverse: v128, lower: v128, upper: v128): v128 {
  const q = roundToEven(clamp(f32x4.mul(u, inverse), lower, upper));
  return f32x4.sub(u, f32x4.mul(scale, q));
}

/** Takes the other choice where its error is less by more than what sums are off. */
function takeBetter(quad: usize): void {
  const at = scratch + quad;
  const limit = f32x4.mul(v128.load(at, SUM_0), f32x4.splat(1 - 0.0001220703125));
  const usable = v128.andnot(
    f32x4.ne(v128.load(at, OTHER_SCALE), f32x4.splat(0)),
    v128.or(v128.load(at, ZEROED), v128.load(at, SATURATED)),
  );
  const better = v128.and(f32x4.lt(v128.load(at, SUM_1), limit), usable);
  for (let field: usize = 0; field < 3 * 64; field += 64) {
    const plain = v128.load(at + field, SCALE);
    const searched = v128.load(at + field, OTHER_SCALE);
    v128.store(at + field, v128.bitselect(searched, plain, better), SCALE);
  }
}
