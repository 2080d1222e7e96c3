/**
 * Ops on regions of a picture: RoiAlign, MaxRoiPool, Col2Im (https://onnx.ai/onnx/operators/). How
 * many elements a region has may depend on its corners, which are data.
 */
import { divide, divideUp, maximum, modulo } from "../expr/bounds.ts";
import {
  add,
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
  constant,
  extentOf,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { clamp, float, minus, over, plus, times } from "./arithmetic.ts";
import { all, equal, inside, int } from "./extents.ts";
import { flatIndex, within } from "./indices.ts";
import { type OpCall, operand, type OpRecord, scalarOf, wrapped } from "./op.ts";
import { floatOf, floorOf } from "./resize_coordinates.ts";

/** A float that is a whole number, as an integer. */
function whole(value: Value): Integer {
  return toInteger(callPrelude("toI32", "i32", value));
}

/** The least integer that is not below `value`. */
function ceilOf(value: Value): Integer {
  return whole(apply("ceil", value));
}

/** One side of a region that is cut in `bins`, each sampled at some points. */
interface Side {
  readonly extent: Integer;
  readonly samples: Integer;
  /** The coordinate of a sample of a bin. */
  readonly at: (bin: Integer, sample: Integer) => Value;
}

function sideOf(
  start: Value,
  end: Value,
  extent: Integer,
  bins: number,
  ratio: number,
  halfPixel: boolean,
): Side {
  const length = halfPixel ? minus(end, start) : apply("max", minus(end, start), float(1));
  const size = over(length, float(bins));
  const samples = ratio > 0 ? integer(ratio) : maximum(ceilOf(size), ZERO);
  const step = over(size, floatOf(maximum(samples, ONE)));
  return {
    extent,
    samples,
    at: (bin, sample) =>
      plus(
        start,
        times(floatOf(bin), size),
        times(plus(floatOf(sample), float(0.5)), step),
      ),
  };
}

/** What a coordinate reads along a side: two positions, each with its weight. */
function readings(x: Value, extent: Integer) {
  const last = subtract(extent, ONE);
  const clamped = clamp(x, float(0), floatOf(last));
  const low = floorOf(clamped);
  const rest = minus(clamped, apply("floor", clamped));
  return [
    { index: low, weight: minus(float(1), rest) },
    { index: within(add(low, ONE), ZERO, last), weight: rest },
  ];
}

/** True where a coordinate is not farther than one element outside. */
function isNear(x: Value, extent: Integer): Value {
  return apply(
    "and",
    apply("greaterOrEqual", x, float(-1)),
    apply("lessOrEqual", x, floatOf(extent)),
  );
}

/** The mode "max" takes the largest of the weighed corners of the samples, as ONNX defines it. */
const ROI_ALIGN: OpRecord = {
  name: "RoiAlign",
  domain: "",
  since: 22,
  lower: (call) => {
    const [x, rois, batches] = [call.input(0), call.input(1), call.input(2)];
    const [, channels, height, width] = x.dims;
    if (x.dims.length !== 4) call.fail(`its input has ${x.dims.length} dimensions, not 4`);
    const mode = call.string("mode", "avg");
    if (mode !== "avg" && mode !== "max") call.fail(`mode "${mode}" is not known`);
    const [rows, columns] = ["output_height", "output_width"].map((name) => call.int(name, 1));
    const halfPixel = call.string("coordinate_transformation_mode", "half_pixel") === "half_pixel";
    const ratio = call.int("sampling_ratio", 0);
    const scale = float(call.float("spatial_scale", 1));
    const dims = [rois.dims[0]!, channels!, integer(rows!), integer(columns!)];
    return [
      operand(x.dtype, dims, ([region, channel, row, column]) => {
        const corner = (i: number): Value =>
          minus(times(rois.at([region!, integer(i)]), scale), float(halfPixel ? 0.5 : 0));
        const down = sideOf(corner(1), corner(3), height!, rows!, ratio, halfPixel);
        const across = sideOf(corner(0), corner(2), width!, columns!, ratio, halfPixel);
        const batch = toInteger(batches.at([region!]));
        const sample = ([v, h]: readonly Integer[], combine: (a: Value, b: Value) => Value) => {
          const [y, x1] = [down.at(row!, v!), across.at(column!, h!)];
          const corners = readings(y, height!).flatMap((vertical) =>
            readings(x1, width!).map((horizontal) =>
              times(
                times(vertical.weight, horizontal.weight),
                x.at([batch, channel!, vertical.index, horizontal.index]),
              )
            )
          );
          const near = apply("and", isNear(y, height!), isNear(x1, width!));
          return select(near, corners.reduce(combine), float(0));
        };
        const extents = [down.samples, across.samples];
        const count = multiply(...extents);
        if (mode === "max") {
          const greatest = reduce(
            "max",
            extents,
            (at) => sample(at, (a, b) => apply("max", a, b)),
          );
          return select(equal(count, ZERO), float(0), greatest);
        }
        const sum = reduce("sum", extents, (at) => sample(at, (a, b) => plus(a, b)));
        return over(sum, floatOf(maximum(count, ONE)));
      }),
    ];
  },
};

/** `value` rounded to the nearest integer, ties away from zero. */
function roundedAway(value: Value): Integer {
  const half = float(0.5);
  return whole(
    select(
      apply("less", value, float(0)),
      apply("ceil", minus(value, half)),
      apply("floor", plus(value, half)),
    ),
  );
}

const MAX_ROI_POOL: OpRecord = {
  name: "MaxRoiPool",
  domain: "",
  since: 22,
  lower: (call) => {
    const [x, rois] = [call.input(0), call.input(1)];
    if (x.dims.length !== 4) call.fail(`its input has ${x.dims.length} dimensions, not 4`);
    const [, channels, height, width] = x.dims;
    const shape = call.ints("pooled_shape") ?? [];
    const [rows, columns] = [0, 1].map((i) =>
      shape[i] ?? call.fail("its pooled_shape has not 2 elements")
    ) as [number, number];
    const scale = float(call.float("spatial_scale", 1));
    const dims = [rois.dims[0]!, channels!, integer(rows), integer(columns)];
    return [
      operand(x.dtype, dims, ([region, channel, row, column]) => {
        const corner = (i: number): Integer =>
          roundedAway(times(rois.at([region!, integer(i)]), scale));
        const batch = whole(rois.at([region!, ZERO]));
        /** The first position of a bin along a side, and the number of its positions. */
        const bin = (start: Integer, end: Integer, count: number, at: Integer, extent: Integer) => {
          const length = maximum(add(subtract(end, start), ONE), ONE);
          // In integers: a quotient of floats that is rounded up would add a position.
          const before = divide(multiply(at, length), integer(count));
          const first = within(add(before, start), ZERO, extent);
          const next = divideUp(multiply(add(at, ONE), length), integer(count));
          const last = within(add(next, start), ZERO, extent);
          return { first, count: maximum(subtract(last, first), ZERO) };
        };
        const down = bin(corner(2), corner(4), rows, row!, height!);
        const across = bin(corner(1), corner(3), columns, column!, width!);
        const greatest = reduce(
          "max",
          [down.count, across.count],
          ([v, h]) => x.at([batch, channel!, add(down.first, v!), add(across.first, h!)]),
        );
        const isEmpty = equal(multiply(down.count, across.count), ZERO);
        return select(isEmpty, float(0), greatest);
      }),
    ];
  },
};

/** An attribute of one integer a dimension, or `fallback` for each. */
function perDimension(
  call: OpCall,
  name: string,
  count: number,
  fallback: number,
): readonly number[] {
  const values = call.ints(name);
  if (values !== null && values.length !== count) {
    call.fail(`${name} has ${values.length} elements, not ${count}`);
  }
  return values ?? Array.from({ length: count }, () => fallback);
}

/** Each pixel adds the elements of the blocks that cover it: a sum over the positions in a block. */
const COL_2_IM: OpRecord = {
  name: "Col2Im",
  domain: "",
  since: 18,
  hostInputs: [1, 2],
  lower: (call) => {
    const input = call.input(0);
    const image = call.integers(1).map(extentOf);
    const block = call.integers(2).map(extentOf);
    const rank = image.length;
    if (block.length !== rank || input.dims.length !== 3) {
      call.fail("its input has not 3 dimensions, or its image and block differ in rank");
    }
    const strides = perDimension(call, "strides", rank, 1);
    const dilations = perDimension(call, "dilations", rank, 1);
    const pads = perDimension(call, "pads", 2 * rank, 0);
    const size = multiply(...block);
    const channels = extentOf(divide(input.dims[1]!, size));
    const counts = image.map((extent, d) => {
      const reach = add(scaled(subtract(block[d]!, ONE), dilations[d]!), ONE);
      const room = subtract(add(extent, integer(pads[d]! + pads[rank + d]!)), reach);
      return add(divide(room, integer(strides[d]!)), ONE);
    });
    const zero = constant(scalarOf(input.dtype), 0);
    return [
      operand(input.dtype, [input.dims[0]!, channels, ...image], ([n, channel, ...place]) => {
        const sum = reduce("sum", block, (offsets) => {
          const distances = place.map((index, d) =>
            subtract(add(index, integer(pads[d]!)), scaled(offsets[d]!, dilations[d]!))
          );
          const columns = distances.map((distance, d) => divide(distance, integer(strides[d]!)));
          const fits = all(distances.map((distance, d) =>
            apply(
              "and",
              apply("equal", fromInteger(modulo(distance, integer(strides[d]!))), int(0)),
              inside(columns[d]!, counts[d]!),
            )
          ));
          const row = add(multiply(channel!, size), flatIndex(block, offsets));
          return select(fits, input.at([n!, row, flatIndex(counts, columns)]), zero);
        });
        return wrapped(input.dtype, sum);
      }),
    ];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const REGION_OPS: readonly OpRecord[] = [ROI_ALIGN, MAX_ROI_POOL, COL_2_IM];
