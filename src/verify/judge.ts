/**
 * What the compared outputs mean: which are failures under a tolerance, what a person should be warned
 * of, and what the comparison says nothing about.
 */
import type { Model } from "../ir.ts";
import type { OutputComparison } from "./metrics.ts";
import type { Placement } from "./placement.ts";
import type { Tolerance } from "./tolerance.ts";

/** Adds to `failures` what is wrong with one output. */
export function judge(
  output: OutputComparison,
  isProbability: boolean,
  tolerance: Tolerance | null,
  failures: string[],
): void {
  const { float, name } = output;
  if (float === null) {
    if (tolerance !== null && output.equalShare < tolerance.equalShare) {
      failures.push(
        `output "${name}": ${percent(output.equalShare)} of its elements are equal, where ` +
          `${percent(tolerance.equalShare)} are wanted`,
      );
    }
    return;
  }
  if (float.nan.result > float.nan.original) {
    failures.push(
      `output "${name}": ${float.nan.result} NaN, the original has ` +
        `${float.nan.original}`,
    );
  }
  if (float.infinite.result > float.infinite.original) {
    failures.push(
      `output "${name}": ${float.infinite.result} infinite values, the original has ` +
        `${float.infinite.original}`,
    );
  }
  // Where the original's become numbers, as many fewer are left.
  const lost = float.nan.original + float.infinite.original -
    float.nan.result - float.infinite.result;
  if (lost >= 0 && float.nonFiniteMismatches > lost) {
    failures.push(
      `output "${name}": NaN or infinite values in other places than the original, or of another ` +
        "sign",
    );
  }
  if (tolerance === null) return;
  if (isProbability && float.maxAbsError <= tolerance.probability) return;
  if (float.pooledRelativeL2 === null) {
    failures.push(`output "${name}": the original's values are all zero and the result's are not`);
  } else if (float.pooledRelativeL2 > tolerance.relativeL2) {
    failures.push(
      `output "${name}": relative L2 error ${float.pooledRelativeL2.toExponential(2)} over all ` +
        `inputs, past the limit of ${tolerance.relativeL2}`,
    );
  }
}

/** What a person should know before using the result. */
export function warningsOf(
  outputs: readonly OutputComparison[],
  provider: string,
  ...placements: readonly Placement[]
): string[] {
  const warnings = outputs.filter(({ collapsed }) => collapsed !== null).map(
    ({ name, collapsed }) => `output "${name}" has collapsed: ${collapsed}`,
  );
  for (const { name, elements, float } of outputs) {
    if (elements === 0) {
      warnings.push(`output "${name}" has no elements on these inputs: nothing of it was compared`);
    } else if (float !== null && float.nan.original + float.infinite.original === elements) {
      warnings.push(
        `output "${name}" of the original is NaN or infinite throughout on these inputs: nothing ` +
          "of it was compared",
      );
    }
  }
  placements.forEach((placement, index) => {
    const which = index === 0 ? "original" : "result";
    const { elsewhere, nodes } = placement;
    if (elsewhere === null) {
      warnings.push(
        `which nodes of the ${which} ran on "${provider}" is not known: ` +
          placement.how,
      );
    } else if (nodes !== null && elsewhere.length === nodes) {
      warnings.push(`no node of the ${which} ran on "${provider}": this is no check of it`);
    } else if (elsewhere.length > 0) {
      const ops = new Map<string, number>();
      for (const { op } of elsewhere) ops.set(op, (ops.get(op) ?? 0) + 1);
      warnings.push(
        `${elsewhere.length} of ${nodes} nodes of the ${which} did not run on "${provider}" but on ` +
          `${[...new Set(elsewhere.map((node) => node.provider))].join(", ")}: ` +
          [...ops].map(([op, count]) => `${count} ${op}`).join(", "),
      );
    }
  });
  return warnings;
}

/** What the comparison says nothing about. */
export function unchecked(
  model: Model,
  run: { readonly unfetched: readonly string[]; readonly random: readonly string[] },
  tolerance: Tolerance | null,
): string[] {
  const sentences: string[] = [];
  if (run.unfetched.length > 0) {
    sentences.push(
      `outputs that are no tensors of a type that can be fetched: ${run.unfetched.join(", ")}`,
    );
  }
  if (run.random.length > 0) {
    const names = run.random.map((name) => `"${name}"`).join(", ");
    sentences.push(`real data: ${names} made up; give your own with --inputs`);
  }
  if (model.graph.nodes.some((node) => node.opType === "If")) {
    sentences.push("branches of If that these inputs do not take");
  }
  if (tolerance === null) {
    sentences.push(
      "a limit on the error: none is set for this precision; set one with --max-error",
    );
  }
  return sentences;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share === 1 ? 0 : 2)} %`;
}
