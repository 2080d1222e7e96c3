/**
 * Integers that are known at conversion up to symbols: extents, indices, offsets. Each is kept as a
 * polynomial over atoms, in one canonical form, and interned, so two integers that are equal as
 * polynomials are the same object. Divisions round down. {@link bounds.ts} proves what divisions
 * and remainders need.
 */
import { freshId, InternTable } from "./interned.ts";
import type { Value } from "./node.ts";

/** The atoms that polynomials are made of. */
export type Atom =
  /**
   * An integer known when the model runs: a dimension of an input, or what `definition` says.
   * `positive` says that it is at least 1 wherever code that reads it runs.
   */
  | (Interned & {
    readonly kind: "symbol";
    readonly name: string;
    readonly definition: Integer | null;
    readonly positive: boolean;
  })
  /** The position along one axis of an iteration, from 0 up to `extent`, excluding it. */
  | (Interned & { readonly kind: "axis"; readonly name: string; readonly extent: Integer })
  /** Division that rounds down, remainder with the divisor's sign, the smaller, the larger. */
  | (Interned & {
    readonly kind: "div" | "mod" | "min" | "max";
    readonly a: Integer;
    readonly b: Integer;
  })
  /** An element of a tensor, or what is computed from such, as an integer. */
  | (Interned & { readonly kind: "element"; readonly value: Value });

/** A position along an axis. */
export type Axis = Extract<Atom, { kind: "axis" }>;
/** A symbol. */
export type SymbolAtom = Extract<Atom, { kind: "symbol" }>;

interface Interned {
  /** Unique number, by order of creation. */
  readonly id: number;
  /** The axes that it depends on, by id, ascending. */
  readonly axes: readonly Axis[];
}

/** A coefficient times a product of atoms, which are sorted by id and may repeat. */
export interface Term {
  readonly coefficient: number;
  readonly factors: readonly Atom[];
}

/** An integer: `constant` plus the sum of `terms`. */
export interface Integer extends Interned {
  readonly terms: readonly Term[];
  readonly constant: number;
}

const INTERNED = new InternTable<Atom | Integer>();

function intern<T extends Atom | Integer>(key: string, make: (id: number) => T): T {
  const known = INTERNED.get(key);
  if (known !== undefined) return known as T;
  const made = make(freshId());
  INTERNED.set(key, made);
  return made;
}

/** The union of sorted lists of axes. */
export function unionOfAxes(lists: readonly (readonly Axis[])[]): readonly Axis[] {
  const used = lists.filter((list) => list.length > 0);
  if (used.length === 0) return NO_AXES;
  if (used.length === 1) return used[0]!;
  const all = new Map<number, Axis>();
  for (const list of used) for (const axis of list) all.set(axis.id, axis);
  return [...all.values()].sort((a, b) => a.id - b.id);
}

const NO_AXES: readonly Axis[] = [];

/** What tells products of atoms apart, and sorts terms. */
function nameOf(factors: readonly Atom[]): string {
  return factors.length === 1
    ? String(factors[0]!.id)
    : factors.map((factor) => factor.id).join("*");
}

/** The polynomial with these terms, which may be unsorted and may repeat. */
function polynomial(terms: readonly Term[], constant: number): Integer {
  const merged = new Map<string, Term>();
  for (const term of terms) {
    if (term.coefficient === 0) continue;
    const name = nameOf(term.factors);
    const known = merged.get(name);
    const coefficient = (known?.coefficient ?? 0) + term.coefficient;
    if (coefficient === 0) merged.delete(name);
    else if (coefficient === term.coefficient) merged.set(name, term);
    else merged.set(name, { coefficient, factors: term.factors });
  }
  const sorted = [...merged];
  if (sorted.length > 1) sorted.sort(([a], [b]) => a < b ? -1 : 1);
  let key = `p${constant}`;
  for (const [name, { coefficient }] of sorted) key += `+${coefficient}*${name}`;
  return intern(key, (id) => ({
    id,
    constant: constant + 0,
    terms: sorted.map(([, term]) => term),
    axes: unionOfAxes(sorted.flatMap(([, term]) => term.factors.map((factor) => factor.axes))),
  }));
}

/** The integer `value`. */
export function integer(value: number): Integer {
  return polynomial([], value);
}

/** Zero. */
export const ZERO: Integer = integer(0);
/** One. */
export const ONE: Integer = integer(1);

const ATOMS = new WeakMap<Atom, Integer>();

/** The integer that is one atom. */
export function fromAtom(atom: Atom): Integer {
  let made = ATOMS.get(atom);
  if (made === undefined) {
    ATOMS.set(atom, made = polynomial([{ coefficient: 1, factors: [atom] }], 0));
  }
  return made;
}

/** The atom that `value` is, or null when it is something else. */
export function asAtom(value: Integer): Atom | null {
  const [term] = value.terms;
  if (value.terms.length !== 1 || value.constant !== 0) return null;
  return term!.coefficient === 1 && term!.factors.length === 1 ? term!.factors[0]! : null;
}

/** The number that `value` is, or null where it depends on anything. */
export function asNumber(value: Integer): number | null {
  return value.terms.length === 0 ? value.constant : null;
}

/**
 * A symbol. Symbols without a definition are one where their names are equal; those with a
 * definition where the definitions are.
 */
export function symbol(
  name: string,
  options: { definition?: Integer; positive?: boolean } = {},
): Integer {
  const positive = options.positive ?? true;
  const definition = options.definition ?? null;
  const key = definition === null ? `s${positive}${name}` : `d${positive}${definition.id}`;
  return fromAtom(intern(key, (id): SymbolAtom => ({
    id,
    kind: "symbol",
    name: definition === null ? name : `${name}${id}`,
    definition,
    positive,
    axes: NO_AXES,
  })));
}

/** The axis called `name` of that extent; equal names and extents are one axis. */
export function axis(name: string, extent: Integer): Axis {
  return intern(`a${extent.id}:${name}`, (id) => {
    const made = { id, kind: "axis", name, extent, axes: NO_AXES } as
      & Interned
      & { kind: "axis"; name: string; extent: Integer; axes: readonly Axis[] };
    made.axes = [made as Axis];
    return made as Axis;
  });
}

/** What one of `a` and `b` combines to, as an atom that nothing simpler is known of. */
export function combined(kind: "div" | "mod" | "min" | "max", a: Integer, b: Integer): Integer {
  return fromAtom(
    intern(
      `${kind}${a.id},${b.id}`,
      (id) => ({ id, kind, a, b, axes: unionOfAxes([a.axes, b.axes]) }),
    ),
  );
}

/** `value` as an integer; {@link toInteger} is what ops use. */
export function elementOf(value: Value): Integer {
  return fromAtom(
    intern(`e${value.id}`, (id) => ({ id, kind: "element", value, axes: value.axes })),
  );
}

/** Sums and products of two, by {@link pairOf}. */
const SUMS = new InternTable<Integer, number>();
const PRODUCTS = new InternTable<Integer, number>();
/** Ids stay below, so that the number of a pair is exact. */
const MOST_IDS = 2 ** 26;

/** A number for `a` and `b` in either order; null where ids are too large for one. */
function pairOf(a: Integer, b: Integer): number | null {
  const [low, high] = a.id < b.id ? [a.id, b.id] : [b.id, a.id];
  return high < MOST_IDS ? high * MOST_IDS + low : null;
}

/** What `table` holds for a pair, or what `make` makes. */
function paired(
  table: InternTable<Integer, number>,
  a: Integer,
  b: Integer,
  make: (a: Integer, b: Integer) => Integer,
): Integer {
  const pair = pairOf(a, b);
  if (pair === null) return make(a, b);
  let made = table.get(pair);
  if (made === undefined) table.set(pair, made = make(a, b));
  return made;
}

/** The sum. `d * (x div d) + x mod d` becomes `x`. */
export function add(...values: readonly Integer[]): Integer {
  const parts = values.filter((value) => value !== ZERO);
  const [a, b] = parts;
  if (a === undefined) return ZERO;
  return b === undefined || parts.length > 2 ? sumOf(parts) : paired(SUMS, a, b, sumOfTwo);
}

function sumOfTwo(a: Integer, b: Integer): Integer {
  return sumOf([a, b]);
}

function sumOf(values: readonly Integer[]): Integer {
  let sum = values.length === 1 ? values[0]! : polynomial(
    values.flatMap((value) => value.terms),
    values.reduce((total, value) => total + value.constant, 0),
  );
  for (const term of sum.terms) {
    const rest = term.factors.find((factor) => factor.kind === "mod");
    if (rest === undefined || rest.kind !== "mod" || !holdsQuotient(sum, rest)) continue;
    const others = term.factors.filter((factor) => factor !== rest);
    const scale = polynomial([{ coefficient: term.coefficient, factors: others }], 0);
    const quotient = multiply(scale, multiply(rest.b, combined("div", rest.a, rest.b)));
    const [part] = quotient.terms;
    if (quotient.terms.length !== 1) continue;
    const found = sum.terms.find((other) =>
      other.coefficient === part!.coefficient && sameFactors(other.factors, part!.factors)
    );
    if (found === undefined) continue;
    sum = polynomial(sum.terms.filter((other) => other !== found && other !== term), sum.constant);
    return add(sum, multiply(scale, rest.a));
  }
  return sum;
}

/** Whether a term of `sum` holds the quotient that belongs to a remainder. */
function holdsQuotient(sum: Integer, { a, b }: { readonly a: Integer; readonly b: Integer }) {
  return sum.terms.some((term) =>
    term.factors.some((factor) => factor.kind === "div" && factor.a === a && factor.b === b)
  );
}

function sameFactors(a: readonly Atom[], b: readonly Atom[]): boolean {
  return a.length === b.length && a.every((factor, i) => factor === b[i]);
}

/** `a - b`. */
export function subtract(a: Integer, b: Integer): Integer {
  return add(a, scaled(b, -1));
}

/** `value` times the number `factor`. */
export function scaled(value: Integer, factor: number): Integer {
  if (factor === 1) return value;
  return polynomial(
    value.terms.map(({ coefficient, factors }) => ({
      coefficient: coefficient * factor,
      factors,
    })),
    value.constant * factor,
  );
}

/** The product. */
export function multiply(...values: readonly Integer[]): Integer {
  let product = ONE;
  for (const value of values) {
    if (value === ONE) continue;
    product = product === ONE ? value : paired(PRODUCTS, product, value, productOf);
  }
  return product;
}

/** Terms that a product is written out to at most: powers of sums grow without end. */
const MOST_TERMS = 256;

/** `value` as a symbol that it defines, where it has several terms and no axis. */
function named(value: Integer): Integer {
  if (value.axes.length > 0 || withConstant(value).length < 2) return value;
  return symbol(DEFINED_NAME, { definition: value, positive: false });
}

function productOf(a: Integer, b: Integer): Integer {
  if (a.terms.length === 0) return scaled(b, a.constant);
  if (b.terms.length === 0) return scaled(a, b.constant);
  if (a.terms.length * b.terms.length > MOST_TERMS) {
    const [x, y] = [named(a), named(b)];
    if (x !== a || y !== b) return multiply(x, y);
  }
  const terms: Term[] = [];
  for (const left of withConstant(a)) {
    for (const right of withConstant(b)) {
      terms.push({
        coefficient: left.coefficient * right.coefficient,
        factors: left.factors.length === 0
          ? right.factors
          : right.factors.length === 0
          ? left.factors
          : [...left.factors, ...right.factors].sort((x, y) => x.id - y.id),
      });
    }
  }
  const constant = terms.filter((term) => term.factors.length === 0)
    .reduce((total, term) => total + term.coefficient, 0);
  return polynomial(terms.filter((term) => term.factors.length > 0), constant);
}

/** The terms of `value`, its constant among them. */
export function withConstant(value: Integer): readonly Term[] {
  return value.constant === 0
    ? value.terms
    : [...value.terms, { coefficient: value.constant, factors: [] }];
}

/** The integer that is one term. */
export function fromTerm(term: Term): Integer {
  return term.factors.length === 0 ? integer(term.coefficient) : polynomial([term], 0);
}

/**
 * `term` divided by `divisor`, which is one term, where that leaves no remainder whatever the
 * atoms are; else null.
 */
export function exactQuotient(term: Term, divisor: Term): Term | null {
  if (term.coefficient % divisor.coefficient !== 0) return null;
  const factors = [...term.factors];
  for (const factor of divisor.factors) {
    const at = factors.indexOf(factor);
    if (at < 0) return null;
    factors.splice(at, 1);
  }
  return { coefficient: term.coefficient / divisor.coefficient, factors };
}

/** The name of symbols that are defined; each gets a number behind it. */
export const DEFINED_NAME = "n";
