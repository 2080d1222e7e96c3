/**
 * Attention as models spell it out, a private op of the domain "modelcast" that the passes make:
 * queries [..., M, K], keys [..., K, N] (or [..., N, K]), values [..., N, P], and the steps between
 * the product of the first two and the product with the values. Where shapes allow, it is the kernel
 * that stores no scores; else the steps are computed as the nodes that stood there would be. Either
 * way rows that see nothing, or hold NaN, are what ONNX says of those nodes.
 */
import { asNumber, type Integer, multiply, ONE } from "../expr/integer.ts";
import { apply, constant, select, type Value } from "../expr/value.ts";
import { float, isFloat, over, plus, times } from "./arithmetic.ts";
import { attentionKernel, fitsAttention, type Pair } from "./attention_kernel.ts";
import { axisOf, broadcastIndices, broadcastShape, elementwise } from "./broadcast.ts";
import { sameExtent } from "./contraction.ts";
import { mapped, matmul, transposed } from "./matmul.ts";
import { indicesAt, rowMajor } from "./offsets.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { CODES_DOMAIN } from "./packed_codes.ts";
import { reshaped, wantedShape } from "./reshape.ts";
import { softmax } from "./softmax.ts";

/** Name of the op. */
export const SPELLED_ATTENTION = "SpelledAttention";

/**
 * What is done to scores, and after `softmax` to probabilities; in brackets the inputs that it takes,
 * in order: scaled by the attribute `alpha`, or by a number [number]; its hyperbolic tangent; added
 * to [addend]; kept where a condition holds, or replaced where it does [condition, otherwise]; given
 * another shape [shape]; zeros put in the place of NaN.
 */
const ATTENTION_STEPS = {
  scale: 0,
  multiply: 1,
  divide: 1,
  tanh: 0,
  add: 1,
  keep: 2,
  replace: 2,
  reshape: 1,
  softmax: 0,
  guard: 0,
} as const;

/** A step of {@link ATTENTION_STEPS}. */
export type AttentionStep = keyof typeof ATTENTION_STEPS;

/** A step and the positions of the inputs that it takes. */
interface Placed {
  readonly kind: AttentionStep;
  readonly inputs: readonly number[];
}

function stepsOf(call: OpCall): readonly Placed[] {
  let next = 3;
  return (call.strings("steps") ?? []).map((name) => {
    const kind = name as AttentionStep;
    const first = next;
    next += ATTENTION_STEPS[kind];
    return { kind, inputs: Array.from({ length: next - first }, (_, i) => first + i) };
  });
}

/** The condition, and what a value is where it keeps, or doesn't give way to, another. */
function kept(kind: "keep" | "replace", condition: Value, value: Value, other: Value): Value {
  return kind === "keep" ? select(condition, value, other) : select(condition, other, value);
}

/** Every step by itself. */
function stepwise(call: OpCall): Operand {
  const [query, key, value] = [call.input(0), call.input(1), call.input(2)];
  const columns = call.int("transposed", 0) === 1 ? transposed(key) : key;
  let at = matmul(call, query, columns);
  if (!isFloat(at.dtype)) {
    const product = at;
    at = operand("float32", at.dims, (indices) => castTo("float32", product.at(indices)));
  }
  for (const { kind, inputs: [first, second] } of stepsOf(call)) {
    const input = (i: number | undefined): Operand => call.input(i!);
    switch (kind) {
      case "scale": {
        const alpha = float(call.float("alpha", 1));
        at = mapped(at, (x) => times(x, alpha));
        break;
      }
      case "multiply":
        at = elementwise(call, at.dtype, [at, input(first)], (x, factor) => times(x, factor));
        break;
      case "divide":
        at = elementwise(call, at.dtype, [at, input(first)], (x, by) => over(x, by));
        break;
      case "tanh":
        at = mapped(at, (x) => apply("tanh", x));
        break;
      case "add":
        at = elementwise(call, at.dtype, [at, input(first)], (x, addend) => plus(x, addend));
        break;
      case "keep":
      case "replace": {
        const parts = [input(first), at, input(second)];
        at = elementwise(call, at.dtype, parts, (test, x, other) => kept(kind, test, x, other));
        break;
      }
      case "reshape":
        at = reshaped(at, wantedShape(call, at.dims, call.integers(first!)));
        break;
      case "softmax":
        at = call.stored(normalized(call, call.stored(at)));
        break;
      case "guard":
        at = mapped(at, (x) => select(apply("isNan", x), float(0), x));
    }
  }
  return matmul(call, at, value);
}

/** The softmax of `scores` over the attribute `axis`, or over all axes from there. */
function normalized(call: OpCall, scores: Operand): Operand {
  const axis = axisOf(call, call.int("axis", -1), scores.dims.length);
  if (call.int("over_rest", 0) === 0 || axis === scores.dims.length - 1) {
    return softmax(scores, axis);
  }
  const { dims } = scores;
  const rows = reshaped(scores, [...dims.slice(0, axis), multiply(...dims.slice(axis))]);
  return reshaped(softmax(call.stored(rows), axis), dims);
}

/** The scores of a query and a key while the steps are gone through. */
interface Scores {
  readonly adjusted: (product: Value) => Value;
  readonly added: Pair | null;
  readonly replaced: Pair | null;
}

/** The positions of a dispatch: how its samples and heads lie in other leading extents. */
type Lead = (lead: readonly Integer[], sample: Integer, head: Integer) => readonly Integer[];

/** All at once, by the kernel that stores no scores; null where that can't be. */
function atOnce(call: OpCall): Operand | null {
  const [query, key, value] = [call.input(0), call.input(1), call.input(2)];
  const parts = [query, key, value];
  if (parts.some(({ dtype, dims }) => !isFloat(dtype) || dims.length < 2)) return null;
  const [queries, depth] = query.dims.slice(-2) as [Integer, Integer];
  const isTransposed = call.int("transposed", 0) === 1;
  const [keys, keyDepth] = isTransposed
    ? key.dims.slice(-2) as [Integer, Integer]
    : key.dims.slice(-2).reverse() as [Integer, Integer];
  const [keySize, valueSize] = [
    asNumber(depth) ?? asNumber(keyDepth),
    asNumber(value.dims.at(-1)!),
  ];
  if (queries === ONE || keySize === null || valueSize === null) return null;
  if (!fitsAttention(keySize, valueSize)) return null;
  const first = broadcastShape(call, [query.dims.slice(0, -2), key.dims.slice(0, -2)]);
  const stages = leadsOf(call, first, [queries, keys]);
  if (stages === null) return null;
  const last = stages.at(-1)!;
  const lead = broadcastShape(call, [last, value.dims.slice(0, -2)]);
  if (lead.length !== last.length || lead.some((extent, i) => extent !== last[i])) return null;
  sameExtent(call, depth, keyDepth, "the extents that are summed over");
  sameExtent(call, keys, value.dims.at(-2)!, "the extents that are summed over");
  // The most parted leading extents are those that samples and heads count.
  const basis = stages.reduce((a, b) => b.length > a.length ? b : a);
  const heads = basis.at(-1) ?? ONE;
  const outer = basis.slice(0, -1);
  const position: Lead = (own, sample, head) => {
    const indices = basis.length === 0 ? [] : [...indicesAt(outer, sample), head];
    const isBasis = own.length === basis.length && own.every((extent, i) => extent === basis[i]);
    return isBasis ? indices : indicesAt(own, rowMajor(basis, indices));
  };
  const scores = scoresOf(call, stages, [queries, keys], position);
  if (scores === null) return null;
  const within = (own: Operand, dims: readonly Integer[], sample: Integer, head: Integer) =>
    broadcastIndices(own.dims.slice(0, -2), dims, position(dims, sample, head));
  const isGuarded = stepsOf(call).some(({ kind }) => kind === "guard");
  return attentionKernel(call, {
    dtype: value.dtype,
    batches: multiply(ONE, ...outer),
    heads,
    queries,
    keys,
    keySize,
    valueSize,
    q: (n, head, i, d) => query.at([...within(query, first, n, head), i, d]),
    k: (n, head, j, d) =>
      key.at([...within(key, first, n, head), ...(isTransposed ? [j, d] : [d, j])]),
    v: (n, head, j, d) => value.at([...within(value, last, n, head), j, d]),
    adjusted: scores.adjusted,
    added: scores.added,
    replaced: scores.replaced,
    undefinedRows: isGuarded ? "allZeros" : "nan",
    dims: [...last, queries, value.dims.at(-1)!],
    place: (n, head, i, d) => [...position(last, n, head), i, d],
  });
}

/**
 * The leading extents of the scores, from `first` on one entry for each step that changes them; null
 * where a step changes more than them, or where the softmax is not over the keys.
 */
function leadsOf(
  call: OpCall,
  first: readonly Integer[],
  inner: readonly [Integer, Integer],
): readonly (readonly Integer[])[] | null {
  const leads = [first];
  for (const { kind, inputs } of stepsOf(call)) {
    const dims = [...leads.at(-1)!, ...inner];
    if (kind === "reshape") {
      const made = wantedShape(call, dims, call.integers(inputs[0]!));
      if (made.length < 2 || made.at(-2) !== inner[0] || made.at(-1) !== inner[1]) return null;
      leads.push(made.slice(0, -2));
    } else if (kind === "softmax") {
      if (axisOf(call, call.int("axis", -1), dims.length) !== dims.length - 1) return null;
    }
  }
  return leads;
}

/** What the steps before the softmax make of products; null where they make more than a score each. */
function scoresOf(
  call: OpCall,
  leads: readonly (readonly Integer[])[],
  inner: readonly [Integer, Integer],
  position: Lead,
): Scores | null {
  let [stage, state] = [0, { adjusted: (x) => x, added: null, replaced: null } as Scores];
  for (const { kind, inputs: [first, second] } of stepsOf(call)) {
    const lead = leads[stage]!;
    const dims = [...lead, ...inner];
    /** An input that is broadcast to the scores; null where it makes them more. */
    const pair = (i: number): Pair | null => {
      const input = call.input(i);
      const made = broadcastShape(call, [dims, input.dims]);
      // There are as many keys as values, whatever a mask's last extent is called.
      const outer = dims.slice(0, -1);
      if (made.length !== dims.length || outer.some((extent, k) => extent !== made[k])) return null;
      if (asNumber(inner[1]) === 1 && made.at(-1) !== ONE) return null;
      return (sample, head, query, key) =>
        input.at(
          broadcastIndices(input.dims, dims, [...position(lead, sample, head), query, key]),
        );
    };
    const { adjusted, added, replaced } = state;
    const changed = (change: (x: Value) => Value): Scores => ({
      adjusted: (x) => change(adjusted(x)),
      added: added && ((...at) => change(added(...at))),
      replaced,
    });
    switch (kind) {
      case "scale": {
        const alpha = float(call.float("alpha", 1));
        state = changed((x) => times(x, alpha));
        break;
      }
      case "multiply":
      case "divide": {
        const [number, more] = call.constants(first!) ?? [];
        if (number === undefined || more !== undefined) return null;
        if (call.input(first!).dims.length > dims.length) return null;
        const by = float(number);
        state = changed((x) => kind === "multiply" ? times(x, by) : over(x, by));
        break;
      }
      case "tanh":
        if (added !== null) return null;
        state = changed((x) => apply("tanh", x));
        break;
      case "add": {
        const addend = pair(first!);
        if (addend === null) return null;
        state = {
          ...state,
          added: added === null ? addend : (...at) => plus(added(...at), addend(...at)),
        };
        break;
      }
      case "keep":
      case "replace": {
        const [test, other] = [pair(first!), pair(second!)];
        if (test === null || other === null) return null;
        const [number, more] = call.constants(second!) ?? [];
        const isOut = number === -Infinity && more === undefined;
        const before: Pair = replaced ?? (() => constant("bool", 0));
        const isReplaced: Pair = (...at) =>
          kept(kind, test(...at), before(...at), constant("bool", 1));
        state = {
          adjusted,
          added: (...at) => kept(kind, test(...at), added?.(...at) ?? float(0), other(...at)),
          // Minus infinity is that whatever it is added to.
          replaced: isOut ? replaced : isReplaced,
        };
        break;
      }
      case "reshape":
        stage++;
        break;
      case "softmax":
        return state;
      case "guard":
        return null;
    }
  }
  return null;
}

/** The op that the passes make of attention. */
export const SPELLED_ATTENTION_OPS: readonly OpRecord[] = [
  {
    name: SPELLED_ATTENTION,
    domain: CODES_DOMAIN,
    since: 1,
    lower: (call) => [atOnce(call) ?? stepwise(call)],
  },
];
