/** Shaders of kernel files: another header over a file's core. */
import {
  add,
  type Axis,
  divideUp,
  fromAtom,
  type Integer,
  integer,
  multiply,
  substitute,
  type Value,
} from "../expr/mod.ts";
import { estimate } from "./cost.ts";
import { applies, coreOf, familyOf, type Groups, type Variant } from "./kernels.ts";
import { withoutComments } from "./kernel_text.ts";
import { FlatTensor } from "./program.ts";
import { loadHook, parameters, scalarFunction, signature, vectorHook } from "./kernel_hooks.ts";
import { flatOffset, type KernelUnit } from "./units.ts";
import { finished, flattened, type Shader } from "./shaders.ts";
import { Declarations } from "./shader_parts.ts";
import { Printer } from "./wgsl.ts";

/** The shader of `unit`. */
export function kernelShader(unit: KernelUnit): Shader {
  const { use } = unit;
  const family = familyOf(use.core);
  const loads = unit.loads.map((hook) => ({ ...hook, body: flattened(hook.body) }));
  const variant = chosen(unit, loads);
  const declarations = new Declarations();
  const functions: string[] = [];
  for (const [name, type] of Object.entries(family.constants)) {
    functions.push(`const ${name}: ${type} = ${use.constants?.[name] ?? 0};`);
  }
  for (const name of family.sizes) {
    const size = use.sizes[name];
    if (size === undefined) throw new Error(`a use of ${family.name} has no size "${name}"`);
    functions.push(`fn ${name}() -> i32 { return ${declarations.extent(size)}; }`);
  }
  for (const hook of family.loads) {
    if (!variant.loads.includes(hook.name)) continue;
    const given = loads.find((entry) => entry.name === hook.name);
    if (given !== undefined) {
      functions.push(loadHook(declarations, hook.name, given.axes, given.body));
    } else {
      const type = hook.type === "i32" || hook.type === "u32" ? hook.type : "f32";
      const parameters = hook.indices.map((index) => `${index}: i32`).join(", ");
      functions.push(`fn ${hook.name}(${parameters}) -> ${type} { return ${type}(0); }`);
    }
  }
  for (const { name, of, along } of variant.vectors) {
    const given = loads.find((entry) => entry.name === of);
    if (given === undefined) throw new Error(`a use of ${family.name} has no hook "${of}"`);
    functions.push(vectorHook(declarations, name, given.axes, given.axes[along]!, given.body));
  }
  for (const hook of family.stores) {
    const store = unit.stores.find((entry) => entry.hook === hook.name);
    const type = hook.type === "i32" || hook.type === "u32" ? hook.type : "f32";
    if (store === undefined) {
      const parameters = hook.indices.map((index) => `${index}: i32, `).join("");
      functions.push(`fn ${hook.name}(${parameters}value: ${type}) {}`);
      continue;
    }
    const body = flattened(store.body);
    const printer = new Printer(declarations, [body]);
    const scope = parameters(store.axes);
    const made = printer.value(body, scope);
    const at = printer.offset(flatOffset(store.tensor.dims, store.place), scope);
    const word = body.type === "bool" ? `select(0u, 1u, ${made})` : made;
    scope.lines.push(`${declarations.result(store.tensor)}[${at}] = ${word};`);
    functions.push(
      `fn ${store.hook}(${signature(store.axes)}, value: ${type}) {\n${scope.text("  ")}\n}`,
    );
  }
  for (const [name, count] of Object.entries(family.functions)) {
    const make = use.functions?.[name];
    if (make === undefined) throw new Error(`a use of ${family.name} has no function "${name}"`);
    functions.push(scalarFunction(declarations, name, count, make));
  }
  const text = `${functions.join("\n")}\n${withoutComments(coreOf(variant))}`;
  return finished(declarations, text, groupsOf(variant.groups, use.sizes), variant.overrides);
}

/**
 * The variant for `unit`: the first for any adapter that fits what is known of the sizes. Of two that
 * read b across or along k, the one whose way its elements lie.
 */
function chosen(unit: KernelUnit, loads: KernelUnit["loads"]): Variant {
  const family = familyOf(unit.use.core);
  const size = (name: string): number =>
    unit.use.constants?.[name] ?? estimate(unit.use.sizes[name] ?? integer(0));
  const fitting = family.variants.filter((variant) =>
    variant.adapter !== "hardware" && variant.workgroupBytes === 0 && applies(variant, size)
  );
  const b = loads.find((hook) => hook.name === "b");
  const isAlongK = b !== undefined && liesAlong(b.body, b.axes[1]!);
  const [first] = fitting.filter((variant) => variant.name.endsWith("_along_k") === isAlongK);
  const variant = first ?? fitting[0] ??
    family.variants.find((entry) => entry.adapter !== "hardware") ??
    family.variants[0];
  if (variant === undefined) throw new Error(`${family.name} has no variants`);
  return variant;
}

/** True where neighbours along `step` are neighbours in memory in every load of `body`. */
function liesAlong(body: Value, step: Axis): boolean {
  if (body.kind === "load" && body.source instanceof FlatTensor) {
    const next = substitute(body, new Map([[step, add(fromAtom(step), integer(1))]]));
    return next.kind === "load" && next.indices[0] === add(body.indices[0]!, integer(1));
  }
  return body.kind !== "load" && body.axes.includes(step) && isPacked(body);
}

/** True where `body` decodes packed codes, which lie along k. */
function isPacked(body: Value): boolean {
  return body.kind === "operation" && body.name === "mul";
}

function groupsOf(groups: Groups, sizes: Readonly<Record<string, Integer>>): Integer {
  const tiles = groups.tiles.map(([name, tile]) => divideUp(sizes[name]!, integer(tile)));
  return divideUp(multiply(...tiles), integer(groups.share));
}
