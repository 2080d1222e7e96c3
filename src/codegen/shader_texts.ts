/**
 * The shaders of a module without their repetitions: a kernel's core stands in many of them, and each
 * of its declarations is written once.
 */
import type { PipelineTable } from "./module.ts";

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
