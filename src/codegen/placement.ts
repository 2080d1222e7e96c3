/**
 * Where a tensor may be computed: inside what reads it, or where a kernel stores its result.
 */
import {
  add,
  asAtom,
  asNumber,
  type Axis,
  divide,
  fromTerm,
  type Integer,
  modulo,
  multiply,
  ONE,
  rewrite,
  substitute,
  type Value,
} from "../expr/mod.ts";
import { census, estimateCount, occurrences, reductionsIn } from "./cost.ts";
import { Tensor } from "./program.ts";
import { bodiesOf, type ExpressionUnit, type Unit } from "./units.ts";

/** True where `tensor` only rearranges another. */
export function isView(tensor: Tensor): boolean {
  return tensor.origin.kind === "expression" && tensor.origin.body.kind === "load";
}

const OF_WEIGHTS = new WeakMap<Tensor, boolean>();

/** True where `tensor` is computed from weights alone, without reductions. */
export function isOfWeights(tensor: Tensor): boolean {
  const { origin } = tensor;
  if (origin.kind !== "expression") return origin.kind === "weight";
  let found = OF_WEIGHTS.get(tensor);
  if (found === undefined) {
    const { hasReduce, sources } = census(origin.body);
    found = !hasReduce && [...sources].every(isOfWeights);
    OF_WEIGHTS.set(tensor, found);
  }
  return found;
}

/** True where `tensor` is the result of a kernel file, perhaps rearranged. */
export function isOfKernel(tensor: Tensor): boolean {
  if (tensor.origin.kind === "kernel") return true;
  if (tensor.origin.kind !== "expression" || tensor.origin.body.kind !== "load") return false;
  const { source } = tensor.origin.body;
  return source instanceof Tensor && isOfKernel(source);
}

/**
 * Where `reader` computes from the element of `tensor` at `place`: its axes in terms of those of
 * `place`, where it reads every element once, each index a mixed-radix number of its own axes (the
 * same place, a transposition, a split into heads). Else null.
 */
export function solved(
  reader: ExpressionUnit,
  tensor: Tensor,
  place: readonly Integer[],
): Map<Axis, Integer> | null {
  const found = occurrences(reader.body, tensor);
  const [first] = found;
  if (first === undefined) return null;
  if (!found.every(({ indices }) => indices.every((index, i) => index === first.indices[i]))) {
    return null;
  }
  const at = new Map<Axis, Integer>();
  const parts = new Map<Axis, { div?: number; mod?: number; by: Integer }>();
  for (const [i, index] of first.indices.entries()) {
    if (index.constant !== 0) return null;
    const atom = asAtom(index);
    if (atom?.kind === "div" || atom?.kind === "mod") {
      const own = asAtom(atom.a);
      if (own?.kind !== "axis" || !reader.axes.includes(own)) return null;
      const known = parts.get(own);
      if (known !== undefined && (known.by !== atom.b || known[atom.kind] !== undefined)) {
        return null;
      }
      parts.set(own, { ...known, by: atom.b, [atom.kind]: i });
      continue;
    }
    const strides = new Map<Integer, Axis>();
    for (const { coefficient, factors } of index.terms) {
      const [own, more] = factors.filter((factor) => factor.kind === "axis");
      if (own?.kind !== "axis" || more !== undefined || !reader.axes.includes(own)) return null;
      const rest = factors.filter((factor) => factor !== own);
      strides.set(fromTerm({ coefficient, factors: rest }), own);
    }
    let stride: Integer = ONE;
    for (let left = strides.size; left > 0; left--) {
      const own = strides.get(stride);
      if (own === undefined || at.has(own)) return null;
      const quotient = divide(place[i]!, stride);
      at.set(own, left === 1 ? quotient : modulo(quotient, own.extent));
      stride = multiply(stride, own.extent);
    }
    if (stride !== tensor.dims[i]) return null;
  }
  for (const [own, { div, mod, by }] of parts) {
    if (div === undefined || mod === undefined || at.has(own) || tensor.dims[mod] !== by) {
      return null;
    }
    if (multiply(tensor.dims[div]!, by) !== own.extent) return null;
    at.set(own, add(multiply(place[div]!, by), place[mod]!));
  }
  const all = reader.axes.every((entry) => at.has(entry) || asNumber(entry.extent) === 1);
  return all ? at : null;
}

/** `body` with `tensor` computed where it was loaded. */
export function inline(body: Value, tensor: Tensor): Value {
  if (tensor.origin.kind !== "expression") throw new Error("only expressions can be inlined");
  const { axes, body: made } = tensor.origin;
  return rewrite(body, {
    load: (source, indices) =>
      source === tensor
        ? substitute(made, new Map(axes.map((entry, i) => [entry, indices[i]!])))
        : null,
  });
}

/**
 * True where `unit` reads `tensor`, which is reduced, at one element a row: at some of its own axes,
 * the same ones as its other reductions, so that each element is computed once.
 */
export function sharesRows(unit: ExpressionUnit, tensor: Tensor): boolean {
  const found = occurrences(unit.body, tensor);
  const [first] = found;
  if (first === undefined) return false;
  const same = found.every(({ indices }) =>
    indices.every((index, i) => index === first.indices[i])
  );
  if (!same) return false;
  const rows = new Set<Axis>();
  for (const [i, index] of first.indices.entries()) {
    if (index.terms.length === 0) continue;
    const atom = asAtom(index);
    if (atom?.kind !== "axis" || !unit.axes.includes(atom) || rows.has(atom)) return false;
    if (atom.extent !== tensor.dims[i]) return false;
    rows.add(atom);
  }
  return reductionsIn([unit.body], true).every(({ axes }) =>
    axes.length === rows.size && axes.every((entry) => rows.has(entry))
  );
}

/** How many places of `unit` load `tensor`. */
export function reads(unit: Unit, tensor: Tensor): number {
  return bodiesOf(unit).reduce((sum, body) => sum + occurrences(body, tensor).length, 0);
}

/** How much oftener than once an element of `tensor` would be computed inside `unit`. */
export function repeated(unit: Unit, tensor: Tensor): number {
  const count = estimateCount(tensor.dims);
  let total = 0;
  for (const body of bodiesOf(unit)) {
    for (const { around } of occurrences(body, tensor)) {
      const own = unit.kind === "expression" ? unit.axes : unit.stores[0]!.axes;
      total += estimateCount([...own, ...around].map((entry) => entry.extent)) / count;
    }
  }
  return Math.max(0, total - 1);
}
