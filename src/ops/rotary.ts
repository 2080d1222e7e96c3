/**
 * Rotary position embeddings (https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html): pairs of a
 * vector's elements are turned by angles that grow with its position. com.microsoft's has its inputs
 * in another order.
 */
import { divide, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, integer, multiply, scaled } from "../expr/integer.ts";
import { apply, extentOf, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { minus, plus, times } from "./arithmetic.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { type Heads, headsOf } from "./scaled_attention.ts";

/** Cosines or sines by sample, position in the sequence, and pair. */
export type Angles = (sample: Integer, position: Integer, pair: Integer) => Value;

/** How a vector's elements are paired. */
export interface Rotation {
  readonly cosine: Angles;
  readonly sine: Angles;
  /** Pairs are neighbours, instead of elements of the two halves. */
  readonly interleaved: boolean;
  /** Elements that are turned, the first of a vector. */
  readonly size: Integer;
}

/** `vectors`, each turned. */
export function rotated(vectors: Heads, rotation: Rotation): Heads {
  const { cosine, sine, interleaved, size } = rotation;
  const two = integer(2);
  const half = divide(size, two);
  return {
    ...vectors,
    at: (sample, head, position, element) => {
      const pair = interleaved ? divide(element, two) : modulo(element, half);
      const [first, second] = interleaved
        ? [multiply(pair, two), add(multiply(pair, two), integer(1))]
        : [pair, add(pair, half)];
      const x = vectors.at(sample, head, position, first);
      const y = vectors.at(sample, head, position, second);
      const c = cosine(sample, position, pair);
      const s = sine(sample, position, pair);
      const isFirst = interleaved
        ? apply("equal", fromInteger(modulo(element, two)), fromInteger(integer(0)))
        : apply("less", fromInteger(element), fromInteger(half));
      const turned = select(
        isFirst,
        minus(times(c, x), times(s, y)),
        plus(times(s, x), times(c, y)),
      );
      if (size === vectors.size) return turned;
      return select(
        apply("less", fromInteger(element), fromInteger(size)),
        turned,
        vectors.at(sample, head, position, element),
      );
    },
  };
}

/** A cache by position, whose row for a place in the sequence `row` says. */
export function anglesOf(
  cache: Operand,
  row: (sample: Integer, position: Integer) => Integer,
): Angles {
  return (sample, position, pair) => cache.at([row(sample, position), pair]);
}

/** The rows that `positions` names: (N, positions), or one number, the first row. */
export function rowsOf(positions: Operand): (sample: Integer, position: Integer) => Integer {
  if (positions.dims.length === 2) {
    const one = asNumber(positions.dims[0]!) === 1;
    return (sample, position) => toInteger(positions.at([one ? integer(0) : sample, position]));
  }
  const first = positions.dims.length === 0 ? [] : [integer(0)];
  return (_sample, position) => add(toInteger(positions.at(first)), position);
}

/**
 * The vectors in `input` (N, positions, width) of com.microsoft's op, which leaves their number to the
 * caches: their rows are half a vector.
 */
function vectorsLike(call: OpCall, input: Operand, given: number, cache: Operand): Heads {
  if (given !== 0) call.fail("num_heads is missing");
  const [batch, length, width] = input.dims as [Integer, Integer, Integer];
  const size = extentOf(scaled(cache.dims.at(-1)!, 2));
  return {
    batch,
    heads: extentOf(divide(width, size)),
    length,
    size,
    at: (sample, head, position, element) =>
      input.at([sample, position, add(multiply(head, size), element)]),
  };
}

/** `input`, of rank 3 or 4, with its vectors turned. */
function embedded(
  call: OpCall,
  input: Operand,
  cosine: Angles,
  sine: Angles,
  cache: Operand,
): Operand {
  const count = call.int("num_heads", 0);
  const given = call.int("rotary_embedding_dim", 0);
  const vectors = input.dims.length === 3 && count === 0
    ? vectorsLike(call, input, given, cache)
    : headsOf(input, integer(count));
  const size = given === 0 ? vectors.size : integer(given);
  if (count < 0 || given < 0 || asNumber(vectors.size) === 0) {
    call.fail(`num_heads is ${count} and rotary_embedding_dim ${given}`);
  }
  const turned = rotated(vectors, {
    cosine,
    sine,
    interleaved: call.int("interleaved", 0) !== 0,
    size,
  });
  return operand(
    input.dtype,
    input.dims,
    input.dims.length === 4
      ? ([n, head, position, element]) => turned.at(n!, head!, position!, element!)
      : ([n, position, at]) =>
        turned.at(n!, divide(at!, vectors.size), position!, modulo(at!, vectors.size)),
  );
}

function lower(call: OpCall): Operand[] {
  const [input, cosines, sines] = [call.input(0), call.input(1), call.input(2)];
  const positions = call.optional(3);
  const angles = (cache: Operand): Angles =>
    positions === null ? (...at) => cache.at(at) : anglesOf(cache, rowsOf(positions));
  return [embedded(call, input, angles(cosines), angles(sines), cosines)];
}

function lowerMicrosoft(call: OpCall): Operand[] {
  const [input, positions] = [call.input(0), call.input(1)];
  const [cosines, sines] = [call.input(2), call.input(3)];
  if (call.float("scale", 1) !== 1) call.fail("a scale other than 1 isn't compiled");
  if (call.int("is_packed_batching", 0) !== 0) call.fail("packed batches aren't compiled");
  const rows = rowsOf(positions);
  return [embedded(call, input, anglesOf(cosines, rows), anglesOf(sines, rows), cosines)];
}

/** Records of rotary embeddings. */
export const ROTARY_OPS: readonly OpRecord[] = [
  { name: "RotaryEmbedding", domain: "", since: 23, lower },
  { name: "RotaryEmbedding", domain: "com.microsoft", since: 1, lower: lowerMicrosoft },
];
