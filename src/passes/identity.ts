/** Nodes that give their input back. */
import { intsAttribute, type Node } from "../ir.ts";
import type { ModelView, Rule } from "./rule.ts";

/** Whether `node` gives its first input back as its only output that is read. */
function givesBack(view: ModelView, node: Node): boolean {
  if (node.domain !== "" || (node.inputs[0] ?? "") === "") return false;
  const [, ...others] = node.outputs;
  if (others.some((name) => view.reads(name) > 0)) return false;
  switch (node.opType) {
    case "Identity":
      return true;
    // Without training, as it is unless its third input says otherwise.
    case "Dropout": {
      const training = node.inputs[2] ?? "";
      return training === "" || view.integers(training)?.[0] === 0;
    }
    case "Transpose":
      return intsAttribute(node, "perm")?.every((axis, i) => axis === i) ?? false;
    case "Concat":
      return node.inputs.length === 1;
    default:
      return false;
  }
}

/** Whoever reads such a node's output reads its input; a graph's output keeps its node. */
export const identities: Rule = {
  name: "identities",
  rewrite(view, node) {
    const [output] = node.outputs;
    if (output === undefined || view.isOutput(output) || !givesBack(view, node)) return null;
    return { nodes: [], renames: [[output, node.inputs[0]!]] };
  },
};
