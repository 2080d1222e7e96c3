/**
 * Broadcasting (https://onnx.ai/onnx/repo-docs/Broadcasting.html) over extents that may be symbols,
 * and what ops of one element at a time share.
 */
import type { DType } from "../dtype.ts";
import { isNotNegative, maximum, minimum, modulo } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Atom,
  fromAtom,
  type Integer,
  integer,
  multiply,
  ONE,
  subtract,
  withConstant,
  ZERO,
} from "../expr/integer.ts";
import {
  apply,
  constant,
  extentOf,
  fromInteger,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { type OpCall, type Operand, operand } from "./op.ts";

/** The shape that `shapes` broadcast to. Shapes that can't match are refused, some only at run time. */
export function broadcastShape(
  call: OpCall,
  shapes: readonly (readonly Integer[])[],
): readonly Integer[] {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    let extent = ONE;
    for (const shape of shapes) {
      const own = shape[i - rank + shape.length];
      if (own !== undefined) extent = broadcastExtent(call, extent, own);
    }
    return extent;
  });
}

/** A symbol against another extent: they are equal, or one of them is 1 when the model runs. */
function broadcastExtent(call: OpCall, a: Integer, b: Integer): Integer {
  if (a === b || b === ONE) return a;
  if (a === ONE) return b;
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== null && y !== null) {
    call.fail(`extents ${x} and ${y} can't be broadcast`);
  }
  const [left, right] = [fromInteger(a), fromInteger(b)];
  for (const [empty, other] of [[a, right], [b, left]] as const) {
    if (asNumber(empty) !== 0) continue;
    // A symbol counts as positive, so that "is it 0" would be answered before the model runs.
    const fits = apply("lessOrEqual", other, constant("i32", 1));
    call.check(fits, "its inputs' shapes can't be broadcast");
    return empty;
  }
  for (const [clamped, whole] of [[a, b], [b, a]] as const) {
    if (unclamped(clamped) !== whole) continue;
    call.check(apply("equal", left, right), "its inputs' shapes can't be broadcast");
    return whole;
  }
  const one = constant("i32", 1);
  const isOne = (value: Value): Value => apply("equal", value, one);
  const fits = apply("or", apply("equal", left, right), apply("or", isOne(left), isOne(right)));
  call.check(fits, "its inputs' shapes can't be broadcast");
  if (isNotNegative(subtract(a, b)) || (x ?? 0) > 1) return a;
  if (isNotNegative(subtract(b, a)) || (y ?? 0) > 1) return b;
  return extentOf(toInteger(select(isOne(left), right, left)));
}

/**
 * `value` with the smaller of a number above 1 and something taken to be the latter: what a slice of
 * a table asks for, such as the embeddings of as many positions as a sequence has. Where it meets
 * that sequence it has to be as long, so that the number doesn't spread to all that follows.
 */
function unclamped(value: Integer): Integer {
  const parts = withConstant(value).map(({ coefficient, factors }) =>
    factors.reduce(
      (product, factor) => multiply(product, unclampedAtom(factor)),
      integer(coefficient),
    )
  );
  return add(ZERO, ...parts);
}

function unclampedAtom(atom: Atom): Integer {
  if (atom.kind === "symbol" && atom.definition !== null) {
    const inner = unclamped(atom.definition);
    return inner === atom.definition ? fromAtom(atom) : extentOf(inner);
  }
  if (atom.kind !== "min" && atom.kind !== "max") return fromAtom(atom);
  const [a, b] = [unclamped(atom.a), unclamped(atom.b)];
  if (atom.kind === "max") return maximum(a, b);
  if ((asNumber(a) ?? 0) > 1) return b;
  return (asNumber(b) ?? 0) > 1 ? a : minimum(a, b);
}

/** Where the element at `indices` of the broadcast shape `dims` lies in a tensor of shape `own`. */
export function broadcastIndices(
  own: readonly Integer[],
  dims: readonly Integer[],
  indices: readonly Integer[],
): readonly Integer[] {
  const skipped = dims.length - own.length;
  return own.map((extent, i) => {
    const index = indices[i + skipped]!;
    if (extent === ONE) return ZERO;
    return extent === dims[i + skipped] ? index : modulo(index, extent);
  });
}

/** The op that computes each element of its result from the elements of its inputs there. */
export function elementwise(
  call: OpCall,
  dtype: DType,
  inputs: readonly Operand[],
  compute: (...values: Value[]) => Value,
): Operand {
  const dims = broadcastShape(call, inputs.map((input) => input.dims));
  return operand(
    dtype,
    dims,
    (indices) =>
      compute(...inputs.map((input) => input.at(broadcastIndices(input.dims, dims, indices)))),
  );
}

/** `axis` of a tensor of rank `rank`, counted from the end where negative; refused out of range. */
export function axisOf(call: OpCall, axis: number, rank: number): number {
  if (axis < -rank || axis >= Math.max(rank, 1)) {
    call.fail(`axis ${axis} is outside a tensor of rank ${rank}`);
  }
  return axis < 0 ? axis + rank : axis;
}
