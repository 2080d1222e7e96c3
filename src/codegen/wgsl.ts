/**
 * The WGSL printer: values as statements and expressions. A value that is used twice is named where
 * all that it depends on is known, outside loops that it doesn't depend on; what depends on no axis
 * and no tensor is computed by the program and comes as a parameter.
 */
import {
  add,
  asNumber,
  type Atom,
  type Axis,
  fromAtom,
  fromTerm,
  type Integer,
  integer,
  integersOf,
  isNotNegative,
  operation,
  partsOf,
  type Value,
} from "../expr/mod.ts";
import { DTYPES } from "../dtype.ts";
import { census } from "./cost.ts";
import { isHostInteger, isHostValue } from "./host_values.ts";
import { FlatTensor, Tensor } from "./program.ts";
import { combine, initial, isBetter } from "./reductions.ts";
import { flatOffset, StoredValue } from "./units.ts";
import { type Declarations, isPacked, literal, Scope, smallFloatName } from "./shader_parts.ts";
import { packedDtype } from "./storage.ts";

/** `value` as a literal of i32. */
function counted(value: number): string {
  if (Math.abs(value) < 2 ** 31) return String(value);
  throw new RangeError(`positions in it are counted by ${value}, past the 32 bits of shaders`);
}

/** Prints the values of one shader. */
export class Printer {
  #next = 0;
  readonly #uses = new Map<number, number>();

  constructor(readonly declarations: Declarations, bodies: readonly Value[]) {
    const seen = new Set<number>();
    for (const body of bodies) this.#count(body, seen);
  }

  /** Counts how often each node is used in the shader. */
  #count(value: Value, seen: Set<number>): void {
    this.#uses.set(value.id, (this.#uses.get(value.id) ?? 0) + 1);
    if (seen.has(value.id)) return;
    seen.add(value.id);
    for (const part of partsOf(value)) this.#count(part, seen);
    for (const index of integersOf(value)) this.#countInteger(index, seen);
  }

  #countInteger(index: Integer, seen: Set<number>): void {
    for (const { factors } of index.terms) {
      for (const factor of factors) {
        this.#uses.set(factor.id, (this.#uses.get(factor.id) ?? 0) + 1);
        if (seen.has(factor.id)) continue;
        seen.add(factor.id);
        if (factor.kind === "element") this.#count(factor.value, seen);
        else if ("a" in factor) {
          this.#countInteger(factor.a, seen);
          this.#countInteger(factor.b, seen);
        }
      }
    }
  }

  /** A new name. No prefix may be "i", "u" or "f": i32 would be the name of a type. */
  name(prefix: string): string {
    return `${prefix}${this.#next++}`;
  }

  /** The scope that a node of these axes belongs to: outside loops that don't concern it. */
  #home(scope: Scope, axes: readonly Axis[]): Scope {
    while (
      scope.kind === "loop" && scope.parent !== null && !axes.some((entry) => scope.axes.has(entry))
    ) {
      scope = scope.parent;
    }
    return scope;
  }

  /** `value` as an expression, the statements that it needs put into `scope` or outside it. */
  value(value: Value, scope: Scope): string {
    if (value.kind === "constant") return literal(value.type, value.value, this.declarations);
    const known = scope.find(value.id);
    if (known !== undefined) return known;
    if (isHostValue(value)) return this.declarations.value(value);
    if (value.kind === "integer") return this.integer(value.integer, scope);
    const home = this.#home(scope, value.axes);
    if (value.kind === "reduce") {
      const name = this.reduction(value, home);
      home.names.set(value.id, name);
      return name;
    }
    const isBranch = value.kind === "select" && isDear(value);
    const text = isBranch ? this.#branch(value, home) : this.#text(value, home);
    const repeats = (this.#uses.get(value.id) ?? 1) > 1;
    if (isBranch || (home === scope && !repeats)) {
      if (isBranch) home.names.set(value.id, text);
      return text;
    }
    const name = this.name("v");
    home.lines.push(`let ${name} = ${text};`);
    home.names.set(value.id, name);
    return name;
  }

  /** A select of which only one side is computed. */
  #branch(value: Extract<Value, { kind: "select" }>, scope: Scope): string {
    const name = this.name("v");
    const condition = this.value(value.condition, scope);
    const sides = [value.yes, value.no].map((side) => {
      const inner = new Scope(scope, "branch", new Set());
      const text = this.value(side, inner);
      inner.lines.push(`${name} = ${text};`);
      return inner.text("  ");
    });
    scope.lines.push(
      `var ${name}: ${value.type};`,
      `if (${condition}) {\n${sides[0]}\n} else {\n${sides[1]}\n}`,
    );
    return name;
  }

  #text(value: Value, scope: Scope): string {
    switch (value.kind) {
      case "load":
        return this.#load(value, scope);
      case "operation": {
        const row = operation(value.name);
        const float = value.args[0]!.type === "f32";
        const spelling = float ? row.float : row.int;
        if (spelling === null) {
          throw new Error(`${value.name} of ${value.args[0]!.type} has no form in WGSL`);
        }
        const args = value.args.map((arg) => this.value(arg, scope));
        if ("infix" in spelling) return `(${args[0]} ${spelling.infix} ${args[1]})`;
        if ("prefix" in spelling) return `${spelling.prefix}(${args[0]})`;
        if ("builtin" in spelling) return `${spelling.builtin}(${args.join(", ")})`;
        return this.declarations.call(spelling.prelude, ...args);
      }
      case "call": {
        const args = value.args.map((arg) => this.value(arg, scope));
        return this.declarations.call(value.name, ...args);
      }
      case "select": {
        const [condition, yes, no] = [value.condition, value.yes, value.no].map((part) =>
          this.value(part, scope)
        );
        return `select(${no}, ${yes}, ${condition})`;
      }
      case "convert": {
        const inner = this.value(value.value, scope);
        return `${value.type}(${inner})`;
      }
      case "bitcast":
        return `bitcast<${value.type}>(${this.value(value.value, scope)})`;
      case "constant":
      case "integer":
      case "reduce":
        throw new Error(`${value.kind} is printed elsewhere`);
    }
  }

  #load(value: Extract<Value, { kind: "load" }>, scope: Scope): string {
    const { source } = value;
    if (source instanceof StoredValue) return source.name;
    if (source instanceof FlatTensor) {
      const offset = this.offset(value.indices[0]!, scope);
      return this.element(source.of, this.declarations.tensor(source.of), offset, scope);
    }
    if (!(source instanceof Tensor)) throw new Error("a load of what is not in GPU memory");
    const offset = this.offset(flatOffset(source.dims, value.indices), scope);
    return this.element(source, this.declarations.tensor(source), offset, scope);
  }

  /** Element `offset` of the tensor in the variable `name`. */
  element(source: Tensor, name: string, offset: string, scope: Scope): string {
    const dtype = packedDtype(source.dtype);
    const { bits, kind } = DTYPES[dtype];
    const isVector = this.declarations.vectors.has(source);
    let at = offset;
    if (!/^\w+$/.test(offset) && (isVector || isPacked(source))) {
      at = this.name("at");
      scope.lines.push(`let ${at} = ${offset};`);
    }
    if (!isPacked(source)) {
      const word = `${name}[${isVector ? `${at} >> 2u][${at} & 3` : at}]`;
      return source.type === "bool" ? `(${word} != 0u)` : word;
    }
    if (bits === 6) {
      const bit = this.name("at");
      scope.lines.push(`let ${bit} = ${at} * 6;`);
      const words = [`${name}[${bit} >> 5u]`, `${name}[(${bit} + 5) >> 5u]`];
      const low = `(${words[0]} >> (u32(${bit}) & 31u))`;
      const high = `select(0u, ${words[1]} << ((32u - u32(${bit})) & 31u), (${bit} & 31) > 26)`;
      return this.declarations.call(smallFloatName(dtype), `((${low} | ${high}) & 63u)`);
    }
    const perWord = 32 / bits;
    const shift = Math.log2(perWord);
    const code = (signed: boolean): string => {
      const word = `${name}[${at} >> ${shift}u]`;
      return `extractBits(${signed ? `bitcast<i32>(${word})` : word}, ` +
        `(u32(${at}) & ${perWord - 1}u) * ${bits}u, ${bits}u)`;
    };
    if (kind === "int") return code(true);
    if (kind === "uint") return code(false);
    if (kind === "bool") return `(${code(false)} != 0u)`;
    return this.declarations.call(smallFloatName(dtype), code(false));
  }

  /** An offset into a tensor: its strides are parameters. */
  offset(value: Integer, scope: Scope): string {
    return this.#sum(value, scope, true);
  }

  /** `value` as an i32. */
  integer(value: Integer, scope: Scope): string {
    return this.#sum(value, scope, false);
  }

  #sum(value: Integer, scope: Scope, strides: boolean): string {
    const number = asNumber(value);
    if (number !== null) return String(number);
    if (isHostInteger(value)) return this.declarations.extent(value);
    const parts: string[] = [];
    const host = value.terms.filter((term) => term.factors.every(isHostAtom));
    const rest = value.terms.filter((term) => !term.factors.every(isHostAtom));
    for (const { coefficient, factors } of rest) {
      const known = factors.filter(isHostAtom);
      const scale: string[] = [];
      if (known.length > 0) {
        const product = fromTerm({ coefficient, factors: known });
        scale.push(this.declarations.extent(product));
      } else if (coefficient !== 1) {
        const isStride = strides && Math.abs(coefficient) > 8;
        scale.push(
          isStride ? this.declarations.extent(integer(coefficient)) : counted(coefficient),
        );
      }
      const others = factors.filter((factor) => !isHostAtom(factor)).map((factor) =>
        this.#atom(factor, scope)
      );
      parts.push([...others, ...scale].join(" * "));
    }
    if (host.length > 0) {
      let constant: Integer = integer(value.constant);
      for (const term of host) constant = add(constant, fromTerm(term));
      parts.push(this.declarations.extent(constant));
    } else if (value.constant !== 0) {
      parts.push(counted(value.constant));
    }
    const text = parts.join(" + ").replaceAll("+ -", "- ");
    return parts.length > 1 || /[ ]/.test(text) ? `(${text})` : text;
  }

  #atom(atom: Atom, scope: Scope): string {
    const known = scope.find(atom.id);
    if (known !== undefined) return known;
    switch (atom.kind) {
      case "symbol":
        return this.declarations.extent(fromAtom(atom));
      case "axis":
        throw new Error(`the axis ${atom.name} has no value here`);
      case "element":
        return this.value(atom.value, scope);
      default: {
        const home = this.#home(scope, atom.axes);
        const a = this.integer(atom.a, home);
        const b = this.integer(atom.b, home);
        let text: string;
        if (atom.kind === "min" || atom.kind === "max") text = `${atom.kind}(${a}, ${b})`;
        else if (isNotNegative(atom.a)) text = quotient(atom, a, b);
        else text = this.declarations.call(atom.kind === "div" ? "floorDiv" : "floorMod", a, b);
        if (home === scope && (this.#uses.get(atom.id) ?? 1) < 2) return text;
        const name = this.name("at");
        home.lines.push(`let ${name} = ${text};`);
        home.names.set(atom.id, name);
        return name;
      }
    }
  }

  /** The statements of a reduction by one thread; gives the variable that holds its result. */
  reduction(value: Extract<Value, { kind: "reduce" }>, scope: Scope): string {
    return this.reductionOver(value, scope, "0", "1");
  }

  /** The same from position `start` of the innermost axis in steps of `step`. */
  reductionOver(
    value: Extract<Value, { kind: "reduce" }>,
    scope: Scope,
    start: string,
    step: string,
  ): string {
    const { reduction, over, body } = value;
    const name = this.name("r");
    const arg = reduction.startsWith("arg");
    const type = body.type === "bool" ? "u32" : body.type;
    const extents = over.map((entry) => this.integerOf(entry.extent, scope));
    if (arg) scope.lines.push(`var ${name} = 0;`, `var ${name}_best: ${type};`);
    else scope.lines.push(`var ${name}: ${type} = ${initial(this.declarations, reduction, type)};`);
    let inner = scope;
    const opened: string[] = [];
    for (const [i, entry] of over.entries()) {
      inner = new Scope(inner, "loop", new Set([entry]));
      const position = this.name("k");
      inner.names.set(entry.id, position);
      const last = i === over.length - 1;
      opened.push(
        `for (var ${position} = ${last ? start : "0"}; ${position} < ${extents[i]}; ` +
          `${position} += ${last ? step : "1"}) {`,
      );
    }
    const text = this.value(body, inner);
    if (arg) {
      const places = over.map((entry) => inner.find(entry.id)!);
      const position = places.reduce((outer, place, i) => `(${outer} * ${extents[i]} + ${place})`);
      const test = isBetter(this.declarations, reduction, type, text, `${name}_best`);
      inner.lines.push(
        `let ${name}_now = ${text};`,
        `if (${position} == ${start} || ${test.replaceAll(text, `${name}_now`)}) { ` +
          `${name} = ${position}; ${name}_best = ${name}_now; }`,
      );
    } else {
      inner.lines.push(`${combine(this.declarations, reduction, type, name, text)};`);
    }
    for (let i = over.length - 1; i >= 0; i--) {
      const parent = inner.parent!;
      parent.lines.push(`${opened[i]}\n${inner.text("  ")}\n}`);
      inner = parent;
    }
    return name;
  }

  /** An extent of a loop. */
  integerOf(extent: Integer, scope: Scope): string {
    return isHostInteger(extent) ? this.declarations.extent(extent) : this.integer(extent, scope);
  }
}

/** The quotient or the remainder of a number that is not negative, `a`, by `b`. */
function quotient(atom: Extract<Atom, { readonly b: Integer }>, a: string, b: string): string {
  const by = Math.log2(asNumber(atom.b) ?? 0);
  const isDiv = atom.kind === "div";
  if (Number.isInteger(by)) return isDiv ? `(${a} >> ${by}u)` : `(${a} & ${2 ** by - 1})`;
  return `(${a} ${isDiv ? "/" : "%"} ${b})`;
}

function isHostAtom(atom: Atom): boolean {
  return isHostInteger(fromAtom(atom));
}

/** True where computing a side in vain costs more than branching. */
export function isDear(value: Extract<Value, { kind: "select" }>): boolean {
  return [value.yes, value.no].some((side) => {
    const { cost, hasReduce, sources } = census(side);
    // Parts of one weight count once: a core calls a hook up to 16 times, and branches add up.
    const read = new Set<unknown>(
      [...sources].map((source) =>
        source.origin.kind === "weight" && source.origin.part !== null
          ? source.origin.initializer
          : source
      ),
    );
    return hasReduce || cost > 12 || read.size > 1;
  });
}
