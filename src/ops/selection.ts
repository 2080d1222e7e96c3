/**
 * ArgMax, ArgMin and TopK (https://onnx.ai/onnx/operators/). TopK ranks every element by counting
 * those ahead of it, or sorts rows, so ties go to the lower index and each rank is taken once.
 */
import { divide, divideUp, minimum, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, integer, multiply, ONE } from "../expr/integer.ts";
import {
  apply,
  bitcast,
  constant,
  extentOf,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { axisOf } from "./broadcast.ts";
import { equal, int } from "./extents.ts";
import { choose } from "./indices.ts";
import { rowMajor } from "./offsets.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { reshapedIndices } from "./reshape.ts";

const extreme = (name: string, kind: "argmin" | "argmax"): OpRecord => ({
  name,
  domain: "",
  since: 13,
  lower: (call) => {
    const data = call.input(0);
    const axis = axisOf(call, call.int("axis", 0), data.dims.length);
    const keeps = call.int("keepdims", 1) !== 0;
    const last = call.int("select_last_index", 0) !== 0;
    const dims = keeps ? data.dims.with(axis, ONE) : data.dims.toSpliced(axis, 1);
    return [
      operand("int64", dims, (indices) =>
        reduce(
          last ? `${kind}Last` : kind,
          [data.dims[axis]!],
          ([r]) => data.at(keeps ? indices.with(axis, r!) : indices.toSpliced(axis, 0, r!)),
        )),
    ];
  },
});

/** True where `a` comes before `b` whatever their indices are. A NaN is greater than any number. */
function isAhead(a: Value, b: Value, largest: boolean): Value {
  const ordered = apply(largest ? "greater" : "less", a, b);
  if (a.type !== "f32") return ordered;
  const [first, second] = largest ? [a, b] : [b, a];
  const isNan = apply("and", apply("isNan", first), apply("not", apply("isNan", second)));
  return apply("or", ordered, isNan);
}

/** The bits of the greatest 32-bit key, and the one that tells signs apart. */
const ALL = 2 ** 32 - 1;
const SIGN = 2 ** 31;

/** A number whose order, as an unsigned integer, is that of the elements that come first. */
function keyOf(x: Value, largest: boolean): Value {
  const number = (value: number): Value => constant("u32", value);
  const flipped = (bits: Value): Value => apply("bitXor", bits, number(largest ? ALL : 0));
  if (x.type !== "f32") {
    return flipped(x.type === "u32" ? x : apply("bitXor", bitcast("u32", x), number(SIGN)));
  }
  const bits = bitcast("u32", x);
  const isNegative = apply("greaterOrEqual", bits, number(SIGN));
  const ordered = apply("bitXor", bits, select(isNegative, number(ALL), number(SIGN)));
  const isZero = apply("equal", x, constant("f32", 0));
  const key = flipped(select(isZero, number(SIGN), ordered));
  return select(apply("isNan", x), number(largest ? 0 : ALL), key);
}

/** Rows up to this length are ranked by expressions, which may be known at conversion. */
const MOST_COUNTED = 64;

/** The positions along `axis` of the first `count` elements, by counting those ahead of each. */
function counted(
  call: OpCall,
  data: Operand,
  axis: number,
  count: Integer,
  largest: boolean,
): Operand {
  const extent = data.dims[axis]!;
  const ranks = call.stored(operand("int64", data.dims, (indices) => {
    const own = data.at(indices);
    return reduce("sum", [extent], ([r]) => {
      const other = data.at(indices.with(axis, r!));
      const isBefore = apply("less", fromInteger(r!), fromInteger(indices[axis]!));
      const precedes = select(
        isBefore,
        apply("not", isAhead(own, other, largest)),
        isAhead(other, own, largest),
      );
      return select(precedes, int(1), int(0));
    });
  }));
  const at = (place: readonly Integer[]): Value =>
    reduce("sum", [extent], ([r]) =>
      select(
        equal(toInteger(ranks.at(place.with(axis, r!))), place[axis]!),
        fromInteger(r!),
        int(0),
      ));
  return call.stored(operand("int64", data.dims.with(axis, extentOf(count)), at));
}

/** Positions along an axis that may be among the first. */
interface Candidates {
  readonly count: Integer;
  /** By row and number; the extent of the axis, where there is none. */
  readonly at: (row: Integer, number: Integer) => Integer;
}

/** What rows of several thousand are cut into: what workgroup memory holds. */
const CHUNK = 2048;
/** Chunks pay where fewer than half of each is kept. */
const MOST_KEPT = CHUNK / 2;
/** Sorting takes the square of a length, so that chunks go on until it is an eighth. */
const LEAST_GAIN = 8;

/**
 * The same by the kernel files that sort rows. Long rows are cut into chunks, of which each gives the
 * first that it has, and so on with what is left. Whatever is equal keeps its order in that.
 */
function sorted(
  call: OpCall,
  data: Operand,
  axis: number,
  count: Integer,
  largest: boolean,
): Operand {
  const extent = data.dims[axis]!;
  const others = data.dims.toSpliced(axis, 1);
  const rows = multiply(...others);
  const place = (row: Integer, along: Integer): readonly Integer[] =>
    reshapedIndices(others, [rows], [row]).toSpliced(axis, 0, along);
  const keyAt = (from: Candidates, row: Integer, number: Integer): Value => {
    const index = from.at(row, number);
    const isThere = apply("less", fromInteger(index), fromInteger(extent));
    return select(isThere, keyOf(data.at(place(row, index)), largest), constant("u32", ALL));
  };
  const kept = extentOf(count);

  let from: Candidates = { count: extent, at: (_, number) => number };
  const most = asNumber(kept) ?? Infinity;
  if ((asNumber(extent) ?? Infinity) > 2 * CHUNK && most >= 1 && most <= MOST_KEPT) {
    for (let gain = 1; gain < LEAST_GAIN; gain *= CHUNK / most) {
      from = firstOfChunks(call, rows, extent, kept, from, keyAt);
    }
  }

  const { store } = call.kernel({
    core: "sort",
    sizes: { rows, length: from.count, kept },
    loads: { key: ([row, i]) => keyAt(from, row!, i!) },
    stores: {
      store: {
        dtype: "int64" as const,
        dims: data.dims.with(axis, kept),
        place: ([row, rank]: readonly Integer[]) => place(row!, rank!),
      },
    },
  });
  if (from.count === extent) return store;
  return operand("int64", store.dims, (indices) => {
    const row = rowMajor(others, indices.toSpliced(axis, 1));
    return fromInteger(from.at(row, toInteger(store.at(indices))));
  });
}

/** The first `kept` of each chunk of what `from` has, of an axis of that extent. */
function firstOfChunks(
  call: OpCall,
  rows: Integer,
  extent: Integer,
  kept: Integer,
  from: Candidates,
  keyAt: (from: Candidates, row: Integer, number: Integer) => Value,
): Candidates {
  const length = extentOf(minimum(from.count, integer(CHUNK)));
  const chunks = extentOf(divideUp(from.count, length));
  const { store } = call.kernel({
    core: "sort",
    sizes: { rows: extentOf(multiply(rows, chunks)), length, kept },
    loads: {
      key: ([chunk, i]) => {
        const number = add(multiply(modulo(chunk!, chunks), length), i!);
        const isThere = apply("less", fromInteger(number), fromInteger(from.count));
        const key = keyAt(from, divide(chunk!, chunks), number);
        return select(isThere, key, constant("u32", ALL));
      },
    },
    stores: {
      store: {
        dtype: "int64" as const,
        dims: [rows, chunks, kept],
        place: ([chunk, rank]: readonly Integer[]) => [
          divide(chunk!, chunks),
          modulo(chunk!, chunks),
          rank!,
        ],
      },
    },
  });
  return {
    count: extentOf(multiply(chunks, kept)),
    // What lies past the end of the last chunk comes behind all that is there, so is never taken.
    at: (row, number) => {
      const chunk = divide(number, kept);
      const place = toInteger(store.at([row, chunk, modulo(number, kept)]));
      const inside = add(multiply(chunk, length), place);
      const isThere = apply("less", fromInteger(inside), fromInteger(from.count));
      return choose(isThere, from.at(row, inside), extent);
    },
  };
}

const TOP_K: OpRecord = {
  name: "TopK",
  domain: "",
  since: 24,
  hostInputs: [1],
  lower: (call) => {
    const data = call.input(0);
    const axis = axisOf(call, call.int("axis", -1), data.dims.length);
    const extent = data.dims[axis]!;
    const count = call.integers(1)[0] ?? call.fail("its k has no element");
    const fits = apply("lessOrEqual", fromInteger(count), fromInteger(extent));
    call.check(fits, `its k is more than axis ${axis} has`);
    const isShort = (asNumber(extent) ?? Infinity) <= MOST_COUNTED;
    const find = isShort ? counted : sorted;
    const indices = find(call, data, axis, count, call.int("largest", 1) !== 0);
    const at = (place: readonly Integer[]): Value =>
      data.at(place.with(axis, toInteger(indices.at(place))));
    return [operand(data.dtype, indices.dims, at), indices];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const SELECTION_OPS: readonly OpRecord[] = [
  extreme("ArgMax", "argmax"),
  extreme("ArgMin", "argmin"),
  TOP_K,
];
