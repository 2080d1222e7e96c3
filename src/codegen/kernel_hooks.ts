/** WGSL functions that a kernel file's core calls, printed from index expressions. */
import { add, type Axis, fromAtom, integer, load, substitute, type Value } from "../expr/mod.ts";
import { type Declarations, Scope } from "./shader_parts.ts";
import { StoredValue } from "./units.ts";
import { Printer } from "./wgsl.ts";

/** The parameters of a hook over `axes`, as WGSL declares them. */
export function signature(axes: readonly Axis[]): string {
  return axes.map((entry) => `${entry.name}: i32`).join(", ");
}

/** A scope in which `axes` are the parameters of a function. */
export function parameters(axes: readonly Axis[]): Scope {
  const scope = new Scope(null, "function", new Set());
  for (const entry of axes) scope.names.set(entry.id, entry.name);
  return scope;
}

/** A function of `axes` that gives `body`. */
export function loadHook(
  declarations: Declarations,
  name: string,
  axes: readonly Axis[],
  body: Value,
): string {
  const printer = new Printer(declarations, [body]);
  const scope = parameters(axes);
  scope.lines.push(`return ${printer.value(body, scope)};`);
  return `fn ${name}(${signature(axes)}) -> ${body.type} {\n${scope.text("  ")}\n}`;
}

/** Four values along `step`. */
export function vectorHook(
  declarations: Declarations,
  name: string,
  axes: readonly Axis[],
  step: Axis,
  body: Value,
): string {
  const four = [0, 1, 2, 3].map((i) =>
    substitute(body, new Map([[step, add(fromAtom(step), integer(i))]]))
  );
  const printer = new Printer(declarations, four);
  const scope = parameters(axes);
  const values = four.map((value) => printer.value(value, scope));
  scope.lines.push(`return vec4f(${values.join(", ")});`);
  return `fn ${name}(${signature(axes)}) -> vec4f {\n${scope.text("  ")}\n}`;
}

/** A function of floats, such as an activation. */
export function scalarFunction(
  declarations: Declarations,
  name: string,
  count: number,
  make: (args: readonly Value[]) => Value,
): string {
  const given = Array.from({ length: count }, (_, i) => new StoredValue("f32", `x${i}`));
  const body = make(given.map((source) => load(source, [])));
  const printer = new Printer(declarations, [body]);
  const scope = parameters([]);
  scope.lines.push(`return ${printer.value(body, scope)};`);
  const parts = given.map((source) => `${source.name}: f32`).join(", ");
  return `fn ${name}(${parts}) -> f32 {\n${scope.text("  ")}\n}`;
}
