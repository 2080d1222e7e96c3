/**
 * Changes that turn an attribute of an operator into an input: the value becomes a constant. The
 * tables in ONNX's change log (https://github.com/onnx/onnx/blob/main/docs/Changelog.md) say which.
 */
import { attribute, int, type Node } from "../../ir.ts";
import { type Rewriter, setInput, takeAttribute } from "./rewriter.ts";

/** `axes` becomes input 1: Squeeze, Unsqueeze and ReduceSum at 13, the other reductions at 18. */
export function axesInput(node: Node, rewriter: Rewriter): Node[] {
  const axes = rewriter.intsInput(node, "axes");
  if (axes !== null) setInput(node, 1, axes);
  return [node];
}

/** Slice at 10: `starts`, `ends` and `axes`. */
export function sliceInputs(node: Node, rewriter: Rewriter): Node[] {
  for (const [index, name] of [[1, "starts"], [2, "ends"]] as const) {
    if (attribute(node, name) === undefined) {
      throw rewriter.error(node, `attribute "${name}" is missing`);
    }
    setInput(node, index, rewriter.intsInput(node, name) ?? rewriter.int64s(name, []));
  }
  const axes = rewriter.intsInput(node, "axes");
  if (axes !== null) setInput(node, 3, axes);
  return [node];
}

/** TopK at 10: `k`, as a list of one. */
export function topKInput(node: Node, rewriter: Rewriter): Node[] {
  const known = attribute(node, "k");
  if (known === undefined) throw rewriter.error(node, `attribute "k" is missing`);
  if (known.type === "int") {
    takeAttribute(node, "k");
    setInput(node, 1, rewriter.int64s("k", [known.value]));
  } else {
    const scalar = rewriter.intInput(node, "k", null);
    const list = rewriter.int64s("k_shape", [1]);
    setInput(node, 1, rewriter.before("Reshape", [scalar ?? "", list], "k"));
  }
  return [node];
}

/** Split at 13: `split`. */
export function splitInput(node: Node, rewriter: Rewriter): Node[] {
  const split = rewriter.intsInput(node, "split");
  if (split !== null) setInput(node, 1, split);
  return [node];
}

/** Clip at 11: `min` and `max`. An absent bound stays absent: the type's own lowest or highest. */
export function clipInputs(node: Node, rewriter: Rewriter): Node[] {
  const data = node.inputs[0] ?? "";
  for (const [index, name] of [[1, "min"], [2, "max"]] as const) {
    const bound = rewriter.floatInput(node, name, data);
    if (bound !== null) setInput(node, index, bound);
  }
  return [node];
}

/** Pad at 11: `pads` and `value`. A value of 0, and one that the mode ignores, stays absent. */
export function padInputs(node: Node, rewriter: Rewriter): Node[] {
  if (attribute(node, "pads") === undefined) {
    throw rewriter.error(node, `attribute "pads" is missing`);
  }
  setInput(node, 1, rewriter.intsInput(node, "pads") ?? rewriter.int64s("pads", []));
  const ignored = (rewriter.plainText(node, "mode") ?? "constant") !== "constant";
  const value = attribute(node, "value");
  if (ignored || (value?.type === "float" && Object.is(value.value, 0))) {
    takeAttribute(node, "value");
    return [node];
  }
  const input = rewriter.floatInput(node, "value", node.inputs[0] ?? "");
  if (input !== null) setInput(node, 2, input);
  return [node];
}

/** Upsample at 9: `scales`. */
export function upsampleInput(node: Node, rewriter: Rewriter): Node[] {
  const scales = rewriter.floatsInput(node, "scales");
  if (scales === null) throw rewriter.error(node, `attribute "scales" is missing`);
  setInput(node, 1, scales);
  return [node];
}

/** DFT at 20: `axis`, whose default was 1 and is now -2. */
export function dftInput(node: Node, rewriter: Rewriter): Node[] {
  const axis = rewriter.intInput(node, "axis", 1);
  if (axis !== null) setInput(node, 2, axis);
  return [node];
}

/**
 * Dropout at 12: `ratio`, whose type is free. Without `training_mode` the operator goes on copying
 * its input, as it did in every runtime when it had no such input.
 */
export function dropoutInput(node: Node, rewriter: Rewriter): Node[] {
  const ratio = takeAttribute(node, "ratio");
  if (ratio?.value.type === "float") {
    setInput(node, 1, rewriter.constant("ratio", "float32", [], [ratio.value.value]));
  }
  return [node];
}

/** Split at 18: the number of equal parts, which had been the number of outputs, is an attribute. */
export function splitCount(node: Node): Node[] {
  if ((node.inputs[1] ?? "") === "") node.attributes.push(int("num_outputs", node.outputs.length));
  return [node];
}
