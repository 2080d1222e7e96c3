/** Shaders of kernel files: another header over a file's core, one for each way of computing. */
import { integer, modulo, ONE, ZERO } from "../expr/mod.ts";
import { type Candidate, candidatesOf, tilesOf } from "./kernel_candidates.ts";
import {
  loadHook,
  parameters,
  scalarFunction,
  signature,
  vectorBindings,
  vectorHook,
} from "./kernel_hooks.ts";
import type { Scalar } from "../expr/operations.ts";
import { familyOf } from "./kernel_families.ts";
import type { Family, FirstPass, Variant } from "./kernel_family.ts";
import { withoutComments } from "./kernel_text.ts";
import type { SizeLimit, VariantTable } from "./module.ts";
import type { Tensor } from "./program.ts";
import { Declarations, type Parameter } from "./shader_parts.ts";
import { flattened } from "./shaders.ts";
import { flatOffset, type KernelUnit } from "./units.ts";
import { Printer } from "./wgsl.ts";

/** A shader of one pass. */
export interface PassShader {
  /** The text, without functions of the prelude and directives. */
  readonly text: string;
  readonly prelude: ReadonlySet<string>;
  readonly bindings: string;
  readonly constants: Readonly<Record<string, number>>;
  readonly features: readonly string[];
}

/** The shaders of a kernel, and what a dispatch of it needs. */
export interface KernelShaders {
  /** In order of binding. */
  readonly tensors: readonly Tensor[];
  readonly bindings: string;
  readonly parameters: readonly Parameter[];
  readonly sizes: readonly (number | readonly [parameter: number])[];
  readonly candidates: readonly {
    readonly variant: VariantTable;
    readonly limits: readonly SizeLimit[];
    readonly passes: readonly PassShader[];
  }[];
}

/** A function of a header, and what it needs. */
interface HeaderFunction {
  readonly text: string;
  readonly declarations: Declarations;
}

/** What a pass consists of, before it is known what others declare. */
interface Pass {
  readonly functions: readonly HeaderFunction[];
  /** Declares the tensor between two passes; "" where there is none. */
  readonly between: string;
  readonly variant: Omit<Variant, "limits" | "adapter">;
}

/** Storage bindings of a dispatch at most (WebGPU's default limit). */
const MOST_BINDINGS = 8;

/** The shaders of `unit`, one or two for each candidate. */
export function kernelShaders(unit: KernelUnit): KernelShaders {
  const family = familyOf(unit.use.core);
  const given = candidatesOf(unit, family);
  const header = new Header(unit, family, given.map(({ variant }) => variant));
  const made = given.map((candidate) => ({
    candidate,
    passes: header.passes(candidate.variant),
  }));
  const { declarations } = header;
  const candidates = made.map(({ candidate, passes }) => ({
    variant: tableOf(candidate, family),
    limits: candidate.limits,
    passes: passes.map((pass) => finishedPass(declarations, pass)),
  })).filter(({ passes }) =>
    passes.every(({ bindings }) => bindings.replaceAll(".", "").length <= MOST_BINDINGS)
  );
  if (candidates.length === 0) {
    throw new Error(`${unit.label} reads and stores more than ${MOST_BINDINGS} tensors at once`);
  }
  return {
    tensors: declarations.tensors,
    bindings: declarations.bindings(),
    parameters: declarations.parameters,
    sizes: header.sizes,
    candidates,
  };
}

/** What stands above the cores of a unit: each function is printed once, for all that call it. */
class Header {
  readonly declarations: Declarations;
  readonly sizes: (number | readonly [parameter: number])[] = [];
  readonly #loads;
  readonly #common: HeaderFunction[] = [];
  readonly #made = new Map<string, HeaderFunction>();

  /** What the family's Element is; undefined where it names none. */
  readonly #element: Scalar | undefined;

  constructor(
    readonly unit: KernelUnit,
    readonly family: Family,
    variants: readonly Variant[],
  ) {
    const { use } = unit;
    this.#loads = unit.loads.map((hook) => ({ ...hook, body: flattened(hook.body) }));
    const reading = variants.flatMap(({ after, ...own }) => [own, ...after ? [after.variant] : []]);
    const stored = unit.stores.map(({ body }) => flattened(body));
    this.declarations = new Declarations(null, vectorBindings(this.#loads, reading, stored));
    const named = family.stores.find(({ type }) => type === "Element")?.name;
    this.#element = unit.stores.find(({ hook }) => hook === named)?.given.type;
    if (this.#element !== undefined) {
      this.#common.push(this.#function("Element", () => `alias Element = ${this.#element};`));
    }
    for (const [name, type] of Object.entries(family.constants)) {
      this.#common.push(
        this.#function(name, () => `const ${name}: ${type} = ${use.constants?.[name] ?? 0};`),
      );
    }
    for (const [name, size] of Object.entries(family.multiples ?? {})) {
      const isMultiple = modulo(use.sizes[size] ?? ONE, integer(4)) === ZERO;
      this.#common.push(this.#function(name, () => `const ${name}: bool = ${isMultiple};`));
    }
    for (const name of family.sizes) {
      const size = use.sizes[name];
      if (size === undefined) throw new Error(`a use of ${family.name} has no size "${name}"`);
      const text = this.declarations.extent(size);
      const parameter = text.match(/^p\.p(\d+)$/)?.[1];
      this.sizes.push(parameter === undefined ? Number(text) : [Number(parameter)]);
      this.#common.push(this.#function(name, () => `fn ${name}() -> i32 { return ${text}; }`));
    }
  }

  /** The passes of a variant: one, or two. */
  passes(variant: Variant): Pass[] {
    const functions = [...this.#common, ...this.#reads(variant)];
    const { after } = variant;
    const own = [...this.#stores(), ...this.#scalars()];
    if (after === undefined) return [{ functions: [...functions, ...own], between: "", variant }];
    const sizes = Object.entries(after.sizes).map(([name, { size, by }]) =>
      this.#function(name, () => `fn ${name}() -> i32 { return (${size}() + ${by - 1}) / ${by}; }`)
    );
    const { store, load } = this.#between(after);
    const between = "core_between";
    return [
      {
        functions: [
          ...this.#common,
          ...sizes,
          ...this.#reads(after.variant),
          store,
          ...this.#scalars(),
        ],
        between,
        variant: after.variant,
      },
      { functions: [...functions, ...sizes, load, ...own], between, variant },
    ];
  }

  /** A function of the header; printed by the first that asks for it. */
  #function(key: string, print: (declarations: Declarations) => string): HeaderFunction {
    let made = this.#made.get(key);
    if (made === undefined) {
      const declarations = this.declarations.part();
      this.#made.set(key, made = { text: print(declarations), declarations });
    }
    return made;
  }

  /** The load hooks that a core calls. */
  #reads(variant: Pick<Variant, "loads" | "vectors">): HeaderFunction[] {
    const { family } = this;
    const functions: HeaderFunction[] = [];
    for (const hook of family.loads) {
      if (!variant.loads.includes(hook.name)) continue;
      const given = this.#loads.find((entry) => entry.name === hook.name);
      functions.push(this.#function(hook.name, (declarations) => {
        if (given !== undefined) return loadHook(declarations, hook.name, given.axes, given.body);
        const type = hook.type === "i32" || hook.type === "u32" ? hook.type : "f32";
        const parameters = hook.indices.map((index) => `${index}: i32`).join(", ");
        return `fn ${hook.name}(${parameters}) -> ${type} { return ${type}(0); }`;
      }));
    }
    for (const hook of variant.vectors) {
      const given = this.#loads.find((entry) => entry.name === hook.of);
      if (given === undefined) throw new Error(`a use of ${family.name} has no "${hook.of}"`);
      const { name, along, across = "" } = hook;
      functions.push(this.#function(
        `${name} along ${along} ${across}`,
        (declarations) => vectorHook(declarations, hook, given),
      ));
    }
    return functions;
  }

  /** The store hooks of the family. */
  #stores(): HeaderFunction[] {
    return this.family.stores.map((hook) =>
      this.#function(hook.name, (declarations) => {
        const store = this.unit.stores.find((entry) => entry.hook === hook.name);
        if (store === undefined) {
          const type = hook.type === "i32" || hook.type === "u32" ? hook.type : "f32";
          const parameters = hook.indices.map((index) => `${index}: i32, `).join("");
          return `fn ${hook.name}(${parameters}value: ${type}) {}`;
        }
        const body = flattened(store.body);
        const printer = new Printer(declarations, [body]);
        const scope = parameters(store.axes);
        const made = printer.value(body, scope);
        const at = printer.offset(flatOffset(store.tensor.dims, store.place), scope);
        const word = body.type === "bool" ? `select(0u, 1u, ${made})` : made;
        scope.lines.push(`${declarations.tensor(store.tensor)}[${at}] = ${word};`);
        return `fn ${hook.name}(${signature(store.axes)}, value: ${store.given.type}) {\n${
          scope.text("  ")
        }\n}`;
      })
    );
  }

  /** The functions of numbers that cores call. */
  #scalars(): HeaderFunction[] {
    const { use } = this.unit;
    return Object.entries(this.family.functions).map(([name, count]) => {
      const make = use.functions?.[name];
      if (make === undefined) throw new Error(`a use of ${this.family.name} has no "${name}"`);
      return this.#function(
        name,
        (declarations) => scalarFunction(declarations, name, count, make, this.#element),
      );
    });
  }

  /** How the tensor between two passes is stored and loaded: row-major, over its extents. */
  #between({ store, load, extents }: FirstPass): { store: HeaderFunction; load: HeaderFunction } {
    const offset = (indices: readonly string[]): string =>
      indices.reduce((sum, index, i) => i === 0 ? index : `(${sum}) * ${extents[i]}() + ${index}`);
    const listed = (indices: readonly string[]) => indices.map((name) => `${name}: i32`).join(", ");
    return {
      store: this.#function(
        store.name,
        () =>
          `fn ${store.name}(${listed(store.indices)}, value: f32) {\n` +
          `  core_between[${offset(store.indices)}] = value;\n}`,
      ),
      load: this.#function(
        load.name,
        () =>
          `fn ${load.name}(${listed(load.indices)}) -> f32 {\n` +
          `  return core_between[${offset(load.indices)}];\n}`,
      ),
    };
  }
}

/** The shader of a pass, once everything that its kernel declares is known. */
function finishedPass(
  declarations: Declarations,
  { functions, between, variant }: Pass,
): PassShader {
  const used = new Set(functions.flatMap(({ declarations }) => [...declarations.used]));
  const lines = [declarations.text(used)];
  if (between !== "") {
    const binding = declarations.tensors.length + 1;
    lines.push(
      `@group(0) @binding(${binding}) var<storage, read_write> ${between}: array<f32>;`,
    );
  }
  lines.push(...functions.map(({ text }) => text), withoutComments(variant.text));
  return {
    text: lines.join("\n"),
    prelude: new Set(functions.flatMap(({ declarations }) => [...declarations.prelude])),
    bindings: declarations.bindings(used) + (between === "" ? "" : "a"),
    constants: variant.overrides,
    features: variant.features ?? [],
  };
}

/** What the runtime must know of a candidate. */
function tableOf({ variant }: Candidate, family: Family): VariantTable {
  const { name, adapter, features = [], after } = variant;
  const first = after?.variant;
  const last = { tiles: tilesOf(family, variant.groups.tiles, after), share: variant.groups.share };
  const passes = first === undefined ? [last] : [
    { tiles: tilesOf(family, first.groups.tiles, after), share: first.groups.share },
    last,
  ];
  return {
    name,
    adapter,
    features: [...new Set([...features, ...first?.features ?? []])],
    workgroupBytes: Math.max(variant.workgroupBytes, first?.workgroupBytes ?? 0),
    passes,
    ...(after !== undefined && {
      between: tilesOf(family, after.extents.map((size) => [size, 1]), after),
    }),
  };
}
