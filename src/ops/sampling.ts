/**
 * GridSample and AffineGrid (https://onnx.ai/onnx/operators/onnx__GridSample.html), of any number of
 * spatial dimensions. A grid names coordinates last dimension first, from -1 to 1.
 */
import { minimum, modulo } from "../expr/bounds.ts";
import { add, type Integer, integer, ONE, scaled, subtract, ZERO } from "../expr/integer.ts";
import {
  apply,
  call as callPrelude,
  constant,
  extentOf,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { clamp, float, minus, over, plus, times } from "./arithmetic.ts";
import { all, inside } from "./extents.ts";
import { within } from "./indices.ts";
import { cubicKernel, linearKernel, type Taps, weighed } from "./interpolation.ts";
import { type Operand, operand, type OpRecord, scalarOf } from "./op.ts";
import { floatOf, floorOf } from "./resize_coordinates.ts";
import { reflected } from "./slicing.ts";

/** Keys' parameter, as PyTorch has it. */
const CUBIC_PARAMETER = -0.75;

type Padding = "zeros" | "border" | "reflection";
const PADDINGS: readonly string[] = ["zeros", "border", "reflection"] satisfies Padding[];

/** A coordinate from -1 to 1 in elements; without aligned corners, elements have an extent of 1. */
function denormalized(x: Value, extent: Integer, aligned: boolean): Value {
  const shifted = plus(x, float(1));
  return aligned
    ? times(over(shifted, float(2)), floatOf(subtract(extent, ONE)))
    : over(minus(times(shifted, floatOf(extent)), float(1)), float(2));
}

/** A coordinate past the borders of its dimension, brought back as the padding says. */
function brought(x: Value, extent: Integer, padding: Padding, aligned: boolean): Value {
  if (padding === "zeros") return x;
  const last = floatOf(subtract(extent, ONE));
  // Indices are brought back one by one, as PyTorch and ONNX Runtime do it: a cubic past a border is
  // no constant before its fourth element.
  if (padding === "border") return clamp(x, float(-4), plus(last, float(4)));
  const half = float(0.5);
  const [low, high] = aligned ? [float(0), last] : [float(-0.5), minus(floatOf(extent), half)];
  const isOutside = apply("or", apply("less", x, low), apply("greater", x, high));
  const range = minus(high, low);
  const turn = apply("floorMod", minus(x, low), times(float(2), range));
  const back = plus(low, apply("min", turn, minus(times(float(2), range), turn)));
  const hasRange = apply("greater", range, float(0));
  return select(isOutside, select(hasRange, back, low), x);
}

/** A position past the ends of its dimension, brought back; zeros are the reader's business. */
function broughtIndex(
  index: Integer,
  extent: Integer,
  padding: Padding,
  aligned: boolean,
): Integer {
  if (padding === "zeros") return index;
  if (padding === "border") return within(index, ZERO, subtract(extent, ONE));
  if (aligned) return reflected(index, extent, [extent]);
  const period = scaled(extent, 2);
  const turn = modulo(index, period);
  return minimum(turn, subtract(subtract(period, ONE), turn));
}

/** The taps of a coordinate: 2 for linear, 4 for cubic interpolation. */
function tapsOf(x: Value, mode: string): Taps {
  const floor = floorOf(x);
  const rest = minus(x, apply("floor", x));
  const [count, kernel] = mode === "linear"
    ? [2, linearKernel] as const
    : [4, cubicKernel(CUBIC_PARAMETER)] as const;
  const offset = (tap: Integer): Integer => add(tap, integer(1 - count / 2));
  return {
    count: integer(count),
    index: (tap) => add(floor, offset(tap)),
    weight: (tap) => kernel(apply("abs", minus(floatOf(offset(tap)), rest))),
  };
}

const GRID_SAMPLE: OpRecord = {
  name: "GridSample",
  domain: "",
  since: 22,
  lower: (call) => {
    const [x, grid] = [call.input(0), call.input(1)];
    const spatial = x.dims.slice(2);
    if (spatial.length === 0 || grid.dims.length !== x.dims.length) {
      call.fail(`its input has ${x.dims.length} dimensions, its grid ${grid.dims.length}`);
    }
    const mode = { bilinear: "linear", bicubic: "cubic" }[call.string("mode", "linear")] ??
      call.string("mode", "linear");
    if (!["linear", "nearest", "cubic"].includes(mode)) call.fail(`mode "${mode}" is not known`);
    const padding = call.string("padding_mode", "zeros");
    if (!PADDINGS.includes(padding)) call.fail(`padding_mode "${padding}" is not known`);
    const aligned = call.int("align_corners", 0) !== 0;
    const dims = [...x.dims.slice(0, 2), ...grid.dims.slice(1, -1)];
    const read = padded(x, padding as Padding, aligned);
    return [
      operand(x.dtype, dims, ([batch, channel, ...place]) => {
        const coordinates = spatial.map((extent, d) => {
          const number = integer(spatial.length - 1 - d);
          const own = denormalized(grid.at([batch!, ...place, number]), extent, aligned);
          const rounded = mode === "nearest" ? apply("round", own) : own;
          return brought(rounded, extent, padding as Padding, aligned);
        });
        if (mode === "nearest") {
          const indices = coordinates.map((own) => toInteger(callPrelude("toI32", "i32", own)));
          return read([batch!, channel!, ...indices]);
        }
        const taps = coordinates.map((own, d) => ({ dimension: d + 2, taps: tapsOf(own, mode) }));
        return weighed(taps, [batch!, channel!, ...spatial.map(() => ZERO)], read);
      }),
    ];
  },
};

/** Reads `x` at indices whose spatial ones may be out of range. */
function padded(
  x: Operand,
  padding: Padding,
  aligned: boolean,
): (indices: readonly Integer[]) => Value {
  return (indices) => {
    const placed = indices.map((index, d) =>
      d < 2 ? index : broughtIndex(index, x.dims[d]!, padding, aligned)
    );
    if (padding !== "zeros") return x.at(placed);
    const isInside = all(placed.slice(2).map((index, d) => inside(index, x.dims[d + 2]!)));
    return select(isInside, x.at(placed), constant(scalarOf(x.dtype), 0));
  };
}

/** The coordinate from -1 to 1 of a position. */
function normalized(index: Integer, extent: Integer, aligned: boolean): Value {
  if (!aligned) {
    return minus(over(floatOf(add(scaled(index, 2), ONE)), floatOf(extent)), float(1));
  }
  const steps = apply("max", floatOf(subtract(extent, ONE)), float(1));
  return minus(over(floatOf(scaled(index, 2)), steps), float(1));
}

const AFFINE_GRID: OpRecord = {
  name: "AffineGrid",
  domain: "",
  since: 20,
  hostInputs: [1],
  lower: (call) => {
    const theta = call.input(0);
    const aligned = call.int("align_corners", 0) !== 0;
    const [batch, , ...spatial] = call.integers(1).map(extentOf);
    const rank = spatial.length;
    if (rank < 2) call.fail("its size has fewer than 4 elements");
    return [
      operand(theta.dtype, [batch!, ...spatial, integer(rank)], (indices) => {
        const [n, row] = [indices[0]!, indices[rank + 1]!];
        const parts = spatial.map((extent, d) =>
          times(
            theta.at([n, row, integer(rank - 1 - d)]),
            normalized(indices[d + 1]!, extent, aligned),
          )
        );
        return plus(theta.at([n, row, integer(rank)]), ...parts);
      }),
    ];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const SAMPLING_OPS: readonly OpRecord[] = [GRID_SAMPLE, AFFINE_GRID];
