/**
 * Ops that take or add ranges of positions: Slice, Split, Pad, CenterCropPad, Concat
 * (https://onnx.ai/onnx/operators/). Where axes, limits or sizes are known only when the model runs,
 * each dimension chooses its own among them.
 */
import { divide, divideUp, isNotNegative, maximum, minimum, modulo } from "../expr/bounds.ts";
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
import { apply, constant, extentOf, fromInteger, select, type Value } from "../expr/value.ts";
import { axisOf } from "./broadcast.ts";
import { all, equal, inside, int } from "./extents.ts";
import { choose, fromEnd, isNegative, sharedExtent, upTo, within } from "./indices.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf } from "./op.ts";

/** Numbers that stand for "to the end": the greatest and least of 32-bit integers, and beyond. */
const ENDLESS = 2 ** 31 - 1;

/** What is said of each axis, for a tensor's dimension: that of the axis naming it, or `fallback`. */
function ofDimension(
  axes: readonly Integer[],
  values: readonly Integer[],
  dimension: number,
  rank: number,
  fallback: Integer,
): Integer {
  let chosen = fallback;
  for (const [i, axis] of axes.entries()) {
    const here = apply(
      "or",
      equal(axis, integer(dimension)),
      equal(axis, integer(dimension - rank)),
    );
    chosen = choose(here, values[i]!, chosen);
  }
  return chosen;
}

/** A range of positions along a dimension: `count` of them from `start` on. */
interface Range {
  readonly start: Integer;
  readonly step: Integer;
  readonly count: Integer;
}

/** A start or an end, counted from the end where negative; what says "to the end" is `extent`. */
function limit(position: Integer, extent: Integer, least: Integer, greatest: Integer): Integer {
  const number = asNumber(position);
  if (number !== null && number >= ENDLESS) return greatest;
  if (number !== null && number <= -ENDLESS) return least;
  return within(fromEnd(position, extent), least, greatest);
}

/** The positions that Slice takes, its limits clamped as its specification says. */
function rangeOf(extent: Integer, start: Integer, end: Integer, step: Integer): Range {
  const falls = isNegative(step);
  const last = subtract(extent, ONE);
  const first = limit(start, extent, ZERO, choose(falls, last, extent));
  const stop = limit(end, extent, choose(falls, integer(-1), ZERO), choose(falls, last, extent));
  const distance = choose(falls, subtract(first, stop), subtract(stop, first));
  const size = choose(falls, scaled(step, -1), step);
  return { start: first, step, count: maximum(divideUp(distance, maximum(size, ONE)), ZERO) };
}

const SLICE: OpRecord = {
  name: "Slice",
  domain: "",
  since: 13,
  hostInputs: [1, 2, 3, 4],
  lower: (call) => {
    const data = call.input(0);
    const rank = data.dims.length;
    const [starts, ends] = [call.integers(1), call.integers(2)];
    const axes = call.optional(3) === null ? upTo(starts.length) : call.integers(3);
    const steps = call.optional(4) === null ? starts.map(() => ONE) : call.integers(4);
    if (new Set([starts, ends, axes, steps].map((list) => list.length)).size !== 1) {
      call.fail("its starts, ends, axes and steps differ in number");
    }
    for (const axis of axes) {
      const number = asNumber(axis);
      if (number !== null) axisOf(call, number, rank);
    }
    for (const step of steps) {
      call.check(apply("notEqual", fromInteger(step), int(0)), "it has a step of 0");
    }
    const ranges = data.dims.map((extent, d) =>
      rangeOf(
        extent,
        ofDimension(axes, starts, d, rank, ZERO),
        ofDimension(axes, ends, d, rank, extent),
        ofDimension(axes, steps, d, rank, ONE),
      )
    );
    return [
      operand(
        data.dtype,
        ranges.map(({ count }) => extentOf(count)),
        (indices) =>
          data.at(indices.map((index, d) => {
            const { start, step } = ranges[d]!;
            return add(start, multiply(index, step));
          })),
      ),
    ];
  },
};

/** The sizes of the parts that Split makes of `extent`; the last may be smaller. */
function splitSizes(call: OpCall, extent: Integer): readonly Integer[] {
  if (call.optional(1) !== null) return call.integers(1);
  const count = call.int("num_outputs", call.node.outputs.length);
  const outputs = call.node.outputs.length;
  if (count !== outputs) call.fail(`num_outputs is ${count}, and it has ${outputs} outputs`);
  const size = divideUp(extent, integer(count));
  const last = subtract(extent, scaled(size, count - 1));
  return upTo(count).map((_, i) => i < count - 1 ? size : maximum(last, ZERO));
}

const SPLIT: OpRecord = {
  name: "Split",
  domain: "",
  since: 18,
  hostInputs: [1],
  lower: (call) => {
    const input = call.input(0);
    const axis = axisOf(call, call.int("axis", 0), input.dims.length);
    const extent = input.dims[axis]!;
    const sizes = splitSizes(call, extent);
    const whole = add(...sizes);
    if (whole !== extent) {
      call.check(equal(whole, extent), `its sizes aren't those of axis ${axis}`);
    }
    let offset = ZERO;
    return sizes.map((size) => {
      const start = offset;
      offset = add(offset, size);
      return operand(
        input.dtype,
        input.dims.with(axis, extentOf(size)),
        (indices) => input.at(indices.with(axis, add(start, indices[axis]!))),
      );
    });
  },
};

/** The position outside `extent` that reflection at its first and last element leads back into it. */
export function reflected(position: Integer, extent: Integer, reach: readonly Integer[]): Integer {
  const last = subtract(extent, ONE);
  if (reach.every((count) => isNotNegative(subtract(last, count)))) {
    // No pad is longer than the tensor: each side is reflected once.
    const fromFirst = maximum(position, scaled(position, -1));
    return subtract(last, maximum(subtract(last, fromFirst), subtract(fromFirst, last)));
  }
  const period = maximum(scaled(last, 2), ONE);
  const turn = modulo(position, period);
  return minimum(turn, subtract(period, turn));
}

type Mode = "constant" | "reflect" | "edge" | "wrap";
const MODES: readonly string[] = ["constant", "reflect", "edge", "wrap"] satisfies Mode[];

/** Where a padded dimension reads; only `constant` may read nowhere. */
function paddedIndex(mode: Mode, position: Integer, extent: Integer, pads: readonly Integer[]) {
  if (pads.every((count) => count === ZERO)) return position;
  switch (mode) {
    case "constant":
      return position;
    case "edge":
      return within(position, ZERO, subtract(extent, ONE));
    case "reflect":
      return reflected(position, extent, pads);
    case "wrap":
      return modulo(position, extent);
  }
}

const PAD: OpRecord = {
  name: "Pad",
  domain: "",
  since: 25,
  hostInputs: [1, 3],
  lower: (call) => {
    const data = call.input(0);
    const rank = data.dims.length;
    const pads = call.integers(1);
    const axes = call.optional(3) === null ? upTo(rank) : call.integers(3);
    if (pads.length !== 2 * axes.length) {
      call.fail(`it has ${pads.length} pads for ${axes.length} axes`);
    }
    const mode = call.string("mode", "constant");
    if (!MODES.includes(mode)) call.fail(`mode "${mode}" is not known`);
    const [before, after] = [pads.slice(0, axes.length), pads.slice(axes.length)].map((side) =>
      data.dims.map((_, d) => ofDimension(axes, side, d, rank, ZERO))
    ) as [Integer[], Integer[]];
    const dims = data.dims.map((extent, d) => extentOf(add(extent, before[d]!, after[d]!)));
    const filler = call.optional(2);
    const at = (indices: readonly Integer[]): Value => {
      const positions = indices.map((index, d) => subtract(index, before[d]!));
      const placed = positions.map((position, d) =>
        paddedIndex(mode as Mode, position, data.dims[d]!, [before[d]!, after[d]!])
      );
      if (mode !== "constant") return data.at(placed);
      const fill = filler?.at(filler.dims.map(() => ZERO)) ?? constant(scalarOf(data.dtype), 0);
      const within = all(placed.map((position, d) =>
        inside(position, data.dims[d]!, {
          lower: before[d] !== ZERO,
          upper: after[d] !== ZERO,
        })
      ));
      return select(within, data.at(placed), fill);
    };
    return [operand(data.dtype, dims, at)];
  },
};

/** Half of `value`, rounded towards zero. */
function half(value: Integer): Integer {
  const down = divide(value, integer(2));
  const up = scaled(divide(scaled(value, -1), integer(2)), -1);
  return choose(isNegative(value), up, down);
}

const CENTER_CROP_PAD: OpRecord = {
  name: "CenterCropPad",
  domain: "",
  since: 18,
  hostInputs: [1],
  lower: (call) => {
    const data = call.input(0);
    const rank = data.dims.length;
    const axes = call.ints("axes")?.map((axis) => axisOf(call, axis, rank)) ??
      data.dims.map((_, d) => d);
    const wanted = call.integers(1);
    if (wanted.length !== axes.length) {
      call.fail(`its shape has ${wanted.length} dimensions for ${axes.length} axes`);
    }
    const dims = data.dims.map((extent, d) => {
      const i = axes.indexOf(d);
      return i < 0 ? extent : extentOf(wanted[i]!);
    });
    const shifts = dims.map((extent, d) => half(subtract(extent, data.dims[d]!)));
    const nothing = constant(scalarOf(data.dtype), 0);
    return [
      operand(data.dtype, dims, (indices) => {
        const placed = indices.map((index, d) => subtract(index, shifts[d]!));
        const within = all(
          placed.map((position, d) =>
            dims[d] === data.dims[d] ? constant("bool", 1) : inside(position, data.dims[d]!)
          ),
        );
        return select(within, data.at(placed), nothing);
      }),
    ];
  },
};

/** Concatenations of more inputs than this are stored input by input. */
const MOST_SELECTED = 4;
/** Elements of vectors that stay expressions, as shapes must, however many inputs they have. */
const MOST_SHAPE_ELEMENTS = 256;

const CONCAT: OpRecord = {
  name: "Concat",
  domain: "",
  since: 13,
  lower: (call) => {
    const all = Array.from({ length: call.inputCount }, (_, i) => call.input(i));
    if (all.length === 0) call.fail("it has no input");
    const { dtype, dims: { length: rank } } = all[0]!;
    const axis = axisOf(call, call.int("axis", 0), rank);
    if (rank === 0 || all.some((input) => input.dims.length !== rank)) {
      call.fail("its inputs differ in rank, or are scalars");
    }
    const inputs = all.filter((input) => input.dims[axis] !== ZERO);
    if (inputs.length === 0) return [all[0]!];
    const dims = all[0]!.dims.map((_, d) =>
      d === axis
        ? extentOf(add(...inputs.map((input) => input.dims[axis]!)))
        : sharedExtent(call, inputs.map((input) => input.dims[d]!), `extents of dimension ${d}`)
    );
    let end = ZERO;
    const ends = inputs.map((input) => end = add(end, input.dims[axis]!));
    const starts = [ZERO, ...ends];
    const length = asNumber(dims[axis]!);
    const isShape = rank === 1 && length !== null && length <= MOST_SHAPE_ELEMENTS;
    if (inputs.length > MOST_SELECTED && !isShape) {
      return [
        call.parts(
          dtype,
          dims,
          inputs.map((input, i) => ({
            extents: input.dims,
            place: (position) => position.with(axis, add(position[axis]!, starts[i]!)),
            value: (position) => input.at(position),
          })),
        ),
      ];
    }
    return [operand(dtype, dims, (indices) => joined(inputs, starts, axis, indices))];
  },
};

/** The element of the input that holds position `axis` of `indices`, found by halving. */
function joined(
  inputs: readonly Operand[],
  starts: readonly Integer[],
  axis: number,
  indices: readonly Integer[],
): Value {
  const between = (from: number, to: number): Value => {
    if (to - from === 1) {
      return inputs[from]!.at(indices.with(axis, subtract(indices[axis]!, starts[from]!)));
    }
    const middle = Math.ceil((from + to) / 2);
    const isFirst = apply("less", fromInteger(indices[axis]!), fromInteger(starts[middle]!));
    if (isFirst.kind === "constant") {
      return isFirst.value !== 0 ? between(from, middle) : between(middle, to);
    }
    return select(isFirst, between(from, middle), between(middle, to));
  };
  return between(0, inputs.length);
}

/** https://onnx.ai/onnx/operators/ */
export const SLICING_OPS: readonly OpRecord[] = [SLICE, SPLIT, PAD, CENTER_CROP_PAD, CONCAT];
