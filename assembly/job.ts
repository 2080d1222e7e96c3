/**
 * What a worker works on: a job as the engine describes it in shared memory, and the worker's own
 * scratch. The engine (src/quantization/wasm_job.ts) writes the same fields in the same order.
 *
 * A strip is up to 16 rows of the matrix, four to a SIMD vector (a quad). Its weights lie in the
 * tile as [index along K][16 rows] of f32, at most 256 indices (a chunk) at a time, so that each row
 * of weights is a lane and all of the arithmetic runs in the order of docs/arithmetic.md.
 */

/** A job. All fields are 32 bits. */
@unmanaged
export class Job {
  rows: u32;
  columns: u32;
  /** 0: weight (r, c) is element r * columns + c; 1: it is element c * rows + r. */
  columnsOrder: u32;
  weightType: u32;
  bits: u32;
  symmetric: u32;
  blockLength: u32;
  blocks: u32;
  /** 0: float16, 1: float32. */
  wideScales: u32;
  method: u32;
  /** How much each column counts, padding included, as 16-bit integers of up to 64; or 0. */
  shares: usize;
  /** 0: measure no block; n, a power of two: every n-th. */
  measure: u32;
  codes: usize;
  scales: usize;
  /** 0 where symmetric. */
  zeroPoints: usize;
  /**
   * Candidate steps, each twice as 16 bits of 2^-15 code steps a unit of a weight's integer.
   * Symmetric: those of `lower`, then as many of `upper`, negative. In stages: the coarse ones, then
   * how far the last stage goes.
   */
  steps: usize;
  stepCount: u32;
  /** 1 where an asymmetric search goes in stages: no block is longer than a chunk then. */
  staged: u32;
  /** 864 values of x^-0.3 by the upper bits of x, then the 8 shrinkages, as f32. */
  powers: usize;
  /** The first weight, if they are in shared memory; from one row (or column) to the next it is `pitch`. */
  weights: usize;
  pitch: u32;
  /** Rows and blocks of a unit, and how many units there are. */
  unitRows: u32;
  unitBlocks: u32;
  units: u32;
  /** Six f64 a unit. */
  statistics: usize;
  /** Units that are taken. */
  taken: u32;
}

/** Bytes of statistics of a unit. */
export const STATISTICS_BYTES: usize = 48;

export const FLOAT32: u32 = 0;
export const FLOAT16: u32 = 1;
export const BFLOAT16: u32 = 2;
export const FLOAT64: u32 = 3;

export const RTN: u32 = 0;
export const MSE: u32 = 1;
export const HQQ: u32 = 2;

/** Weights along K that the tile holds. */
export const CHUNK: u32 = 256;

/** Bytes of the tile from one index along K to the next. */
export const TILE_STRIDE: usize = 64;

/** Most candidates of a search. */
export const MOST_CANDIDATES: u32 = 48;

/** Bytes of one vector for each of the four quads. */
const QUADS: usize = 64;

// Parts of a worker's scratch, as offsets from its beginning.
export const TILE: usize = 0;
/** The tile in integers: [quad][pair along K][4 rows] of two i16 each. */
export const INTEGERS: usize = TILE + 256 * 64;
/** Sums of the candidates: [candidate][A, B][quad]. */
export const SUMS: usize = INTEGERS + 256 * 32;
/** Sixteen byte columns of codes: [byte][16 rows]. */
export const BYTE_COLUMNS: usize = SUMS + 48 * 128;
/** Vectors of the strip, below. */
export const TRANSPOSED: usize = BYTE_COLUMNS + 256;
/** Partial sums while they are made one by one. */
export const PARTS: usize = TRANSPOSED + 256;
export const STATE: usize = PARTS + 256;
/** Blocks of a panel: what the fast way of `plain.ts` works on at a time. */
export const PANEL: u32 = 1024;
const PANEL_BYTES: usize = 1024 * 4;
// One i32 or f32 a block of the panel each: extremes as in HIGH and LOW, reciprocals of scales, and
// what is taken from a rounded number's bits to leave the code.
export const PANEL_HIGH: usize = STATE + 32 * 64;
export const PANEL_LOW: usize = PANEL_HIGH + PANEL_BYTES;
export const PANEL_INVERSE: usize = PANEL_LOW + PANEL_BYTES;
export const PANEL_BIAS: usize = PANEL_INVERSE + PANEL_BYTES;
/** A byte a quad of the panel: how many of its scales were clamped, or {@link CARE}. */
export const PANEL_FLAGS: usize = PANEL_BIAS + PANEL_BYTES;
/** Bytes of codes, by twos: [eight pairs][16 rows]. */
export const TWO_BYTES: usize = PANEL_FLAGS + 256;
/** Bytes that `quantize` needs as scratch; the engine gives as many. */
export const SCRATCH_BYTES: usize = TWO_BYTES + 256;

/** In PANEL_FLAGS: a block of the quad must go the general way. */
export const CARE: u8 = 0x80;

// One vector a quad each; the address of quad k's is `scratch + FIELD + 16 * k`.
/** Greatest weight as bits, at least 0. */
export const HIGH: usize = STATE;
/** Greatest unsigned bits of a weight: those of the least weight where any is negative. */
export const LOW: usize = STATE + QUADS;
/** All ones where the block is non-finite. */
export const NON_FINITE: usize = STATE + 2 * QUADS;
/** All ones where the block is one of zeros. */
export const ZEROED: usize = STATE + 3 * QUADS;
/** Powers of two to and from the normalized weights. */
export const DOWN: usize = STATE + 4 * QUADS;
export const UP: usize = STATE + 5 * QUADS;
/** Chosen scale (as stored), zero point (as f32), all ones where saturated. */
export const SCALE: usize = STATE + 6 * QUADS;
export const ZERO_POINT: usize = STATE + 7 * QUADS;
export const SATURATED: usize = STATE + 8 * QUADS;
/** A second choice of the same fields, while a method compares. */
export const OTHER_SCALE: usize = STATE + 9 * QUADS;
export const OTHER_ZERO_POINT: usize = STATE + 10 * QUADS;
export const OTHER_SATURATED: usize = STATE + 11 * QUADS;
/** What a search's candidates span, normalized. */
export const EXTENT: usize = STATE + 12 * QUADS;
/** Sums in progress; of a search those of rounding to nearest: A and B. */
export const SUM_0: usize = STATE + 13 * QUADS;
export const SUM_1: usize = STATE + 14 * QUADS;
export const SUM_2: usize = STATE + 15 * QUADS;
export const SUM_3: usize = STATE + 16 * QUADS;
/** What `hqq` keeps: least norm, lanes still iterating, its start and the shifted zero point. */
export const NORM: usize = STATE + 17 * QUADS;
export const ACTIVE: usize = STATE + 18 * QUADS;
export const BEST_SCALE: usize = STATE + 19 * QUADS;
export const BEST_ZERO_POINT: usize = STATE + 20 * QUADS;
export const BEST_SATURATED: usize = STATE + 21 * QUADS;
/** Reciprocals of the chosen scales, for the tile as it is. */
export const INVERSE: usize = STATE + 22 * QUADS;
/** Zero points of the strip's rows, 16 bits each. */
export const SHORT_ZERO_POINTS: usize = STATE + 23 * QUADS;
/** The best candidate of a search: A and B; its steps and its lowest code, each twice as i16. */
export const BEST_A: usize = STATE + 25 * QUADS;
export const BEST_B: usize = STATE + 26 * QUADS;
export const BEST_STEPS: usize = STATE + 27 * QUADS;
export const BEST_LOWEST: usize = STATE + 28 * QUADS;
/** What takes normalized weights to the integers of a search, and the steps of the plain scale. */
export const UNIT: usize = STATE + 29 * QUADS;
export const PLAIN_STEPS: usize = STATE + 30 * QUADS;
