/**
 * Block formats: what a quantized weight matrix looks like in memory. A matrix has `rows`
 * independent rows (output channels) of `columns` weights (the reduction axis, K). Each row is cut
 * into blocks of `blockSize` weights, the last one padded with zeros; a block has one scale and, if
 * asymmetric, one integer zero point in 0 .. 2^bits - 1. The value of a code c is
 * `scale * (c - zeroPoint)`; a symmetric format's zero point is 2^(bits-1) and is not stored.
 *
 * Codes lie least significant bit first, block after block, row after row:
 *
 * | bits | layout of a block |
 * |---|---|
 * | 8 | a byte a weight |
 * | 4 | two weights a byte, the first in the low nibble |
 * | 2 | four weights a byte, the first in the lowest bits |
 * | 3 | three planes L0, L1, H of blockSize/8 bytes a block, each plane whole before the next: see {@link threeBitPosition} |
 */

/** Bits a code takes. */
export type Bits = 8 | 4 | 3 | 2;

/** Type that scales are stored in. */
export type ScaleType = "float16" | "float32";

/** Weights that share one scale: a fixed count, a whole row, or the whole matrix. */
export type BlockSize = 16 | 32 | 64 | 128 | 256 | "channel" | "tensor";

/** Block sizes with a fixed count. */
export const BLOCK_SIZES = [16, 32, 64, 128, 256] as const;

/** One block format. */
export interface BlockFormat {
  readonly bits: Bits;
  readonly symmetric: boolean;
  /**
   * Weights a block. 0 makes each row one block: "channel", and also "tensor", for which the
   * caller views the whole matrix as a single row.
   */
  readonly blockSize: 0 | 16 | 32 | 64 | 128 | 256;
  readonly scaleType: ScaleType;
}

/** Sizes of a quantized matrix. */
export interface BlockLayout {
  /** Weights a block, padding included: a multiple of 16. */
  readonly blockLength: number;
  /** Blocks a row. */
  readonly blocks: number;
  /** Bytes of codes a block (over all planes). */
  readonly blockBytes: number;
  /** Bytes of all codes. */
  readonly codeBytes: number;
  /** Bytes of all scales. */
  readonly scaleBytes: number;
}

/** Sizes of a matrix of `rows` by `columns` weights in `format`. */
export function blockLayout(format: BlockFormat, rows: number, columns: number): BlockLayout {
  const blockLength = format.blockSize === 0 ? Math.ceil(columns / 16) * 16 : format.blockSize;
  const blocks = format.blockSize === 0 ? 1 : Math.ceil(columns / blockLength);
  const blockBytes = (blockLength * format.bits) / 8;
  return {
    blockLength,
    blocks,
    blockBytes,
    codeBytes: rows * blocks * blockBytes,
    scaleBytes: rows * blocks * (format.scaleType === "float16" ? 2 : 4),
  };
}

/** Highest code of a format. */
export function highestCode(bits: Bits): number {
  return (1 << bits) - 1;
}

/** Zero point of a symmetric format. */
export function symmetricZeroPoint(bits: Bits): number {
  return 1 << (bits - 1);
}

/**
 * Where weight `index` of a 3-bit block of `blockLength` lies: code bits 0 and 1 are bits `lowBit`
 * and `lowBit + 1` of byte `byte` of plane L0 or L1 (`plane`), code bit 2 is bit `highBit` of byte
 * `byte` of plane H. The layout is the one that three bitwise ONNX operators join into the nibbles
 * of a 4-bit `MatMulNBits`.
 */
export function threeBitPosition(
  index: number,
  blockLength: number,
): { plane: 0 | 1; byte: number; lowBit: number; highBit: number } {
  const quarter = blockLength / 4;
  const segment = Math.floor(index / quarter);
  const within = index % quarter;
  const half = within % 2;
  return {
    plane: segment < 2 ? 0 : 1,
    byte: Math.floor(within / 2),
    lowBit: 4 * half + 2 * (segment % 2),
    highBit: 4 * half + segment,
  };
}
