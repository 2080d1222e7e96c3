/**
 * What the methods share: a block of weights, its scale as it is stored, sums in the order that
 * `docs/arithmetic.md` fixes. Every operation is rounded to binary32 by `Math.fround`.
 */
import { type BlockFormat, highestCode, symmetricZeroPoint } from "../../formats.ts";
import {
  FLOAT16_MAX,
  float16FromNumber,
  float16ToNumber,
  float32Bits,
  float32FromBits,
} from "../half.ts";

const f = Math.fround;

/** A block: its weights in binary32, without padding. */
export interface Block {
  readonly weights: Float32Array;
  /** How much each weight's squared error counts, by `integers.ts`; null where all count alike. */
  readonly shares: Uint8Array | null;
  readonly format: BlockFormat;
  /** Weights a block of this matrix has with padding (`BlockLayout.blockLength`). */
  readonly blockLength: number;
}

/** A scale as it is stored. */
export interface StoredScale {
  readonly scale: number;
  /** Whether it was too large for its type and clamped. */
  readonly saturated: boolean;
}

/** What a method chooses for a block. */
export interface Choice extends StoredScale {
  readonly zeroPoint: number;
}

/** Scale and zero point of a block of zeros. */
export function zeroChoice(format: BlockFormat): Choice {
  return {
    scale: 0,
    saturated: false,
    zeroPoint: format.symmetric ? symmetricZeroPoint(format.bits) : 0,
  };
}

/** A block whose largest magnitude lies below this one is a block of zeros. */
export const SMALLEST_MAGNITUDE = 2 ** -100;

/** The least positive binary32 number that is not subnormal. */
const SMALLEST_NORMAL = 2 ** -126;

/** Normalized weights below this count as zero, so that no operation meets a subnormal number. */
const NEGLIGIBLE = 2 ** -50;

/** Largest scale of type float32: its reciprocal is still a normal number. */
export const LARGEST_FLOAT32_SCALE = 2 ** 126;

/** Least and most importance of a weight; values outside are clamped. */
export const IMPORTANCE_BOUNDS = { least: 2 ** -10, most: 2 ** 10 } as const;

/** A block scaled by a power of two so that its largest magnitude lies in [1, 4). */
export interface NormalizedBlock {
  readonly format: BlockFormat;
  readonly blockLength: number;
  /** Least and greatest weight before. */
  readonly extremes: Extremes;
  /** Weights times `down`; zero where the weight is subnormal or the product below 2^-50. */
  readonly values: Float32Array;
  readonly shares: Uint8Array | null;
  /** 2^-e, which takes weights to `values`. */
  readonly down: number;
  /** 2^e, which takes a scale of `values` to a scale of the weights. */
  readonly up: number;
  /** 2^-ceil(log2(chunks)), by which sums of long blocks are scaled down. */
  readonly sumScale: number;
}

/** Least and greatest weight of a block. */
export interface Extremes {
  readonly low: number;
  readonly high: number;
}

/** The extremes of a block of at least one weight. */
export function extremes(weights: Float32Array): Extremes {
  let low = weights[0]!;
  let high = weights[0]!;
  for (const weight of weights) {
    if (weight < low) low = weight;
    if (weight > high) high = weight;
  }
  return { low, high };
}

/** The weight of largest magnitude; the negative one of two. */
export function signedLargest({ low, high }: Extremes): number {
  return high > -low ? high : low;
}

/** The powers of two that normalize a block whose largest magnitude is `magnitude`. */
export function normalizers(magnitude: number): { down: number; up: number } {
  const exponent = Math.min((float32Bits(magnitude) >>> 23) - 127, 126);
  return {
    down: float32FromBits((127 - exponent) << 23),
    up: float32FromBits((127 + exponent) << 23),
  };
}

/** Normalizes a finite block of at least `SMALLEST_MAGNITUDE`. */
export function normalize(block: Block): NormalizedBlock {
  const { format, blockLength } = block;
  const bounds = extremes(block.weights);
  const { down, up } = normalizers(Math.abs(signedLargest(bounds)));
  const least = Math.max(SMALLEST_NORMAL, NEGLIGIBLE * up);
  const values = block.weights.map((weight) => Math.abs(weight) < least ? 0 : weight * down);
  const sumScale = 2 ** -Math.ceil(Math.log2(Math.ceil(blockLength / 256)));
  return {
    format,
    blockLength,
    extremes: bounds,
    values,
    shares: block.shares,
    down,
    up,
    sumScale,
  };
}

/** The scale that is stored for the exact scale `scale`, which may be infinite; never -0. */
export function storeScale(scale: number, format: BlockFormat): StoredScale {
  const magnitude = Math.abs(scale);
  if (format.scaleType === "float32") {
    const saturated = magnitude > LARGEST_FLOAT32_SCALE;
    return { scale: saturated ? Math.sign(scale) * LARGEST_FLOAT32_SCALE : scale, saturated };
  }
  const rounded = float16ToNumber(float16FromNumber(magnitude));
  const saturated = rounded > FLOAT16_MAX;
  return {
    scale: Math.sign(scale) * Math.min(rounded, FLOAT16_MAX) + 0,
    saturated,
  };
}

/** 1 / `scale`, or 0 for a scale of 0. */
export function reciprocal(scale: number): number {
  return scale === 0 ? 0 : f(1 / scale);
}

/** `x` rounded to the nearest integer, ties to even; |x| is below 2^22. */
export function roundToEven(x: number): number {
  return f(f(x + 12582912) - 12582912);
}

/** Bounds of the signed codes q = code - zeroPoint. */
export function signedBounds(
  format: BlockFormat,
  zeroPoint: number,
): [least: number, most: number] {
  return [-zeroPoint, highestCode(format.bits) - zeroPoint];
}

/** The signed code of `value` for a scale whose reciprocal is `inverse`. */
export function signedCode(value: number, inverse: number, least: number, most: number): number {
  return roundToEven(Math.min(Math.max(f(value * inverse), least), most));
}

/**
 * The sum of `term(i)` for i in 0 .. length - 1: chunks of 256, four interleaved partial sums in
 * each, chunk after chunk.
 */
export function orderedSum(length: number, term: (i: number) => number): number {
  let total = 0;
  for (let start = 0; start < length; start += 256) {
    const partial = [0, 0, 0, 0];
    for (let i = start; i < Math.min(start + 256, length); i++) {
      partial[i % 4] = f(partial[i % 4]! + term(i));
    }
    const chunk = f(f(partial[0]! + partial[1]!) + f(partial[2]! + partial[3]!));
    total = start === 0 ? chunk : f(total + chunk);
  }
  return total;
}

/**
 * The sum of the integers `term(i)` for i in 0 .. length - 1: exact over chunks of 256, which are
 * rounded and added one after another.
 */
export function integerSum(length: number, term: (i: number) => number): number {
  let total = 0;
  for (let start = 0; start < length; start += 256) {
    let chunk = 0;
    for (let i = start; i < Math.min(start + 256, length); i++) chunk += term(i);
    total = start === 0 ? f(chunk) : f(total + f(chunk));
  }
  return total;
}
