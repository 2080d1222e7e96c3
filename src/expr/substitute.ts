/**
 * Reductions, and the replacement of axes and loads inside values. The two need each other: a
 * reduction names its axes by replacing, and what is put into a reduction renames its axes.
 */
import { divide, maximum, minimum, modulo } from "./bounds.ts";
import {
  add,
  asNumber,
  type Atom,
  type Axis,
  axis,
  DEFINED_NAME,
  fromAtom,
  type Integer,
  integer,
  multiply,
  symbol,
  withConstant,
  ZERO,
} from "./integer.ts";
import {
  apply,
  bitcast,
  call,
  constant,
  convert,
  elementsIn,
  fromInteger,
  integersOf,
  type Kind,
  load,
  partsOf,
  type Reduction,
  reduction,
  select,
  type Source,
  toInteger,
  type Value,
} from "./node.ts";

let temporary = 0;

/**
 * Combines what `body` gives at every position of axes with those extents. The axes are named by
 * how deep the reduction is, so equal reductions are one value; a name that is free in `body` is
 * passed over. An empty `sum` is 0, a `product` 1, a `min` the greatest number, a `max` the least.
 */
export function reduce(
  combination: Reduction,
  extents: readonly Integer[],
  body: (positions: readonly Integer[]) => Value,
): Value {
  const places = extents.map((extent) =>
    asNumber(extent) === 1 ? null : axis(`t${temporary++}`, extent)
  );
  const made = body(places.map((place) => place === null ? ZERO : fromAtom(place)));
  const open = places.filter((place) => place !== null);
  if (open.length === 0) return combination.startsWith("arg") ? constant("i32", 0) : made;
  let level = 1 + deepestLevel(made);
  const named = (): Axis[] => open.map((place, i) => axis(`r${level}_${i}`, place.extent));
  while (named().some((entry) => made.axes.includes(entry))) level++;
  const over = named();
  const inner = substitute(made, new Map(open.map((place, i) => [place, fromAtom(over[i]!)])));
  return reduction(combination, over, inner, level);
}

const LEVELS = new WeakMap<Value, number>();

function deepestLevel(value: Value): number {
  const known = LEVELS.get(value);
  if (known !== undefined) return known;
  let level = value.kind === "reduce" ? value.level : 0;
  for (const part of partsOf(value)) level = Math.max(level, deepestLevel(part));
  for (const index of integersOf(value)) {
    for (const inner of elementsIn(index)) level = Math.max(level, deepestLevel(inner));
  }
  LEVELS.set(value, level);
  return level;
}

/** What takes the place of axes and of loads. */
export interface Replacement {
  /** By axis; one that is not there stays. */
  readonly axes?: ReadonlyMap<Axis, Integer>;
  /** What a load becomes, its indices replaced already; null where it stays. */
  readonly load?: (source: Source, indices: readonly Integer[]) => Value | null;
}

/** `value` with every axis in `axes` replaced. */
export function substitute(value: Value, axes: ReadonlyMap<Axis, Integer>): Value {
  return axes.size === 0 ? value : new Substitution({ axes }).value(value);
}

/** `value` with loads, and axes too, replaced. */
export function rewrite(value: Value, replacement: Replacement): Value {
  return new Substitution(replacement).value(value);
}

class Substitution {
  readonly #values = new Map<Value, Value>();
  readonly #integers = new Map<Integer, Integer>();
  readonly #replacement: Replacement;
  readonly #axes: ReadonlyMap<Axis, Integer>;

  constructor(replacement: Replacement) {
    this.#replacement = replacement;
    this.#axes = replacement.axes ?? new Map();
  }

  /** True where nothing inside can change. */
  #untouched(node: { readonly axes: readonly Axis[] }): boolean {
    return this.#replacement.load === undefined &&
      !node.axes.some((entry) => this.#axes.has(entry));
  }

  value(value: Value): Value {
    if (this.#untouched(value)) return value;
    let made = this.#values.get(value);
    if (made === undefined) this.#values.set(value, made = this.#rebuild(value));
    return made;
  }

  #rebuild(value: Value): Value {
    switch (value.kind) {
      case "constant":
        return value;
      case "integer":
        return fromInteger(this.integer(value.integer));
      case "load": {
        const indices = value.indices.map((index) => this.integer(index));
        return this.#replacement.load?.(value.source, indices) ?? load(value.source, indices);
      }
      case "operation":
        return apply(value.name, ...value.args.map((arg) => this.value(arg)));
      case "call":
        return call(value.name, value.type, ...value.args.map((arg) => this.value(arg)));
      case "select": {
        const condition = this.value(value.condition);
        if (condition.kind === "constant") {
          return this.value(condition.value !== 0 ? value.yes : value.no);
        }
        return select(condition, this.value(value.yes), this.value(value.no));
      }
      case "convert":
        return convert(value.type, this.value(value.value));
      case "bitcast":
        return bitcast(value.type, this.value(value.value));
      case "reduce":
        return this.#reduction(value);
    }
  }

  /** The axes of a reduction are named anew, since what is put in may hold deeper reductions. */
  #reduction(value: Kind<"reduce">): Value {
    const extents = value.over.map((entry) => this.integer(entry.extent));
    return reduce(value.reduction, extents, (positions) => {
      const axes = new Map(this.#axes);
      value.over.forEach((entry, i) => axes.set(entry, positions[i]!));
      return new Substitution({ ...this.#replacement, axes }).value(value.body);
    });
  }

  integer(value: Integer): Integer {
    if (value.terms.length === 0 || this.#untouched(value)) return value;
    let made = this.#integers.get(value);
    if (made === undefined) {
      made = add(
        ...withConstant(value).map((term) =>
          multiply(integer(term.coefficient), ...term.factors.map((factor) => this.#atom(factor)))
        ),
      );
      this.#integers.set(value, made);
    }
    return made;
  }

  #atom(atom: Atom): Integer {
    switch (atom.kind) {
      case "symbol":
        return atom.definition === null || this.#replacement.load === undefined
          ? fromAtom(atom)
          : symbol(DEFINED_NAME, {
            definition: this.integer(atom.definition),
            positive: atom.positive,
          });
      case "axis":
        return this.#axes.get(atom) ?? fromAtom(atom);
      case "div":
        return divide(this.integer(atom.a), this.integer(atom.b));
      case "mod":
        return modulo(this.integer(atom.a), this.integer(atom.b));
      case "min":
        return minimum(this.integer(atom.a), this.integer(atom.b));
      case "max":
        return maximum(this.integer(atom.a), this.integer(atom.b));
      case "element":
        return toInteger(this.value(atom.value));
    }
  }
}
