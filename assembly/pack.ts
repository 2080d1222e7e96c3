/**
 * Makes codes and stores them. Sixteen rows give a vector of sixteen bytes for each byte of a row's
 * codes (a byte column); sixteen byte columns are transposed and stored, sixteen bytes a row.
 */
import { constant, FAR, MAGIC, MAGIC_TWICE } from "./constants.ts";
import { float16Patterns, magnitude, reciprocal } from "./float.ts";
import {
  BYTE_COLUMNS,
  DOWN,
  INVERSE,
  PANEL_BIAS,
  PANEL_INVERSE,
  SCALE,
  SHORT_ZERO_POINTS,
  TILE,
  TILE_STRIDE,
  ZERO_POINT,
} from "./job.ts";
import { clearNonFinite, loadChunk, loadTile } from "./load.ts";
import { storeFour } from "./plain.ts";
import { storeStrip } from "./plain_columns.ts";
import { greatest, least, normalizeTile } from "./rtn.ts";
import { block, chunkCount, chunkLength, firstRow, job, lanes, quads, scratch } from "./strip.ts";
import { storeTransposed } from "./transpose.ts";

/** Byte columns that wait. */
let waiting: u32 = 0;
/** Where the first of them belongs in the strip's first row, and bytes from there to the next row. */
let target: usize = 0;
let targetStride: usize = 0;

/**
 * Stores scales, zero points and codes of the current block of the strip. The tile of a block of one
 * chunk is loaded, normalized or not; any other is loaded again.
 */
export function storeBlock(normalized: bool): void {
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    const scale = v128.load(scratch + quad, SCALE);
    storeScales(quad, scale);
    const down = v128.load(scratch + quad, DOWN);
    const effective = normalized ? f32x4.mul(scale, down) : scale;
    v128.store(scratch + quad, reciprocal(effective), INVERSE);
    const zeroPoints = i32x4.trunc_sat_f32x4_s(v128.load(scratch + quad, ZERO_POINT));
    v128.store_lane<u64>(
      scratch + (quad >> 1),
      i16x8.narrow_i32x4_s(zeroPoints, zeroPoints),
      0,
      SHORT_ZERO_POINTS,
    );
  }
  if (chunkCount() == 1) limitTile(chunkLength(0), normalized);
  if (job.bits == 4 && lanes == 16 && job.blockLength % 32 == 0 && chunkCount() == 1) packStrip();
  else if (job.bits == 3) packThree(normalized);
  else if (job.bits == 8) packWhole(8, normalized);
  else if (job.bits == 4) packWhole(4, normalized);
  else packWhole(2, normalized);
}

/** A whole strip at 4 bits, by the fast way's last step: the tile is a panel of sixteen rows. */
function packStrip(): void {
  for (let quad: usize = 0; quad < 64; quad += 16) {
    const at = scratch + quad;
    v128.store(at, v128.load(at, INVERSE), PANEL_INVERSE);
    const rounded = f32x4.add(v128.load(at, ZERO_POINT), constant(MAGIC));
    v128.store(at, i32x4.sub(constant(MAGIC_TWICE), rounded), PANEL_BIAS);
  }
  const blockBytes = job.blockLength >> 1;
  const codeStride = <usize>job.blocks * blockBytes;
  const to = job.codes + <usize>firstRow * codeStride + <usize>block * blockBytes;
  storeStrip(scratch + TILE, TILE_STRIDE, 0, to, codeStride);
}

function storeScales(quad: usize, scale: v128): void {
  const lane = <u32>quad >> 2;
  const count = min(4, lanes - lane);
  let index = (firstRow + lane) * job.blocks + block;
  if (count == 4) {
    const zeroPoints = f32x4.add(v128.load(scratch + quad, ZERO_POINT), constant(MAGIC));
    storeFour(index, job.blocks, scale, zeroPoints);
    return;
  }
  v128.store(scratch, job.wideScales ? scale : float16Patterns(scale), BYTE_COLUMNS);
  for (let i: usize = 0; i < count; i++) {
    const pattern = load<u32>(scratch + i * 4, BYTE_COLUMNS);
    if (job.wideScales) store<u32>(job.scales + index * 4, pattern);
    else store<u16>(job.scales + index * 2, <u16>pattern);
    if (!job.symmetric) {
      store<u8>(job.zeroPoints + index, <u8>load<f32>(scratch + quad + i * 4, ZERO_POINT));
    }
    index += job.blocks;
  }
}

/** Prepares `count` freshly loaded weights of the tile. */
function prepareTile(count: u32, normalized: bool): void {
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    clearNonFinite(quad, count);
    if (normalized) normalizeTile(quad, count);
  }
  limitTile(count, normalized);
}

/**
 * Limits the weights of blocks that have some far outside their codes, as where the scale was
 * clamped, so that products with its reciprocal stay within what rounding can take. The codes of
 * those weights are the outermost either way.
 */
function limitTile(count: u32, normalized: bool): void {
  const most = constant(FAR);
  for (let quad: usize = 0; quad < quads << 4; quad += 16) {
    const inverse = magnitude(v128.load(scratch + quad, INVERSE));
    let largest = f32x4.pmax(greatest(quad), f32x4.neg(least(quad)));
    if (normalized) largest = f32x4.mul(largest, v128.load(scratch + quad, DOWN));
    const far = f32x4.gt(f32x4.mul(largest, inverse), most);
    if (!v128.any_true(far)) continue;
    const size = f32x4.div(most, inverse);
    for (let i: u32 = 0; i < count; i++) {
      const at = scratch + TILE + quad + i * TILE_STRIDE;
      const weight = v128.load(at);
      const limited = f32x4.pmin(f32x4.pmax(weight, f32x4.neg(size)), size);
      v128.store(at, v128.bitselect(limited, weight, far));
    }
  }
}

/** Signed codes of four rows, not yet held below the highest. */
// @ts-ignore: decorator
@inline
function signedCodes(at: usize, quad: usize): v128 {
  const position = f32x4.mul(v128.load(at + quad, TILE), v128.load(scratch + quad, INVERSE));
  return i32x4.sub(f32x4.add(position, constant(MAGIC)), constant(MAGIC));
}

/** The codes of index `i` of the tile, a byte a row. Narrowing holds them at 0 or above. */
// @ts-ignore: decorator
@inline
function codesAt(i: u32, highest: v128): v128 {
  const at = scratch + i * TILE_STRIDE;
  const lower = i16x8.add(
    i16x8.narrow_i32x4_s(signedCodes(at, 0), signedCodes(at, 16)),
    v128.load(scratch, SHORT_ZERO_POINTS),
  );
  const upper = i16x8.add(
    i16x8.narrow_i32x4_s(signedCodes(at, 32), signedCodes(at, 48)),
    v128.load(scratch, SHORT_ZERO_POINTS + 16),
  );
  return i8x16.min_u(i8x16.narrow_i16x8_u(lower, upper), highest);
}

/** 8, 4 or 2 bits: codes lie one after the other. */
// @ts-ignore: decorator
@inline
function packWhole(bits: u32, normalized: bool): void {
  const top: u32 = (1 << bits) - 1;
  const highest = i8x16.splat(<i8>top);
  const chunks = chunkCount();
  beginBytes(job.codes, (job.blockLength * bits) >> 3);
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    const count = chunkLength(chunk);
    if (chunks > 1) {
      loadChunk(chunk);
      prepareTile(count, normalized);
    }
    for (let i: u32 = 0; i < count; i += 8 / bits) {
      let bytes = codesAt(i, highest);
      if (bits == 4) {
        bytes = v128.or(bytes, i16x8.shl(codesAt(i + 1, highest), 4));
      } else if (bits == 2) {
        const low = v128.or(bytes, i16x8.shl(codesAt(i + 1, highest), 2));
        const high = v128.or(
          codesAt(i + 2, highest),
          i16x8.shl(codesAt(i + 3, highest), 2),
        );
        bytes = v128.or(low, i16x8.shl(high, 4));
      }
      append(bytes);
    }
  }
  flush();
}

/** 3 bits: the planes L0, L1 and H, of which each byte holds weights of two or four quarters. */
function packThree(normalized: bool): void {
  const quarter = job.blockLength / 4;
  const piece: u32 = 64;
  const planeBytes = job.blockLength / 8;
  const whole = chunkCount() == 1;
  for (let plane: u32 = 0; plane < 3; plane++) {
    beginBytes(job.codes + <usize>plane * job.rows * job.blocks * planeBytes, planeBytes);
    if (whole) {
      packPlane(plane, quarter, quarter);
      flush();
      continue;
    }
    for (let start: u32 = 0; start < quarter; start += piece) {
      const count = min(piece, quarter - start);
      for (let segment: u32 = 0; segment < 4; segment++) {
        loadTile(
          block * job.blockLength + segment * quarter + start,
          count,
          segment * piece,
        );
      }
      prepareTile(4 * piece, normalized);
      packPlane(plane, count, piece);
    }
    flush();
  }
}

/** Bytes of one plane from `count` indices of each quarter, which lie `stride` apart in the tile. */
function packPlane(plane: u32, count: u32, stride: u32): void {
  const highest = i8x16.splat(7);
  const pair = i8x16.splat(3);
  for (let i: u32 = 0; i < count; i += 2) {
    let bytes = i8x16.splat(0);
    for (let half: u32 = 0; half < 2; half++) {
      if (plane < 2) {
        const first = codesAt(2 * plane * stride + i + half, highest);
        const second = codesAt((2 * plane + 1) * stride + i + half, highest);
        const low = v128.or(v128.and(first, pair), i16x8.shl(v128.and(second, pair), 2));
        bytes = v128.or(bytes, i16x8.shl(low, 4 * half));
      } else {
        for (let segment: u32 = 0; segment < 4; segment++) {
          const high = i8x16.shr_u(codesAt(segment * stride + i + half, highest), 2);
          bytes = v128.or(bytes, i16x8.shl(high, 4 * half + segment));
        }
      }
    }
    append(bytes);
  }
}

/** Begins the bytes of the current block in the codes at `codes` with `blockBytes` a block. */
function beginBytes(codes: usize, blockBytes: u32): void {
  waiting = 0;
  targetStride = <usize>job.blocks * blockBytes;
  target = codes + <usize>firstRow * targetStride + <usize>block * blockBytes;
}

/** Appends a byte column. */
// @ts-ignore: decorator
@inline
function append(bytes: v128): void {
  v128.store(scratch + waiting * 16, bytes, BYTE_COLUMNS);
  waiting++;
  if (waiting == 16) flush();
}

/** Stores the byte columns that wait. */
function flush(): void {
  if (waiting == 0) return;
  storeTransposed(waiting, target, targetStride);
  target += waiting;
  waiting = 0;
}
