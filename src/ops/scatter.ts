/**
 * Ops that write where an index tensor says: ScatterElements, ScatterND, TensorScatter
 * (https://onnx.ai/onnx/operators/). Each element of the result looks for the updates that hit it, so
 * duplicates combine in a fixed order; where updates replace and are too many for that, they are
 * stored over a copy.
 */
import { divide, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, multiply, subtract, ZERO } from "../expr/integer.ts";
import {
  apply,
  constant,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { plus, times } from "./arithmetic.ts";
import { axisOf } from "./broadcast.ts";
import { all, equal, inside, int } from "./extents.ts";
import { tupleAt, tupleLength } from "./gather.ts";
import { elementFromEnd } from "./indices.ts";
import { type OpCall, type Operand, operand, type OpRecord, wrapped } from "./op.ts";

/** Updates that each element of a result looks through at most, where they could be stored instead. */
const MOST_SEARCHED = 64;

/** What may hit an element of the result: the positions to look through, and the update at each. */
interface Candidates {
  readonly extents: readonly Integer[];
  readonly hits: (position: readonly Integer[]) => Value;
  readonly update: (position: readonly Integer[]) => Value;
}

/** `original` and the updates that hit it, combined as `reduction` says. */
function combined(
  call: OpCall,
  reduction: string,
  original: Value,
  { extents, hits, update }: Candidates,
): Value {
  const hitting = (otherwise: Value) => (position: readonly Integer[]): Value =>
    select(hits(position), update(position), otherwise);
  const number = (value: number): Value => constant(original.type, value);
  switch (reduction) {
    case "none":
      return lastHit(original, { extents, hits, update });
    case "add":
      return plus(original, reduce("sum", extents, hitting(number(0))));
    case "mul":
      return times(original, reduce("product", extents, hitting(number(1))));
    case "max":
      return apply("max", original, reduce("max", extents, hitting(original)));
    case "min":
      return apply("min", original, reduce("min", extents, hitting(original)));
    default:
      return call.fail(`reduction "${reduction}" is not known`);
  }
}

/** The update of the last position that hits, or `original`. */
function lastHit(original: Value, { extents, hits, update }: Candidates): Value {
  const number = (position: readonly Integer[]): Integer => {
    let flat = ZERO;
    for (const [i, index] of position.entries()) flat = add(multiply(flat, extents[i]!), index);
    return flat;
  };
  const last = toInteger(
    reduce(
      "max",
      extents,
      (position) => select(hits(position), fromInteger(number(position)), int(-1)),
    ),
  );
  const place: Integer[] = [];
  let rest = last;
  for (const extent of [...extents].reverse()) {
    place.unshift(place.length === extents.length - 1 ? rest : modulo(rest, extent));
    rest = divide(rest, extent);
  }
  return select(apply("less", fromInteger(last), int(0)), original, update(place));
}

/** The number of positions, where it is known and small enough to look through. */
function isSearched(extents: readonly Integer[]): boolean {
  const count = asNumber(multiply(...extents));
  return count !== null && count <= MOST_SEARCHED;
}

const SCATTER_ELEMENTS: OpRecord = {
  name: "ScatterElements",
  domain: "",
  since: 18,
  lower: (call) => {
    const [data, indices, updates] = [call.input(0), call.input(1), call.input(2)];
    const axis = axisOf(call, call.int("axis", 0), data.dims.length);
    const reduction = call.string("reduction", "none");
    const target = (position: readonly Integer[]): Integer =>
      elementFromEnd(indices.at(position), data.dims[axis]!);
    if (reduction === "none" && !isSearched([indices.dims[axis]!])) {
      return [
        overwritten(
          call,
          data,
          indices.dims,
          (position) => position.with(axis, target(position)),
          (position) => updates.at(position),
        ),
      ];
    }
    const at = (place: readonly Integer[]): Value => {
      const covered = all(
        place.map((index, d) =>
          d === axis || indices.dims[d] === data.dims[d]
            ? constant("bool", 1)
            : inside(index, indices.dims[d]!)
        ),
      );
      const original = data.at(place);
      const value = combined(call, reduction, original, {
        extents: [indices.dims[axis]!],
        hits: ([r]) => equal(target(place.with(axis, r!)), place[axis]!),
        update: ([r]) => updates.at(place.with(axis, r!)),
      });
      return select(covered, wrapped(data.dtype, value), original);
    };
    return [operand(data.dtype, data.dims, at)];
  },
};

/** A copy of `data` with the update at every position of `extents` stored over it. */
function overwritten(
  call: OpCall,
  data: Operand,
  extents: readonly Integer[],
  place: (position: readonly Integer[]) => readonly Integer[],
  value: (position: readonly Integer[]) => Value,
): Operand {
  return call.parts(data.dtype, data.dims, [
    { extents: data.dims, place: (position) => position, value: (position) => data.at(position) },
    { extents, place, value },
  ]);
}

const SCATTER_ND: OpRecord = {
  name: "ScatterND",
  domain: "",
  since: 18,
  lower: (call) => {
    const [data, indices, updates] = [call.input(0), call.input(1), call.input(2)];
    const reduction = call.string("reduction", "none");
    const implied = indices.dims.length - 1 + data.dims.length - updates.dims.length;
    const length = tupleLength(call, indices, data.dims.length, implied);
    const outer = indices.dims.slice(0, -1);
    const named = data.dims.slice(0, length);
    const tuple = (position: readonly Integer[]): readonly Integer[] =>
      tupleAt(indices, position, named);
    if (reduction === "none" && !isSearched(outer)) {
      return [
        overwritten(
          call,
          data,
          [...outer, ...data.dims.slice(length)],
          (position) => [
            ...tuple(position.slice(0, outer.length)),
            ...position.slice(outer.length),
          ],
          (position) => updates.at(position),
        ),
      ];
    }
    const at = (place: readonly Integer[]): Value =>
      wrapped(
        data.dtype,
        combined(call, reduction, data.at(place), {
          extents: outer,
          hits: (position) => all(tuple(position).map((index, k) => equal(index, place[k]!))),
          update: (position) => updates.at([...position, ...place.slice(length)]),
        }),
      );
    return [operand(data.dtype, data.dims, at)];
  },
};

const TENSOR_SCATTER: OpRecord = {
  name: "TensorScatter",
  domain: "",
  since: 24,
  lower: (call) => {
    const [past, update] = [call.input(0), call.input(1)];
    const starts = call.optional(2);
    const axis = axisOf(call, call.int("axis", -2), past.dims.length);
    if (axis === 0) call.fail("axis 0 is the batch");
    const mode = call.string("mode", "linear");
    if (mode !== "linear" && mode !== "circular") call.fail(`mode "${mode}" is not known`);
    const extent = past.dims[axis]!;
    return [
      operand(past.dtype, past.dims, (place) => {
        const start = starts === null ? ZERO : toInteger(starts.at([place[0]!]));
        const distance = subtract(place[axis]!, start);
        const index = mode === "circular" ? modulo(distance, extent) : distance;
        return select(
          inside(index, update.dims[axis]!),
          update.at(place.with(axis, index)),
          past.at(place),
        );
      }),
    ];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const SCATTER_OPS: readonly OpRecord[] = [SCATTER_ELEMENTS, SCATTER_ND, TENSOR_SCATTER];
