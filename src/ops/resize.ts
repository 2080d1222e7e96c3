/**
 * Resize (https://onnx.ai/onnx/operators/onnx__Resize.html): nearest, linear and cubic, with or
 * without antialiasing. An element of the result weighs the elements of the input around its
 * coordinate, dimension by dimension; scales and sizes may be known only when the model runs.
 */
import { add, type Integer, integer, ONE, scaled, subtract, ZERO } from "../expr/integer.ts";
import { apply, constant, extentOf, reduce, select, type Value } from "../expr/value.ts";
import { asFloat, clamp, float, isFloat, minus, over, plus, times } from "./arithmetic.ts";
import { axisOf } from "./broadcast.ts";
import { inside } from "./extents.ts";
import { within } from "./indices.ts";
import { cubicKernel, linearKernel, type Taps, weighed } from "./interpolation.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { DTYPES } from "../dtype.ts";
import {
  coordinate,
  floatOf,
  floorOf,
  isIdentity,
  isOutside,
  nearest,
  type Scaling,
  scalingBy,
  scalingTo,
  splitAtFloor,
} from "./resize_coordinates.ts";

/** An input that is given and not empty: an omitted one may be a tensor of no elements. */
function given(call: OpCall, i: number): boolean {
  const input = call.optional(i);
  return input !== null && !input.dims.some((extent) => extent === ZERO);
}

/** The scaling of each dimension of the input. */
function scalings(call: OpCall, dims: readonly Integer[], isCrop: boolean): readonly Scaling[] {
  const rank = dims.length;
  const axes = call.ints("axes")?.map((axis) => axisOf(call, axis, rank)) ?? dims.map((_, d) => d);
  const roi = isCrop ? cropOf(call, axes) : null;
  const crop = (i: number): Scaling["crop"] => roi?.[i] ?? null;
  const made = dims.map((extent) => scalingTo(extent, extent, null));
  const values = call.elements(given(call, 2) ? 2 : 3);
  if (values.length !== axes.length) {
    call.fail(`it has ${values.length} scales or sizes for ${axes.length} dimensions`);
  }
  if (given(call, 2)) {
    for (const [i, d] of axes.entries()) {
      made[d] = scalingBy(dims[d]!, asFloat(values[i]!), crop(i));
    }
    return made;
  }
  const policy = call.string("keep_aspect_ratio_policy", "stretch");
  const sizes = call.integers(3).map(extentOf);
  if (policy === "stretch") {
    for (const [i, d] of axes.entries()) made[d] = scalingTo(dims[d]!, sizes[i]!, crop(i));
    return made;
  }
  if (policy !== "not_larger" && policy !== "not_smaller") {
    call.fail(`keep_aspect_ratio_policy "${policy}" is not known`);
  }
  const scale = axes.map((d, i) => over(floatOf(sizes[i]!), floatOf(dims[d]!)))
    .reduce((a, b) => apply(policy === "not_larger" ? "min" : "max", a, b));
  for (const [i, d] of axes.entries()) {
    const to = extentOf(floorOf(plus(times(scale, floatOf(dims[d]!)), float(0.5))));
    made[d] = scalingBy(dims[d]!, scale, crop(i), to);
  }
  return made;
}

/** The crop of each axis: all starts, then all ends. */
function cropOf(call: OpCall, axes: readonly number[]): readonly Scaling["crop"][] {
  const roi = call.elements(1).map(asFloat);
  if (roi.length !== 2 * axes.length) {
    call.fail(`its roi has ${roi.length} elements for ${axes.length} dimensions`);
  }
  return axes.map((_, i) => {
    const [start, end] = [roi[i]!, roi[axes.length + i]!];
    return start === float(0) && end === float(1) ? null : { start, end };
  });
}

/** What of the attributes says how elements are weighed. */
interface Filter {
  readonly kernel: (distance: Value) => Value;
  /** How far from its center the kernel is not 0. */
  readonly reach: number;
  readonly antialias: boolean;
  readonly excludeOutside: boolean;
}

/** Taps, and what their weights are divided by where they don't add up to 1. */
interface ScaledTaps extends Taps {
  readonly total: Value | null;
}

function tapsAt(
  filter: Filter,
  mode: string,
  scaling: Scaling,
  position: Integer,
): ScaledTaps {
  const { from, scale } = scaling;
  const { floor, rest } = splitAtFloor(coordinate(mode, scaling, position)!);
  // Shrinking stretches the kernel of an antialiased resize.
  const shrink = filter.antialias ? apply("min", scale, float(1)) : float(1);
  const half = filter.antialias
    ? scaled(floorOf(apply("negate", over(float(filter.reach), shrink))), -1)
    : integer(filter.reach);
  const count = extentOf(scaled(half, 2));
  const offset = (tap: Integer): Integer => add(subtract(ONE, half), tap);
  const raw = (tap: Integer): Integer => add(floor, offset(tap));
  const weight = (tap: Integer): Value => {
    const distance = apply("abs", minus(floatOf(offset(tap)), rest));
    const value = filter.kernel(times(distance, shrink));
    return filter.excludeOutside ? select(inside(raw(tap), from), value, float(0)) : value;
  };
  const isNormalized = filter.antialias || filter.excludeOutside;
  const sum = isNormalized ? reduce("sum", [count], ([tap]) => weight(tap!)) : null;
  return {
    count,
    index: (tap) => within(raw(tap), ZERO, subtract(from, ONE)),
    weight,
    total: sum && select(apply("equal", sum, float(0)), float(1), sum),
  };
}

/** A weighed sum as an element of the input's type: integers are clamped to its range. */
function toElement(input: Operand, value: Value): Value {
  const { dtype } = input;
  if (isFloat(dtype)) return value;
  const { kind, bits } = DTYPES[dtype];
  if (kind === "bool") return apply("notEqual", value, float(0));
  const least = kind === "int" ? -(2 ** (bits - 1)) : 0;
  const greatest = kind === "int" ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  return castTo(dtype, bits < 32 ? clamp(value, float(least), float(greatest)) : value);
}

const RESIZE: OpRecord = {
  name: "Resize",
  domain: "",
  since: 19,
  hostInputs: [1, 2, 3],
  lower: (call) => {
    const input = call.input(0);
    const transformation = call.string("coordinate_transformation_mode", "half_pixel");
    const isCrop = transformation === "tf_crop_and_resize";
    const all = scalings(call, input.dims, isCrop);
    const resized = all.flatMap((scaling, dimension) =>
      isIdentity(scaling) ? [] : [{ scaling, dimension }]
    );
    if (coordinate(transformation, scalingTo(ONE, ONE, null), ZERO) === null) {
      call.fail(`coordinate_transformation_mode "${transformation}" is not known`);
    }
    const read = reader(call, input, transformation, resized);
    const extrapolation = castTo(input.dtype, float(call.float("extrapolation_value", 0)));
    const at = (indices: readonly Integer[]): Value => {
      if (!isCrop) return read(indices);
      const outside = resized.map(({ scaling, dimension }) =>
        isOutside(coordinate(transformation, scaling, indices[dimension]!)!, scaling.from)
      ).reduce((a, b) => apply("or", a, b), constant("bool", 0));
      return select(outside, extrapolation, read(indices));
    };
    return [operand(input.dtype, all.map(({ to }) => to), at)];
  },
};

/** What an element of the result is, extrapolation aside. */
function reader(
  call: OpCall,
  input: Operand,
  transformation: string,
  resized: readonly { readonly scaling: Scaling; readonly dimension: number }[],
): (indices: readonly Integer[]) => Value {
  const mode = call.string("mode", "nearest");
  const antialias = call.int("antialias", 0) !== 0;
  if (mode === "nearest") {
    const rounding = call.string("nearest_mode", "round_prefer_floor");
    if (nearest(rounding, { kind: "float", value: float(0) }) === null) {
      call.fail(`nearest_mode "${rounding}" is not known`);
    }
    return (indices) => {
      let place = indices;
      for (const { scaling, dimension } of resized) {
        const at = coordinate(transformation, scaling, indices[dimension]!)!;
        const index = within(nearest(rounding, at)!, ZERO, subtract(scaling.from, ONE));
        place = place.with(dimension, index);
      }
      return input.at(place);
    };
  }
  if (mode !== "linear" && mode !== "cubic") call.fail(`mode "${mode}" is not known`);
  const filter: Filter = {
    kernel: mode === "linear" ? linearKernel : cubicKernel(call.float("cubic_coeff_a", -0.75)),
    reach: mode === "linear" ? 1 : 2,
    antialias,
    excludeOutside: call.int("exclude_outside", 0) !== 0,
  };
  return (indices) => {
    const taps = resized.map(({ scaling, dimension }) => ({
      dimension,
      taps: tapsAt(filter, transformation, scaling, indices[dimension]!),
    }));
    const sum = weighed(taps, indices, (place) => asFloat(input.at(place)));
    const totals = taps.flatMap(({ taps: { total } }) => total === null ? [] : [total]);
    return toElement(
      input,
      totals.length === 0 ? sum : over(sum, totals.reduce((a, b) => times(a, b))),
    );
  };
}

/** https://onnx.ai/onnx/operators/onnx__Resize.html */
export const RESIZE_OPS: readonly OpRecord[] = [RESIZE];
