// @ts-check
/** The tables of pipelines and kernels, out of the form that they are written in. */

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("../shader_texts.ts").PackedTables} PackedTables
 */

/**
 * @param {PackedTables} packed
 * @returns {Pick<ModuleTables, "pipelines" | "kernels">}
 */
export function unpackTables({ texts, pipelines, variants, kernels }) {
  /** @type {(index: number) => string} */
  const textOf = (index) => {
    const text = texts[index] ?? "";
    return typeof text === "string" ? text : text.map(textOf).join("\n");
  };
  /** @type {string[]} */
  const labels = [];
  for (const [label, , , , candidates] of kernels) {
    for (const [variant, passes] of candidates) {
      for (const index of passes) labels[index] ??= `${label} (${variants[variant]?.name})`;
    }
  }
  return {
    pipelines: pipelines.map(([label, bindings, parameters, code, constants, features], i) => ({
      label: label || String(labels[i]),
      bindings,
      parameters,
      code: code.map(textOf).join("\n"),
      ...(constants && { constants }),
      ...(features && { features }),
    })),
    kernels: kernels.map(([label, bindings, parameters, sizes, candidates]) => ({
      label,
      bindings,
      parameters,
      sizes,
      candidates: candidates.flatMap(([index, pipelines, limits = []]) => {
        const variant = variants[index];
        return variant ? { variant, pipelines, limits } : [];
      }),
    })),
  };
}
