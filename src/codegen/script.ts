/**
 * The JavaScript printer: what the generated program computes on the host, extents and scalars, as
 * expressions. Symbols are defined by `const` statements where they are first needed.
 */
import { type Atom, type Integer, isNotNegative, operation, type Value } from "../expr/mod.ts";
import { HostCopy, HostDims, HostScalar, Variable } from "./program.ts";

/** Statements of a JavaScript block that is being written, and the names that it knows. */
export class ScriptScope {
  readonly lines: string[] = [];
  readonly #names = new Map<number, string>();
  constructor(readonly parent: ScriptScope | null) {}

  find(id: number): string | undefined {
    return this.#names.get(id) ?? this.parent?.find(id);
  }

  name(id: number, name: string): void {
    this.#names.set(id, name);
  }

  text(): string {
    return this.lines.map((line) => line.replace(/^(?=.)/gm, "  ")).join("\n");
  }
}

/** What the printer needs of the program around it. */
export interface ScriptContext {
  /** The array that holds the elements of `copy`, read back if need be. */
  copy(copy: HostCopy, scope: ScriptScope): string;
  /** The extents of a host function's output. */
  hostDims(dims: HostDims, scope: ScriptScope): string;
  /** What is being computed, as JavaScript, for errors. */
  label(): string;
  /** Notes a function of `runtime/prelude.js`. */
  usePrelude(name: string): void;
}

/** Prints values of the host. */
export class ScriptPrinter {
  constructor(readonly context: ScriptContext) {}

  /** `value` as an expression that is a number. */
  integer(value: Integer, scope: ScriptScope): string {
    const parts = value.terms.map(({ coefficient, factors }) => {
      const texts = factors.map((factor) => this.#atom(factor, scope));
      if (coefficient !== 1) texts.unshift(String(coefficient));
      return texts.join(" * ");
    });
    if (value.constant !== 0 || parts.length === 0) parts.push(String(value.constant));
    const text = parts.join(" + ").replaceAll("+ -", "- ");
    const isProduct = value.terms.some(({ coefficient, factors }) =>
      factors.length > 1 || coefficient !== 1
    );
    return parts.length > 1 || isProduct ? `(${text})` : text;
  }

  #atom(atom: Atom, scope: ScriptScope): string {
    const known = scope.find(atom.id);
    if (known !== undefined) return known;
    switch (atom.kind) {
      case "symbol": {
        if (atom.definition === null) throw new Error(`the symbol ${atom.name} has no value`);
        const text = this.integer(atom.definition, scope);
        const name = `n${atom.id}`;
        const isExtent = atom.positive && !isNotNegative(atom.definition);
        scope.lines.push(
          `const ${name} = ${isExtent ? `m.extent(${text}, ${this.context.label()})` : text};`,
        );
        scope.name(atom.id, name);
        return name;
      }
      case "axis":
        throw new Error(`the axis ${atom.name} has no value on the host`);
      case "element":
        return this.number(atom.value, scope);
      case "div":
        return `Math.floor(${this.integer(atom.a, scope)} / ${this.integer(atom.b, scope)})`;
      case "mod":
        this.context.usePrelude("floorMod");
        return `floorMod(${this.integer(atom.a, scope)}, ${this.integer(atom.b, scope)})`;
      case "min":
      case "max":
        return `Math.${atom.kind}(${this.integer(atom.a, scope)}, ${this.integer(atom.b, scope)})`;
    }
  }

  /** `value` as a number; a bool as 0 or 1. */
  number(value: Value, scope: ScriptScope): string {
    const text = this.value(value, scope);
    return value.type === "bool" ? `Number(${text})` : text;
  }

  /** `value` as a number or, for a bool, as one of JavaScript's. */
  value(value: Value, scope: ScriptScope): string {
    switch (value.kind) {
      case "constant":
        if (value.type === "bool") return String(value.value !== 0);
        return Object.is(value.value, -0)
          ? "-0"
          : value.value < 0
          ? `(${value.value})`
          : `${value.value}`;
      case "integer":
        return this.integer(value.integer, scope);
      case "load": {
        const { source } = value;
        if (source instanceof Variable) {
          const name = scope.find(source.id);
          if (name === undefined) throw new Error("a variable is read before it is assigned");
          return name;
        }
        if (source instanceof HostScalar) {
          const known = scope.find(source.id);
          if (known !== undefined) return known;
          const name = `s${source.id}`;
          scope.lines.push(`const ${name} = ${this.value(source.value, scope)};`);
          scope.name(source.id, name);
          return name;
        }
        const array = source instanceof HostCopy
          ? this.context.copy(source, scope)
          : source instanceof HostDims
          ? this.context.hostDims(source, scope)
          : null;
        if (array === null) throw new Error("a load of what is not on the host");
        const element = `${array}[${this.integer(value.indices[0]!, scope)}]`;
        return value.type === "bool" ? `(${element} !== 0)` : element;
      }
      case "operation": {
        const text = operation(value.name).javascript(
          ...value.args.map((arg) => this.value(arg, scope)),
        );
        const called = text.replace(/prelude\.(\w+)/g, (_, name: string) => {
          this.context.usePrelude(name);
          return name;
        });
        return value.type === "f32" ? `Math.fround(${called})` : called;
      }
      case "call":
        this.context.usePrelude(value.name);
        return `${value.name}(${value.args.map((arg) => this.value(arg, scope)).join(", ")})`;
      case "select": {
        const [condition, yes, no] = [value.condition, value.yes, value.no].map((part) =>
          this.value(part, scope)
        );
        return `(${condition} ? ${yes} : ${no})`;
      }
      case "convert": {
        const inner = this.number(value.value, scope);
        if (value.type === "bool") return `(${inner} !== 0)`;
        if (value.type === "f32") return `Math.fround(${inner})`;
        if (value.value.type !== "f32") return inner;
        return `Math.trunc(${inner})`;
      }
      case "bitcast":
      case "reduce":
        throw new Error(`${value.kind} is not computed on the host`);
    }
  }
}
