/**
 * The kernel files of `kernels/ops` as a table: for each family (matmul, conv, ...) what a use of it
 * names (sizes, load hooks, store hooks, literals, functions), and for each of its variants the
 * text, the hooks that it calls, the number of workgroups and when it applies. The parts of a file
 * below `// ---- core` call nothing but these; the emitter writes what stands above.
 *
 * A hook must not use `&&`, `||` or `if` for bounds tests where `&`, `|` and `select` will do: each is a
 * branch, a core calls a hook up to 16 times, and SwiftShader's compiler takes time and memory that
 * grow exponentially with such branches (16 loads with three `&&` each: no end, 24 GB).
 *
 * Names at the top level of a core are `main`, `THREADS` and others in capitals, and names that begin
 * with `core_`. A header must not define those.
 */
import { FAMILIES } from "./kernel_families.ts";
import type { Family, Groups, Variant } from "./kernel_family.ts";

const MARK = "// ---- core\n";

/** What stands below the mark in a variant's file. */
export function coreOf(variant: Pick<Variant, "file" | "text">): string {
  const at = variant.text.indexOf(MARK);
  if (at < 0) throw new Error(`${variant.file}.wgsl has no line "${MARK.trim()}"`);
  return variant.text.slice(at + MARK.length);
}

/** The family `name`. Throws an `Error` for a name that is none. */
export function familyOf(name: string): Family {
  const family = FAMILIES.find((entry) => entry.name === name);
  if (family === undefined) throw new Error(`no kernel family "${name}"`);
  return family;
}

/** Whether the limits of `variant` hold. */
export function applies(
  variant: Pick<Variant, "limits">,
  size: (name: string) => number,
): boolean {
  return variant.limits.every((limit) =>
    limit.is === "at least" ? size(limit.size) >= limit.number : size(limit.size) <= limit.number
  );
}

/** JavaScript for {@link applies}; `size` gives the JavaScript of a size. */
export function appliesSource(
  variant: Pick<Variant, "limits">,
  size: (name: string) => string,
): string {
  if (variant.limits.length === 0) return "true";
  return variant.limits.map((limit) =>
    `${size(limit.size)} ${limit.is === "at least" ? ">=" : "<="} ${limit.number}`
  ).join(" && ");
}

/** The number of workgroups. 0 where a size is 0. */
export function groupCount(groups: Groups, size: (name: string) => number): number {
  const tiles = groups.tiles.reduce((n, [name, tile]) => n * Math.ceil(size(name) / tile), 1);
  return Math.ceil(tiles / groups.share);
}

/** JavaScript for {@link groupCount}; `size` gives the JavaScript of a size, an operand of `*`. */
export function groupCountSource(groups: Groups, size: (name: string) => string): string {
  const factors = groups.tiles.map(([name, tile]) =>
    tile === 1 ? size(name) : `Math.ceil(${size(name)} / ${tile})`
  );
  const product = factors.length === 0 ? "1" : factors.join(" * ");
  return groups.share === 1 ? product : `Math.ceil(${product} / ${groups.share})`;
}

export { FAMILIES };
export type {
  AdapterKind,
  Family,
  FirstPass,
  Groups,
  Hook,
  Limit,
  Variant,
  VectorHook,
} from "./kernel_family.ts";
