/**
 * The candidates of the `mse` search. A candidate is a number of code steps: symmetric, how many
 * steps the largest magnitude spans; asymmetric, how many the whole range spans. More steps than a
 * code has clip the outermost weights, fewer leave codes unused. Where the best ones lie depends on
 * how many weights share a scale; the bounds of a grid are those between which 96 % of the best
 * candidates of trained weights fell, and the step is where a finer one stopped paying.
 */
import type { Bits } from "../../formats.ts";

/** Steps `first + step * i` for i in 0 .. count - 1. Multiples of 1/8: exact in binary32. */
export interface Grid {
  readonly first: number;
  readonly step: number;
  readonly count: number;
}

/** Candidates of a symmetric block, by the code that the largest magnitude comes near to. */
export interface SymmetricGrids {
  /** It comes near to -2^(bits-1). */
  readonly lower: Grid;
  /** It comes near to 2^(bits-1) - 1. */
  readonly upper: Grid;
}

/** Index of the column of the tables below for blocks of `blockLength` weights. */
export function lengthClass(blockLength: number): 0 | 1 | 2 | 3 {
  return blockLength <= 16 ? 0 : blockLength <= 32 ? 1 : blockLength <= 128 ? 2 : 3;
}

type PerClass<T> = readonly [to16: T, to32: T, to128: T, longer: T];

const grid = (first: number, step: number, count: number): Grid => ({ first, step, count });

const symmetric = (lower: number, upper: number, step: number, count = 8): SymmetricGrids => ({
  lower: grid(lower, step, count),
  upper: grid(upper, step, count),
});

/** Symmetric candidates. */
export const SYMMETRIC_GRIDS: Readonly<Record<Bits, PerClass<SymmetricGrids>>> = {
  2: [
    symmetric(1.25, 1, 0.25),
    symmetric(1.5, 1.25, 0.25),
    symmetric(2, 2, 0.25),
    symmetric(2.25, 2.25, 0.5),
  ],
  3: [
    symmetric(2.875, 2.5, 0.25),
    symmetric(3.25, 2.875, 0.25),
    symmetric(3.75, 3.625, 0.25),
    symmetric(4.25, 4.125, 0.5),
  ],
  4: [
    symmetric(6.5, 5.75, 0.25),
    symmetric(7.375, 6.625, 0.625, 3),
    symmetric(7.75, 7.25, 0.25),
    symmetric(8, 7.75, 0.5),
  ],
  8: [
    symmetric(120, 120, 1),
    symmetric(120, 120, 1),
    symmetric(121, 121, 1),
    symmetric(124, 124, 1),
  ],
};

/** Asymmetric candidates of rows that are one block, each tried with three zero points. */
export const ASYMMETRIC_GRIDS: Readonly<Record<Bits, PerClass<Grid>>> = {
  2: [grid(2.5, 0.25, 8), grid(2.75, 0.375, 8), grid(3.75, 0.375, 8), grid(4.25, 0.5, 8)],
  3: [grid(5.5, 0.25, 12), grid(6.25, 0.375, 8), grid(7.5, 0.375, 8), grid(8, 0.75, 8)],
  4: [grid(11.75, 0.25, 16), grid(11.875, 0.5, 10), grid(14.25, 0.375, 12), grid(15, 0.625, 12)],
  8: [grid(244, 1, 12), grid(244, 1, 12), grid(246, 1, 12), grid(250, 2, 8)],
};

/** Coarse steps that a search in stages has at most. */
export const MOST_COARSE = 8;

/** Steps of a search in stages. All are multiples of 1/8. */
export interface Stages {
  /** What is tried first, beside those of rounding to nearest. */
  readonly coarse: readonly number[];
  /** How far from the best of these the last stage goes, in the direction of its best scale. */
  readonly fine: number;
}

const stages = (fine: number, ...coarse: number[]): Stages => ({ coarse, fine });

/**
 * Asymmetric candidates of other blocks: coarse ones, then two beside the best. An odd number of coarse
 * ones makes pairs with that of rounding to nearest, which the wasm engine tries as fast as one. The
 * least mean error over the weights of trained models, and over normal, Laplace and Student's t ones,
 * is flat about these, and more of them hardly lower it.
 */
export const ASYMMETRIC_STAGES: Readonly<Record<Bits, PerClass<Stages>>> = {
  2: [
    stages(0.375, 2.375, 3.75, 4.375),
    stages(0.375, 3.75, 4.25, 4.875),
    stages(0.375, 4.5, 5.25, 6.25),
    stages(0.625, 5.5, 6.75, 9),
  ],
  3: [
    stages(0.375, 5.375, 6.25, 7.875),
    stages(0.375, 6.375, 7.625, 8.375),
    stages(0.375, 8, 8.875, 9.75),
    stages(0.5, 9.125, 10.125, 11.375),
  ],
  4: [
    stages(0.375, 11.375, 12.375, 13.375, 14.125, 15.625),
    stages(0.375, 13.125, 14.125, 15.875),
    stages(0.375, 14.125, 15.875, 16.75),
    stages(0.375, 16.375, 17.375, 18.375),
  ],
  8: [
    stages(1, 245, 247, 249, 251, 253, 255),
    stages(1, 245, 247, 249, 251, 253, 255),
    stages(1, 247, 249, 251, 253, 255, 257),
    stages(2, 252, 256, 260, 264),
  ],
};
