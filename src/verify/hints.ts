/**
 * What a model's graph says about the values that an input may take: how many rows the tables have
 * that it indexes, and which numbers it is compared with.
 */
import { tensorBytes } from "../onnx/tensor.ts";
import {
  allGraphs,
  attribute,
  elementCount,
  intAttribute,
  type Model,
  type Node,
  type Tensor,
} from "../ir.ts";

/** What is known of one input's values. */
export interface InputHints {
  /** Rows of the smallest table that the input indexes; null where it indexes none. */
  readonly vocabulary: { readonly rows: number; readonly table: string } | null;
  /** Integers that the input is tested for equality with, in the order of the graph. */
  readonly comparedWith: readonly number[];
  /** Extents above 1 of the constants that the input meets, in the order of the graph. */
  readonly nearbyExtents: readonly number[];
}

/** Extents of constants that are kept as worth trying for an input. */
const MOST_EXTENTS = 8;

/** Ops whose first input's values are those of their output, rearranged. */
const REARRANGING = new Set([
  "Identity",
  "Cast",
  "Reshape",
  "Unsqueeze",
  "Squeeze",
  "Flatten",
  "Transpose",
  "Slice",
  "Expand",
  "Tile",
]);

/** Hints for the graph inputs of `model`, by name. */
export async function inputHints(model: Model): Promise<Map<string, InputHints>> {
  const readers = new Map<string, { node: Node; index: number }[]>();
  const constants = new Map<string, Tensor>();
  const makers = new Map<string, Node>();
  for (const graph of allGraphs(model.graph)) {
    for (const tensor of graph.initializers) constants.set(tensor.name, tensor);
    for (const node of graph.nodes) {
      const value = node.opType === "Constant" ? attribute(node, "value") : undefined;
      if (value?.type === "tensor" && node.outputs[0] !== undefined) {
        constants.set(node.outputs[0], value.value);
      }
      for (const output of node.outputs) makers.set(output, node);
      node.inputs.forEach((name, index) => {
        if (name === "") return;
        const list = readers.get(name);
        if (list === undefined) readers.set(name, [{ node, index }]);
        else list.push({ node, index });
      });
    }
  }

  /** The constant behind `name`, through casts and dequantization. */
  const constantBehind = (name: string | undefined): Tensor | undefined => {
    for (let hop = 0; name !== undefined && hop < 4; hop++) {
      const found = constants.get(name);
      if (found !== undefined) return found;
      const maker = makers.get(name);
      if (!["Identity", "Cast", "DequantizeLinear"].includes(maker?.opType ?? "")) break;
      name = maker?.inputs[0];
    }
    return undefined;
  };

  const hints = new Map<string, InputHints>();
  for (const { name } of model.graph.inputs) {
    let vocabulary: InputHints["vocabulary"] = null;
    const comparedWith: number[] = [];
    const nearbyExtents = new Set<number>();
    const seen = new Set([name]);
    for (const value of seen) {
      for (const { node, index } of readers.get(value) ?? []) {
        if (REARRANGING.has(node.opType) && index === 0) {
          for (const output of node.outputs) seen.add(output);
        }
        const table = indexedTable(node, index, constantBehind);
        if (table !== null && (vocabulary === null || table.rows < vocabulary.rows)) {
          vocabulary = table;
        }
        for (const operand of node.inputs) {
          for (const dim of constantBehind(operand)?.dims ?? []) {
            if (dim > 1 && nearbyExtents.size < MOST_EXTENTS) nearbyExtents.add(dim);
          }
        }
        if (node.opType === "Equal") {
          const number = await integerOf(constantBehind(node.inputs[1 - index]));
          if (number !== null && !comparedWith.includes(number)) comparedWith.push(number);
        }
      }
    }
    hints.set(name, { vocabulary, comparedWith, nearbyExtents: [...nearbyExtents] });
  }
  return hints;
}

/** The constant table that `node` looks up with its input `index`, or null. */
function indexedTable(
  node: Node,
  index: number,
  constantBehind: (name: string | undefined) => Tensor | undefined,
): { rows: number; table: string } | null {
  let data: string | undefined;
  let axis = 0;
  if (node.opType === "Gather" && index === 1) {
    data = node.inputs[0];
    axis = intAttribute(node, "axis", 0);
  } else if (node.opType === "GatherBlockQuantized" && index === 1) {
    data = node.inputs[0];
    axis = intAttribute(node, "gather_axis", 0);
  } else if (node.opType === "EmbedLayerNormalization" && index < 2) {
    data = node.inputs[index === 0 ? 2 : 4];
  }
  const tensor = constantBehind(data);
  if (tensor === undefined) return null;
  const rows = tensor.dims.at(axis);
  return rows === undefined || rows < 1 ? null : { rows, table: tensor.name };
}

/** The value of a tensor of one integer, or null for any other tensor. */
async function integerOf(tensor: Tensor | undefined): Promise<number | null> {
  if (tensor === undefined || elementCount(tensor.dims) !== 1) return null;
  if (tensor.dtype !== "int64" && tensor.dtype !== "int32") return null;
  const bytes = await tensorBytes(tensor);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return tensor.dtype === "int64" ? Number(view.getBigInt64(0, true)) : view.getInt32(0, true);
}
