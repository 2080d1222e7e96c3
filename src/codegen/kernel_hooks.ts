/** WGSL functions that a kernel file's core calls, printed from index expressions. */
import {
  add,
  type Axis,
  axis,
  divideUp,
  fromAtom,
  integer,
  load,
  scaled,
  substitute,
  type Value,
} from "../expr/mod.ts";
import type { Scalar } from "../expr/operations.ts";
import type { Tensor } from "./program.ts";
import { type Declarations, Scope } from "./shader_parts.ts";
import { census } from "./cost.ts";
import type { Variant, VectorHook } from "./kernel_family.ts";
import { type Hook, StoredValue } from "./units.ts";
import { type Four, readsOf, VectorPrinter, vectorTensors } from "./vectors.ts";
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

/** The index of 4 places along `step`. */
function quarterOf(step: Axis): Axis {
  return axis(`${step.name}/4`, divideUp(step.extent, integer(4)));
}

/** What `body` is at 4 places along `step`. */
function fourAlong(step: Axis, body: Value): Four {
  const first = scaled(fromAtom(quarterOf(step)), 4);
  const at = (i: number): Value => substitute(body, new Map([[step, add(first, integer(i))]]));
  return [at(0), at(1), at(2), at(3)];
}

/**
 * The axis that `hook` reads 4 elements along: of the two of a matrix, the one in which its elements
 * lie beside each other.
 */
function readAxis({ along, across }: VectorHook, { axes, body }: Hook): Axis {
  const [first, second] = [axes[along]!, axes[across ?? along]!];
  return readsOf(fourAlong(first, body)) < readsOf(fourAlong(second, body)) ? first : second;
}

/**
 * The tensors that shaders of `variants` bind as vectors of 4: their vector hooks read nothing else
 * of them, and no other hook and none of `others` reads them. A hook that has a vector form may: it
 * serves what is left at the end of a row.
 */
export function vectorBindings(
  loads: readonly Hook[],
  variants: readonly Pick<Variant, "loads" | "vectors">[],
  others: readonly Value[],
): ReadonlySet<Tensor> {
  const vectors = variants.flatMap((variant) => variant.vectors);
  const found = vectorTensors(vectors.flatMap((hook) => {
    const given = loads.find((entry) => entry.name === hook.of);
    return given === undefined ? [] : [fourAlong(readAxis(hook, given), given.body)];
  }));
  const single = loads.filter(({ name }) => !vectors.some((hook) => hook.of === name));
  for (const value of [...others, ...single.map(({ body }) => body)]) {
    for (const source of census(value).sources) found.delete(source);
  }
  return found;
}

/** The hook `hook` of what `given` gives. */
export function vectorHook(
  declarations: Declarations,
  hook: VectorHook,
  given: Hook,
): string {
  const { name, along, across } = hook;
  const { axes, body } = given;
  const [first, second] = [axes[along]!, axes[across ?? along]!];
  const read = readAxis(hook, given);
  if (across === undefined) return readAlong(declarations, name, axes, read, body);
  const isTurned = read === first;
  const other = isTurned ? second : first;
  const vectors = [0, 1, 2, 3].map((i) => {
    const args = axes.map((entry) =>
      entry === other && i > 0 ? `${entry.name} + ${i}` : entry.name
    );
    return `${name}_part(${args.join(", ")})`;
  });
  const matrix = `mat4x4f(${vectors.join(", ")})`;
  return `${readAlong(declarations, `${name}_part`, axes, read, body)}\n` +
    `fn ${name}(${signature(axes)}) -> mat4x4f {\n` +
    `  return ${isTurned ? `transpose(${matrix})` : matrix};\n}`;
}

/** A function that gives four values along `step`, the first of them at a multiple of 4. */
function readAlong(
  declarations: Declarations,
  name: string,
  axes: readonly Axis[],
  step: Axis,
  body: Value,
): string {
  const four = fourAlong(step, body);
  const printer = new Printer(declarations, four);
  const scope = parameters(axes);
  const place = printer.name("q");
  const quarter = quarterOf(step);
  scope.names.set(quarter.id, place);
  if (four[0].axes.includes(quarter)) scope.lines.push(`let ${place} = ${step.name} >> 2u;`);
  const vector = new VectorPrinter(printer).vector(four, scope);
  scope.lines.push(`return ${vector};`);
  return `fn ${name}(${signature(axes)}) -> vec4f {\n${scope.text("  ")}\n}`;
}

/** A function of numbers of `type`, such as an activation. */
export function scalarFunction(
  declarations: Declarations,
  name: string,
  count: number,
  make: (args: readonly Value[]) => Value,
  type: Scalar = "f32",
): string {
  const given = Array.from({ length: count }, (_, i) => new StoredValue(type, `x${i}`));
  const body = make(given.map((source) => load(source, [])));
  const printer = new Printer(declarations, [body]);
  const scope = parameters([]);
  scope.lines.push(`return ${printer.value(body, scope)};`);
  const parts = given.map((source) => `${source.name}: ${type}`).join(", ");
  return `fn ${name}(${parts}) -> ${type} {\n${scope.text("  ")}\n}`;
}
