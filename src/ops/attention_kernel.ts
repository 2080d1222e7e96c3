/** Attention by the kernel family `attention`, which stores no scores: what all who use it share. */
import type { DType } from "../dtype.ts";
import type { Integer } from "../expr/integer.ts";
import { apply, select, type Value } from "../expr/value.ts";
import { float } from "./arithmetic.ts";
import type { OpCall, Operand } from "./op.ts";

/** A value for a query and a key: sample, head of the query, their positions. */
export type Pair = (sample: Integer, head: Integer, query: Integer, key: Integer) => Value;

/** An element of a vector by sample, head of the query, position, and place in the vector. */
export type Vector = (sample: Integer, head: Integer, at: Integer, element: Integer) => Value;

/** What becomes of a query whose greatest score is minus infinity, or is NaN. */
export const UNDEFINED_ROWS = {
  /** Zeros for a query that sees no key; NaN stays. */
  zeros: 0,
  /** NaN, as a softmax gives for both. */
  nan: 1,
  /** Zeros for both. */
  allZeros: 2,
} as const;

/** A use of the kernel. */
export interface AttentionUse {
  readonly dtype: DType;
  readonly batches: Integer;
  readonly heads: Integer;
  readonly queries: Integer;
  readonly keys: Integer;
  /** Elements of a query and of a key, and of a value; {@link fitsAttention} says how many. */
  readonly keySize: number;
  readonly valueSize: number;
  readonly q: Vector;
  readonly k: Vector;
  readonly v: Vector;
  /** What a product of a query and a key becomes by itself. */
  readonly adjusted: (product: Value) => Value;
  /** Added to that; minus infinity keeps a key out. */
  readonly added: Pair | null;
  /** Where true, what is added stands alone. */
  readonly replaced: Pair | null;
  readonly undefinedRows: keyof typeof UNDEFINED_ROWS;
  /** Extents of the result, and where the element of a vector lies in it. */
  readonly dims: readonly Integer[];
  readonly place: (
    sample: Integer,
    head: Integer,
    query: Integer,
    element: Integer,
  ) => readonly Integer[];
}

/** Elements of a vector that the kernel keeps in registers at most. */
const MOST_SIZE = 256;
/** What is added from -3e38 on keeps a key out, which a finite number may not. */
const LEAST_ADDED = -2.9e38;

/** Whether the kernel can take vectors of such sizes. */
export function fitsAttention(keySize: number | null, valueSize: number | null): boolean {
  return keySize !== null && valueSize !== null && keySize <= MOST_SIZE && valueSize <= MOST_SIZE;
}

/** The weighted values of each query. */
export function attentionKernel(call: OpCall, use: AttentionUse): Operand {
  const { added, replaced } = use;
  type Four = readonly [Integer, Integer, Integer, Integer];
  const hook = (at: Pair) => (indices: readonly Integer[]): Value => at(...indices as Four);
  const { store } = call.kernel({
    core: "attention",
    sizes: {
      batches: use.batches,
      heads: use.heads,
      queries: use.queries,
      keys: use.keys,
    },
    loads: {
      q: hook(use.q),
      k: hook(use.k),
      v: hook(use.v),
      mask: hook(added === null ? () => float(0) : (...pair) => leastAdded(added(...pair))),
      ...(replaced &&
        { replaced: hook((...pair) => select(replaced(...pair), float(1), float(0))) }),
    },
    stores: {
      store: {
        dtype: use.dtype,
        dims: use.dims,
        place: (indices) => use.place(...indices as Four),
      },
    },
    constants: {
      HEAD_SIZE: use.keySize,
      VALUE_SIZE: use.valueSize,
      UNDEFINED_ROWS: UNDEFINED_ROWS[use.undefinedRows],
    },
    functions: { adjusted: ([product]) => use.adjusted(product!) },
  });
  return store;
}

/** `value`, but for finite numbers so low that the kernel would take them for minus infinity. */
function leastAdded(value: Value): Value {
  if (value.kind === "select") {
    return select(value.condition, leastAdded(value.yes), leastAdded(value.no));
  }
  if (value.kind === "constant") {
    const isOut = value.value === -Infinity;
    return isOut || value.value >= LEAST_ADDED ? value : float(LEAST_ADDED);
  }
  const isLow = apply("less", value, float(LEAST_ADDED));
  const isOut = apply("equal", value, float(-Infinity));
  return select(isLow, select(isOut, value, float(LEAST_ADDED)), value);
}
