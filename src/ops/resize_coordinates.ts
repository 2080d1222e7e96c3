/**
 * Where Resize reads (https://onnx.ai/onnx/operators/onnx__Resize.html): how a dimension is scaled,
 * and the coordinate in the input that a position of the result stands for. Where the scale is a
 * quotient of integers coordinates are too, so that no rounding of a division can move a pixel.
 */
import { divide, maximum, modulo } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  integer,
  multiply,
  ONE,
  scaled,
  subtract,
  ZERO,
} from "../expr/integer.ts";
import {
  apply,
  call as callPrelude,
  extentOf,
  fromInteger,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { asFloat, float, minus, over, plus, times } from "./arithmetic.ts";
import { equal } from "./extents.ts";
import { choose } from "./indices.ts";

/** How a dimension is scaled. */
export interface Scaling {
  readonly from: Integer;
  readonly to: Integer;
  /** Elements of the result for an element of the input, and that as a quotient where it is one. */
  readonly scale: Value;
  readonly quotient: { readonly above: Integer; readonly below: Integer } | null;
  /** The result's extent before it is rounded down. */
  readonly length: Value;
  /** Where the crop begins and ends, as parts of the input. */
  readonly crop: { readonly start: Value; readonly end: Value } | null;
}

/** `value` as a float. */
export function floatOf(value: Integer): Value {
  return asFloat(fromInteger(value));
}

/** The greatest integer that is not above `value`. */
export function floorOf(value: Value): Integer {
  return toInteger(callPrelude("toI32", "i32", apply("floor", value)));
}

/** Scaling to the extent `to`. */
export function scalingTo(from: Integer, to: Integer, crop: Scaling["crop"]): Scaling {
  return {
    from,
    to,
    scale: over(floatOf(to), floatOf(from)),
    quotient: { above: to, below: from },
    length: floatOf(to),
    crop,
  };
}

/** Largest divisor of a scale that is tried as a quotient. */
const MOST_PARTS = 64;

/** Scaling by `scale`; `to` where the extent is known some other way. */
export function scalingBy(
  from: Integer,
  scale: Value,
  crop: Scaling["crop"],
  to: Integer | null = null,
): Scaling {
  const length = times(floatOf(from), scale);
  if (scale.kind === "constant") {
    for (let below = 1; below <= MOST_PARTS; below *= 2) {
      const above = scale.value * below;
      if (!Number.isSafeInteger(above) || above < 1) continue;
      const quotient = { above: integer(above), below: integer(below) };
      const extent = extentOf(divide(scaled(from, above), quotient.below));
      return { from, to: to ?? extent, scale, quotient, length, crop };
    }
  }
  return { from, to: to ?? extentOf(floorOf(length)), scale, quotient: null, length, crop };
}

/** A coordinate: a quotient of integers, or a float. */
export type Coordinate =
  | { readonly kind: "quotient"; readonly above: Integer; readonly below: Integer }
  | { readonly kind: "float"; readonly value: Value };

/** The coordinate in the input of `position`, or null where `mode` is not known. */
export function coordinate(mode: string, scaling: Scaling, position: Integer): Coordinate | null {
  const exact = scaling.quotient === null ? null : quotientAt(mode, scaling, position);
  if (exact !== null) return { kind: "quotient", ...exact };
  const value = floatAt(mode, scaling, floatOf(position));
  return value === null ? null : { kind: "float", value };
}

function quotientAt(
  mode: string,
  { from, to, quotient }: Scaling,
  position: Integer,
): { readonly above: Integer; readonly below: Integer } | null {
  const { above, below } = quotient!;
  const halfway = {
    above: subtract(multiply(add(scaled(position, 2), ONE), below), above),
    below: scaled(above, 2),
  };
  // The extent is exact: nothing was rounded down.
  const isWhole = above === to || below === ONE;
  switch (mode) {
    case "half_pixel":
      return halfway;
    case "half_pixel_symmetric":
      return isWhole ? halfway : null;
    case "pytorch_half_pixel":
      return isWhole
        ? { above: choose(equal(to, ONE), ZERO, halfway.above), below: halfway.below }
        : null;
    case "asymmetric":
      return { above: multiply(position, below), below: above };
    case "align_corners":
      return isWhole
        ? {
          above: multiply(position, subtract(from, ONE)),
          below: maximum(subtract(to, ONE), ONE),
        }
        : null;
    default:
      return null;
  }
}

function floatAt(mode: string, scaling: Scaling, x: Value): Value | null {
  const { from, to, scale, length, crop } = scaling;
  const one = float(1);
  const half = float(0.5);
  const last = minus(floatOf(from), one);
  const isOne = apply("equal", length, one);
  const halfway = (): Value => minus(over(plus(x, half), scale), half);
  switch (mode) {
    case "half_pixel":
      return halfway();
    case "pytorch_half_pixel":
      return select(apply("greater", length, one), halfway(), float(0));
    case "half_pixel_symmetric": {
      const adjustment = over(floatOf(to), length);
      return plus(times(half, floatOf(from), minus(one, adjustment)), halfway());
    }
    case "asymmetric":
      return over(x, scale);
    case "align_corners":
      return select(isOne, float(0), over(times(x, last), minus(length, one)));
    case "tf_crop_and_resize": {
      const { start, end } = crop ?? { start: float(0), end: one };
      const size = times(minus(end, start), last);
      const offset = select(isOne, times(size, half), over(times(x, size), minus(length, one)));
      return plus(times(start, last), offset);
    }
    default:
      return null;
  }
}

/** The greatest integer that is not above a coordinate, and how far it is below. */
export function splitAtFloor(at: Coordinate): { readonly floor: Integer; readonly rest: Value } {
  if (at.kind === "quotient") {
    const rest = modulo(at.above, at.below);
    return {
      floor: divide(at.above, at.below),
      rest: rest === ZERO ? float(0) : over(floatOf(rest), floatOf(at.below)),
    };
  }
  return { floor: floorOf(at.value), rest: minus(at.value, apply("floor", at.value)) };
}

/** The integer next to a coordinate, or null where `mode` is not known. */
export function nearest(mode: string, at: Coordinate): Integer | null {
  const up = (value: Coordinate): Integer =>
    value.kind === "quotient"
      ? scaled(divide(scaled(value.above, -1), value.below), -1)
      : toInteger(callPrelude("toI32", "i32", apply("ceil", value.value)));
  const moved = (halves: 1 | -1): Coordinate =>
    at.kind === "quotient"
      ? {
        kind: "quotient",
        above: add(scaled(at.above, 2), scaled(at.below, halves)),
        below: scaled(at.below, 2),
      }
      : { kind: "float", value: plus(at.value, float(halves / 2)) };
  switch (mode) {
    case "floor":
      return splitAtFloor(at).floor;
    case "ceil":
      return up(at);
    case "round_prefer_floor":
      return up(moved(-1));
    case "round_prefer_ceil":
      return splitAtFloor(moved(1)).floor;
    default:
      return null;
  }
}

/** True where a coordinate lies outside the input. */
export function isOutside(at: Coordinate, extent: Integer): Value {
  const value = at.kind === "float" ? at.value : over(floatOf(at.above), floatOf(at.below));
  return apply(
    "or",
    apply("less", value, float(0)),
    apply("greater", value, minus(floatOf(extent), float(1))),
  );
}

/** True where the dimension stays as it is. */
export function isIdentity({ from, to, quotient, crop }: Scaling): boolean {
  if (crop !== null || from !== to || quotient === null) return false;
  const [above, below] = [asNumber(quotient.above), asNumber(quotient.below)];
  return quotient.above === quotient.below || (above !== null && above === below);
}
