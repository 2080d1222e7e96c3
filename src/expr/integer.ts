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

/** The polynomial with these terms, which may be unsorted and may repeat. */
function polynomial(terms: readonly Term[], constant: number): Integer {
  const merged = new Map<string, Term>();
  for (const term of terms) {
    if (term.coefficient === 0) continue;
    const key = term.factors.map((factor) => factor.id).join("*");
    const known = merged.get(key);
    const coefficient = (known?.coefficient ?? 0) + term.coefficient;
    if (coefficient === 0) merged.delete(key);
    else merged.set(key, { coefficient, factors: term.factors });
  }
  const sorted = [...merged].sort(([a], [b]) => a < b ? -1 : 1);
  const key = `p${constant}${sorted.map(([name, t]) => `+${t.coefficient}*${name}`).join("")}`;
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

/** The integer that is one atom. */
export function fromAtom(atom: Atom): Integer {
  return polynomial([{ coefficient: 1, factors: [atom] }], 0);
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

/** The sum. `d * (x div d) + x mod d` becomes `x`. */
export function add(...values: readonly Integer[]): Integer {
  let sum = polynomial(
    values.flatMap((value) => value.terms),
    values.reduce((total, value) => total + value.constant, 0),
  );
  for (const term of sum.terms) {
    const rest = term.factors.find((factor) => factor.kind === "mod");
    if (rest === undefined || rest.kind !== "mod") continue;
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

function sameFactors(a: readonly Atom[], b: readonly Atom[]): boolean {
  return a.length === b.length && a.every((factor, i) => factor === b[i]);
}

/** `a - b`. */
export function subtract(a: Integer, b: Integer): Integer {
  return add(a, scaled(b, -1));
}

/** `value` times the number `factor`. */
export function scaled(value: Integer, factor: number): Integer {
  return polynomial(
    value.terms.map((term) => ({ ...term, coefficient: term.coefficient * factor })),
    value.constant * factor,
  );
}

/** The product. */
export function multiply(...values: readonly Integer[]): Integer {
  return values.reduce((a, b) => {
    const terms: Term[] = [];
    for (const left of withConstant(a)) {
      for (const right of withConstant(b)) {
        terms.push({
          coefficient: left.coefficient * right.coefficient,
          factors: [...left.factors, ...right.factors].sort((x, y) => x.id - y.id),
        });
      }
    }
    const constant = terms.filter((term) => term.factors.length === 0)
      .reduce((total, term) => total + term.coefficient, 0);
    return polynomial(terms.filter((term) => term.factors.length > 0), constant);
  }, ONE);
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
