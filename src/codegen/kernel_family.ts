/**
 * What the table of kernel files (`kernel_families.ts`) says of those in `kernels/ops`: for each
 * family (matmul, conv, ...) what a use of it names (sizes, load hooks, store hooks, literals,
 * functions), and for each of its variants the core, the hooks that it calls, the number of
 * workgroups and when it applies. A core calls nothing but these; the emitter writes what stands
 * above it. `kernels/ops/headers` holds a header for each family over contiguous tensors, which says
 * what the hooks mean and which the tests put above.
 *
 * A hook must not use `&&`, `||` or `if` for bounds tests where `&`, `|` and `select` will do: each is a
 * branch, a core calls a hook up to 16 times, and SwiftShader's compiler takes time and memory that
 * grow exponentially with such branches (16 loads with three `&&` each: no end, 24 GB).
 *
 * Names at the top level of a core are `main`, `THREADS` and others in capitals, and names that begin
 * with `core_`. A header must not define those.
 */

/** A function of the header that reads one element of an operand, or stores one of a result. */
export interface Hook {
  readonly name: string;
  /** What it gives or stores; f32 where absent. Element is the header's `alias Element = TYPE;`. */
  readonly type?: "i32" | "u32" | "Element";
  /** Names of its i32 parameters. A store hook has `value` after them. */
  readonly indices: readonly string[];
}

/**
 * A load hook that gives several elements of hook `of`: a vec4f of those at 4 successive places, the
 * first a multiple of 4; or a mat4x4f of those at 4 by 4 places.
 */
export interface VectorHook {
  readonly name: string;
  readonly of: string;
  /** Position of the index that runs over the 4 places, or over the 4 columns of the matrix. */
  readonly along: number;
  /** Position of the index that runs over the elements of each column of the matrix. */
  readonly across?: number;
}

/** A comparison of a size, or of a literal of the header, with a number. */
export interface Limit {
  readonly size: string;
  readonly is: "at least" | "at most";
  readonly number: number;
}

/** Workgroups of a dispatch: ceil(product of ceil(size / tile) / share). */
export interface Groups {
  readonly tiles: readonly (readonly [size: string, tile: number])[];
  /** Tiles that a workgroup takes. */
  readonly share: number;
}

/** The adapters that a variant is for. */
export type AdapterKind = "any" | "software" | "hardware";

/** A way of computing what a family computes: one core. */
export interface Variant {
  /** Unlike that of any other variant. */
  readonly name: string;
  /** Name of the file in `kernels/ops`, without `.wgsl`. */
  readonly file: string;
  /** The core: the file, and what it shares with others; valid WGSL below a header. */
  readonly text: string;
  /** Load hooks of the family that the core calls. */
  readonly loads: readonly string[];
  /** Vector hooks that the core calls. A place past the last may be asked for: any value will do. */
  readonly vectors: readonly VectorHook[];
  /** Values of the core's override constants. */
  readonly overrides: Readonly<Record<string, number>>;
  readonly groups: Groups;
  /** What must hold for it to be worth taking, and for it to work at all. */
  readonly limits: readonly Limit[];
  readonly adapter: AdapterKind;
  /** Bytes of workgroup memory. */
  readonly workgroupBytes: number;
  /** GPU features that the core needs, such as "shader-f16"; the emitter enables them. */
  readonly features?: readonly string[];
  /** The pass before, where the work takes two: it stores what this one loads. */
  readonly after?: FirstPass;
}

/** The first of two passes, which stores into a tensor that only the second reads. */
export interface FirstPass {
  readonly variant: Omit<Variant, "limits" | "adapter">;
  /** Sizes that both have beyond the family's: ceil(size / by). */
  readonly sizes: Readonly<Record<string, { readonly size: string; readonly by: number }>>;
  /** Name of its store hook, and of the second pass's load hook. */
  readonly store: Hook;
  readonly load: Hook;
  /** Sizes that are the extents of the tensor between, outermost first; the hooks' indices. */
  readonly extents: readonly string[];
}

/** What is computed, and the ways of doing so. */
export interface Family {
  readonly name: string;
  /** Names of the size functions: `fn NAME() -> i32`. */
  readonly sizes: readonly string[];
  readonly loads: readonly Hook[];
  readonly stores: readonly Hook[];
  /** `const NAME: TYPE = ...;` of the header. */
  readonly constants: Readonly<Record<string, "i32" | "f32">>;
  /** `const NAME: bool = ...;` of the header: whether a size is known to be a multiple of 4. */
  readonly multiples?: Readonly<Record<string, string>>;
  /** Functions of f32 (or Element) arguments that give one, by their number of arguments. */
  readonly functions: Readonly<Record<string, number>>;
  /** The size that each index of a hook stays below, by the name of the index. */
  readonly extents: Readonly<Record<string, string>>;
  /** In order of preference: the first that applies is taken until tuning knows better. */
  readonly variants: readonly Variant[];
}
