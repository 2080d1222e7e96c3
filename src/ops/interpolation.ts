/** Weighed sums of the elements around a coordinate, dimension by dimension. */
import { type Integer, integer, ONE, ZERO } from "../expr/integer.ts";
import { apply, reduce, select, type Value } from "../expr/value.ts";
import { float, minus, plus, times } from "./arithmetic.ts";

/** Dimensions whose 2 linear taps each are written out; of more, taps are a loop. */
const MOST_WRITTEN_OUT = 2;

/** The elements of the input along one dimension that an element of the result weighs. */
export interface Taps {
  readonly count: Integer;
  readonly index: (tap: Integer) => Integer;
  readonly weight: (tap: Integer) => Value;
}

/** (1 - |x|)+. */
export function linearKernel(distance: Value): Value {
  return apply("max", minus(float(1), distance), float(0));
}

/** Keys' cubic convolution with parameter `a`, of a distance that is 0 or more. */
export function cubicKernel(a: number): (distance: Value) => Value {
  return (t) => {
    const near = plus(times(minus(times(float(a + 2), t), float(a + 3)), t, t), float(1));
    const far = times(
      float(a),
      minus(times(plus(times(minus(t, float(5)), t), float(8)), t), float(4)),
    );
    return select(
      apply("lessOrEqual", t, float(1)),
      near,
      select(apply("less", t, float(2)), far, float(0)),
    );
  };
}

/** The weighed sum over taps of some dimensions: written out where they are few, else a loop. */
export function weighed(
  taps: readonly { readonly dimension: number; readonly taps: Taps }[],
  indices: readonly Integer[],
  at: (indices: readonly Integer[]) => Value,
): Value {
  const [first, ...others] = taps;
  if (first === undefined) return at(indices);
  const isShort = taps.length <= MOST_WRITTEN_OUT &&
    taps.every(({ taps: { count } }) => count === integer(2));
  if (isShort) {
    const { dimension, taps: { index, weight } } = first;
    const parts = [ZERO, ONE].map((tap) =>
      times(weight(tap), weighed(others, indices.with(dimension, index(tap)), at))
    );
    return plus(parts[0]!, parts[1]!);
  }
  return reduce("sum", taps.map(({ taps: { count } }) => count), (positions) => {
    let place = indices;
    let weight = float(1);
    for (const [i, { dimension, taps: along }] of taps.entries()) {
      place = place.with(dimension, along.index(positions[i]!));
      weight = times(weight, along.weight(positions[i]!));
    }
    return times(weight, at(place));
  });
}
