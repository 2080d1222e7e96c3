/**
 * Scaled dot-product attention as all ops that have it share it: products of queries and keys, soft
 * cap, masks, softmax, products with values. Heads of keys may each serve several heads of queries.
 */
import type { DType } from "../dtype.ts";
import { divide, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, integer, multiply, ONE, subtract } from "../expr/integer.ts";
import {
  apply,
  constant,
  extentOf,
  fromInteger,
  reduce,
  select,
  type Value,
} from "../expr/value.ts";
import { asFloat, float, minus, over, plus, times } from "./arithmetic.ts";
import { attentionKernel, fitsAttention, type Pair } from "./attention_kernel.ts";
import { contract } from "./contraction.ts";
import { sumOver } from "./extents.ts";
import { type OpCall, type Operand, operand } from "./op.ts";

export type { Pair } from "./attention_kernel.ts";

/** Vectors by sample, head and position. */
export interface Heads {
  readonly batch: Integer;
  readonly heads: Integer;
  readonly length: Integer;
  /** Elements of a vector. */
  readonly size: Integer;
  readonly at: (sample: Integer, head: Integer, position: Integer, element: Integer) => Value;
}

/** What attention does beside products. */
export interface AttentionSettings {
  readonly dtype: DType;
  readonly scale: Value;
  /** Products are kept within this by a hyperbolic tangent; 0 for no limit. */
  readonly softcap?: number;
  /** Added to the products. */
  readonly bias?: Pair | null;
  /** Where false, the product gives way to minus infinity. */
  readonly allowed?: Pair | null;
  /** Rounds what the softmax computes with. */
  readonly round?: (value: Value) => Value;
  /** A logit of each head that takes part in the softmax and has no value. */
  readonly sink?: ((head: Integer) => Value) | null;
  /** The result is (N, positions, heads * size) instead of (N, heads, positions, size). */
  readonly merged: boolean;
  /** Whether anything but the output is wanted. */
  readonly inspected?: boolean;
  /** What is made of the logits before the softmax, and of the probabilities after it. */
  readonly modified?: {
    readonly logits: (logits: Operand) => Operand;
    readonly probabilities: (probabilities: Operand) => Operand;
  };
}

/** The tensors of an attention, the first four by sample, head, query and key. */
export interface Attended {
  readonly scores: Operand;
  readonly capped: Operand;
  readonly logits: Operand;
  readonly probabilities: Operand;
  readonly output: Operand;
}

/** A tensor (N, heads, positions, size), or (N, positions, heads * size) with `heads` given. */
export function headsOf(tensor: Operand, heads: Integer | null): Heads {
  if (tensor.dims.length === 4) {
    const [batch, count, length, size] = tensor.dims as [Integer, Integer, Integer, Integer];
    return { batch, heads: count, length, size, at: (...indices) => tensor.at(indices) };
  }
  const [batch, length, width] = tensor.dims as [Integer, Integer, Integer];
  const size = extentOf(divide(width, heads!));
  return {
    batch,
    heads: heads!,
    length,
    size,
    at: (sample, head, position, element) =>
      tensor.at([sample, position, add(multiply(head, size), element)]),
  };
}

/** `given` with the positions of `past` (N, heads, positions, size) before it, as a tensor. */
export function withPast(call: OpCall, dtype: DType, given: Heads, past: Operand | null): Operand {
  const before = past?.dims[2];
  if (past === null || before === undefined) {
    return operand(
      dtype,
      [given.batch, given.heads, given.length, given.size],
      ([n, head, position, element]) => given.at(n!, head!, position!, element!),
    );
  }
  const length = extentOf(add(before, given.length));
  return call.stored(operand(
    dtype,
    [given.batch, given.heads, length, given.size],
    ([n, head, position, element]) =>
      select(
        apply("less", fromInteger(position!), fromInteger(before)),
        past.at([n!, head!, position!, element!]),
        given.at(n!, head!, subtract(position!, before), element!),
      ),
  ));
}

/** 1 / sqrt(size), or what the attribute `scale` says. */
export function scaleOf(call: OpCall, size: Integer): Value {
  const given = call.float("scale", 0);
  if (given !== 0) return float(given);
  const known = asNumber(size);
  return known === null
    ? over(float(1), apply("sqrt", asFloat(fromInteger(size))))
    : float(1 / Math.sqrt(known));
}

/** Which keys a query may see by their positions alone. */
export interface Reach {
  readonly causal: boolean;
  /** Keys before and after a query's own position; -1 for all. */
  readonly left: number;
  readonly right: number;
  /** The position of a sample's first query among the keys. */
  readonly offset: (sample: Integer) => Integer;
}

/** The pairs within `reach`, or null where all are. */
export function withinReach({ causal, left, right, offset }: Reach): Pair | null {
  if (!causal && left < 0 && right < 0) return null;
  return (sample, _head, query, key) => {
    const own = add(query, offset(sample));
    let held = constant("bool", 1);
    const test = (least: Integer, greatest: Integer): void => {
      held = apply(
        "and",
        held,
        apply("lessOrEqual", fromInteger(least), fromInteger(greatest)),
      );
    };
    if (causal) test(key, own);
    if (left >= 0) test(subtract(own, integer(left)), key);
    if (right >= 0) test(key, add(own, integer(right)));
    return held;
  };
}

/** Every pair that all of `tests` allow; null where there is no test. */
export function allowedByAll(tests: readonly (Pair | null)[]): Pair | null {
  const held = tests.filter((test) => test !== null);
  if (held.length === 0) return null;
  return (...pair) => held.map((test) => test(...pair)).reduce((a, b) => apply("and", a, b));
}

/** Attention of `query` to `key`, whose values are `value`. */
export function attend(
  call: OpCall,
  query: Heads,
  key: Heads,
  value: Heads,
  settings: AttentionSettings,
): Attended {
  const { dtype, scale, merged } = settings;
  const shared = sharing(call, query.heads, key.heads);
  const [batch, heads] = [query.batch, query.heads];
  const dims = [batch, heads, query.length, key.length];
  const product = contract(call, {
    dtype,
    dims,
    batch: [batch, heads],
    rows: [query.length],
    columns: [key.length],
    depth: [query.size],
    a: ([n, head], [i], [k]) => query.at(n!, head!, i!, k!),
    b: ([n, head], [k], [j]) => key.at(n!, divide(head!, shared), j!, k!),
    place: ({ batch, row, column }) => [...batch, ...row, ...column],
    position: ([n, head, i, j]) => ({ batch: [n!, head!], row: [i!], column: [j!] }),
  });
  const each = (compute: (indices: readonly [Integer, Integer, Integer, Integer]) => Value) =>
    operand(
      dtype,
      dims,
      (indices) => compute(indices as unknown as [Integer, Integer, Integer, Integer]),
    );
  const scores = each((at) => times(product.at(at), scale));
  const cap = settings.softcap ?? 0;
  const capped = cap === 0
    ? scores
    : each((at) => times(apply("tanh", over(scores.at(at), float(cap))), float(cap)));
  const { bias = null, allowed = null, modified } = settings;
  const masked = bias === null && allowed === null ? capped : each((at) => {
    const sum = bias === null ? capped.at(at) : plus(capped.at(at), bias(...at));
    return allowed === null ? sum : select(allowed(...at), sum, float(-Infinity));
  });
  const logits = modified?.logits(masked) ?? masked;
  const softmax = softmaxOf(logits, logits !== capped, settings);
  const probabilities = modified?.probabilities(softmax) ?? softmax;
  const inner = { scores, capped, logits, probabilities };
  const output = attendAtOnce(call, query, key, value, shared, settings);
  if (output !== null) return { ...inner, output };
  const weighted = contract(call, {
    dtype,
    dims: merged
      ? [batch, query.length, multiply(heads, value.size)]
      : [batch, heads, query.length, value.size],
    batch: [batch, heads],
    rows: [query.length],
    columns: [value.size],
    depth: [key.length],
    a: ([n, head], [i], [j]) => probabilities.at([n!, head!, i!, j!]),
    b: ([n, head], [j], [k]) => value.at(n!, divide(head!, shared), j!, k!),
    place: ({ batch: [n, head], row: [i], column: [k] }) =>
      merged ? [n!, i!, add(multiply(head!, value.size), k!)] : [n!, head!, i!, k!],
    position: (indices) => {
      if (!merged) {
        const [n, head, i, k] = indices;
        return { batch: [n!, head!], row: [i!], column: [k!] };
      }
      const [n, i, at] = indices;
      return {
        batch: [n!, divide(at!, value.size)],
        row: [i!],
        column: [modulo(at!, value.size)],
      };
    },
  });
  return { ...inner, output: weighted };
}

/**
 * The output of an attention by a kernel that stores no scores, or null where that can't be: where
 * the scores are wanted, and where one query leaves it little to do at once.
 */
function attendAtOnce(
  call: OpCall,
  query: Heads,
  key: Heads,
  value: Heads,
  shared: Integer,
  settings: AttentionSettings,
): Operand | null {
  const [keySize, valueSize] = [asNumber(query.size), asNumber(value.size)];
  const { dtype, scale, merged, round, sink = null, bias = null, allowed = null } = settings;
  const { inspected = false, softcap: cap = 0 } = settings;
  if (
    inspected || settings.modified !== undefined || round !== undefined || sink !== null ||
    query.length === ONE || keySize === null || valueSize === null ||
    !fitsAttention(keySize, valueSize)
  ) {
    return null;
  }
  const masked: Pair | null = allowed &&
    ((...pair) => select(allowed(...pair), bias?.(...pair) ?? float(0), float(-Infinity)));
  return attentionKernel(call, {
    dtype,
    batches: query.batch,
    heads: query.heads,
    queries: query.length,
    keys: key.length,
    keySize,
    valueSize,
    q: query.at,
    k: (n, head, j, d) => key.at(n, divide(head, shared), j, d),
    v: (n, head, j, d) => value.at(n, divide(head, shared), j, d),
    adjusted: (product) => {
      const score = times(product, scale);
      return cap === 0 ? score : times(apply("tanh", over(score, float(cap))), float(cap));
    },
    added: masked ?? bias,
    replaced: null,
    undefinedRows: "zeros",
    dims: merged
      ? [query.batch, query.length, multiply(query.heads, value.size)]
      : [query.batch, query.heads, query.length, value.size],
    place: (n, head, i, d) => merged ? [n, i, add(multiply(head, value.size), d)] : [n, head, i, d],
  });
}

/** The number of heads of queries that share a head of keys. */
function sharing(call: OpCall, queries: Integer, keys: Integer): Integer {
  const [q, k] = [asNumber(queries), asNumber(keys)];
  if (q !== null && k !== null && (k === 0 || q % k !== 0)) {
    call.fail(`its ${q} heads of queries can't share ${k} heads of keys`);
  }
  return queries === keys ? ONE : extentOf(divide(queries, keys));
}

/** Softmax over the keys. A query that may see no key has probabilities of zero. */
function softmaxOf(logits: Operand, maskable: boolean, settings: AttentionSettings): Operand {
  const round = settings.round ?? ((value) => value);
  const extent = logits.dims.slice(3);
  return operand(logits.dtype, logits.dims, (indices) => {
    const at = (key: Integer): Value => round(logits.at(indices.with(3, key)));
    const sink = settings.sink?.(indices[1]!) ?? null;
    let largest = reduce("max", extent, ([key]) => at(key!));
    if (sink !== null) largest = apply("fastMax", largest, sink);
    if (maskable) {
      largest = select(apply("equal", largest, float(-Infinity)), float(0), largest);
    }
    const exponential = (value: Value): Value => apply("exp", minus(value, largest));
    let total = sumOver(extent, ([key]) => exponential(at(key!)));
    if (sink !== null) total = plus(total, exponential(sink));
    // A sum that is not zero is 1 or more.
    if (maskable) total = select(apply("equal", total, float(0)), float(1), total);
    return over(exponential(at(indices[3]!)), total);
  });
}
