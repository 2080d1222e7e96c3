/**
 * The tables of a module without their repetitions: a kernel's core stands in many shaders, and each of
 * its declarations is written once; so is each run of declarations that several shaders share, and
 * what kernels have in common.
 */
import type { KernelTable, ModuleTables, PipelineTable, VariantTable } from "./module.ts";

/** The tables of pipelines and kernels as they are written: `runtime/packed_tables.js` reads them. */
export interface PackedTables {
  /** A declaration, or a run of others by their indices. */
  readonly texts: readonly (string | readonly number[])[];
  readonly pipelines: readonly PackedPipeline[];
  readonly variants: readonly VariantTable[];
  readonly kernels: readonly PackedKernel[];
}

/** `code` is the indices of texts that line breaks join. Kernels give their pipelines' labels. */
export type PackedPipeline = readonly [
  label: string | 0,
  bindings: string,
  parameters: number,
  code: readonly number[],
  constants?: PipelineTable["constants"],
  features?: PipelineTable["features"],
];

/** A candidate's variant is an index. */
export type PackedKernel = readonly [
  label: string,
  bindings: string,
  parameters: number,
  sizes: KernelTable["sizes"],
  candidates: readonly (readonly [
    variant: number,
    pipelines: readonly number[],
    limits?: KernelTable["candidates"][number]["limits"],
  ])[],
];

/** Packs the tables of a module. */
export function packTables(
  { pipelines, kernels }: Pick<ModuleTables, "pipelines" | "kernels">,
): PackedTables {
  const texts = new Indices<string>((text) => text);
  const codes = pipelines.map(({ code }) =>
    code.split(/\n(?=[a-z@])/).map(shortened).filter((text) => text !== "").map((text) =>
      texts.of(text)
    )
  );
  const ofKernels = new Set(
    kernels.flatMap(({ candidates }) => candidates.flatMap((candidate) => candidate.pipelines)),
  );
  const runs = shareRuns(codes, texts.items.length);
  const variants = new Indices<VariantTable>(({ name }) => name);
  return {
    texts: [...texts.items, ...runs],
    pipelines: pipelines.map(({ label, bindings, parameters, constants, features }, i) => {
      const row = [ofKernels.has(i) ? 0 : label, bindings, parameters, codes[i]!] as const;
      if (features !== undefined) return [...row, constants ?? {}, features];
      return constants === undefined ? row : [...row, constants];
    }),
    kernels: kernels.map(({ label, bindings, parameters, sizes, candidates }) => [
      label,
      bindings,
      parameters,
      sizes,
      candidates.map(({ variant, pipelines, limits }) => {
        const row = [variants.of(variant), pipelines] as const;
        return limits.length === 0 ? row : [...row, limits] as const;
      }),
    ]),
    variants: variants.items,
  };
}

/** Things by their order of appearance. */
class Indices<Thing> {
  readonly items: Thing[] = [];
  readonly #known = new Map<string, number>();
  constructor(readonly key: (thing: Thing) => string) {}

  of(thing: Thing): number {
    const key = this.key(thing);
    let at = this.#known.get(key);
    if (at === undefined) this.#known.set(key, at = this.items.push(thing) - 1);
    return at;
  }
}

/**
 * `text` without what is there for people: indentation, line breaks, and spaces that part nothing. Those
 * between two words and between two operators stay. Shaders have no comments and no strings.
 */
function shortened(text: string): string {
  return text.replace(/\s+/g, " ").trim()
    .replace(/(?<![\w.]) (?=[\w.])|(?<=[\w.]) (?![\w.])/g, "")
    .replace(/(?<=[(){}[\],;:@]) | (?=[(){}[\],;:@])/g, "");
}

/** Times that a pair must stand to be worth a text of its own. */
const FEWEST_PAIRS = 3;

/**
 * Replaces pairs of neighbours in `lists`, the most frequent first, by new numbers from `next` on, and
 * gives what each stands for (Larsson and Moffat, "Offline dictionary-based compression", 1999).
 */
function shareRuns(lists: number[][], next: number): number[][] {
  const runs: number[][] = [];
  for (;;) {
    const counts = new Map<string, number>();
    for (const list of lists) {
      for (let i = 0; i + 1 < list.length; i++) {
        const pair = `${list[i]},${list[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const [best, count] = [...counts].reduce((a, b) => b[1] > a[1] ? b : a, ["", 0]);
    if (count < FEWEST_PAIRS) return runs;
    const [left, right] = best.split(",").map(Number);
    const made = next + runs.push([left!, right!]) - 1;
    for (const list of lists) {
      for (let i = 0; i + 1 < list.length; i++) {
        if (list[i] === left && list[i + 1] === right) list.splice(i, 2, made);
      }
    }
  }
}
