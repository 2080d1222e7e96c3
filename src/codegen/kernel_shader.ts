/** Shaders of kernel files: another header over a file's core. */
import { type Axis, load, substitute, type Value } from "../expr/mod.ts";
import { fromAtom, integer } from "../expr/integer.ts";
import { add } from "../expr/integer.ts";
import { kernelRow } from "./kernel_rows.ts";
import { coreText } from "./kernel_text.ts";
import { flatOffset, type KernelUnit, StoredValue } from "./schedule.ts";
import { finished, flattened, type Shader } from "./shaders.ts";
import { Declarations, Printer, Scope } from "./wgsl.ts";

/** The shader of `unit`. */
export function kernelShader(unit: KernelUnit): Shader {
  const row = kernelRow(unit.use.core);
  const core = coreText(row.file);
  const declarations = new Declarations();
  const functions: string[] = [];
  const calls = (name: string): boolean => new RegExp(`\\b${name}\\(`).test(core);
  for (const [name, value] of Object.entries(unit.use.constants ?? {})) {
    functions.push(`const ${name} = ${value};`);
  }
  for (const [name, size] of Object.entries(unit.use.sizes)) {
    functions.push(`fn ${name}() -> i32 { return ${declarations.extent(size)}; }`);
  }
  for (const hook of unit.loads) {
    const body = flattened(hook.body);
    if (calls(hook.name)) functions.push(loadHook(declarations, hook.name, hook.axes, body));
    for (const [name, { of, along }] of Object.entries(row.vectors)) {
      if (of === hook.name && calls(name)) {
        functions.push(vectorHook(declarations, name, hook.axes, along, body));
      }
    }
  }
  for (const store of unit.stores) {
    const printer = new Printer(declarations, [store.body]);
    const scope = parameters(store.axes);
    const made = printer.value(flattened(store.body), scope);
    const at = printer.offset(flatOffset(store.tensor.dims, store.place), scope);
    const word = store.body.type === "bool" ? `select(0u, 1u, ${made})` : made;
    scope.lines.push(`${declarations.result(store.tensor)}[${at}] = ${word};`);
    functions.push(
      `fn ${store.hook}(${signature(store.axes)}, value: f32) {\n${scope.text("  ")}\n}`,
    );
  }
  for (const [name, make] of Object.entries(unit.use.functions ?? {})) {
    functions.push(scalarFunction(declarations, name, make));
  }
  const text = `${functions.join("\n")}\n${core}`;
  return finished(declarations, text, row.groups(unit.use.sizes), row.constants);
}

function signature(axes: readonly Axis[]): string {
  return axes.map((entry) => `${entry.name}: i32`).join(", ");
}

function parameters(axes: readonly Axis[]): Scope {
  const scope = new Scope(null, "function", new Set());
  for (const entry of axes) scope.names.set(entry.id, entry.name);
  return scope;
}

function loadHook(
  declarations: Declarations,
  name: string,
  axes: readonly Axis[],
  body: Value,
): string {
  const printer = new Printer(declarations, [body]);
  const scope = parameters(axes);
  scope.lines.push(`return ${printer.value(body, scope)};`);
  return `fn ${name}(${signature(axes)}) -> f32 {\n${scope.text("  ")}\n}`;
}

/** Four values along one index. */
function vectorHook(
  declarations: Declarations,
  name: string,
  axes: readonly Axis[],
  along: string,
  body: Value,
): string {
  const step = axes.find((entry) => entry.name === along)!;
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
function scalarFunction(
  declarations: Declarations,
  name: string,
  make: (args: readonly Value[]) => Value,
): string {
  const given = new StoredValue("f32");
  const body = make([load(given, [])]);
  const printer = new Printer(declarations, [body]);
  const scope = parameters([]);
  scope.lines.push(`return ${printer.value(body, scope)};`);
  return `fn ${name}(value: f32) -> f32 {\n${scope.text("  ")}\n}`;
}
