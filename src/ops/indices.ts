/** Indices and extents that ops compute: negative positions, choices among values by a position. */
import { maximum, minimum } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  integer,
  multiply,
  ONE,
  subtract,
  ZERO,
} from "../expr/integer.ts";
import { apply, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { equal, int } from "./extents.ts";
import type { OpCall } from "./op.ts";

/** `values[index]`. An index that is out of range gives any of them. */
export function pick(values: readonly Value[], index: Integer): Value {
  const number = asNumber(index);
  if (number !== null) return values[Math.min(Math.max(number, 0), values.length - 1)]!;
  const place = fromInteger(index);
  const between = (from: number, to: number): Value => {
    const first = values[from]!;
    if (values.slice(from, to).every((value) => value === first)) return first;
    const middle = Math.ceil((from + to) / 2);
    return select(apply("less", place, int(middle)), between(from, middle), between(middle, to));
  };
  return between(0, values.length);
}

/** {@link pick} among integers. */
export function pickInteger(values: readonly Integer[], index: Integer): Integer {
  return toInteger(pick(values.map(fromInteger), index));
}

/** `yes` where `condition` holds, else `no`, as an integer. */
export function choose(condition: Value, yes: Integer, no: Integer): Integer {
  return toInteger(select(condition, fromInteger(yes), fromInteger(no)));
}

/** True where `value` is less than 0. */
export function isNegative(value: Integer): Value {
  return apply("less", fromInteger(value), int(0));
}

/** `index`, counted from the end of `extent` where it is negative. */
export function fromEnd(index: Integer, extent: Integer): Integer {
  return choose(isNegative(index), add(index, extent), index);
}

/** {@link fromEnd} of an element that holds an index; one whose type has no sign stays. */
export function elementFromEnd(element: Value, extent: Integer): Integer {
  const index = toInteger(element);
  return element.type === "u32" ? index : fromEnd(index, extent);
}

/** `value`, at least `least` and at most `greatest`, which is not less. */
export function within(value: Integer, least: Integer, greatest: Integer): Integer {
  return minimum(maximum(value, least), greatest);
}

/** The extent that tensors share; where they may differ, that is refused when the model runs. */
export function sharedExtent(call: OpCall, extents: readonly Integer[], what: string): Integer {
  const shared = extents.find((extent) => asNumber(extent) !== null) ?? extents[0]!;
  for (const extent of extents) {
    if (extent === shared) continue;
    call.check(equal(shared, extent), `${what} differ`);
  }
  return shared;
}

/** Row-major strides of a tensor of `dims`. */
export function stridesOf(dims: readonly Integer[]): readonly Integer[] {
  let stride = ONE;
  return [...dims].reverse().map((extent) => {
    const own = stride;
    stride = multiply(stride, extent);
    return own;
  }).reverse();
}

/** The row-major offset of `indices` in a tensor of `dims`. */
export function flatIndex(dims: readonly Integer[], indices: readonly Integer[]): Integer {
  const strides = stridesOf(dims);
  return add(ZERO, ...indices.map((index, i) => multiply(index, strides[i]!)));
}

/** `a` times `1 - flag` plus `b` times `flag`, which is 0 or 1: a choice without a branch. */
export function blend(flag: Integer, a: Integer, b: Integer): Integer {
  return add(a, multiply(flag, subtract(b, a)));
}

/** The integers from 0 up to `count`, excluding it. */
export function upTo(count: number): readonly Integer[] {
  return Array.from({ length: count }, (_, i) => integer(i));
}
