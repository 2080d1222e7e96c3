/** Extents and flags that may be known only when the model runs, and reductions by them. */
import { asNumber, type Integer, integer, multiply, ONE, symbol } from "../expr/integer.ts";
import {
  apply,
  constant,
  extentOf,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { asFloat, over } from "./arithmetic.ts";

/** `value` as an i32. */
export function int(value: number): Value {
  return constant("i32", value);
}

/** A host value as an integer of which nothing is known: a number, or a symbol. */
export function parameter(value: Value): Integer {
  const made = toInteger(value);
  return asNumber(made) === null ? symbol("n", { definition: made, positive: false }) : made;
}

/** 1 where a condition on host values holds, else 0. */
export function flag(condition: Value): Integer {
  return parameter(select(condition, int(1), int(0)));
}

/** True where the integers are equal. */
export function equal(a: Integer, b: Integer): Value {
  return apply("equal", fromInteger(a), fromInteger(b));
}

/** `extent` where `wanted`, a flag, is 1, else 1. */
export function extentWhere(wanted: Integer, extent: Integer): Integer {
  if (wanted === ONE) return extent;
  if (asNumber(wanted) === 0) return ONE;
  return extentOf(toInteger(select(equal(wanted, ONE), fromInteger(extent), int(1))));
}

/** The flags of a tensor's axes: 1 where one of `axes`, which may be negative, names it. */
export function axisFlags(axes: readonly Integer[], rank: number): readonly Integer[] {
  return Array.from({ length: rank }, (_, d) => {
    let named: Value = constant("bool", 0);
    for (const axis of axes) {
      const here = apply("or", equal(axis, integer(d)), equal(axis, integer(d - rank)));
      named = apply("or", named, here);
    }
    return flag(named);
  });
}

/** The number of positions of `extents`, as a float. */
export function countOf(extents: readonly Integer[]): Value {
  return asFloat(fromInteger(multiply(...extents)));
}

/** The sum of `body` over `extents`. */
export function sumOver(
  extents: readonly Integer[],
  body: (positions: readonly Integer[]) => Value,
): Value {
  return reduce("sum", extents, body);
}

/** The mean of `body`, a float, over `extents`. */
export function meanOver(
  extents: readonly Integer[],
  body: (positions: readonly Integer[]) => Value,
): Value {
  return over(sumOver(extents, body), countOf(extents));
}

/** True where `0 <= index < extent`, of which only the sides that are asked for are tested. */
export function inside(
  index: Integer,
  extent: Integer,
  sides: { readonly lower: boolean; readonly upper: boolean } = { lower: true, upper: true },
): Value {
  const value = fromInteger(index);
  const lower = sides.lower ? apply("greaterOrEqual", value, int(0)) : constant("bool", 1);
  const upper = sides.upper ? apply("less", value, fromInteger(extent)) : constant("bool", 1);
  return apply("and", lower, upper);
}

/** Every condition holds. */
export function all(conditions: readonly Value[]): Value {
  return conditions.reduce((a, b) => apply("and", a, b), constant("bool", 1));
}
