/**
 * The shaders of a module without their repetitions: a kernel's core stands in many of them, and each
 * of its declarations is written once.
 */
import type { CandidateTable, KernelTable, PipelineTable, VariantTable } from "./module.ts";

/** Pipelines whose code is a list of indices into `texts`, to be joined by line breaks. */
export interface SharedShaders {
  readonly texts: readonly string[];
  readonly pipelines:
    readonly (Omit<PipelineTable, "code"> & { readonly code: readonly number[] })[];
}

/**
 * Takes the shaders apart at their top-level declarations, and leaves out what is there for people:
 * indentation, empty lines, and the breaks within lists and around blocks. Shaders have no comments.
 */
export function shareShaders(pipelines: readonly PipelineTable[]): SharedShaders {
  const texts = new Map<string, number>();
  const indexOf = (text: string): number => {
    const known = texts.get(text);
    if (known !== undefined) return known;
    texts.set(text, texts.size);
    return texts.size - 1;
  };
  const shared = pipelines.map(({ code, ...rest }) => ({
    ...rest,
    code: code.split(/\n(?=[a-z@])/)
      .map((text) =>
        text.replace(/^[ \t]+|[ \t]+$/gm, "").replace(/\n\n+/g, "\n")
          .replace(/(?<=[,({])\n|\n(?=[)}])/g, "").trim()
      )
      .filter((text) => text !== "")
      .map(indexOf),
  }));
  return { texts: [...texts.keys()], pipelines: shared };
}

/** Kernels whose candidates name their variants by indices into `variants`. */
export interface SharedVariants {
  readonly variants: readonly VariantTable[];
  readonly kernels: readonly (Omit<KernelTable, "candidates"> & {
    readonly candidates: readonly (Omit<CandidateTable, "variant"> & {
      readonly variant: number;
    })[];
  })[];
}

/** Takes what kernels have in common out of them. */
export function shareVariants(kernels: readonly KernelTable[]): SharedVariants {
  const indices = new Map<string, number>();
  const variants: VariantTable[] = [];
  const indexOf = (variant: VariantTable): number => {
    const known = indices.get(variant.name);
    if (known !== undefined) return known;
    indices.set(variant.name, variants.length);
    return variants.push(variant) - 1;
  };
  return {
    kernels: kernels.map((kernel) => ({
      ...kernel,
      candidates: kernel.candidates.map((candidate) => ({
        ...candidate,
        variant: indexOf(candidate.variant),
      })),
    })),
    variants,
  };
}
