/**
 * Half-quadratic quantization: shrinks the errors, fits zero point and scale to what is left, and
 * keeps the choice with the least sum of |error|^0.7.
 */
import { constant, FIRST_POWER, LEAST_POWER, MOST_POWER, SIGN } from "./constants.ts";
import { clamp, isClamped, magnitude, reciprocal, roundToEven, storedScale } from "./float.ts";
import {
  ACTIVE,
  BEST_SATURATED,
  BEST_SCALE,
  BEST_ZERO_POINT,
  DOWN,
  NORM,
  OTHER_SATURATED,
  OTHER_SCALE,
  OTHER_ZERO_POINT,
  PARTS,
  SATURATED,
  SCALE,
  SUM_0,
  SUM_1,
  SUM_2,
  TILE,
  TILE_STRIDE,
  UP,
  ZERO_POINT,
} from "./job.ts";
import { clearNonFinite, loadChunk } from "./load.ts";
import { normalizeTile, signedLargest } from "./rtn.ts";
import { block, chunkCount, chunkLength, job, quads, scratch, sumScale } from "./strip.ts";
import { accumulate, joinParts } from "./sums.ts";

/** Least scale, of the normalized block, that is iterated with. */
const LEAST_SCALE: f32 = 1.0 / 65536;

/** Iterations from each start. */
const ITERATIONS: u32 = 8;

/** Byte offset of the shrinkages behind the powers. */
const SHRINKAGES: usize = 864 * 4;

/** What one pass over the block sums up. */
const NORM_AND_EXCESS: u32 = 0;
const FIT: u32 = 1;

/**
 * Replaces the choices of the strip by those of the least norm. The tile of a block of one chunk is
 * loaded, and is normalized afterwards.
 */
export function searchByHalfQuadratic(): void {
  if (chunkCount() == 1) {
    for (let quad: usize = 0; quad < quads << 4; quad += 16) normalizeTile(quad, chunkLength(0));
  }
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    const at = scratch + quad;
    v128.store(at, f32x4.splat(f32.MAX_VALUE), NORM);
    for (let field: usize = 0; field < 3 * 64; field += 64) {
      const plain = v128.load(at + field, SCALE);
      v128.store(at + field, plain, OTHER_SCALE);
      v128.store(at + field, plain, BEST_SCALE);
    }
    v128.store(at, isSearched(quad), ACTIVE);
  }
  iterate();
  if (job.symmetric) {
    for (let quad: usize = 0; quad < quads << 4; quad += 16) startMirrored(quad);
    iterate();
  }
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    for (let field: usize = 0; field < 3 * 64; field += 64) {
      v128.store(scratch + quad + field, v128.load(scratch + quad + field, BEST_SCALE), SCALE);
    }
  }
}

/** The start that maps the largest magnitude on the highest code. */
function startMirrored(quad: usize): void {
  const at = scratch + quad;
  const largest = f32x4.mul(signedLargest(quad), v128.load(at, DOWN));
  const steps = f32x4.splat(<f32>((1 << (job.bits - 1)) - 1));
  const exact = f32x4.mul(f32x4.div(largest, steps), v128.load(at, UP));
  const scale = storedScale(exact);
  const zero = f32x4.splat(0);
  v128.store(at, scale, OTHER_SCALE);
  v128.store(at, v128.load(at, ZERO_POINT), OTHER_ZERO_POINT);
  v128.store(at, isClamped(exact), OTHER_SATURATED);
  v128.store(at, v128.and(isSearched(quad), f32x4.ne(scale, zero)), ACTIVE);
}

/** All ones where rounding to nearest gave a scale that is neither zero nor saturated. */
function isSearched(quad: usize): v128 {
  const scaled = f32x4.ne(v128.load(scratch + quad, SCALE), f32x4.splat(0));
  return v128.andnot(scaled, v128.load(scratch + quad, SATURATED));
}

/** All ones where a stored scale is large enough to be iterated with. */
// @ts-ignore: decorator
@inline
function isUsable(quad: usize, scale: v128): v128 {
  const size = magnitude(f32x4.mul(scale, v128.load(scratch + quad, DOWN)));
  return f32x4.ge(size, f32x4.splat(LEAST_SCALE));
}

/** Iterates from the other choices of the strip. */
function iterate(): void {
  for (let k: u32 = 0; k <= ITERATIONS; k++) {
    pass(NORM_AND_EXCESS, k);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) keepLeast(quad);
    if (k == ITERATIONS) return;
    if (!job.symmetric) {
      for (let quad: usize = 0; quad < quads << 4; quad += 16) shiftZeroPoint(quad);
    }
    pass(FIT, k);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) fitScale(quad);
  }
}

/** One pass over the block. */
function pass(kind: u32, k: u32): void {
  const chunks = chunkCount();
  const shrinkage = load<f32>(job.powers + SHRINKAGES + min(k, ITERATIONS - 1) * 4);
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    const count = chunkLength(chunk);
    if (chunks > 1) loadChunk(chunk);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) {
      if (chunks > 1) {
        clearNonFinite(quad, count);
        normalizeTile(quad, count);
      }
      if (!v128.any_true(v128.load(scratch + quad, ACTIVE))) continue;
      if (kind == FIT) sumFit(quad, chunk, shrinkage);
      else sumNorm(quad, chunk, shrinkage);
    }
  }
}

/** x^-0.3 by table, for x of at least 0. */
function inversePower(x: v128): v128 {
  const pattern = i32x4.min_s(
    i32x4.max_s(x, constant(LEAST_POWER)),
    constant(MOST_POWER),
  );
  const index = i32x4.shl(
    i32x4.sub(i32x4.shr_u(pattern, 18), constant(FIRST_POWER)),
    2,
  );
  const table = job.powers;
  let power = v128.load32_splat(table + i32x4.extract_lane(index, 0));
  power = v128.load_lane<u32>(table + i32x4.extract_lane(index, 1), power, 1);
  power = v128.load_lane<u32>(table + i32x4.extract_lane(index, 2), power, 2);
  return v128.load_lane<u32>(table + i32x4.extract_lane(index, 3), power, 3);
}

// @ts-ignore: decorator
@inline
function currentScale(quad: usize): v128 {
  return f32x4.mul(v128.load(scratch + quad, OTHER_SCALE), v128.load(scratch + quad, DOWN));
}

// @ts-ignore: decorator
@inline
function highest(): v128 {
  return f32x4.splat(<f32>((1 << job.bits) - 1));
}

/** What the shrinkage leaves of an error. */
// @ts-ignore: decorator
@inline
function shrink(error: v128, power: v128, shrinkage: f32): v128 {
  const kept = f32x4.pmax(
    f32x4.splat(0),
    f32x4.sub(magnitude(error), f32x4.mul(power, f32x4.splat(shrinkage))),
  );
  return v128.or(kept, v128.and(error, constant(SIGN)));
}

/** Sums |x|^0.7 and, where the zero point may move, code - target. */
function sumNorm(quad: usize, chunk: u32, shrinkage: f32): void {
  const inverse = reciprocal(currentScale(quad));
  const zeroPoint = v128.load(scratch + quad, OTHER_ZERO_POINT);
  const lower = f32x4.neg(zeroPoint);
  const upper = f32x4.sub(highest(), zeroPoint);
  const known = knownCount(chunk);
  for (let part: u32 = 0; part < 4; part++) {
    let norm = f32x4.splat(0);
    let excess = f32x4.splat(0);
    for (let i = part; i < known; i += 4) {
      const position = f32x4.mul(v128.load(scratch + quad + i * TILE_STRIDE, TILE), inverse);
      const code = roundToEven(clamp(position, lower, upper));
      const error = f32x4.sub(position, code);
      const power = inversePower(magnitude(error));
      norm = f32x4.add(norm, f32x4.mul(magnitude(error), power));
      if (!job.symmetric) {
        const target = f32x4.sub(position, shrink(error, power, shrinkage));
        excess = f32x4.add(excess, f32x4.sub(code, target));
      }
    }
    v128.store(scratch + part * 16, norm, PARTS);
    v128.store(scratch + part * 16, excess, PARTS + 64);
  }
  accumulate(chunk, scratch + quad + SUM_0, joinParts(PARTS));
  accumulate(chunk, scratch + quad + SUM_1, joinParts(PARTS + 64));
}

/** Sums target * code and code * code. */
function sumFit(quad: usize, chunk: u32, shrinkage: f32): void {
  const inverse = reciprocal(currentScale(quad));
  const zeroPoint = v128.load(scratch + quad, OTHER_ZERO_POINT);
  const lower = f32x4.neg(zeroPoint);
  const upper = f32x4.sub(highest(), zeroPoint);
  const known = knownCount(chunk);
  for (let part: u32 = 0; part < 4; part++) {
    let products = f32x4.splat(0);
    let squares = f32x4.splat(0);
    for (let i = part; i < known; i += 4) {
      const position = f32x4.mul(v128.load(scratch + quad + i * TILE_STRIDE, TILE), inverse);
      const code = roundToEven(clamp(position, lower, upper));
      const error = f32x4.sub(position, code);
      const kept = shrink(error, inversePower(magnitude(error)), shrinkage);
      products = f32x4.add(products, f32x4.mul(f32x4.sub(position, kept), code));
      squares = f32x4.add(squares, f32x4.mul(code, code));
    }
    v128.store(scratch + part * 16, products, PARTS);
    v128.store(scratch + part * 16, squares, PARTS + 64);
  }
  accumulate(chunk, scratch + quad + SUM_0, joinParts(PARTS));
  accumulate(chunk, scratch + quad + SUM_2, joinParts(PARTS + 64));
}

/** Weights of the chunk without padding. */
function knownCount(chunk: u32): u32 {
  const start = block * job.blockLength + chunk * 256;
  return start < job.columns ? min(chunkLength(chunk), job.columns - start) : 0;
}

/** Keeps the current choice where its norm is the least so far. */
function keepLeast(quad: usize): void {
  const at = scratch + quad;
  const size = magnitude(currentScale(quad));
  const unit = f32x4.mul(size, inversePower(size));
  const norm = f32x4.mul(v128.load(at, SUM_0), unit);
  const better = v128.and(f32x4.lt(norm, v128.load(at, NORM)), v128.load(at, ACTIVE));
  v128.store(at, v128.bitselect(norm, v128.load(at, NORM), better), NORM);
  for (let field: usize = 0; field < 3 * 64; field += 64) {
    const current = v128.load(at + field, OTHER_SCALE);
    const best = v128.load(at + field, BEST_SCALE);
    v128.store(at + field, v128.bitselect(current, best, better), BEST_SCALE);
  }
}

/** Moves the zero point by the mean of code - target. */
function shiftZeroPoint(quad: usize): void {
  const at = scratch + quad;
  const count = f32x4.splat(<f32>min(job.blockLength, job.columns - block * job.blockLength));
  const shifted = f32x4.add(
    v128.load(at, OTHER_ZERO_POINT),
    f32x4.div(v128.load(at, SUM_1), count),
  );
  v128.store(at, roundToEven(clamp(shifted, f32x4.splat(0), highest())), OTHER_ZERO_POINT);
}

/** Fits the scale; lanes in which that leads nowhere stop. */
function fitScale(quad: usize): void {
  const at = scratch + quad;
  const scaling = f32x4.splat(sumScale());
  const products = f32x4.mul(v128.load(at, SUM_0), scaling);
  const squares = f32x4.mul(v128.load(at, SUM_2), scaling);
  const factor = f32x4.div(products, squares);
  const exact = f32x4.mul(f32x4.mul(currentScale(quad), factor), v128.load(at, UP));
  const scale = storedScale(exact);
  const leads = v128.and(f32x4.gt(products, f32x4.splat(0)), isUsable(quad, scale));
  v128.store(at, v128.and(v128.load(at, ACTIVE), leads), ACTIVE);
  v128.store(at, scale, OTHER_SCALE);
  v128.store(at, isClamped(exact), OTHER_SATURATED);
}
