/**
 * From an engine's result (laid out as `formats.ts` says) to the bytes of a tensor in a model. Each
 * packing is a pure function of a tile's result; where tiles do not end on a byte of the tensor,
 * or its order is another, the tensor is put together in memory and handed out once it is whole.
 */
import type { Bits, BlockFormat } from "../../formats.ts";
import { blockLayout, symmetricZeroPoint, threeBitPosition } from "../../formats.ts";
import type { Tensor } from "../../ir.ts";
import type { QuantizeResult } from "../engine.ts";
import type { Tile } from "../pipeline.ts";
import type { Target } from "./encoding.ts";

/** Bytes of a tensor, from `offset` of it. */
export interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** How a tensor that a plan left open is filled from results. */
export interface Fill {
  readonly tensor: Tensor;
  /**
   * The bytes that `tile` decides; null where they are held back until a later tile completes the
   * tensor. The bytes may lie in the result's memory. Every tile is to be handed in once.
   */
  pack(result: QuantizeResult, tile: Tile): Piece | null;
}

/** What a tensor holds, and in which order. */
export type Packing =
  /** The codes as the engine lays them out; for 3 bits only one of its planes. */
  | { readonly part: "codes"; readonly plane?: 0 | 1 | 2 }
  /** 3-bit codes one after the other, padding included: eight in three bytes. */
  | { readonly part: "threes" }
  /** The codes anew in blocks of `blockLength`, rows of `rows`; for 3 bits one plane of them. */
  | {
    readonly part: "blocks";
    readonly rows: number;
    readonly columns: number;
    readonly blockLength: number;
    /** Whether a result's row holds the rows side by side, as a tensor [columns, rows] does. */
    readonly transposed: boolean;
    readonly plane?: 0 | 1 | 2;
  }
  /**
   * The codes of every row without its padding, one after the other, `keep` a row; signed ones are
   * stored minus 2^(bits-1), in two's complement. Each takes `bits`. `transposed`: in the order
   * [batch, keep, rows].
   */
  | {
    readonly part: "dense" | "transposed";
    readonly keep: number;
    readonly signed: boolean;
    readonly bits: Bits;
  }
  | { readonly part: "scales" }
  /** The scales in the order [batch, blocks, rows]. */
  | { readonly part: "transposed scales" }
  /** The zero points at `bits` each; every row starts on a byte where `rowAligned`. */
  | { readonly part: "zero points"; readonly bits: 8 | 4 | 2; readonly rowAligned: boolean }
  | { readonly part: "transposed zero points"; readonly bits: 8 | 4 | 2 }
  /** One zero point a row, as often in a byte as it fits. */
  | { readonly part: "repeated zero points"; readonly bits: 8 | 4 | 2 };

/** The fill of `tensor` for `target` by `packing`. */
export function makeFill(tensor: Tensor, target: Target, packing: Packing): Fill {
  const { format, view } = target;
  const layout = blockLayout(format, view.rows, view.columns);
  const { blocks, blockBytes, blockLength } = layout;
  const row = (tile: Tile) => tile.batch * view.rows + tile.firstRow;
  const scaleSize = format.scaleType === "float16" ? 2 : 4;
  const assembly = new Assembly(tensor, target);
  switch (packing.part) {
    case "codes": {
      const { plane } = packing;
      const rowBytes = plane === undefined ? blocks * blockBytes : blocks * blockLength / 8;
      return {
        tensor,
        pack: (result, tile) => {
          const from = (plane ?? 0) * tile.rows * rowBytes;
          const bytes = result.codes.subarray(from, from + tile.rows * rowBytes);
          return { offset: row(tile) * rowBytes, bytes };
        },
      };
    }
    case "threes": {
      const rowBytes = (blocks * blockLength * 3) / 8;
      return {
        tensor,
        pack: (result, tile) => ({
          offset: row(tile) * rowBytes,
          bytes: packThrees(plainCodes(result.codes, format, tile.rows, blocks)),
        }),
      };
    }
    case "blocks": {
      const perRow = packing.rows / (view.batch * view.rows);
      return {
        tensor,
        pack: (result, tile) => {
          const codes = plainCodes(result.codes, format, tile.rows, blocks);
          const rows = tile.rows * perRow;
          const padding = format.symmetric ? [symmetricZeroPoint(format.bits)] : result.zeroPoints!;
          const wide = rearrange(codes, tile.rows, perRow, packing, padding);
          const bytes = packBlocks(wide, format.bits, packing.blockLength, packing.plane);
          return { offset: row(tile) * perRow * (bytes.length / rows), bytes };
        },
      };
    }
    case "dense":
    case "transposed": {
      const flip = packing.signed ? symmetricZeroPoint(format.bits) : 0;
      const { keep } = packing;
      return {
        tensor,
        pack: (result, tile) => {
          const codes = plainCodes(result.codes, format, tile.rows, blocks);
          const stride = codes.length / tile.rows;
          return assembly.add(tile, packing.bits, keep, packing.part === "transposed", (r, k) => {
            return codes[r * stride + k]! ^ flip;
          });
        },
      };
    }
    case "scales":
      return {
        tensor,
        pack: (result, tile) => ({
          offset: row(tile) * blocks * scaleSize,
          bytes: result.scales,
        }),
      };
    case "transposed scales":
      return {
        tensor,
        pack: (result, tile) => assembly.addElements(tile, scaleSize, blocks, result.scales),
      };
    case "zero points":
      if (packing.rowAligned || (blocks * packing.bits) % 8 === 0) {
        const rowBytes = Math.ceil((blocks * packing.bits) / 8);
        return {
          tensor,
          pack: (result, tile) => ({
            offset: row(tile) * rowBytes,
            bytes: packRows(result.zeroPoints!, tile.rows, blocks, packing.bits),
          }),
        };
      }
      return {
        tensor,
        pack: (result, tile) =>
          assembly.add(
            tile,
            packing.bits,
            blocks,
            false,
            (r, b) => result.zeroPoints![r * blocks + b]!,
          ),
      };
    case "transposed zero points":
      return {
        tensor,
        pack: (result, tile) =>
          assembly.add(
            tile,
            packing.bits,
            blocks,
            true,
            (r, b) => result.zeroPoints![r * blocks + b]!,
          ),
      };
    case "repeated zero points": {
      const factor = { 8: 1, 4: 0x11, 2: 0x55 }[packing.bits];
      return {
        tensor,
        pack: (result, tile) => ({
          offset: row(tile),
          bytes: result.zeroPoints!.map((zeroPoint) => zeroPoint * factor),
        }),
      };
    }
  }
}

/** A tensor that is put together in memory from tiles that do not end on its bytes. */
class Assembly {
  readonly #rows: number;
  readonly #batch: number;
  #bytes: Uint8Array | null = null;
  #rowsLeft: number;

  constructor(readonly tensor: Tensor, target: Target) {
    this.#rows = target.view.rows;
    this.#batch = target.view.batch;
    this.#rowsLeft = this.#rows * this.#batch;
  }

  /** Sets elements (row, k) of the tile, `width` a row, at `bits` each, the lowest bit first. */
  add(
    tile: Tile,
    bits: Bits,
    width: number,
    transposed: boolean,
    element: (row: number, k: number) => number,
  ): Piece | null {
    const bytes = this.#memory();
    const rows = this.#rows;
    const base = tile.batch * rows * width;
    const rowStride = transposed ? 1 : width;
    const columnStride = transposed ? rows : 1;
    // Rows inside in the transposed order, so that bytes are touched one after the other.
    const [outer, inner] = transposed ? [width, tile.rows] : [tile.rows, width];
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) {
        const r = transposed ? i : o;
        const k = transposed ? o : i;
        const at = base + (tile.firstRow + r) * rowStride + k * columnStride;
        // Positions in bits may pass 2^31.
        const byte = Math.floor((at * bits) / 8);
        const shift = (at * bits) % 8;
        const value = element(r, k) << shift;
        bytes[byte] = bytes[byte]! | value;
        if (shift + bits > 8) bytes[byte + 1] = bytes[byte + 1]! | (value >> 8);
      }
    }
    return this.#done(tile);
  }

  /** Sets whole elements [rows, width] of the tile in the order [batch, width, rows]. */
  addElements(tile: Tile, size: number, width: number, elements: Uint8Array): Piece | null {
    const bytes = this.#memory();
    for (let r = 0; r < tile.rows; r++) {
      for (let k = 0; k < width; k++) {
        const to = ((tile.batch * width + k) * this.#rows + tile.firstRow + r) * size;
        const from = (r * width + k) * size;
        for (let byte = 0; byte < size; byte++) bytes[to + byte] = elements[from + byte]!;
      }
    }
    return this.#done(tile);
  }

  #memory(): Uint8Array {
    const { data } = this.tensor;
    return this.#bytes ??= new Uint8Array(data.kind === "pending" ? data.length : 0);
  }

  #done(tile: Tile): Piece | null {
    this.#rowsLeft -= tile.rows;
    if (this.#rowsLeft > 0) return null;
    const bytes = this.#bytes!;
    this.#bytes = null;
    this.#rowsLeft = this.#rows * this.#batch;
    return { offset: 0, bytes };
  }
}

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
function rearrange(
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
function packThrees(codes: Uint8Array): Uint8Array {
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
function packRows(values: Uint8Array, rows: number, width: number, bits: 8 | 4 | 2): Uint8Array {
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
