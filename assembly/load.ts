/**
 * Fills the tile from the matrix, in either order and from any type of weight, and finds the
 * extremes of a block.
 */
import {
  BFLOAT16,
  BYTE_COLUMNS,
  CHUNK,
  FLOAT16,
  FLOAT32,
  FLOAT64,
  HIGH,
  LOW,
  NON_FINITE,
  TILE,
  TILE_STRIDE,
} from "./job.ts";
import { widenFloat16 } from "./float.ts";
import { block, chunkCount, chunkLength, firstRow, job, lanes, origin, pitch, quads, scratch } from "./strip.ts";

/**
 * Loads `count` weights, padding included, of all rows of the strip, from column `start` on into
 * the tile at index `at`.
 */
export function loadTile(start: u32, count: u32, at: u32): void {
  const known = knownCount(start, count);
  const tile = scratch + TILE + <usize>at * TILE_STRIDE;
  const type = job.weightType;
  if (type == FLOAT32) loadAs<f32>(start, known, tile);
  else if (type == FLOAT16) loadAs<u16>(start, known, tile);
  else if (type == BFLOAT16) loadAs<i16>(start, known, tile);
  else loadAs<f64>(start, known, tile);
  padTile(known, count, tile);
}

/** Bytes of one weight. */
export function weightBytes(): u32 {
  return job.weightType == FLOAT32 ? 4 : job.weightType == FLOAT64 ? 8 : 2;
}

/** How many of `count` weights from column `start` on are no padding. */
// @ts-ignore: decorator
@inline
function knownCount(start: u32, count: u32): u32 {
  return start < job.columns ? min(count, job.columns - start) : 0;
}

// @ts-ignore: decorator
@inline
function padTile(known: u32, count: u32, tile: usize): void {
  if (known < count) memory.fill(tile + known * TILE_STRIDE, 0, (count - known) * TILE_STRIDE);
}

/**
 * Reads a weight of every cache line that block `index` of the rows from `row` to before `end` has,
 * where columns are outermost. Reads that wait for nothing else wait for memory together.
 */
export function touchBlocks(row: u32, end: u32, index: u32): void {
  const column = index * job.blockLength;
  const stride = <usize>pitch * weightBytes();
  const bytes = <usize>(end - row) * weightBytes();
  let sum: u32 = 0;
  let at = origin + <usize>column * stride + <usize>row * weightBytes();
  for (let i = knownCount(column, job.blockLength); i > 0; i--) {
    for (let line: usize = 0; line < bytes; line += 64) sum |= load<u16>(at + line);
    at += stride;
  }
  // Kept, or the reads would be left out.
  store<u32>(scratch, sum, BYTE_COLUMNS);
}

/** Loads chunk `chunk` of the current block. */
export function loadChunk(chunk: u32): void {
  loadTile(block * job.blockLength + chunk * CHUNK, chunkLength(chunk), 0);
}

/** Loads the current block and finds its extremes; a block of one chunk stays in the tile. */
export function loadBlock(): void {
  memory.fill(scratch + HIGH, 0, 64);
  memory.fill(scratch + LOW, 0, 64);
  const chunks = chunkCount();
  if (chunks == 1 && lanes == 16 && job.weightType == FLOAT32) {
    loadWhole(block * job.blockLength, chunkLength(0));
    return;
  }
  for (let chunk: u32 = 0; chunk < chunks; chunk++) {
    loadChunk(chunk);
    for (let quad: u32 = 0; quad < quads; quad++) findExtremes(quad << 4, chunkLength(chunk));
  }
}

/**
 * The greatest bits of a quad's weights: as signed numbers those of the greatest weight, if that is
 * positive, as unsigned ones those of the least weight, if that is negative. A NaN or an infinity
 * has greater bits than any number of its sign.
 */
function findExtremes(quad: usize, count: u32): void {
  let high = v128.load(scratch + quad, HIGH);
  let low = v128.load(scratch + quad, LOW);
  let at = scratch + TILE + quad;
  const end = at + count * TILE_STRIDE;
  while (at < end) {
    const first = v128.load(at);
    const second = v128.load(at, TILE_STRIDE);
    const third = v128.load(at, 2 * TILE_STRIDE);
    const fourth = v128.load(at, 3 * TILE_STRIDE);
    high = i32x4.max_s(high, i32x4.max_s(i32x4.max_s(first, second), i32x4.max_s(third, fourth)));
    low = i32x4.max_u(low, i32x4.max_u(i32x4.max_u(first, second), i32x4.max_u(third, fourth)));
    at += 4 * TILE_STRIDE;
  }
  v128.store(scratch + quad, high, HIGH);
  v128.store(scratch + quad, low, LOW);
}

/**
 * The most frequent case in one pass: sixteen rows of float32 in blocks of one chunk, with their
 * extremes.
 */
function loadWhole(start: u32, count: u32): void {
  const tile = scratch + TILE;
  const known = knownCount(start, count);
  if (job.columnsOrder) loadWholeColumns(start, known, tile);
  else loadWholeRows(start, known, tile);
  padTile(known, count, tile);
}

function loadWholeColumns(start: u32, count: u32, tile: usize): void {
  const stride = <usize>pitch * 4;
  let high0 = i32x4.splat(0);
  let high1 = i32x4.splat(0);
  let high2 = i32x4.splat(0);
  let high3 = i32x4.splat(0);
  let low0 = i32x4.splat(0);
  let low1 = i32x4.splat(0);
  let low2 = i32x4.splat(0);
  let low3 = i32x4.splat(0);
  let at = origin + <usize>start * stride + <usize>firstRow * 4;
  let to = tile;
  for (let i: u32 = 0; i < count; i++) {
    const w0 = v128.load(at);
    v128.store(to, w0);
    high0 = i32x4.max_s(high0, w0);
    low0 = i32x4.max_u(low0, w0);
    const w1 = v128.load(at, 16);
    v128.store(to, w1, 16);
    high1 = i32x4.max_s(high1, w1);
    low1 = i32x4.max_u(low1, w1);
    const w2 = v128.load(at, 32);
    v128.store(to, w2, 32);
    high2 = i32x4.max_s(high2, w2);
    low2 = i32x4.max_u(low2, w2);
    const w3 = v128.load(at, 48);
    v128.store(to, w3, 48);
    high3 = i32x4.max_s(high3, w3);
    low3 = i32x4.max_u(low3, w3);
    at += stride;
    to += TILE_STRIDE;
  }
  storeExtremes(0, high0, low0);
  storeExtremes(16, high1, low1);
  storeExtremes(32, high2, low2);
  storeExtremes(48, high3, low3);
}

// @ts-ignore: decorator
@inline
function storeExtremes(quad: usize, high: v128, low: v128): void {
  v128.store(scratch + quad, high, HIGH);
  v128.store(scratch + quad, low, LOW);
}

function loadWholeRows(start: u32, count: u32, tile: usize): void {
  const stride = <usize>pitch * 4;
  const even = count & ~3;
  for (let quad: usize = 0; quad < 64; quad += 16) {
    let high = i32x4.splat(0);
    let low = i32x4.splat(0);
    let at = origin + (<usize>firstRow + (quad >> 2)) * stride + <usize>start * 4;
    let to = tile + quad;
    for (let i: u32 = 0; i < even; i += 4) {
      const a = v128.load(at);
      const b = v128.load(at + stride);
      const c = v128.load(at + 2 * stride);
      const d = v128.load(at + 3 * stride);
      const ab = i32x4.shuffle(a, b, 0, 4, 1, 5);
      const cd = i32x4.shuffle(c, d, 0, 4, 1, 5);
      const abUpper = i32x4.shuffle(a, b, 2, 6, 3, 7);
      const cdUpper = i32x4.shuffle(c, d, 2, 6, 3, 7);
      const first = i64x2.shuffle(ab, cd, 0, 2);
      const second = i64x2.shuffle(ab, cd, 1, 3);
      const third = i64x2.shuffle(abUpper, cdUpper, 0, 2);
      const fourth = i64x2.shuffle(abUpper, cdUpper, 1, 3);
      v128.store(to, first);
      v128.store(to, second, TILE_STRIDE);
      v128.store(to, third, 2 * TILE_STRIDE);
      v128.store(to, fourth, 3 * TILE_STRIDE);
      high = i32x4.max_s(high, i32x4.max_s(i32x4.max_s(first, second), i32x4.max_s(third, fourth)));
      low = i32x4.max_u(low, i32x4.max_u(i32x4.max_u(first, second), i32x4.max_u(third, fourth)));
      at += 16;
      to += 4 * TILE_STRIDE;
    }
    for (let i = even; i < count; i++) {
      let weights = v128.load32_splat(at);
      weights = v128.load_lane<u32>(at + stride, weights, 1);
      weights = v128.load_lane<u32>(at + 2 * stride, weights, 2);
      weights = v128.load_lane<u32>(at + 3 * stride, weights, 3);
      v128.store(to, weights);
      high = i32x4.max_s(high, weights);
      low = i32x4.max_u(low, weights);
      at += 4;
      to += TILE_STRIDE;
    }
    storeExtremes(quad, high, low);
  }
}

/** Sets the lanes of non-finite blocks of a quad of the tile to zero. */
export function clearNonFinite(quad: usize, count: u32): void {
  const mask = v128.load(scratch + quad, NON_FINITE);
  if (!v128.any_true(mask)) return;
  for (let i: u32 = 0; i < count; i++) {
    const at = scratch + TILE + quad + i * TILE_STRIDE;
    v128.store(at, v128.andnot(v128.load(at), mask));
  }
}

// T stands for the type of weight: f32, f64, u16 for float16 and i16 for bfloat16.

// @ts-ignore: decorator
@inline
function loadFour<T>(at: usize): v128 {
  if (isFloat<T>()) {
    if (sizeof<T>() == 4) return v128.load(at);
    const lower = f32x4.demote_f64x2_zero(v128.load(at));
    const upper = f32x4.demote_f64x2_zero(v128.load(at, 16));
    return i32x4.shuffle(lower, upper, 0, 1, 4, 5);
  }
  if (isSigned<T>()) return i32x4.shl(v128.load16x4_u(at), 16);
  return widenFloat16(v128.load16x4_u(at));
}

// @ts-ignore: decorator
@inline
function loadOne<T>(at: usize): f32 {
  if (isFloat<T>()) {
    if (sizeof<T>() == 4) return load<f32>(at);
    return <f32>load<f64>(at);
  }
  if (isSigned<T>()) return reinterpret<f32>(<u32>load<u16>(at) << 16);
  return f32x4.extract_lane(widenFloat16(i32x4.splat(<i32>load<u16>(at))), 0);
}

// @ts-ignore: decorator
@inline
function loadAs<T>(start: u32, count: u32, tile: usize): void {
  if (job.columnsOrder) loadColumns<T>(start, count, tile);
  else loadRows<T>(start, count, tile);
}

function loadColumns<T>(start: u32, count: u32, tile: usize): void {
  const stride = <usize>pitch * sizeof<T>();
  let at = origin + <usize>start * stride + <usize>firstRow * sizeof<T>();
  let to = tile;
  if (lanes == 16) {
    for (let i: u32 = 0; i < count; i++) {
      v128.store(to, loadFour<T>(at));
      v128.store(to, loadFour<T>(at + 4 * sizeof<T>()), 16);
      v128.store(to, loadFour<T>(at + 8 * sizeof<T>()), 32);
      v128.store(to, loadFour<T>(at + 12 * sizeof<T>()), 48);
      at += stride;
      to += TILE_STRIDE;
    }
    return;
  }
  const whole = lanes & ~3;
  for (let i: u32 = 0; i < count; i++) {
    let lane: u32 = 0;
    for (; lane < whole; lane += 4) v128.store(to + lane * 4, loadFour<T>(at + lane * sizeof<T>()));
    if (lane < lanes) v128.store(to + lane * 4, i32x4.splat(0));
    for (; lane < lanes; lane++) store<f32>(to + lane * 4, loadOne<T>(at + lane * sizeof<T>()));
    at += stride;
    to += TILE_STRIDE;
  }
}

function loadRows<T>(start: u32, count: u32, tile: usize): void {
  const stride = <usize>pitch * sizeof<T>();
  const zero = i32x4.splat(0);
  for (let lane: u32 = 0; lane < lanes; lane += 4) {
    let at = origin + <usize>(firstRow + lane) * stride + <usize>start * sizeof<T>();
    const present = lanes - lane;
    const second = present > 1 ? stride : 0;
    const third = present > 2 ? 2 * stride : 0;
    const fourth = present > 3 ? 3 * stride : 0;
    let to = tile + lane * 4;
    let i: u32 = 0;
    for (; i + 4 <= count; i += 4) {
      const a = loadFour<T>(at);
      const b = present > 1 ? loadFour<T>(at + second) : zero;
      const c = present > 2 ? loadFour<T>(at + third) : zero;
      const d = present > 3 ? loadFour<T>(at + fourth) : zero;
      const ab = i32x4.shuffle(a, b, 0, 4, 1, 5);
      const cd = i32x4.shuffle(c, d, 0, 4, 1, 5);
      const abUpper = i32x4.shuffle(a, b, 2, 6, 3, 7);
      const cdUpper = i32x4.shuffle(c, d, 2, 6, 3, 7);
      v128.store(to, i64x2.shuffle(ab, cd, 0, 2));
      v128.store(to, i64x2.shuffle(ab, cd, 1, 3), TILE_STRIDE);
      v128.store(to, i64x2.shuffle(abUpper, cdUpper, 0, 2), 2 * TILE_STRIDE);
      v128.store(to, i64x2.shuffle(abUpper, cdUpper, 1, 3), 3 * TILE_STRIDE);
      at += 4 * sizeof<T>();
      to += 4 * TILE_STRIDE;
    }
    for (; i < count; i++) {
      v128.store(to, zero);
      store<f32>(to, loadOne<T>(at));
      if (present > 1) store<f32>(to, loadOne<T>(at + second), 4);
      if (present > 2) store<f32>(to, loadOne<T>(at + third), 8);
      if (present > 3) store<f32>(to, loadOne<T>(at + fourth), 12);
      at += sizeof<T>();
      to += TILE_STRIDE;
    }
  }
}
