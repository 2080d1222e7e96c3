/**
 * Sixteen byte columns, a byte a row each, to the bytes of each row.
 */
import { BYTE_COLUMNS, TRANSPOSED } from "./job.ts";
import { lanes, scratch } from "./strip.ts";

/**
 * Stores the first `count` bytes of each row of the strip, from the byte columns of the scratch: row
 * k's at `to + k * stride`.
 */
export function storeTransposed(count: u32, to: usize, stride: usize): void {
  const columns = scratch + BYTE_COLUMNS;
  const other = scratch + TRANSPOSED;
  interleave(columns, other);
  interleave(other, columns);
  interleave(columns, other);
  interleave(other, columns);
  let at = to;
  if (count == 16) {
    for (let lane: usize = 0; lane < lanes; lane++) {
      v128.store(at, v128.load(columns + lane * 16));
      at += stride;
    }
    return;
  }
  for (let lane: usize = 0; lane < lanes; lane++) {
    storePart(at, columns + lane * 16, count);
    at += stride;
  }
}

/** One of the four steps of a transposition: interleaves vector i with vector i + 8. */
// @ts-ignore: decorator
@inline
function interleave(from: usize, to: usize): void {
  interleavePair(from, to);
  interleavePair(from + 16, to + 32);
  interleavePair(from + 32, to + 64);
  interleavePair(from + 48, to + 96);
  interleavePair(from + 64, to + 128);
  interleavePair(from + 80, to + 160);
  interleavePair(from + 96, to + 192);
  interleavePair(from + 112, to + 224);
}

// @ts-ignore: decorator
@inline
function interleavePair(from: usize, to: usize): void {
  const a = v128.load(from);
  const b = v128.load(from, 128);
  v128.store(
    to,
    i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
  );
  v128.store(
    to,
    i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
    16,
  );
}

/** Copies `count` bytes, less than 16, and no more. */
function storePart(to: usize, from: usize, count: u32): void {
  if (count & 8) {
    store<u64>(to, load<u64>(from));
    to += 8;
    from += 8;
  }
  if (count & 4) {
    store<u32>(to, load<u32>(from));
    to += 4;
    from += 4;
  }
  if (count & 2) {
    store<u16>(to, load<u16>(from));
    to += 2;
    from += 2;
  }
  if (count & 1) store<u8>(to, load<u8>(from));
}
