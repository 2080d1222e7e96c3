/** Tensors whose channels come last, as those whose channels come second, and back. */
import { permuted } from "./matmul.ts";
import type { Operand } from "./op.ts";

/** `x` (N, ..., C) as (N, C, ...). */
export function channelsSecond(x: Operand): Operand {
  const spatial = x.dims.slice(1, -1).map((_, i) => i + 1);
  return permuted(x, [0, x.dims.length - 1, ...spatial]);
}

/** `x` (N, C, ...) as (N, ..., C). */
export function channelsLast(x: Operand): Operand {
  const spatial = x.dims.slice(2).map((_, i) => i + 2);
  return permuted(x, [0, ...spatial, 1]);
}
