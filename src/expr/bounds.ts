/**
 * What can be proved of an {@link Integer} while its symbols are unknown, and the divisions,
 * remainders, minima and maxima that rest on it. A proof replaces every axis by its first or last
 * position and every positive symbol by one plus something not negative; when only non-negative
 * coefficients are left, the polynomial can't be negative.
 */
import {
  add,
  asNumber,
  type Atom,
  combined,
  DEFINED_NAME,
  exactQuotient,
  fromAtom,
  fromTerm,
  type Integer,
  integer,
  multiply,
  ONE,
  scaled,
  subtract,
  symbol,
  type Term,
  withConstant,
  ZERO,
} from "./integer.ts";

/** The least and greatest value of `value` as polynomials over symbols; null where unknown. */
interface Range {
  readonly least: Integer | null;
  readonly greatest: Integer | null;
}

const UNKNOWN: Range = { least: null, greatest: null };
const RANGES = new WeakMap<Integer, Range>();

/** The range of `value` over the axes that it depends on. */
export function rangeOf(value: Integer): Range {
  const known = RANGES.get(value);
  if (known !== undefined) return known;
  let least: Integer | null = integer(value.constant);
  let greatest: Integer | null = least;
  for (const term of value.terms) {
    const part = rangeOfTerm(term);
    least = least === null || part.least === null ? null : add(least, part.least);
    greatest = greatest === null || part.greatest === null ? null : add(greatest, part.greatest);
  }
  const range = { least, greatest };
  RANGES.set(value, range);
  return range;
}

/** A product has a range where each factor is known to be 0 or more. */
function rangeOfTerm(term: Term): Range {
  let least: Integer | null = ONE;
  let greatest: Integer | null = ONE;
  for (const factor of term.factors) {
    const range = rangeOfAtom(factor);
    if (range.least === null || (term.factors.length > 1 && !notNegative(range.least))) {
      least = null;
      if (term.factors.length > 1) return UNKNOWN;
    } else {
      least = least && multiply(least, range.least);
    }
    greatest = range.greatest === null ? null : greatest && multiply(greatest, range.greatest);
  }
  const sides = [least, greatest].map((side) => side && scaled(side, term.coefficient));
  if (term.coefficient < 0) sides.reverse();
  return { least: sides[0]!, greatest: sides[1]! };
}

function rangeOfAtom(atom: Atom): Range {
  switch (atom.kind) {
    case "symbol": {
      const itself = fromAtom(atom);
      return { least: itself, greatest: itself };
    }
    case "axis":
      return { least: ZERO, greatest: subtract(atom.extent, ONE) };
    case "mod":
      return isPositive(atom.b) ? { least: ZERO, greatest: subtract(atom.b, ONE) } : UNKNOWN;
    case "div": {
      if (!isPositive(atom.b)) return UNKNOWN;
      const { least, greatest } = rangeOf(atom.a);
      return {
        least: least !== null && notNegative(least) ? ZERO : null,
        greatest: greatest && quotientBound(greatest, atom.b),
      };
    }
    case "min": {
      const [a, b] = [rangeOf(atom.a), rangeOf(atom.b)];
      const both = a.least !== null && b.least !== null && notNegative(a.least) &&
        notNegative(b.least);
      return { least: both ? ZERO : null, greatest: asNumberOf(b.greatest) ?? a.greatest };
    }
    case "max": {
      const [a, b] = [rangeOf(atom.a), rangeOf(atom.b)];
      return { least: asNumberOf(b.least) ?? a.least ?? b.least, greatest: null };
    }
    case "element":
      return UNKNOWN;
  }
}

function asNumberOf(value: Integer | null): Integer | null {
  return value !== null && asNumber(value) !== null ? value : null;
}

/** An upper bound of `greatest div divisor` that is a polynomial. */
function quotientBound(greatest: Integer, divisor: Integer): Integer | null {
  const number = asNumber(greatest);
  const by = asNumber(divisor);
  if (number !== null && by !== null) return integer(Math.floor(number / by));
  const { quotient, rest } = split(greatest, divisor);
  const over = subtract(subtract(divisor, ONE), rest);
  return notNegative(over) ? quotient : isNotNegative(greatest) ? greatest : null;
}

/** True where the polynomial over symbols `value` is proved to be 0 or more. */
function notNegative(value: Integer): boolean {
  if (value.terms.length === 0) return value.constant >= 0;
  if (value.terms.every((term) => term.coefficient > 0) && value.constant >= 0) {
    return value.terms.every((term) =>
      term.factors.every((factor) => factor.kind === "symbol" && factor.positive)
    );
  }
  let shifted: Integer = integer(value.constant);
  for (const term of value.terms) {
    let product: Integer = integer(term.coefficient);
    for (const factor of term.factors) {
      if (factor.kind !== "symbol" || !factor.positive) return false;
      product = multiply(product, add(fromAtom(factor), ONE));
    }
    shifted = add(shifted, product);
  }
  return shifted.constant >= 0 && shifted.terms.every((term) => term.coefficient > 0);
}

/** Rounds of putting definitions in that a proof takes at most. */
const MOST_ROUNDS = 6;
const PROVED = new WeakMap<Integer, boolean>();

/** True where `value` is proved to be 0 or more at every position. */
export function isNotNegative(value: Integer): boolean {
  let known = PROVED.get(value);
  if (known === undefined) PROVED.set(value, known = isProved(value));
  return known;
}

/** Tries to prove by what is known of symbols, then by what defines them. */
function isProved(value: Integer): boolean {
  let stage = value;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const { least } = rangeOf(stage);
    if (least !== null && notNegative(least)) return true;
    const next = rewritten(withoutMultiples(stage), definitionOf);
    if (next === stage) return false;
    stage = next;
  }
  return false;
}

/** `value` with `b * (a div b)` written as `a - a mod b`, which has close bounds. */
function withoutMultiples(value: Integer): Integer {
  let sum = integer(value.constant);
  for (const term of value.terms) {
    const by = term.factors.find((factor) => factor.kind === "div");
    const [divisor, more] = by?.kind === "div" ? withConstant(by.b) : [];
    const rest = { ...term, factors: term.factors.filter((factor) => factor !== by) };
    const exact =
      divisor === undefined || more !== undefined || rest.factors.length + 1 < term.factors.length
        ? null
        : exactQuotient(rest, divisor);
    sum = by?.kind !== "div" || exact === null
      ? add(sum, fromTerm(term))
      : add(sum, multiply(fromTerm(exact), subtract(by.a, modulo(by.a, by.b))));
  }
  return sum;
}

/** The definition of a symbol that has one, else the atom. */
function definitionOf(atom: Atom): Integer {
  return atom.kind === "symbol" && atom.definition !== null ? atom.definition : fromAtom(atom);
}

/** `value` with its atoms replaced, not those inside of them. */
function rewritten(value: Integer, replace: (atom: Atom) => Integer): Integer {
  if (value.terms.length === 0) return value;
  return add(
    ...withConstant(value).map(({ coefficient, factors }) =>
      multiply(integer(coefficient), ...factors.map(replace))
    ),
  );
}

const EXPANDED = new WeakMap<Integer, Integer>();

/** `value` with defined symbols replaced by their definitions, wherever they are. */
export function expanded(value: Integer): Integer {
  let made = EXPANDED.get(value);
  if (made === undefined) {
    made = rewritten(value, (atom) => {
      switch (atom.kind) {
        case "symbol":
          return atom.definition === null ? fromAtom(atom) : expanded(atom.definition);
        case "div":
          return divide(expanded(atom.a), expanded(atom.b));
        case "mod":
          return modulo(expanded(atom.a), expanded(atom.b));
        case "min":
          return minimum(expanded(atom.a), expanded(atom.b));
        case "max":
          return maximum(expanded(atom.a), expanded(atom.b));
        case "axis":
        case "element":
          return fromAtom(atom);
      }
    });
    EXPANDED.set(value, made);
  }
  return made;
}

/** True where `a` and `b` are equal, by the definitions of their symbols too. */
export function isEqual(a: Integer, b: Integer): boolean {
  return a === b || expanded(subtract(a, b)) === ZERO;
}

/** A product of symbols, with a positive number before it. */
function isProduct({ terms, constant }: Integer): boolean {
  return terms.length === 1 && constant === 0 && terms[0]!.coefficient > 0 &&
    terms[0]!.factors.every((factor) => factor.kind === "symbol");
}

const EXTENTS = new WeakMap<Integer, Integer>();

/**
 * `value` as an extent: a number, or a product of symbols, which all else about indices is solved
 * over. Anything else becomes a symbol that `value` defines. Extents whose definitions come to the
 * same are one.
 */
export function extentOf(value: Integer): Integer {
  if (asNumber(value) !== null) return value;
  const whole = expanded(value);
  if (asNumber(whole) !== null || (isProduct(whole) && !isProduct(value))) return whole;
  let extent = EXTENTS.get(whole);
  if (extent === undefined) {
    extent = isProduct(value) ? value : symbol(DEFINED_NAME, { definition: value });
    EXTENTS.set(whole, extent);
  }
  return extent;
}

/** True where `value` is proved to be 1 or more at every position. */
export function isPositive(value: Integer): boolean {
  return isNotNegative(subtract(value, ONE));
}

/** True where `a < b` is proved at every position. */
export function isLess(a: Integer, b: Integer): boolean {
  return isPositive(subtract(b, a));
}

/** The parts of `value` that `divisor`, one term, divides exactly, and the rest. */
function split(value: Integer, divisor: Integer): { quotient: Integer; rest: Integer } {
  const [by, more] = withConstant(divisor);
  if (by === undefined || more !== undefined) return { quotient: ZERO, rest: value };
  let quotient = ZERO;
  let rest = ZERO;
  for (const term of withConstant(value)) {
    const exact = exactQuotient(term, by);
    if (exact !== null) quotient = add(quotient, fromTerm(exact));
    else if (term.factors.length === 0 && by.factors.length === 0) {
      const whole = Math.floor(term.coefficient / by.coefficient);
      quotient = add(quotient, integer(whole));
      rest = add(rest, integer(term.coefficient - whole * by.coefficient));
    } else rest = add(rest, fromTerm(term));
  }
  return { quotient, rest };
}

/**
 * The greatest common divisor of `rest` and `divisor` such that what of `rest` it does not divide
 * lies between 0 and it: then it can be cancelled.
 */
function cancelled(
  rest: Integer,
  divisor: Integer,
): { common: Integer; whole: Integer; left: Integer; by: Integer } | null {
  const [by, more] = withConstant(divisor);
  if (by === undefined || more !== undefined) return null;
  for (const common of divisorsOf(by)) {
    const { quotient: whole, rest: left } = split(rest, common);
    if (whole === ZERO) continue;
    if (isNotNegative(left) && isLess(left, common)) {
      const exact = exactQuotient(by, withConstant(common)[0]!)!;
      return { common, whole, left, by: fromTerm(exact) };
    }
  }
  return null;
}

/** The divisors of a term that are worth trying, dearest first: factor by factor. */
function divisorsOf(term: Term): Integer[] {
  const found: Integer[] = [];
  const count = Math.min(term.factors.length, 4);
  for (let mask = (1 << count) - 1; mask >= 0; mask--) {
    const factors = term.factors.filter((_, i) => i < count && (mask >> i) & 1);
    for (const coefficient of numberDivisors(term.coefficient)) {
      const divisor = fromTerm({ coefficient, factors });
      if (divisor !== ONE && !(coefficient === term.coefficient && mask === (1 << count) - 1)) {
        found.push(divisor);
      }
    }
  }
  return found;
}

/** Divisors are looked for up to this and its counterpart: extents are no larger. */
const MOST_DIVISOR = 2 ** 16;

const DIVISORS = new Map<number, readonly number[]>();

function numberDivisors(value: number): readonly number[] {
  const known = DIVISORS.get(value);
  if (known !== undefined) return known;
  const found: number[] = [];
  for (let i = 1; i <= MOST_DIVISOR && i * i <= value; i++) {
    if (value % i !== 0) continue;
    found.push(i);
    if (i * i !== value) found.push(value / i);
  }
  found.sort((a, b) => b - a);
  DIVISORS.set(value, found);
  return found;
}

type Quotient = Extract<Atom, { readonly b: Integer }>;

/** The quotient in `value` that can be divided with what is added to it: that has no axis. */
function quotientIn(value: Integer): Quotient | null {
  const [term, ...others] = value.terms.filter(({ factors }) =>
    factors.some((factor) => factor.axes.length > 0 || factor.kind === "div")
  );
  const [atom] = term?.factors ?? [];
  if (others.length > 0 || term?.coefficient !== 1 || term.factors.length > 1) return null;
  return atom?.kind === "div" && isPositive(atom.b) ? atom : null;
}

/** Divisors of quotients of quotients are multiplied up to this: no tensor has so many elements. */
const MOST_MERGED = 2 ** 31;

/** `a div b`, rounded down. `b` is taken to be 1 or more. */
export function divide(a: Integer, b: Integer): Integer {
  if (b === ONE || a === ZERO) return a;
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== null && y !== null) return integer(Math.floor(x / y));
  const { quotient, rest } = split(a, b);
  if (isNotNegative(rest) && isLess(rest, b)) return quotient;
  const inner = quotientIn(rest);
  const both = inner === null ? null : multiply(inner.b, b);
  if (inner !== null && both !== null && (asNumber(both) ?? 0) <= MOST_MERGED) {
    const more = subtract(rest, fromAtom(inner));
    return add(quotient, divide(add(inner.a, multiply(more, inner.b)), both));
  }
  const shared = cancelled(rest, b);
  if (shared !== null) return add(quotient, divide(shared.whole, shared.by));
  return add(quotient, combined("div", rest, b));
}

/** The remainder of `a div b`, between 0 and `b`. `b` is taken to be 1 or more. */
export function modulo(a: Integer, b: Integer): Integer {
  if (b === ONE) return ZERO;
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== null && y !== null) return integer(x - y * Math.floor(x / y));
  const { rest } = split(a, b);
  if (isNotNegative(rest) && isLess(rest, b)) return rest;
  const shared = cancelled(rest, b);
  if (shared !== null) {
    return add(multiply(shared.common, modulo(shared.whole, shared.by)), shared.left);
  }
  return combined("mod", rest, b);
}

/** The smaller of `a` and `b`. */
export function minimum(a: Integer, b: Integer): Integer {
  if (isNotNegative(subtract(b, a))) return a;
  if (isNotNegative(subtract(a, b))) return b;
  return a.id < b.id ? combined("min", a, b) : combined("min", b, a);
}

/** The larger of `a` and `b`. */
export function maximum(a: Integer, b: Integer): Integer {
  if (isNotNegative(subtract(b, a))) return b;
  if (isNotNegative(subtract(a, b))) return a;
  return a.id < b.id ? combined("max", a, b) : combined("max", b, a);
}

/** `a div b`, rounded up. */
export function divideUp(a: Integer, b: Integer): Integer {
  return divide(add(a, subtract(b, ONE)), b);
}
