/**
 * An evaluator of integers and values at concrete numbers, node by node: the reference that the
 * simplifier, index maps and printers are tested against.
 */
import * as prelude from "../../src/codegen/runtime/prelude.js";
import {
  type Atom,
  type Axis,
  type Integer,
  operation,
  type Reduction,
  type Scalar,
  type Source,
  type Value,
} from "../../src/expr/mod.ts";

/** What an evaluation knows. */
export interface World {
  /** The number that a symbol without a definition stands for. */
  readonly symbol: (name: string) => number;
  /** The element of a source. */
  readonly load: (source: Source, indices: readonly number[]) => number;
}

type Function1 = (prelude: unknown, ...args: number[]) => number | boolean;
const COMPILED = new Map<string, Function1>();

function compiled(text: string, count: number): Function1 {
  let made = COMPILED.get(text);
  if (made === undefined) {
    const names = Array.from({ length: count }, (_, i) => `x${i}`);
    made = new Function("prelude", ...names, `return ${text};`) as Function1;
    COMPILED.set(text, made);
  }
  return made;
}

/** What `value` is as `type`. */
function asScalar(type: Scalar, value: number): number {
  if (type === "f32") return Math.fround(value);
  if (type === "i32") return value | 0;
  return type === "u32" ? value >>> 0 : value === 0 ? 0 : 1;
}

/** Quotient rounded down; that by 0 is refused, as nothing may depend on it. */
function divided(a: number, b: number): number {
  if (b === 0) throw new RangeError("division by zero");
  return Math.floor(a / b);
}

/** Evaluates at positions of axes. What doesn't depend on `own` axes is evaluated by `outer`. */
export class Evaluation {
  readonly #known = new Map<number, number>();

  constructor(
    readonly world: World,
    readonly own: ReadonlyMap<Axis, number> = new Map(),
    readonly outer: Evaluation | null = null,
  ) {}

  /** This evaluation, with more axes at positions. */
  at(axes: ReadonlyMap<Axis, number>): Evaluation {
    return new Evaluation(this.world, axes, this);
  }

  #memoized(node: { readonly id: number; readonly axes: readonly Axis[] }, make: () => number) {
    const known = this.#known.get(node.id);
    if (known !== undefined) return known;
    const made = make();
    this.#known.set(node.id, made);
    return made;
  }

  #home(node: { readonly axes: readonly Axis[] }): Evaluation {
    return this.outer === null || node.axes.some((axis) => this.own.has(axis))
      ? this
      : this.outer.#home(node);
  }

  integer(value: Integer): number {
    const home = this.#home(value);
    if (home !== this) return home.integer(value);
    return this.#memoized(value, () => {
      let total = value.constant;
      for (const { coefficient, factors } of value.terms) {
        total += factors.reduce((product, factor) => product * this.#atom(factor), coefficient);
      }
      return total;
    });
  }

  #atom(atom: Atom): number {
    switch (atom.kind) {
      case "symbol":
        return atom.definition === null
          ? this.world.symbol(atom.name)
          : this.integer(atom.definition);
      case "axis": {
        const position = this.own.get(atom);
        if (position !== undefined) return position;
        if (this.outer === null) throw new Error(`axis ${atom.name} is free`);
        return this.outer.#atom(atom);
      }
      case "div":
        return divided(this.integer(atom.a), this.integer(atom.b));
      case "mod": {
        const [a, b] = [this.integer(atom.a), this.integer(atom.b)];
        return a - b * divided(a, b);
      }
      case "min":
        return Math.min(this.integer(atom.a), this.integer(atom.b));
      case "max":
        return Math.max(this.integer(atom.a), this.integer(atom.b));
      case "element":
        return this.value(atom.value);
    }
  }

  value(value: Value): number {
    const home = this.#home(value);
    if (home !== this) return home.value(value);
    return this.#memoized(value, () => asScalar(value.type, this.#compute(value)));
  }

  #compute(value: Value): number {
    switch (value.kind) {
      case "constant":
        return value.value;
      case "integer":
        return this.integer(value.integer);
      case "load": {
        const indices = value.indices.map((index) => this.integer(index));
        for (const [i, index] of indices.entries()) {
          const extent = this.integer(value.source.dims[i]!);
          if (index < 0 || index >= extent) {
            throw new RangeError(`index ${index} of dimension ${i} is outside ${extent}`);
          }
        }
        return this.world.load(value.source, indices);
      }
      case "operation": {
        const args = value.args.map((arg) => this.value(arg));
        const text = operation(value.name).javascript(...args.map((_, i) => `x${i}`));
        return Number(compiled(text, args.length)(prelude, ...args));
      }
      case "call": {
        const args = value.args.map((arg) => this.value(arg));
        const text = `prelude.${value.name}(${args.map((_, i) => `x${i}`).join(", ")})`;
        return Number(compiled(text, args.length)(prelude, ...args));
      }
      case "select":
        return this.value(this.value(value.condition) !== 0 ? value.yes : value.no);
      case "convert": {
        const from = this.value(value.value);
        return value.type === "f32" || value.type === "bool" ? from : Math.trunc(from);
      }
      case "bitcast":
        return bitsAs(value.type, value.value.type, this.value(value.value));
      case "reduce":
        return this.#reduce(value.reduction, value.over, value.body);
    }
  }

  #reduce(reduction: Reduction, over: readonly Axis[], body: Value): number {
    const extents = over.map((axis) => this.integer(axis.extent));
    const count = extents.reduce((a, b) => a * Math.max(b, 0), 1);
    let [total, place] = [START[reduction](body.type), 0];
    for (let flat = 0; flat < count; flat++) {
      let rest = flat;
      const axes = new Map<Axis, number>();
      for (let i = over.length - 1; i >= 0; i--) {
        axes.set(over[i]!, rest % extents[i]!);
        rest = Math.floor(rest / extents[i]!);
      }
      const part = this.at(axes).value(body);
      const isBetter = flat === 0 || BETTER[reduction](part, total);
      if (reduction === "sum") total = asScalar(body.type, total + part);
      else if (reduction === "product") total = asScalar(body.type, total * part);
      else if (isBetter) [total, place] = [part, flat];
    }
    return reduction.startsWith("arg") ? place : total;
  }
}

const LEAST: Record<Scalar, number> = { f32: -Infinity, i32: -(2 ** 31), u32: 0, bool: 0 };
const GREATEST: Record<Scalar, number> = {
  f32: Infinity,
  i32: 2 ** 31 - 1,
  u32: 2 ** 32 - 1,
  bool: 1,
};

const START: Record<Reduction, (type: Scalar) => number> = {
  sum: () => 0,
  product: () => 1,
  min: (type) => GREATEST[type],
  max: (type) => LEAST[type],
  argmin: (type) => GREATEST[type],
  argmax: (type) => LEAST[type],
  argminLast: (type) => GREATEST[type],
  argmaxLast: (type) => LEAST[type],
};

/** Whether a part takes the place of what was best before it; a NaN wins of numbers. */
const BETTER: Record<Reduction, (part: number, best: number) => boolean> = {
  sum: () => false,
  product: () => false,
  min: (part, best) => part < best || Number.isNaN(part),
  max: (part, best) => part > best || Number.isNaN(part),
  argmin: (part, best) => part < best,
  argmax: (part, best) => part > best,
  argminLast: (part, best) => part <= best,
  argmaxLast: (part, best) => part >= best,
};

function bitsAs(to: Scalar, from: Scalar, value: number): number {
  const views = {
    f32: Float32Array,
    i32: Int32Array,
    u32: Uint32Array,
    bool: Uint32Array,
  };
  return new views[to](views[from].of(value).buffer)[0]!;
}
