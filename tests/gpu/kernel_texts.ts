/** Kernel files below the headers of `kernels/ops/headers`: what the tests compile and run. */
import { FAMILIES } from "../../src/codegen/kernel_families.ts";
import type { Family, FirstPass, Variant } from "../../src/codegen/kernel_family.ts";
import { directivesOf } from "../../src/codegen/pipeline_tables.ts";

const FOLDER = new URL("../../kernels/ops/headers/", import.meta.url);

/** A variant or a first pass. */
export type Pass = FirstPass["variant"];

/** A pass with the names that its family, or the pass beside it, gives it to call. */
export interface KernelFile {
  readonly family: Family;
  readonly pass: Pass;
  readonly sizes: readonly string[];
  /** Names of its store hooks. */
  readonly stores: readonly string[];
  /** Names of further load hooks. */
  readonly more: readonly string[];
  /** Name of its header's file, without `.wgsl`: passes that go together differ in what they call. */
  readonly header: string;
}

/** Every variant and every first pass. */
export function kernelFiles(): KernelFile[] {
  return FAMILIES.flatMap((family) =>
    family.variants.flatMap((variant) => filesOf(family, variant))
  );
}

function filesOf(family: Family, variant: Variant): KernelFile[] {
  const { after } = variant;
  const stores = family.stores.map(({ name }) => name);
  const own = { family, pass: variant, sizes: family.sizes, stores, more: [], header: family.name };
  if (after === undefined) return [own];
  const sizes = [...family.sizes, ...Object.keys(after.sizes)];
  const first = { ...own, sizes, pass: after.variant, header: after.variant.file };
  return [
    { ...own, sizes, more: [after.load.name], header: variant.file },
    { ...first, stores: [after.store.name] },
  ];
}

/** The header that stands above a file. */
export function headerOf({ header }: Pick<KernelFile, "header">): string {
  return Deno.readTextFileSync(new URL(`${header}.wgsl`, FOLDER));
}

const texts = new Map<string, string>();

/** A pass as WGSL that is valid by itself. */
export function textOf(pass: Pass): string {
  if (texts.size === 0) {
    for (const file of kernelFiles()) {
      const { features = [], text } = file.pass;
      const whole = [...directivesOf(features), headerOf(file), text].join("\n");
      texts.set(file.pass.name, whole);
    }
  }
  return texts.get(pass.name)!;
}
