/**
 * The kernel files of `kernels/ops` as a table: for each family (matmul, conv, ...) what a use of it
 * names (sizes, load hooks, store hooks, literals, functions), and for each of its variants the
 * core, the hooks that it calls, the number of workgroups and when it applies. A core calls nothing
 * but these; the emitter writes what stands above it. `kernels/ops/headers` holds a header for each
 * family over contiguous tensors, which says what the hooks mean and which the tests put above.
 *
 * A hook must not use `&&`, `||` or `if` for bounds tests where `&`, `|` and `select` will do: each is a
 * branch, a core calls a hook up to 16 times, and SwiftShader's compiler takes time and memory that
 * grow exponentially with such branches (16 loads with three `&&` each: no end, 24 GB).
 *
 * Names at the top level of a core are `main`, `THREADS` and others in capitals, and names that begin
 * with `core_`. A header must not define those.
 */
import { FAMILIES } from "./kernel_families.ts";
import type { Family } from "./kernel_family.ts";

/** The family `name`. Throws an `Error` for a name that is none. */
export function familyOf(name: string): Family {
  const family = FAMILIES.find((entry) => entry.name === name);
  if (family === undefined) throw new Error(`no kernel family "${name}"`);
  return family;
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
