/**
 * Ops whose result's size depends on data: NonZero, Compress, Unique, NonMaxSuppression
 * (https://onnx.ai/onnx/operators/). `runtime/host.js` finds positions; elements stay on the GPU and
 * are read there.
 */
import { type Integer, integer, multiply, ZERO } from "../expr/integer.ts";
import { fromInteger, toInteger } from "../expr/value.ts";
import { axisOf } from "./broadcast.ts";
import { pickInteger } from "./indices.ts";
import { indicesAt } from "./offsets.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { reshaped } from "./reshape.ts";

/** The elements or slices of `data` along `axis`, or of the whole tensor, whose numbers `at` holds. */
function taken(data: Operand, axis: number | null, positions: Operand): Operand {
  const from = axis === null ? reshaped(data, [multiply(...data.dims)]) : data;
  const along = axis ?? 0;
  const count = positions.dims.at(-1)!;
  const lead = positions.dims.slice(1).map(() => ZERO);
  return operand(
    data.dtype,
    from.dims.with(along, count),
    (indices) => from.at(indices.with(along, toInteger(positions.at([...lead, indices[along]!])))),
  );
}

/** The attribute `axis`, or null where the op works on the flattened tensor. */
function optionalAxis(call: OpCall, data: Operand): number | null {
  return call.has("axis") ? axisOf(call, call.int("axis", 0), data.dims.length) : null;
}

/** A result of the host of which one extent is known beforehand. */
function withExtent(found: Operand, dimension: number, extent: number): Operand {
  return operand(
    found.dtype,
    found.dims.with(dimension, integer(extent)),
    (indices) => found.at(indices),
  );
}

/**
 * The positions of all elements of a tensor of `dims`. NonZero of ones is how exporters count up to
 * a dimension.
 */
function everyPosition(dims: readonly Integer[]): Operand {
  return operand(
    "int64",
    [integer(dims.length), multiply(...dims)],
    ([axis, position]) => fromInteger(pickInteger(indicesAt(dims, position!), axis!)),
  );
}

const NON_ZERO: OpRecord = {
  name: "NonZero",
  domain: "",
  since: 13,
  lower: (call) => {
    const data = call.input(0);
    const uniform = data.dims.length > 0 ? call.uniform(0) : null;
    if (uniform !== null && uniform !== 0) return [everyPosition(data.dims)];
    const [found] = call.host("nonZero", [data], [], [{ dtype: "int64", rank: 2 }]);
    return [withExtent(found!, 0, data.dims.length)];
  },
};

const COMPRESS: OpRecord = {
  name: "Compress",
  domain: "",
  since: 28,
  lower: (call) => {
    const data = call.input(0);
    const [positions] = call.host("nonZero", [call.input(1)], [], [{ dtype: "int64", rank: 2 }]);
    return [taken(data, optionalAxis(call, data), positions!)];
  },
};

const UNIQUE: OpRecord = {
  name: "Unique",
  domain: "",
  since: 28,
  lower: (call) => {
    const data = call.input(0);
    const axis = optionalAxis(call, data);
    const vector = { dtype: "int64", rank: 1 } as const;
    const [first, counts, inverse] = call.host(
      "unique",
      [data],
      [axis ?? -1, call.int("sorted", 1)],
      [vector, vector, vector],
    );
    return [taken(data, axis, first!), first!, inverse!, counts!];
  },
};

const NON_MAX_SUPPRESSION: OpRecord = {
  name: "NonMaxSuppression",
  domain: "",
  since: 11,
  lower: (call) => {
    const [found] = call.host(
      "nonMaxSuppression",
      [0, 1, 2, 3, 4].map((i) => call.optional(i)),
      [call.int("center_point_box", 0)],
      [{ dtype: "int64", rank: 2 }],
    );
    return [withExtent(found!, 1, 3)];
  },
};

/** https://onnx.ai/onnx/operators/ */
export const DATA_DEPENDENT_OPS: readonly OpRecord[] = [
  NON_ZERO,
  COMPRESS,
  UNIQUE,
  NON_MAX_SUPPRESSION,
];
