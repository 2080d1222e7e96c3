/**
 * Error sums of a quantized block. They are taken over the normalized weights, chunk by chunk in
 * binary32, and added up in binary64.
 */
import { clamp, reciprocal, roundToEven } from "./float.ts";
import { DOWN, SCALE, TILE, TILE_STRIDE, UP, ZERO_POINT } from "./job.ts";
import { clearNonFinite, loadChunk } from "./load.ts";
import { chunkCount, chunkLength, job, quads, scratch } from "./strip.ts";

/** Sums over weights w and their values v: of w w, (w - v) (w - v) and v v. */
export let signal: f64 = 0;
export let noise: f64 = 0;
export let power: f64 = 0;

export function beginSums(): void {
  signal = 0;
  noise = 0;
  power = 0;
}

/**
 * Adds the current block of the strip. A block of one chunk is in the tile, `normalized` or not; any
 * other is loaded again.
 */
export function measureBlock(normalized: bool): void {
  const chunks = chunkCount();
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    const count = chunkLength(chunk);
    if (chunks > 1) loadChunk(chunk);
    for (let quad: usize = 0; quad < quads << 4; quad += 16) {
      if (chunks > 1) clearNonFinite(quad, count);
      measureQuad(quad, count, normalized && chunks == 1);
    }
  }
}

function measureQuad(quad: usize, count: u32, normalized: bool): void {
  const down = v128.load(scratch + quad, DOWN);
  const unit = normalized ? f32x4.splat(1) : down;
  const scale = f32x4.mul(v128.load(scratch + quad, SCALE), down);
  const inverse = reciprocal(scale);
  const zeroPoint = v128.load(scratch + quad, ZERO_POINT);
  const lower = f32x4.neg(zeroPoint);
  const upper = f32x4.sub(f32x4.splat(<f32>((1 << job.bits) - 1)), zeroPoint);
  let weights = f32x4.splat(0);
  let errors = f32x4.splat(0);
  let codes = f32x4.splat(0);
  let otherWeights = f32x4.splat(0);
  let otherErrors = f32x4.splat(0);
  let otherCodes = f32x4.splat(0);
  let at = scratch + TILE + quad;
  // Two at a time, so that one need not wait for the other's sums; counts are multiples of 16.
  for (let i: u32 = 0; i < count; i += 2) {
    const u = f32x4.mul(v128.load(at), unit);
    const q = roundToEven(clamp(f32x4.mul(u, inverse), lower, upper));
    const error = f32x4.sub(u, f32x4.mul(scale, q));
    weights = f32x4.add(weights, f32x4.mul(u, u));
    errors = f32x4.add(errors, f32x4.mul(error, error));
    codes = f32x4.add(codes, f32x4.mul(q, q));
    const u2 = f32x4.mul(v128.load(at, TILE_STRIDE), unit);
    const q2 = roundToEven(clamp(f32x4.mul(u2, inverse), lower, upper));
    const error2 = f32x4.sub(u2, f32x4.mul(scale, q2));
    otherWeights = f32x4.add(otherWeights, f32x4.mul(u2, u2));
    otherErrors = f32x4.add(otherErrors, f32x4.mul(error2, error2));
    otherCodes = f32x4.add(otherCodes, f32x4.mul(q2, q2));
    at += 2 * TILE_STRIDE;
  }
  weights = f32x4.add(weights, otherWeights);
  errors = f32x4.add(errors, otherErrors);
  codes = f32x4.add(codes, otherCodes);
  const up = v128.load(scratch + quad, UP);
  signal += scaledTotal(weights, up);
  noise += scaledTotal(errors, up);
  power += scaledTotal(codes, f32x4.mul(scale, up));
}

/** The sum over lanes of `sums` * `unit` * `unit`. */
function scaledTotal(sums: v128, unit: v128): f64 {
  const firstUnit = f64x2.promote_low_f32x4(unit);
  const secondUnit = f64x2.promote_low_f32x4(i64x2.shuffle(unit, unit, 1, 1));
  const first = f64x2.promote_low_f32x4(sums);
  const second = f64x2.promote_low_f32x4(i64x2.shuffle(sums, sums, 1, 1));
  const total = f64x2.add(
    f64x2.mul(f64x2.mul(first, firstUnit), firstUnit),
    f64x2.mul(f64x2.mul(second, secondUnit), secondUnit),
  );
  return f64x2.extract_lane(total, 0) + f64x2.extract_lane(total, 1);
}
