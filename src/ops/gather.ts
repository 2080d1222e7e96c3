/**
 * Ops that read where an index tensor says: Gather, GatherElements, GatherND, OneHot
 * (https://onnx.ai/onnx/operators/). A negative index counts from the end.
 */
import { asNumber, type Integer, integer } from "../expr/integer.ts";
import { apply, extentOf, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { axisOf } from "./broadcast.ts";
import { equal } from "./extents.ts";
import { elementFromEnd } from "./indices.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** `data` along `axis` at the positions that `indices` holds, whose dimensions take its place. */
function gathered(data: Operand, indices: Operand, axis: number): Operand {
  const count = indices.dims.length;
  const dims = data.dims.toSpliced(axis, 1, ...indices.dims);
  return operand(data.dtype, dims, (position) => {
    const index = indices.at(position.slice(axis, axis + count));
    return data.at(position.toSpliced(axis, count, elementFromEnd(index, data.dims[axis]!)));
  });
}

const GATHER: OpRecord = {
  name: "Gather",
  domain: "",
  since: 13,
  lower: (call) => {
    const data = call.input(0);
    return [gathered(data, call.input(1), axisOf(call, call.int("axis", 0), data.dims.length))];
  },
};

const GATHER_ELEMENTS: OpRecord = {
  name: "GatherElements",
  domain: "",
  since: 13,
  lower: (call) => {
    const [data, indices] = [call.input(0), call.input(1)];
    const axis = axisOf(call, call.int("axis", 0), data.dims.length);
    return [
      operand(data.dtype, indices.dims, (position) => {
        const index = elementFromEnd(indices.at(position), data.dims[axis]!);
        return data.at(position.with(axis, index));
      }),
    ];
  },
};

/**
 * The length of the index tuples of GatherND and ScatterND: the last extent of the indices. Where that
 * is a symbol, it is what the ranks of other tensors `imply`, which is checked when the model runs.
 */
export function tupleLength(
  call: OpCall,
  indices: Operand,
  rank: number,
  implied: number | null,
): number {
  const last = indices.dims.at(-1) ?? call.fail("its indices are a scalar");
  const length = asNumber(last) ?? implied;
  if (length === null) call.fail("the last extent of its indices is not known");
  if (length < 0 || length > rank) call.fail(`its indices name ${length} of ${rank} dimensions`);
  call.check(equal(last, integer(length)), `its indices don't name ${length} dimensions`);
  return length;
}

/** The index tuple at `position` of all but the last dimension of `indices`. */
export function tupleAt(
  indices: Operand,
  position: readonly Integer[],
  dims: readonly Integer[],
): readonly Integer[] {
  return dims.map((extent, k) => elementFromEnd(indices.at([...position, integer(k)]), extent));
}

const GATHER_ND: OpRecord = {
  name: "GatherND",
  domain: "",
  since: 13,
  lower: (call) => {
    const [data, indices] = [call.input(0), call.input(1)];
    const batch = call.int("batch_dims", 0);
    const outer = indices.dims.length - 1;
    if (batch < 0 || batch > Math.min(outer, data.dims.length)) {
      call.fail(`batch_dims ${batch} is more than its inputs have`);
    }
    const declared = call.declaredRank(0);
    const implied = declared === null ? null : outer + data.dims.length - batch - declared;
    const length = tupleLength(call, indices, data.dims.length - batch, implied);
    const named = data.dims.slice(batch, batch + length);
    const dims = [...indices.dims.slice(0, outer), ...data.dims.slice(batch + length)];
    return [
      operand(data.dtype, dims, (position) =>
        data.at([
          ...position.slice(0, batch),
          ...tupleAt(indices, position.slice(0, outer), named),
          ...position.slice(outer),
        ])),
    ];
  },
};

/** Indices may be of any type of number; those past the depth, either way, are hot nowhere. */
const ONE_HOT: OpRecord = {
  name: "OneHot",
  domain: "",
  since: 28,
  hostInputs: [1],
  lower: (call) => {
    const [indices, values] = [call.input(0), call.input(2)];
    const depth = extentOf(hostCount(call, 1));
    const given = call.int("axis", -1);
    const axis = axisOf(call, given, indices.dims.length + 1);
    const value = (hot: 0 | 1): Value => values.at([integer(hot)]);
    return [
      operand(values.dtype, indices.dims.toSpliced(axis, 0, depth), (position) => {
        const index = castTo("int64", indices.at(position.toSpliced(axis, 1)));
        const place = fromInteger(elementFromEnd(index, depth));
        return select(
          apply("equal", place, fromInteger(position[axis]!)),
          value(1),
          value(0),
        );
      }),
    ];
  },
};

/** Input `i`, one number of any type, as an integer. */
function hostCount(call: OpCall, i: number): Integer {
  const value = call.elements(i)[0] ?? call.fail(`input ${i} has no element`);
  return toInteger(castTo("int64", value));
}

/** https://onnx.ai/onnx/operators/ */
export const GATHER_OPS: readonly OpRecord[] = [GATHER, GATHER_ELEMENTS, GATHER_ND, ONE_HOT];
