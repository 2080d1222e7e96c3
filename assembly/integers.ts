/**
 * The weights of the tile as the search of `mse` sees them: 16-bit integers, two of a row side by
 * side, so that an instruction makes eight codes and another sums eight products.
 */
import { constant, MAGIC, ONE } from "./constants.ts";
import { roundToEven } from "./float.ts";
import {
  CHUNK,
  DOWN,
  EXTENT,
  INTEGERS,
  PLAIN_STEPS,
  SCALE,
  TILE,
  TILE_STRIDE,
  UNIT,
} from "./job.ts";
import { greatest, least, range, signedLargest } from "./rtn.ts";
import { block, job, scratch, sumScale } from "./strip.ts";

/** Units that the extent of a block has. */
// @ts-ignore: decorator
@inline
function span(): f32 {
  return job.bits == 8 ? 16384 : 4096;
}

/** The share of a typical column, 1 where all count alike. */
// @ts-ignore: decorator
@inline
function typicalShare(): f32 {
  return job.shares ? 16 : 1;
}

/** Begins the search of a quad: what its candidates span, its unit, and the plain scale in steps. */
export function beginIntegers(quad: usize): void {
  const at = scratch + quad;
  const extent = job.symmetric
    ? f32x4.neg(f32x4.mul(signedLargest(quad), v128.load(at, DOWN)))
    : range(quad);
  v128.store(at, extent, EXTENT);
  v128.store(at, f32x4.mul(f32x4.div(constant(ONE), extent), f32x4.splat(span())), UNIT);
  const plain = scaleOfStored(quad, v128.load(at, SCALE));
  const steps = v128.andnot(
    roundToEven(f32x4.div(f32x4.splat(32768), plain)),
    f32x4.eq(plain, f32x4.splat(0)),
  );
  const whole = i32x4.trunc_sat_f32x4_s(steps);
  v128.store(at, v128.or(whole, i32x4.shl(whole, 16)), PLAIN_STEPS);
}

/** The scale of a quad's integers that a stored one is. */
export function scaleOfStored(quad: usize, scale: v128): v128 {
  const at = scratch + quad;
  return f32x4.mul(f32x4.mul(scale, v128.load(at, DOWN)), v128.load(at, UNIT));
}

/** The scale, of the normalized weights, that the sums A and B of a quad's integers stand for. */
export function scaleOfSums(quad: usize, a: v128, b: v128): v128 {
  const extent = v128.load(scratch + quad, EXTENT);
  return f32x4.mul(
    f32x4.mul(f32x4.div(a, b), extent),
    f32x4.splat(1 / span()),
  );
}

/** How far the squared error falls by codes of the sums A and B with `scale`. */
export function gainOf(a: v128, b: v128, scale: v128): v128 {
  return f32x4.mul(scale, f32x4.sub(f32x4.add(a, a), f32x4.mul(scale, b)));
}

/** What the result of a search must gain, in squares of the plain scale. */
export function requiredGain(): f32 {
  const weight: f32 = job.bits == 8 ? 0.0078125 : 0.00048828125;
  return weight * typicalShare() * <f32>job.blockLength * sumScale();
}

/** Where the shares of a chunk's columns are, two in 32 bits. */
// @ts-ignore: decorator
@inline
export function sharesAt(chunk: u32): usize {
  return job.shares + (block * job.blockLength + chunk * CHUNK) * 2;
}

/** What takes a quad's weights to integers. */
// @ts-ignore: decorator
@inline
function unitOfWeights(quad: usize): v128 {
  return f32x4.mul(v128.load(scratch + quad, UNIT), v128.load(scratch + quad, DOWN));
}

/** The least integer of a quad, at most 0, plus the greatest, at least 0; each sum twice. */
// @ts-ignore: decorator
@inline
export function sumOfEnds(quad: usize): v128 {
  const magic = constant(MAGIC);
  const unit = unitOfWeights(quad);
  const low = f32x4.add(f32x4.mul(least(quad), unit), magic);
  const high = f32x4.add(f32x4.mul(greatest(quad), unit), magic);
  return i16x8.shuffle(i32x4.add(low, high), low, 0, 0, 2, 2, 4, 4, 6, 6);
}

/** Makes integers of the first `count` weights of a quad of the tile. */
export function makeIntegers(quad: usize, count: u32): void {
  const magic = constant(MAGIC);
  const unit = unitOfWeights(quad);
  let at = scratch + TILE + quad;
  let to = scratch + INTEGERS + quad * 128;
  const end = at + count * TILE_STRIDE;
  while (at < end) {
    const first = f32x4.add(f32x4.mul(v128.load(at), unit), magic);
    const second = f32x4.add(f32x4.mul(v128.load(at, TILE_STRIDE), unit), magic);
    v128.store(to, pairOf(first, second));
    at += 2 * TILE_STRIDE;
    to += 16;
  }
}

/** The low halves of two vectors of numbers near the magic one, which are integers. */
// @ts-ignore: decorator
@inline
function pairOf(first: v128, second: v128): v128 {
  return i16x8.shuffle(first, i32x4.shl(second, 16), 0, 9, 2, 11, 4, 13, 6, 15);
}
