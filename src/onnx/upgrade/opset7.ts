/**
 * Changes at opset 7, where implicit broadcasting became that of NumPy: before, an attribute asked
 * for it and named the axis that the second operand starts at.
 */
import { ints, makeNode, type Node } from "../../ir.ts";
import { type Rewriter, takeAttribute } from "./rewriter.ts";

/** Add, And, Div, Equal, Greater, Less, Mul, Or, Pow, Sub and Xor at 7. */
export function broadcastAxis(node: Node, rewriter: Rewriter): Node[] {
  const broadcast = rewriter.plainInt(node, "broadcast", 0) !== 0;
  takeAttribute(node, "broadcast");
  const axis = takeAttribute(node, "axis");
  if (!broadcast || axis?.value.type !== "int") return [node];
  const [first = "", second = ""] = node.inputs;
  const [rank, inner] = [rewriter.rankOf(first), rewriter.rankOf(second)];
  if (rank === null || inner === null) {
    throw rewriter.error(
      node,
      `the ranks of its inputs, which its attribute "axis" refers to, are not known. Infer the ` +
        `shapes of the model first`,
    );
  }
  const start = Number(axis.value.value) + (axis.value.value < 0n ? rank : 0);
  return withTrailingAxes(node, rewriter, inner, rank - start - inner);
}

/** PRelu at 7: a slope a channel, which had met axis 1, meets the last axis. */
export function slopeAxis(node: Node, rewriter: Rewriter): Node[] {
  const [data = "", slope = ""] = node.inputs;
  const constant = rewriter.constantOf(slope);
  if (constant?.dims.every((dim) => dim === 1)) return [node];
  const [rank, inner] = [rewriter.rankOf(data), rewriter.rankOf(slope)];
  if (rank === null || inner === null) {
    throw rewriter.error(
      node,
      `the ranks of its inputs are not known, but its slopes belong to axis 1. Infer the shapes ` +
        `of the model first`,
    );
  }
  return inner === 1 ? withTrailingAxes(node, rewriter, inner, rank - 2) : [node];
}

function withTrailingAxes(
  node: Node,
  rewriter: Rewriter,
  rank: number,
  trailing: number,
): Node[] {
  if (trailing < 0) {
    throw rewriter.error(node, `its second operand reaches past the last axis of the first`);
  }
  if (trailing === 0) return [node];
  const [, second = ""] = node.inputs;
  const wide = rewriter.fresh(`${second}_wide`);
  const axes = Array.from({ length: trailing }, (_, i) => rank + i);
  node.inputs[1] = wide;
  return [makeNode("Unsqueeze", "", [second], [wide], [ints("axes", axes)]), node];
}

/** Attributes that are gone at 7 without a successor: inference is what remains. */
export function withoutAttributes(...names: string[]): (node: Node) => Node[] {
  return (node) => {
    for (const name of names) takeAttribute(node, name);
    return [node];
  };
}

/** BatchNormalization at 7: `is_test`, which decided over training, gives way to the outputs. */
export function batchNormalizationTest(node: Node, rewriter: Rewriter): Node[] {
  const test = rewriter.plainInt(node, "is_test", 0) !== 0;
  takeAttribute(node, "is_test");
  takeAttribute(node, "consumed_inputs");
  if (test && !node.outputs.slice(1).some((output) => rewriter.isRead(output))) {
    node.outputs.length = 1;
  }
  return [node];
}
