/**
 * Prints four values as one vector of WGSL: the values that one expression has at 4 successive
 * places. What is the same at all of them is computed once, as a scalar; operations become those on
 * vectors; packed codes that lie in the same word are taken out of it at once. Where the four differ
 * in kind they are computed one by one. The order of the arithmetic is that of the scalars.
 */
import {
  asNumber,
  divide,
  type Integer,
  integer,
  operation,
  partsOf,
  type Scalar,
  scaled,
  subtract,
  type Value,
} from "../expr/mod.ts";
import { census } from "./cost.ts";
import { freshId } from "../expr/interned.ts";
import { DTYPES } from "../dtype.ts";
import { FlatTensor, type Tensor } from "./program.ts";
import { isPacked, Scope, smallFloatName } from "./shader_parts.ts";
import { packedDtype } from "./storage.ts";
import { isDear, type Printer } from "./wgsl.ts";

/** Values at 4 successive places. */
export type Four = readonly [Value, Value, Value, Value];

type Load = Extract<Value, { kind: "load" }>;

const VECTORS: Readonly<Record<Scalar, string>> = {
  f32: "vec4f",
  i32: "vec4i",
  u32: "vec4u",
  bool: "vec4<bool>",
};
const LANES = ["x", "y", "z", "w"] as const;
/** The operations that take a scalar beside a vector. */
const MIXED = new Set(["+", "-", "*", "/", "%"]);

/** What was printed: a vector, or a scalar that all four are. */
interface Printed {
  readonly text: string;
  readonly isVector: boolean;
}

/** How four loads lie: element `first` of the tensor, and the three others `steps` after it. */
interface Run {
  readonly of: Tensor;
  readonly first: Integer;
  readonly steps: readonly number[];
}

/** Prints vectors with what `printer` prints. */
export class VectorPrinter {
  readonly #ids = new Map<string, number>();
  readonly #uses = new Map<number, number>();

  constructor(readonly printer: Printer) {}

  /** `four` as an expression, the statements that it needs put into `scope`. */
  vector(four: Four, scope: Scope): string {
    this.#count(four);
    return this.#whole(four, scope);
  }

  #whole(four: Four, scope: Scope): string {
    const { text, isVector } = this.#print(four, scope);
    return isVector ? text : `${VECTORS[four[0].type]}(${text})`;
  }

  #id(four: Four): number {
    const key = four.map((value) => value.id).join();
    let id = this.#ids.get(key);
    if (id === undefined) this.#ids.set(key, id = freshId());
    return id;
  }

  /** Counts how often each vector is used. */
  #count(four: Four): void {
    if (isSame(four)) return;
    const id = this.#id(four);
    const uses = this.#uses.get(id) ?? 0;
    this.#uses.set(id, uses + 1);
    if (uses === 0) { for (const part of vectorParts(four) ?? []) this.#count(part); }
  }

  #print(four: Four, scope: Scope): Printed {
    if (isSame(four)) return { text: this.printer.value(four[0], scope), isVector: false };
    const id = this.#id(four);
    const known = scope.find(id);
    if (known !== undefined) return { text: known, isVector: true };
    let text = this.#text(four, scope);
    if ((this.#uses.get(id) ?? 1) > 1) {
      text = this.#named(text, scope);
      scope.names.set(id, text);
    }
    return { text, isVector: true };
  }

  /** A variable that holds `text`, unless it is one. */
  #named(text: string, scope: Scope): string {
    if (/^\w+$/.test(text)) return text;
    const name = this.printer.name("v");
    scope.lines.push(`let ${name} = ${text};`);
    return name;
  }

  #text(four: Four, scope: Scope): string {
    const parts = vectorParts(four);
    const [first] = four;
    if (parts === null) return this.#loads(four, scope) ?? this.#oneByOne(four, scope);
    switch (first.kind) {
      case "operation":
        return this.#operation(first, parts, scope);
      case "call":
        return this.#calls(first.name, first.type, parts, scope);
      case "convert":
        return `${VECTORS[first.type]}(${this.#whole(parts[0]!, scope)})`;
      case "bitcast":
        return `bitcast<${VECTORS[first.type]}>(${this.#whole(parts[0]!, scope)})`;
      case "select": {
        const [condition, yes, no] = parts as readonly [Four, Four, Four];
        if (isSame(condition) && four.some((value) => value.kind === "select" && isDear(value))) {
          return this.#branch(first.type, condition[0], yes, no, scope);
        }
        const test = this.#print(condition, scope).text;
        return `select(${this.#whole(no, scope)}, ${this.#whole(yes, scope)}, ${test})`;
      }
      default:
        throw new Error(`${first.kind} has no vector form`);
    }
  }

  #oneByOne(four: Four, scope: Scope): string {
    const [first] = four;
    if (first.kind === "integer") {
      const base = first.integer;
      const steps = four.map((value) =>
        value.kind === "integer" ? asNumber(subtract(value.integer, base)) : null
      );
      if (steps.every((step) => step !== null)) {
        return `(vec4i(${this.printer.integer(base, scope)}) + vec4i(${steps.join(", ")}))`;
      }
    }
    const texts = four.map((value) => this.printer.value(value, scope));
    return `${VECTORS[first.type]}(${texts.join(", ")})`;
  }

  #operation(
    { name, args }: Extract<Value, { kind: "operation" }>,
    parts: readonly Four[],
    scope: Scope,
  ): string {
    const row = operation(name);
    const spelling = args[0]!.type === "f32" ? row.float : row.int;
    if (spelling === null) throw new Error(`${name} of ${args[0]!.type} has no form in WGSL`);
    if ("prelude" in spelling) {
      const type = row.result === "first" ? args[0]!.type : row.result;
      return this.#calls(spelling.prelude, type, parts, scope);
    }
    if ("infix" in spelling && MIXED.has(spelling.infix)) {
      const [a, b] = parts.map((part) => this.#print(part, scope).text);
      return `(${a} ${spelling.infix} ${b})`;
    }
    const texts = parts.map((part) => this.#whole(part, scope));
    if ("infix" in spelling) return `(${texts[0]} ${spelling.infix} ${texts[1]})`;
    if ("prefix" in spelling) return `${spelling.prefix}(${texts[0]})`;
    return `${spelling.builtin}(${texts.join(", ")})`;
  }

  /** A function of the prelude, which takes scalars. */
  #calls(name: string, type: Scalar, parts: readonly Four[], scope: Scope): string {
    const args = parts.map((part) => {
      const { text, isVector } = this.#print(part, scope);
      return isVector ? { text: this.#named(text, scope), isVector } : { text, isVector };
    });
    const calls = LANES.map((lane) =>
      this.printer.declarations.call(
        name,
        ...args.map(({ text, isVector }) => isVector ? `${text}.${lane}` : text),
      )
    );
    return `${VECTORS[type]}(${calls.join(", ")})`;
  }

  /** A choice that is the same at all places, of which only one side is computed. */
  #branch(type: Scalar, condition: Value, yes: Four, no: Four, scope: Scope): string {
    const name = this.printer.name("v");
    const test = this.printer.value(condition, scope);
    const [then, otherwise] = [yes, no].map((side) => {
      const inner = new Scope(scope, "branch", new Set());
      const text = this.#whole(side, inner);
      inner.lines.push(`${name} = ${text};`);
      return inner.text("  ");
    });
    scope.lines.push(
      `var ${name}: ${VECTORS[type]};`,
      `if (${test}) {\n${then}\n} else {\n${otherwise}\n}`,
    );
    return name;
  }

  /** Loads of elements that lie beside each other, or of codes of the same words. */
  #loads(four: Four, scope: Scope): string | null {
    const run = runOf(four);
    if (run === null) return null;
    const dtype = packedDtype(run.of.dtype);
    const { bits } = DTYPES[dtype];
    const name = this.printer.declarations.tensor(run.of);
    if (!isPacked(run.of)) {
      const isBool = run.of.type === "bool";
      let vector: string;
      if (this.printer.declarations.vectors.has(run.of)) {
        if (!isWhole(run)) return null;
        vector = `${name}[${this.#offset(divide(run.first, integer(4)), scope)}]`;
      } else {
        const at = this.#offset(run.first, scope);
        const texts = run.steps.map((step) => `${name}[${step === 0 ? at : `${at} + ${step}`}]`);
        vector = `${VECTORS[isBool ? "u32" : run.of.type]}(${texts.join(", ")})`;
      }
      return isBool ? `(${vector} != vec4u())` : vector;
    }
    return this.#codes(run, name, bits, scope);
  }

  /** The variable that holds the offset `value`. */
  #offset(value: Integer, scope: Scope): string {
    let name = scope.find(value.id);
    if (name === undefined) {
      name = this.#named(this.printer.offset(value, scope), scope);
      scope.names.set(value.id, name);
    }
    return name;
  }

  /** Codes of `bits` bits, the lowest bits first; null where they may lie in unlike words. */
  #codes({ of, first, steps }: Run, name: string, bits: number, scope: Scope): string | null {
    const each = 32 / bits;
    if (!Number.isInteger(each) || Math.min(...steps) < 0) return null;
    let aligned = each;
    while (aligned > 1 && !isMultiple(first, aligned)) aligned /= 2;
    if (aligned < each && Math.max(...steps) >= aligned) return null;
    const dtype = packedDtype(of.dtype);
    const { kind } = DTYPES[dtype];
    const at = this.#offset(first, scope);
    const words = new Map<number, string>();
    const lanes = steps.map((step) => {
      const word = Math.floor(step / each);
      let text = words.get(word);
      if (text === undefined) {
        const place = `${at} >> ${Math.log2(each)}u`;
        text = `${name}[${word === 0 ? place : `(${place}) + ${word}`}]`;
        if (aligned < each) text = `${text} >> ((u32(${at}) & ${each - 1}u) * ${bits}u)`;
        words.set(word, text = this.#named(text, scope));
      }
      return text;
    });
    const source = words.size === 1 ? `vec4u(${lanes[0]})` : `vec4u(${lanes.join(", ")})`;
    const shifts = steps.map((step) => (step % each) * bits);
    if (kind === "int") {
      const left = shifts.map((shift) => `${32 - bits - shift}u`).join(", ");
      return `(bitcast<vec4i>(${source} << vec4u(${left})) >> vec4u(${32 - bits}u))`;
    }
    const right = shifts.map((shift) => `${shift}u`).join(", ");
    const codes = `((${source} >> vec4u(${right})) & vec4u(${2 ** bits - 1}u))`;
    if (kind === "uint") return codes;
    if (kind === "bool") return `(${codes} != vec4u())`;
    const code = this.#named(codes, scope);
    const decode = smallFloatName(dtype);
    const calls = LANES.map((lane) => this.printer.declarations.call(decode, `${code}.${lane}`));
    return `vec4f(${calls.join(", ")})`;
  }
}

/** About how many reads of memory `four` takes. */
export function readsOf(four: Four): number {
  const [first] = four;
  if (isSame(four)) return census(first).sources.size;
  const run = runOf(four);
  if (run !== null && Math.max(...run.steps) < 4) {
    return isPacked(run.of) || isMultiple(run.first, 4) ? 1 : 2;
  }
  const parts = vectorParts(four);
  if (parts === null) return 4 * census(first).sources.size;
  return parts.reduce((sum, part) => sum + readsOf(part), 0);
}

/** True for 4 elements beside each other, the first a multiple of 4 from the tensor's first. */
function isWhole({ of, first, steps }: Run): boolean {
  return !isPacked(of) && steps.every((step, i) => step === i) && isMultiple(first, 4);
}

/** The tensors that all of `fours` read by whole vectors alone, if they read them at all. */
export function vectorTensors(fours: readonly Four[]): Set<Tensor> {
  const whole = new Set<Tensor>();
  const others = new Set<Tensor>();
  const visit = (four: Four): void => {
    const run = isSame(four) ? null : runOf(four);
    const parts = isSame(four) ? null : vectorParts(four);
    if (run !== null) (isWhole(run) ? whole : others).add(run.of);
    else if (parts !== null) parts.forEach(visit);
    else for (const value of four) for (const source of census(value).sources) others.add(source);
  };
  fours.forEach(visit);
  return whole.difference(others);
}

function isSame(four: Four): boolean {
  return four.every((value) => value === four[0]);
}

/** True where every term of `value` is a multiple of `by`. */
function isMultiple(value: Integer, by: number): boolean {
  return scaled(divide(value, integer(by)), by) === value;
}

/** The vectors that one of `four` is made of; null where the four can't be computed together. */
function vectorParts(four: Four): readonly Four[] | null {
  const [first] = four;
  const alike = four.every((value) =>
    value.kind === first.kind && value.type === first.type && named(value) === named(first)
  );
  if (!alike || !["operation", "call", "convert", "bitcast", "select"].includes(first.kind)) {
    return null;
  }
  const [a, b, c, d] = four.map(partsOf) as [Value[], Value[], Value[], Value[]];
  const parts = a.map((_, i): Four => [a[i]!, b[i]!, c[i]!, d[i]!]);
  if (parts.some((part) => part.some((value) => value.type !== part[0].type))) return null;
  // Of a choice that differs from place to place, only the side that is taken may be dear.
  const isSplit = first.kind === "select" && !isSame(parts[0]!) &&
    four.some((value) => value.kind === "select" && isDear(value));
  return isSplit ? null : parts;
}

function named(value: Value): string {
  return value.kind === "operation" || value.kind === "call" ? value.name : "";
}

/** How `four` lie in memory, where they are loads a known number of elements apart. */
function runOf(four: Four): Run | null {
  const [first] = four;
  if (first.kind !== "load" || !(first.source instanceof FlatTensor)) return null;
  const { source } = first;
  const loads = four.filter((value): value is Load =>
    value.kind === "load" && value.source === source
  );
  const steps = loads.map((value) =>
    asNumber(subtract(value.indices[0]!, first.indices[0]!)) ?? NaN
  );
  if (loads.length < 4 || steps.some(Number.isNaN)) return null;
  return { of: source.of, first: first.indices[0]!, steps };
}
