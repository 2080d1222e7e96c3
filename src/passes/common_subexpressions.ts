/** Nodes that compute what a node before them has computed: same op, inputs and attributes. */
import { type Attribute, makeNode, type Node } from "../ir.ts";
import { contentKey } from "../onnx/tensor.ts";
import type { Rule } from "./rule.ts";

/** Ops that give something else on every call. */
const RANDOM: ReadonlySet<string> = new Set([
  "Bernoulli",
  "Dropout",
  "Multinomial",
  "RandomNormal",
  "RandomNormalLike",
  "RandomUniform",
  "RandomUniformLike",
]);

/** What tells an attribute's value from others; null where that isn't known. */
function keyOf({ name, value }: Attribute): string | null {
  switch (value.type) {
    case "int":
    case "float":
    case "string":
    case "floats":
      // Numbers print so that they can be read back; -0 alone needs help.
      return Object.is(value.value, -0) ? `${name}=-0` : `${name}=${value.type}:${value.value}`;
    case "ints":
    case "strings":
      return `${name}=${value.type}:${value.value.join(";")}`;
    case "tensor": {
      const { value: tensor } = value;
      if (tensor.dtype === "string") return null;
      return `${name}=[${tensor.dims}]${contentKey(tensor)}`;
    }
    default:
      return null;
  }
}

function isSame(a: Node, b: Node): boolean {
  if (a.opType !== b.opType || a.domain !== b.domain) return false;
  if (a.inputs.length !== b.inputs.length || a.outputs.length !== b.outputs.length) return false;
  if (a.attributes.length !== b.attributes.length) return false;
  if (a.inputs.some((name, i) => name !== b.inputs[i])) return false;
  if (a.outputs.some((name, i) => name === "" && b.outputs[i] !== "")) return false;
  const keys = a.attributes.map(keyOf);
  if (keys.includes(null)) return false;
  const others = new Set(b.attributes.map(keyOf));
  return keys.every((key) => others.has(key));
}

/** The second of two nodes that do the same goes; a graph's output becomes a copy. */
export const commonSubexpressions: Rule = {
  name: "common subexpressions",
  rewrite(view, node) {
    if (RANDOM.has(node.opType) || node.opType === "Identity") return null;
    for (const earlier of view.passed(node.inputs[0] ?? "")) {
      if (!isSame(earlier, node)) continue;
      const nodes: Node[] = [];
      const renames: [string, string][] = [];
      for (const [i, name] of node.outputs.entries()) {
        if (name === "") continue;
        const same = earlier.outputs[i]!;
        if (view.isOutput(name)) nodes.push(makeNode("Identity", "", [same], [name]));
        else renames.push([name, same]);
      }
      return { nodes, renames };
    }
    return null;
  },
};
