/**
 * ArgMax, ArgMin and TopK (https://onnx.ai/onnx/operators/). TopK ranks every element by counting
 * those ahead of it, so ties go to the lower index and each rank is taken once.
 */
import { type Integer, ONE } from "../expr/integer.ts";
import {
  apply,
  extentOf,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { axisOf } from "./broadcast.ts";
import { equal, int } from "./extents.ts";
import { operand, type OpRecord } from "./op.ts";

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
    const largest = call.int("largest", 1) !== 0;
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
    const dims = data.dims.with(axis, extentOf(count));
    const indices = call.stored(
      operand("int64", dims, (place) =>
        reduce("sum", [extent], ([r]) =>
          select(
            equal(toInteger(ranks.at(place.with(axis, r!))), place[axis]!),
            fromInteger(r!),
            int(0),
          ))),
    );
    const at = (place: readonly Integer[]): Value =>
      data.at(place.with(axis, toInteger(indices.at(place))));
    return [operand(data.dtype, dims, at), indices];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const SELECTION_OPS: readonly OpRecord[] = [
  extreme("ArgMax", "argmax"),
  extreme("ArgMin", "argmin"),
  TOP_K,
];
