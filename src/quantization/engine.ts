/**
 * The contract of a quantization engine. Every engine gives the same codes, scales and zero points
 * for the same job, bit by bit: see `docs/arithmetic.md` for the arithmetic that makes it so.
 */
import type { BlockFormat } from "../formats.ts";

/** Element types that weights may come in. */
export type WeightType = "float32" | "float16" | "bfloat16" | "float64";

/** How scales and zero points are chosen: rounding to nearest, least squared error, half-quadratic. */
export type Method = "rtn" | "mse" | "hqq";

/** Names of the engines. */
export type EngineName = "webgpu" | "wasm" | "reference";

/** A matrix that lies in a file, its elements as they would lie in memory. */
export interface FileMatrix {
  readonly path: string;
  /** Where in the file the first element is. */
  readonly offset: number;
  /** Elements from one row (or column, by the order) to the next: as many as it has, or more. */
  readonly pitch: number;
}

/** A matrix of weights to quantize. */
export interface QuantizeJob {
  /** `rows * columns` little-endian elements of `weightType`, dense; best from `Engine.allocate`. */
  readonly weights: Uint8Array;
  readonly weightType: WeightType;
  readonly rows: number;
  readonly columns: number;
  /** `rows`: weight (r, c) is element r * columns + c. `columns`: it is element c * rows + r. */
  readonly order: "rows" | "columns";
  readonly format: BlockFormat;
  readonly method: Method;
  /**
   * How much the squared error of each column counts in `mse`: `columns` numbers, best with a mean
   * of 1, clamped to 2^-10 .. 2^10. Left out, all columns count alike.
   */
  readonly importance?: Float32Array;
  /** Whether to fill in `QuantizeResult.error`. */
  readonly measure: boolean;
}

/** A matrix of weights in a file, in blocks that are no whole rows. */
export interface QuantizeFileJob extends Omit<QuantizeJob, "weights"> {
  readonly weights: FileMatrix;
}

/**
 * Sums over the weights w and their dequantized values v of a job, in float64. An engine may take
 * them over an even sample of the blocks of a large job and scale them up.
 */
export interface ErrorSums {
  /** Sum of w * w. */
  signal: number;
  /** Sum of (w - v) * (w - v). */
  noise: number;
  /** Sum of w * v. */
  dot: number;
}

/** A quantized matrix, laid out as `formats.ts` says. */
export interface QuantizeResult {
  /** Codes: [rows, blocks, blockBytes]; for 3 bits the planes L0, L1 and H one after the other. */
  readonly codes: Uint8Array;
  /** Scales [rows, blocks], little-endian `format.scaleType`. */
  readonly scales: Uint8Array;
  /** Zero points [rows, blocks], a byte each; null when the format is symmetric. */
  readonly zeroPoints: Uint8Array | null;
  /** Blocks that hold a NaN or an infinity; their codes mean nothing. */
  readonly nonFinite: number;
  /** Blocks whose scale was too large for float16 and was clamped to 65504. */
  readonly saturated: number;
  /** Present when the job asked for it; engines may differ in the last digits. */
  readonly error?: ErrorSums;
  /** Gives the result's memory back to the engine; the arrays must not be used afterwards. */
  release(): void;
}

/** An engine. Jobs may be in flight at the same time. */
export interface Engine {
  readonly name: EngineName;
  /**
   * Memory for the weights of one job, from which the engine reads without a copy. Waits while the
   * engine's budget is in use. `release` gives it back, after the job's promise has settled.
   */
  allocate(byteLength: number): Promise<{ readonly bytes: Uint8Array; release(): void }>;
  /** Quantizes a matrix. Rejects with an `EngineFault` where the engine itself failed. */
  quantize(job: QuantizeJob): Promise<QuantizeResult>;
  /**
   * As `quantize`, where the engine can read a file itself. A file that can't be read is an
   * `EngineFault` too.
   */
  quantizeFile?(job: QuantizeFileJob): Promise<QuantizeResult>;
  /** Frees workers, buffers and devices. */
  dispose(): void;
}

/** The engine could not do a job that another engine can: a lost device, no memory. */
export class EngineFault extends Error {
  override readonly name = "EngineFault";
}
