/**
 * How much the input channels of a product count, as far as the graph itself tells. After a
 * normalization a channel of scale g and bias b has about the energy e = g g + b b, whatever the
 * input, and the error of a weight reaches the output times the channel it multiplies. The channels
 * that stand out do so even more in trained transformers, whose normalized outliers are heavy-tailed:
 * e e follows measured energies better than e (on MiniLM-L3 at 4 bits it is worth 0.1 dB of the
 * last hidden state).
 */
import { elementCount, type Node, type Tensor } from "../ir.ts";
import { attribute, intAttribute } from "../ir.ts";
import { tensorBytes } from "../onnx/tensor.ts";
import type { Body, Scopes } from "./scopes.ts";
import { isWeightType, type Weight } from "./weights.ts";
import { widen } from "./widen.ts";

/** Operators that hand every channel on as it is. */
const PASSING: ReadonlySet<string> = new Set(["Identity", "Cast", "Dropout"]);

/** Operators that normalize over the last axis, with the operands of their scale and bias. */
const NORMALIZATIONS: Readonly<Record<string, { scale: number; bias: number | null }>> = {
  "LayerNormalization": { scale: 1, bias: 2 },
  "RMSNormalization": { scale: 1, bias: null },
  "SimplifiedLayerNormalization": { scale: 1, bias: null },
  "com.microsoft.SkipLayerNormalization": { scale: 2, bias: 3 },
  "com.microsoft.SkipSimplifiedLayerNormalization": { scale: 2, bias: null },
};

/** Longest chain of operators that is followed. */
const MOST_STEPS = 8;

/**
 * The importance of each column of `weight`, with a mean of 1, where every operator that reads it is
 * a product with a normalization's result; else null.
 */
export async function columnImportance(
  scopes: Scopes,
  weight: Weight,
): Promise<Float32Array | null> {
  const { batch, columns } = weight.view;
  if (batch !== 1) return null;
  const total = new Float64Array(columns);
  for (const use of weight.uses) {
    if (use.kind !== "matmul" || intAttribute(use.node, "transA", 0) !== 0) return null;
    const found = normalizationOf(scopes, use.body, use.node.inputs[0] ?? "");
    if (found === null) return null;
    const scale = await vector(found.scale, columns);
    const bias = found.bias === null
      ? new Float32Array(columns)
      : await vector(found.bias, columns);
    if (scale === null || bias === null) return null;
    for (let i = 0; i < columns; i++) {
      const energy = scale[i]! * scale[i]! + bias[i]! * bias[i]!;
      total[i]! += energy * energy;
    }
  }
  let sum = 0;
  for (const value of total) sum += value;
  const mean = sum / columns;
  if (!(mean > 0 && mean < Infinity)) return null;
  return Float32Array.from(total, (value) => value / mean);
}

/** Constant scale and bias of a normalization. */
interface Normalization {
  readonly scale: Tensor;
  readonly bias: Tensor | null;
}

/** The normalization whose result `name` is, seen from `body`. */
function normalizationOf(scopes: Scopes, body: Body, name: string): Normalization | null {
  for (let step = 0; step < MOST_STEPS; step++) {
    const definition = scopes.resolve(body, name);
    if (definition?.kind !== "node" || definition.output !== 0) return null;
    const { node } = definition;
    if (PASSING.has(node.opType) && node.domain === "") {
      body = definition.body;
      name = node.inputs[0] ?? "";
      continue;
    }
    return normalization(scopes, definition.body, node) ??
      decomposedNormalization(scopes, definition.body, node);
  }
  return null;
}

function normalization(scopes: Scopes, body: Body, node: Node): Normalization | null {
  const key = node.domain === "" ? node.opType : `${node.domain}.${node.opType}`;
  const operands = Object.hasOwn(NORMALIZATIONS, key) ? NORMALIZATIONS[key] : undefined;
  if (operands === undefined) return null;
  const axis = attribute(node, "axis");
  if (axis?.type === "int" && axis.value !== -1n) return null;
  const scale = scopes.constant(body, node.inputs[operands.scale] ?? "");
  if (scale === null) return null;
  const biasName = operands.bias === null ? "" : node.inputs[operands.bias] ?? "";
  const bias = biasName === "" ? null : scopes.constant(body, biasName);
  return biasName !== "" && bias === null ? null : { scale, bias };
}

/** A normalization in parts: a quotient times a constant, plus a constant. */
function decomposedNormalization(scopes: Scopes, body: Body, node: Node): Normalization | null {
  const sum = withConstant(scopes, body, node, "Add");
  if (sum === null) return null;
  const product = withConstant(scopes, sum.body, sum.node, "Mul");
  if (product === null || product.node.opType !== "Div" || product.node.domain !== "") return null;
  return { scale: product.constant, bias: sum.constant };
}

/** The constant operand of `node`, an `opType`, and the node that makes the other one. */
function withConstant(
  scopes: Scopes,
  body: Body,
  node: Node,
  opType: string,
): { constant: Tensor; body: Body; node: Node } | null {
  if (node.opType !== opType || node.domain !== "" || node.inputs.length !== 2) return null;
  for (const [constantName, otherName] of [node.inputs, node.inputs.toReversed()]) {
    const constant = scopes.constant(body, constantName!);
    const other = scopes.resolve(body, otherName!);
    if (constant !== null && other?.kind === "node") {
      return { constant, body: other.body, node: other.node };
    }
  }
  return null;
}

/** A constant's `length` elements, or null where it has others or is of no float type. */
async function vector(tensor: Tensor, length: number): Promise<Float32Array | null> {
  if (!isWeightType(tensor.dtype) || elementCount(tensor.dims) !== length) return null;
  return widen(await tensorBytes(tensor), tensor.dtype);
}
