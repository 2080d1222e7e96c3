/**
 * Reductions over axes (https://onnx.ai/onnx/operators/onnx__ReduceSum.html and its nine kin). The
 * axes are an input, which may be known only when the model runs: then each axis has a flag, a
 * symbol that is 1 where the axis is reduced.
 */
import { DTYPES } from "../dtype.ts";
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
import {
  apply,
  constant,
  convert,
  extentOf,
  fromInteger,
  reduce,
  select,
  type Value,
} from "../expr/value.ts";
import { asFloat, minus, over, plus, times } from "./arithmetic.ts";
import { axisOf } from "./broadcast.ts";
import { all, axisFlags, countOf, equal, extentWhere, flag } from "./extents.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord, wrapped } from "./op.ts";

/** What is reduced for one element of the result. */
interface Reduced {
  /** Extents of the positions that are combined. */
  readonly extents: readonly Integer[];
  /** The element at a position. */
  readonly at: (position: readonly Integer[]) => Value;
}

/** What a reduction makes of elements. */
type Compute = (reduced: Reduced, input: Operand) => Value;

/** The extents of the result, and where an element of the input lies. */
interface Layout {
  readonly dims: readonly Integer[];
  readonly extents: readonly Integer[];
  readonly place: (
    indices: readonly Integer[],
    position: readonly Integer[],
  ) => readonly Integer[];
}

function knownLayout(
  dims: readonly Integer[],
  reduced: readonly boolean[],
  keepdims: boolean,
): Layout {
  return {
    dims: dims.flatMap((extent, d) => reduced[d] ? (keepdims ? [ONE] : []) : [extent]),
    extents: dims.filter((_, d) => reduced[d]),
    place: (indices, position) => {
      let [out, inner] = [0, 0];
      return dims.map((_, d) => {
        if (!reduced[d]) return indices[out++]!;
        if (keepdims) out++;
        return position[inner++]!;
      });
    },
  };
}

/** A layout for axes that are symbols: `count` different ones. */
function unknownLayout(
  dims: readonly Integer[],
  axes: readonly Integer[],
  keepdims: boolean,
): Layout {
  const flags = axisFlags(axes, dims.length);
  const kept = flags.map((reduced) => subtract(ONE, reduced));
  const extents = dims.map((extent, d) => extentWhere(flags[d]!, extent));
  if (keepdims) {
    return {
      dims: dims.map((extent, d) => extentWhere(kept[d]!, extent)),
      extents,
      place: (indices, position) => indices.map((index, d) => add(index, position[d]!)),
    };
  }
  const rank = Math.max(0, dims.length - axes.length);
  // goes[d][j] is 1 where axis d of the input is axis j of the result.
  const goes = dims.map((_, d) =>
    Array.from({ length: rank }, (_, j) => {
      const before = add(ZERO, ...kept.slice(0, d));
      return flag(all([equal(kept[d]!, ONE), equal(before, integer(j))]));
    })
  );
  const chosen = (values: readonly Integer[], flags: readonly Integer[]): Integer =>
    add(ZERO, ...values.map((value, i) => multiply(value, flags[i]!)));
  return {
    dims: Array.from(
      { length: rank },
      (_, j) => extentOf(chosen(dims, goes.map((row) => row[j]!))),
    ),
    extents,
    place: (indices, position) => dims.map((_, d) => add(position[d]!, chosen(indices, goes[d]!))),
  };
}

function layoutOf(call: OpCall, input: Operand): Layout {
  const rank = input.dims.length;
  const keepdims = call.int("keepdims", 1) !== 0;
  const known = call.optional(1) === null ? [] : call.constants(1);
  if (known === null) {
    const axes = call.integers(1);
    if (axes.length > 0) return unknownLayout(input.dims, axes, keepdims);
  }
  const axes = new Set((known ?? []).map((axis) => axisOf(call, axis, rank)));
  const every = axes.size === 0 && call.int("noop_with_empty_axes", 0) === 0;
  return knownLayout(input.dims, input.dims.map((_, d) => every || axes.has(d)), keepdims);
}

const row = (name: string, since: number, compute: Compute): OpRecord => ({
  name,
  domain: "",
  since,
  hostInputs: [1],
  lower: (call) => {
    const input = call.input(0);
    const { dims, extents, place } = layoutOf(call, input);
    return [
      operand(input.dtype, dims, (indices) =>
        wrapped(
          input.dtype,
          compute({ extents, at: (position) => input.at(place(indices, position)) }, input),
        )),
    ];
  },
});

const sum = ({ extents, at }: Reduced): Value => reduce("sum", extents, at);

/** A sum of squares, of integers as such. */
const sumSquare = ({ extents, at }: Reduced): Value =>
  reduce("sum", extents, (position) => times(at(position), at(position)));

function mean(reduced: Reduced): Value {
  const total = sum(reduced);
  if (total.type === "f32") return over(total, countOf(reduced.extents));
  const count = convert(total.type, fromInteger(multiply(...reduced.extents)));
  return apply("quotient", total, count);
}

/** The square root of the sum of squares, rounded towards zero for integers. */
function l2(reduced: Reduced, input: Operand): Value {
  return castTo(input.dtype, apply("sqrt", asFloat(sumSquare(reduced))));
}

function logSum(reduced: Reduced, input: Operand): Value {
  return castTo(input.dtype, apply("log", asFloat(sum(reduced))));
}

/** log(sum(exp(x))), shifted by the largest x, which may be infinite. */
function logSumExp({ extents, at }: Reduced): Value {
  const largest = reduce("max", extents, at);
  const shift = select(apply("isInf", largest), constant("f32", 0), largest);
  const total = reduce("sum", extents, (position) => apply("exp", minus(at(position), shift)));
  return plus(apply("log", total), shift);
}

/** The extreme; of nothing it is the dtype's other end. */
const extreme = (reduction: "min" | "max"): Compute => ({ extents, at }, { dtype }) => {
  if (dtype === "bool") {
    const found = reduce(reduction, extents, (position) => convert("i32", at(position)));
    // Nothing combines to the least or greatest i32.
    return apply("greater", found, constant("i32", 0));
  }
  const found = reduce(reduction, extents, at);
  const { kind, bits } = DTYPES[dtype];
  const empty = extents.length > 0 && extents.some((extent) => asNumber(extent) === 0);
  if (!empty || kind === "float" || bits >= 32) return found;
  const ends = kind === "int" ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
  return constant(found.type, reduction === "min" ? ends[1]! : ends[0]!);
};

/** Records of the reductions. */
export const REDUCTION_OPS: readonly OpRecord[] = [
  row("ReduceL1", 18, ({ extents, at }) =>
    reduce("sum", extents, (position) => {
      const value = at(position);
      return value.type === "u32" ? value : apply("abs", value);
    })),
  row("ReduceL2", 18, l2),
  row("ReduceLogSum", 28, logSum),
  row("ReduceLogSumExp", 28, logSumExp),
  row("ReduceMax", 20, extreme("max")),
  row("ReduceMean", 18, mean),
  row("ReduceMin", 20, extreme("min")),
  row("ReduceProd", 18, ({ extents, at }) => reduce("product", extents, at)),
  row("ReduceSum", 13, sum),
  row("ReduceSumSquare", 18, sumSquare),
];
