/**
 * Ops that say where each element of the result is read: Transpose, Expand, Tile, Trilu,
 * DepthToSpace, SpaceToDepth, ReverseSequence (https://onnx.ai/onnx/operators/).
 */
import { divide, modulo } from "../expr/bounds.ts";
import { add, type Integer, integer, multiply, ONE, scaled, subtract } from "../expr/integer.ts";
import { apply, constant, extentOf, fromInteger, select, toInteger } from "../expr/value.ts";
import { axisOf, broadcastIndices, broadcastShape } from "./broadcast.ts";
import { int } from "./extents.ts";
import { choose } from "./indices.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf } from "./op.ts";

/** The dimensions of `input` in another order. */
export function transposed(input: Operand, permutation: readonly number[]): Operand {
  const dims = permutation.map((from) => input.dims[from]!);
  return operand(input.dtype, dims, (indices) => {
    const placed: Integer[] = [];
    for (const [to, from] of permutation.entries()) placed[from] = indices[to]!;
    return input.at(placed);
  });
}

function transpose(call: OpCall): readonly Operand[] {
  const data = call.input(0);
  const rank = data.dims.length;
  const order = call.ints("perm") ?? data.dims.map((_, i) => rank - 1 - i);
  const permutation = order.map((axis) => axisOf(call, axis, rank));
  if (permutation.length !== rank || new Set(permutation).size !== rank) {
    call.fail(`perm [${order}] is no order of the ${rank} dimensions of its input`);
  }
  return [transposed(data, permutation)];
}

function expand(call: OpCall): readonly Operand[] {
  const input = call.input(0);
  const dims = broadcastShape(call, [input.dims, call.integers(1).map(extentOf)]);
  return [
    operand(
      input.dtype,
      dims,
      (indices) => input.at(broadcastIndices(input.dims, dims, indices)),
    ),
  ];
}

function tile(call: OpCall): readonly Operand[] {
  const input = call.input(0);
  const repeats = call.integers(1);
  if (repeats.length !== input.dims.length) {
    call.fail(`it has ${repeats.length} repeats for ${input.dims.length} dimensions`);
  }
  const dims = input.dims.map((extent, i) => extentOf(multiply(extent, repeats[i]!)));
  return [
    operand(
      input.dtype,
      dims,
      (indices) => input.at(indices.map((index, i) => modulo(index, input.dims[i]!))),
    ),
  ];
}

/** Keeps what is on and above, or on and below, diagonal `k` of the last two dimensions. */
function trilu(call: OpCall): readonly Operand[] {
  const input = call.input(0);
  const rank = input.dims.length;
  if (rank < 2) call.fail(`its input has ${rank} dimensions, not 2 or more`);
  const diagonal = call.optional(1);
  const upper = call.int("upper", 1) !== 0;
  const nothing = constant(scalarOf(input.dtype), 0);
  return [
    operand(input.dtype, input.dims, (indices) => {
      const k = diagonal?.at(diagonal.dims.map(() => integer(0))) ?? int(0);
      const own = fromInteger(subtract(indices[rank - 1]!, indices[rank - 2]!));
      return select(
        apply(upper ? "greaterOrEqual" : "lessOrEqual", own, k),
        input.at(indices),
        nothing,
      );
    }),
  ];
}

/** The block size, and whether blocks are outer to channels ("DCR") or inner ("CRD"). */
function blocks(call: OpCall): { readonly size: number; readonly outer: boolean } {
  const size = call.int("blocksize", 0);
  const mode = call.string("mode", "DCR");
  if (size < 1) call.fail(`blocksize ${size} is less than 1`);
  if (mode !== "DCR" && mode !== "CRD") call.fail(`mode "${mode}" is neither DCR nor CRD`);
  if (call.input(0).dims.length !== 4) call.fail("its input doesn't have 4 dimensions");
  return { size, outer: mode === "DCR" };
}

/** `value` as an extent that `count` divides; refused at run time where it doesn't. */
function part(call: OpCall, value: Integer, count: number, what: string): Integer {
  const rest = fromInteger(modulo(value, integer(count)));
  call.check(apply("equal", rest, int(0)), `${what} can't be divided by ${count}`);
  return extentOf(divide(value, integer(count)));
}

function depthToSpace(call: OpCall): readonly Operand[] {
  const input = call.input(0);
  const { size, outer } = blocks(call);
  const [batch, channels, height, width] = input.dims as [Integer, Integer, Integer, Integer];
  const depth = part(call, channels, size * size, "the number of channels");
  const side = integer(size);
  const dims = [batch, depth, scaled(height, size), scaled(width, size)];
  const at = ([n, c, y, x]: readonly Integer[]): readonly Integer[] => {
    const block = add(scaled(modulo(y!, side), size), modulo(x!, side));
    const channel = outer ? add(multiply(block, depth), c!) : add(scaled(c!, size * size), block);
    return [n!, channel, divide(y!, side), divide(x!, side)];
  };
  return [operand(input.dtype, dims, (indices) => input.at(at(indices)))];
}

function spaceToDepth(call: OpCall): readonly Operand[] {
  const input = call.input(0);
  const { size, outer } = blocks(call);
  const [batch, depth, height, width] = input.dims as [Integer, Integer, Integer, Integer];
  const rows = part(call, height, size, "the height");
  const columns = part(call, width, size, "the width");
  const dims = [batch, scaled(depth, size * size), rows, columns];
  const at = ([n, c, y, x]: readonly Integer[]): readonly Integer[] => {
    const inBlock = integer(size * size);
    const block = outer ? divide(c!, depth) : modulo(c!, inBlock);
    const channel = outer ? modulo(c!, depth) : divide(c!, inBlock);
    const down = divide(block, integer(size));
    const across = modulo(block, integer(size));
    return [n!, channel, add(scaled(y!, size), down), add(scaled(x!, size), across)];
  };
  return [operand(input.dtype, dims, (indices) => input.at(at(indices)))];
}

/** Turns the first so many positions of each sequence round; the others stay. */
function reverseSequence(call: OpCall): readonly Operand[] {
  const [input, lengths] = [call.input(0), call.input(1)];
  const rank = input.dims.length;
  const batch = axisOf(call, call.int("batch_axis", 1), rank);
  const time = axisOf(call, call.int("time_axis", 0), rank);
  return [
    operand(input.dtype, input.dims, (indices) => {
      const length = lengths.at([indices[batch]!]);
      const position = indices[time]!;
      const turned = subtract(subtract(toInteger(length), ONE), position);
      const within = apply("less", fromInteger(position), length);
      return input.at(indices.with(time, choose(within, turned, position)));
    }),
  ];
}

const record = (
  name: string,
  since: number,
  lower: OpRecord["lower"],
  hostInputs: readonly number[] = [],
): OpRecord => ({ name, domain: "", since, hostInputs, lower });

/** https://onnx.ai/onnx/operators/ */
export const MOVEMENT_OPS: readonly OpRecord[] = [
  record("Transpose", 25, transpose),
  record("Expand", 13, expand, [1]),
  record("Tile", 13, tile, [1]),
  record("Trilu", 14, trilu),
  record("DepthToSpace", 28, depthToSpace),
  record("SpaceToDepth", 28, spaceToDepth),
  record("ReverseSequence", 28, reverseSequence),
];
