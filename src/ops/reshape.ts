/**
 * Ops that keep the elements of a tensor in their order: Reshape, Flatten, Squeeze, Unsqueeze
 * (https://onnx.ai/onnx/operators/). Shapes and axes may be known only when the model runs.
 */
import { divide, isNotNegative, maximum, modulo } from "../expr/bounds.ts";
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
import { apply, extentOf, fromInteger, type Value } from "../expr/value.ts";
import { axisFlags, equal } from "./extents.ts";
import { choose, flatIndex, pickInteger, stridesOf } from "./indices.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** Extents of a shape and of another that hold the same elements in the same order. */
interface Group {
  /** Positions of the extents in either shape. */
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/**
 * Splits two shapes of as many elements into the shortest groups of neighbouring dimensions with
 * equal products. Within a group positions are computed from each other; dimensions of extent 1
 * belong to none. Where products can't be compared before the model runs, the rest is one group.
 */
function grouped(from: readonly Integer[], to: readonly Integer[]): readonly Group[] {
  const sources = from.flatMap((extent, i) => extent === ONE ? [] : [i]);
  const targets = to.flatMap((extent, i) => extent === ONE ? [] : [i]);
  const groups: Group[] = [];
  let [i, j] = [0, 0];
  while (i < sources.length || j < targets.length) {
    const found = shortest(
      sources.slice(i).map((at) => from[at]!),
      targets.slice(j).map((at) => to[at]!),
    );
    groups.push({ from: sources.slice(i, i + found.from), to: targets.slice(j, j + found.to) });
    i += found.from;
    j += found.to;
  }
  return groups;
}

/** The numbers of leading extents whose products are equal, the fewest in all. */
function shortest(
  from: readonly Integer[],
  to: readonly Integer[],
): { readonly from: number; readonly to: number } {
  const products = (extents: readonly Integer[]): readonly Integer[] => {
    let product = ONE;
    return extents.map((extent) => product = multiply(product, extent));
  };
  const [left, right] = [products(from), products(to)];
  for (let total = 2; total < from.length + to.length; total++) {
    for (let i = Math.max(1, total - to.length); i <= Math.min(total - 1, from.length); i++) {
      if (left[i - 1] === right[total - i - 1]) return { from: i, to: total - i };
    }
  }
  return { from: from.length, to: to.length };
}

/** Where the element at `indices` of a tensor of shape `to` lies in one of shape `from`. */
export function reshapedIndices(
  from: readonly Integer[],
  to: readonly Integer[],
  indices: readonly Integer[],
): readonly Integer[] {
  const placed: Integer[] = from.map(() => ZERO);
  for (const group of grouped(from, to)) {
    const extents = group.from.map((at) => from[at]!);
    const flat = flatIndex(group.to.map((at) => to[at]!), group.to.map((at) => indices[at]!));
    const strides = stridesOf(extents);
    for (const [k, at] of group.from.entries()) {
      const digit = divide(flat, strides[k]!);
      placed[at] = k === 0 ? digit : modulo(digit, extents[k]!);
    }
  }
  return placed;
}

/** `input` with another shape of as many elements. */
export function reshaped(input: Operand, dims: readonly Integer[]): Operand {
  const { dtype, dims: from } = input;
  return operand(dtype, dims, (indices) => input.at(reshapedIndices(from, dims, indices)));
}

/** The shape that `wanted` asks for: 0 copies an extent, -1 is what is left over. */
export function wantedShape(
  call: OpCall,
  dims: readonly Integer[],
  wanted: readonly Integer[],
): readonly Integer[] {
  const copies = call.int("allowzero", 0) === 0;
  // What is known not to be -1 is an extent: one that is 0 copies one that is 0.
  const known = wanted.map((extent) => isNotNegative(extent) ? extentOf(extent) : extent);
  const given = known.map((extent, i) => {
    const own = dims[i];
    if (!copies) return extent;
    if (own === undefined && asNumber(extent) === 0) {
      call.fail(`its shape copies dimension ${i} of a tensor that has ${dims.length}`);
    }
    return own === undefined ? extent : choose(equal(extent, ZERO), own, extent);
  });
  const isRest = given.map((extent) => equal(extent, integer(-1)));
  if (isRest.filter((it) => it.kind === "constant" && it.value === 1).length > 1) {
    call.fail("its shape has more than one -1");
  }
  const others = multiply(...given.map((extent, i) => choose(isRest[i]!, ONE, extent)));
  const rest = divide(multiply(...dims), maximum(others, ONE));
  const made = given.map((extent, i) => choose(isRest[i]!, rest, extent));
  const [before, after] = [multiply(...dims), multiply(...made)];
  if (before !== after) {
    call.check(
      apply("equal", ...[before, after].map(fromInteger) as [Value, Value]),
      "its shape has another number of elements than its input",
    );
  }
  return made.map(extentOf);
}

const RESHAPE: OpRecord = {
  name: "Reshape",
  domain: "",
  since: 25,
  hostInputs: [1],
  lower: (call) => {
    const data = call.input(0);
    return [reshaped(data, wantedShape(call, data.dims, call.integers(1)))];
  },
};

const FLATTEN: OpRecord = {
  name: "Flatten",
  domain: "",
  since: 25,
  lower: (call) => {
    const input = call.input(0);
    const rank = input.dims.length;
    const given = call.int("axis", 1);
    const axis = given < 0 ? given + rank : given;
    if (axis < 0 || axis > rank) call.fail(`axis ${given} is outside a tensor of rank ${rank}`);
    const dims = [input.dims.slice(0, axis), input.dims.slice(axis)];
    return [reshaped(input, dims.map((part) => multiply(...part)))];
  },
};

/** Which dimensions of a shape of `flags.length` are not flagged, in order: each one's number. */
function numbersOfUnflagged(flags: readonly Integer[]): readonly Integer[] {
  let number = ZERO;
  return flags.map((flag) => {
    const own = number;
    number = add(number, subtract(ONE, flag));
    return own;
  });
}

/**
 * The entries of `values` at the unflagged places, of which there are `count`: those that may be at
 * each position are chosen among when the model runs.
 */
function unflagged(
  values: readonly Integer[],
  flags: readonly Integer[],
  count: number,
): readonly Integer[] {
  const numbers = numbersOfUnflagged(flags);
  return Array.from({ length: count }, (_, k) => {
    let chosen: Integer | null = null;
    for (let d = Math.min(values.length - count + k, values.length - 1); d >= k; d--) {
      const here = apply("and", equal(flags[d]!, ZERO), equal(numbers[d]!, integer(k)));
      chosen = chosen === null ? values[d]! : choose(here, values[d]!, chosen);
    }
    return chosen ?? ONE;
  });
}

/** Flags of the dimensions that Squeeze drops. */
function squeezed(call: OpCall, dims: readonly Integer[]): readonly Integer[] {
  const maybeOne = dims.map((extent) => (asNumber(extent) ?? 1) === 1);
  const axes = call.optional(1) === null ? null : call.integers(1);
  const declared = call.declaredRank(0);
  const count = axes?.length ?? (declared === null ? null : dims.length - declared);
  // As many dimensions as can be 1 at all: they are the ones, whatever the axes are.
  if (maybeOne.filter((it) => it).length === count) return maybeOne.map((it) => it ? ONE : ZERO);
  if (axes !== null) return axisFlags(axes, dims.length);
  return dims.map((extent) => extent === ONE ? ONE : ZERO);
}

const SQUEEZE: OpRecord = {
  name: "Squeeze",
  domain: "",
  since: 25,
  hostInputs: [1],
  lower: (call) => {
    const data = call.input(0);
    const flags = squeezed(call, data.dims);
    const dropped = call.optional(1) === null || flags.every((flag) => asNumber(flag) !== null)
      ? flags.filter((flag) => flag === ONE).length
      : call.elements(1).length;
    const rank = data.dims.length - dropped;
    if (rank < 0) call.fail(`${dropped} axes are more than its input has`);
    for (const [d, flag] of flags.entries()) {
      const fits = apply("or", equal(flag, ZERO), equal(data.dims[d]!, ONE));
      call.check(fits, `dimension ${d}, which it drops, isn't 1`);
    }
    const dims = unflagged(data.dims, flags, rank).map(extentOf);
    const numbers = numbersOfUnflagged(flags);
    return [
      operand(data.dtype, dims, (indices) =>
        data.at(
          flags.map((flag, d) =>
            flag === ONE ? ZERO : choose(equal(flag, ONE), ZERO, pickNumbered(indices, numbers[d]!))
          ),
        )),
    ];
  },
};

const UNSQUEEZE: OpRecord = {
  name: "Unsqueeze",
  domain: "",
  since: 25,
  hostInputs: [1],
  lower: (call) => {
    const data = call.input(0);
    const axes = call.integers(1);
    const rank = data.dims.length + axes.length;
    const flags = axisFlags(axes, rank);
    const numbers = numbersOfUnflagged(flags);
    const dims = flags.map((flag, d) =>
      flag === ONE
        ? ONE
        : extentOf(choose(equal(flag, ONE), ONE, pickNumbered(data.dims, numbers[d]!)))
    );
    return [
      operand(data.dtype, dims, (indices) => data.at(unflagged(indices, flags, data.dims.length))),
    ];
  },
};

/** `values[number]`, or 0 where there is none. */
function pickNumbered(values: readonly Integer[], number: Integer): Integer {
  return values.length === 0 ? ZERO : pickInteger(values, number);
}

/** https://onnx.ai/onnx/operators/ */
export const RESHAPE_OPS: readonly OpRecord[] = [RESHAPE, FLATTEN, SQUEEZE, UNSQUEEZE];
