/**
 * Sums in the order of docs/arithmetic.md: four partial sums a chunk, joined, chunk after chunk.
 */
import { scratch } from "./strip.ts";

/** (p0 + p1) + (p2 + p3) of the partial sums at `parts` of the scratch. */
// @ts-ignore: decorator
@inline
export function joinParts(parts: usize): v128 {
  const at = scratch + parts;
  return f32x4.add(
    f32x4.add(v128.load(at), v128.load(at, 16)),
    f32x4.add(v128.load(at, 32), v128.load(at, 48)),
  );
}

/** Stores the sum of the first chunk at `at`, or adds that of a later one. */
// @ts-ignore: decorator
@inline
export function accumulate(chunk: u32, at: usize, sum: v128): void {
  v128.store(at, chunk == 0 ? sum : f32x4.add(v128.load(at), sum));
}
