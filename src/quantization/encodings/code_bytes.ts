/**
 * Codes of a few bits in bytes and back, as `formats.ts` lays blocks out and as tensors of ONNX have
 * them. All are pure functions of arrays.
 */
import type { Bits, BlockFormat } from "../../formats.ts";
import { threeBitPosition } from "../../formats.ts";

/** The codes of a result, a byte each: [rows, blocks * blockLength]. */
export function plainCodes(
  codes: Uint8Array,
  format: BlockFormat,
  rows: number,
  blocks: number,
): Uint8Array {
  const { bits } = format;
  if (bits === 8) return codes;
  if (bits === 3) return threeBitCodes(codes, rows * blocks);
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const plain = new Uint8Array(codes.length * perByte);
  for (let byte = 0, to = 0; byte < codes.length; byte++) {
    let value = codes[byte]!;
    for (let i = 0; i < perByte; i++, value >>= bits) plain[to++] = value & mask;
  }
  return plain;
}

/** The codes of 3-bit planes over `blocks` blocks, a byte each. */
function threeBitCodes(codes: Uint8Array, blocks: number): Uint8Array {
  const planeBytes = codes.length / 3;
  const blockPlane = planeBytes / blocks;
  const blockLength = blockPlane * 8;
  const plain = new Uint8Array(blocks * blockLength);
  for (let i = 0; i < blockLength; i++) {
    const { plane, byte, lowBit, highBit } = threeBitPosition(i, blockLength);
    for (let block = 0; block < blocks; block++) {
      const at = block * blockPlane + byte;
      const low = (codes[plane * planeBytes + at]! >> lowBit) & 3;
      const high = (codes[2 * planeBytes + at]! >> highBit) & 1;
      plain[block * blockLength + i] = low | (high << 2);
    }
  }
  return plain;
}

/**
 * Codes [tileRows, any] as rows of `columns` padded to whole blocks. A tile's row holds `perRow`
 * rows in the weight's order; padding takes the row's zero point.
 */
export function rearrange(
  codes: Uint8Array,
  tileRows: number,
  perRow: number,
  shape: {
    readonly columns: number;
    readonly blockLength: number;
    readonly transposed: boolean;
  },
  padding: ArrayLike<number>,
): Uint8Array {
  const padded = Math.ceil(shape.columns / shape.blockLength) * shape.blockLength;
  const from = codes.length / tileRows;
  const wide = new Uint8Array(tileRows * perRow * padded);
  for (let row = 0; row < tileRows; row++) {
    const zeroPoint = padding[padding.length === 1 ? 0 : row]!;
    for (let inner = 0; inner < perRow; inner++) {
      const to = (row * perRow + inner) * padded;
      if (shape.transposed) {
        for (let k = 0; k < shape.columns; k++) {
          wide[to + k] = codes[row * from + k * perRow + inner]!;
        }
      } else {
        const start = row * from + inner * shape.columns;
        wide.set(codes.subarray(start, start + shape.columns), to);
      }
      wide.fill(zeroPoint, to + shape.columns, to + padded);
    }
  }
  return wide;
}

/** Codes, a byte each, whole blocks of them, as `formats.ts` lays blocks out. */
export function packBlocks(
  codes: Uint8Array,
  bits: Bits,
  blockLength: number,
  plane?: 0 | 1 | 2,
): Uint8Array {
  if (bits === 8) return codes;
  if (bits === 3) return packPlane(codes, blockLength, plane!);
  const perByte = 8 / bits;
  const bytes = new Uint8Array(codes.length / perByte);
  for (let byte = 0, from = 0; byte < bytes.length; byte++) {
    let value = 0;
    for (let i = 0; i < perByte; i++) value |= codes[from++]! << (bits * i);
    bytes[byte] = value;
  }
  return bytes;
}

/** 3-bit codes, a byte each and a multiple of eight of them, as a stream of bits. */
export function packThrees(codes: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((codes.length * 3) / 8);
  for (let from = 0, to = 0; from < codes.length; to += 3) {
    let word = 0;
    for (let i = 0; i < 24; i += 3) word |= codes[from++]! << i;
    bytes[to] = word;
    bytes[to + 1] = word >> 8;
    bytes[to + 2] = word >> 16;
  }
  return bytes;
}

/** One plane (L0, L1 or H) of 3-bit codes. */
function packPlane(codes: Uint8Array, blockLength: number, wanted: 0 | 1 | 2): Uint8Array {
  const blocks = codes.length / blockLength;
  const blockPlane = blockLength / 8;
  const bytes = new Uint8Array(blocks * blockPlane);
  for (let i = 0; i < blockLength; i++) {
    const { plane, byte, lowBit, highBit } = threeBitPosition(i, blockLength);
    if (wanted !== 2 && plane !== wanted) continue;
    for (let block = 0; block < blocks; block++) {
      const code = codes[block * blockLength + i]!;
      const at = block * blockPlane + byte;
      bytes[at] = bytes[at]! |
        (wanted === 2 ? (code >> 2) << highBit : (code & 3) << lowBit);
    }
  }
  return bytes;
}

/** Bytes [rows, width] packed at `bits` each, every row from a byte of its own. */
export function packRows(
  values: Uint8Array,
  rows: number,
  width: number,
  bits: 8 | 4 | 2,
): Uint8Array {
  if (bits === 8) return values;
  const perByte = 8 / bits;
  if (bits === 4 && width % 4 === 0 && values.byteOffset % 4 === 0) return packNibbles(values);
  const rowBytes = Math.ceil(width / perByte);
  const bytes = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < width; k++) {
      const at = row * rowBytes + Math.floor(k / perByte);
      bytes[at] = bytes[at]! | (values[row * width + k]! << (bits * (k % perByte)));
    }
  }
  return bytes;
}

/** {@link packRows} for 4 bits, four values at a time; there is no byte that two rows share. */
function packNibbles(values: Uint8Array): Uint8Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length / 4);
  const packed = new Uint16Array(words.length);
  for (let i = 0; i < words.length; i++) {
    const pairs = words[i]! | (words[i]! >>> 4);
    packed[i] = (pairs & 0xff) | ((pairs >>> 8) & 0xff00);
  }
  return new Uint8Array(packed.buffer);
}
