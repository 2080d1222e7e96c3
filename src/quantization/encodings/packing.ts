/**
 * From an engine's result (laid out as `formats.ts` says) to the bytes of a tensor in a model. Each
 * packing is a pure function of a tile's result; where tiles do not end on a byte of the tensor,
 * or its order is another, the tensor is put together in memory and handed out once it is whole.
 */
import type { Bits } from "../../formats.ts";
import { blockLayout, symmetricZeroPoint } from "../../formats.ts";
import type { Tensor } from "../../ir.ts";
import type { QuantizeResult } from "../engine.ts";
import type { Tile } from "../pipeline.ts";
import { packBlocks, packRows, packThrees, plainCodes, rearrange } from "./code_bytes.ts";
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
  const zeroPointOf = ({ zeroPoints }: QuantizeResult) => (r: number, b: number) =>
    zeroPoints![r * blocks + b]!;
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
          assembly.add(tile, packing.bits, blocks, false, zeroPointOf(result)),
      };
    case "transposed zero points":
      return {
        tensor,
        pack: (result, tile) => assembly.add(tile, packing.bits, blocks, true, zeroPointOf(result)),
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
