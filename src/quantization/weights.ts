/**
 * Finds the weights of a model: the floating-point constants, in any graph, subgraph or function,
 * that operators with a weight operand compute with, directly or through operators that only move
 * elements. A weight is seen as matrices whose columns lie along the axis that is summed over, so
 * that quantization blocks run along it. What is no weight is listed with the reason.
 */
import type { Graph, Node, Tensor } from "../ir.ts";
import { elementCount, floatAttribute, hasUnreadAttribute, intAttribute } from "../ir.ts";
import { byteLength, DTYPES } from "../dtype.ts";
import { openTensor } from "../onnx/tensor.ts";
import type { WeightType } from "./engine.ts";
import type { MatrixView } from "./pipeline.ts";
import type { Body, Scopes } from "./scopes.ts";
import { constantTensor, isOverridable, nodesOf, sparseConstantsOf } from "./scopes.ts";
import type { Reading } from "./weight_trace.ts";
import { rowMajorStrides, traceReadings } from "./weight_trace.ts";

/** What a weight is for. */
export type WeightRole = "embedding" | "matmul" | "convolution" | "recurrent";

/**
 * How an operator reads a weight. `matmul`: as the second operand [K, N] of a product, the whole
 * tensor. `gather`: rows by index, the whole tensor. `float`: in any other way.
 */
export type UseKind = "matmul" | "gather" | "float";

/** An operator that computes with a weight. */
export interface WeightUse extends Reading {
  readonly node: Node;
  readonly kind: UseKind;
  readonly role: WeightRole;
}

/** A constant tensor that can be quantized. */
export interface Weight {
  readonly name: string;
  readonly tensor: Tensor;
  /** The body that defines the tensor. */
  readonly body: Body;
  /** The Constant node that holds the tensor; null for an initializer. */
  readonly constant: Node | null;
  readonly role: WeightRole;
  readonly view: MatrixView;
  readonly uses: readonly WeightUse[];
}

/** A constant tensor that is left as it is. */
export interface SkippedTensor {
  readonly name: string;
  readonly tensor: Tensor;
  readonly bytes: number;
  readonly reason: string;
}

/** Types that weights may come in. */
const WEIGHT_TYPES: readonly string[] = ["float32", "float16", "bfloat16", "float64"];

/** Whether the engines take tensors of this type. */
export function isWeightType(dtype: string): dtype is WeightType {
  return WEIGHT_TYPES.includes(dtype);
}

/** Every weight of the model, outer bodies first, and every other constant of two elements or more. */
export function findWeights(scopes: Scopes): { weights: Weight[]; skipped: SkippedTensor[] } {
  const weights: Weight[] = [];
  const skipped: SkippedTensor[] = [];
  for (const body of scopes.bodies) {
    for (const { name, tensor, constant } of constantsOf(body)) {
      if (elementCount(tensor.dims) < 2 || !isFloat(tensor)) continue;
      const found = examine(scopes, body, name, tensor, constant);
      if (typeof found === "string") {
        const bytes = byteLength(tensor.dtype, elementCount(tensor.dims));
        skipped.push({ name, tensor, bytes, reason: found });
      } else weights.push(found);
    }
    for (const { name, values } of sparseConstantsOf(body)) {
      if (!isFloat(values)) continue;
      skipped.push({
        name,
        tensor: values,
        bytes: byteLength(values.dtype, elementCount(values.dims)),
        reason: "it is stored sparse",
      });
    }
  }
  return { weights, skipped };
}

/** The constants that a body defines. */
function* constantsOf(
  body: Body,
): Generator<{ name: string; tensor: Tensor; constant: Node | null }> {
  for (const tensor of body.graph?.initializers ?? []) {
    yield { name: tensor.name, tensor, constant: null };
  }
  for (const node of nodesOf(body)) {
    const tensor = constantTensor(node);
    const name = node.outputs[0] ?? "";
    if (tensor !== null && name !== "") yield { name, tensor, constant: node };
  }
}

function isFloat(tensor: Tensor): boolean {
  return DTYPES[tensor.dtype].kind === "float";
}

/** The weight that a constant is, or the reason why it is none. */
function examine(
  scopes: Scopes,
  body: Body,
  name: string,
  tensor: Tensor,
  constant: Node | null,
): Weight | string {
  if (!isWeightType(tensor.dtype)) return `${tensor.dtype} is not quantized any further`;
  if (constant === null && isOverridable(scopes.model, { body, tensor })) {
    return "it is also an input of the graph, so a caller may replace it";
  }
  const readings = traceReadings(scopes, body, name, tensor, smallIntegers);
  if (readings === null) return "too many operators read it, or parts of it";
  if (readings.length === 0) return "nothing reads it";
  const matrix = tensor.dims.filter((dim) => dim > 1).length;
  const operands: { use: WeightUse; reduction: Reduction }[] = [];
  for (const reading of readings) {
    if (reading.node === null) return outputReason(reading.body.graph);
    const operand = weightOperand(reading.node, reading.input, reading);
    if (operand === null) {
      return matrix < 2
        ? `a vector that ${quoted(reading.node)} reads`
        : hasUnreadAttribute(reading.node)
        ? `${quoted(reading.node)} reads it in a way that the callers of its function choose`
        : `${quoted(reading.node)} reads it, which takes no quantized weight there`;
    }
    const { kind, role, reduction } = operand;
    operands.push({ use: { ...reading, node: reading.node, kind, role }, reduction });
  }
  if (matrix < 2 && tensor.dims.length < 2) return "a vector";
  const first = operands.find(({ use }) => use.kind !== "float") ?? operands[0]!;
  const view = matrixView(tensor, tensor.dtype, first.reduction);
  const uses = operands.map(({ use }) => withAgreement(use, tensor, view));
  const { role } = uses.find((use) => use.kind === "gather") ?? first.use;
  return { name, tensor, body, constant, role, view, uses };
}

function outputReason(graph: Graph | null): string {
  return `it leaves ${graph === null ? "a function" : `the graph "${graph.name}"`} as an output`;
}

/** How a node is called in a sentence: its op, and its name or that of its first output. */
export function quoted(node: Node): string {
  return `${node.opType} "${node.name || node.outputs[0] || ""}"`;
}

/** The use as it can be rewritten given the weight's matrix: a product or a lookup along it. */
function withAgreement(use: WeightUse, tensor: Tensor, view: MatrixView): WeightUse {
  if (use.kind === "float") return use;
  // What takes the place of a node reads its other operand and gives a value of the same name.
  const { inputs, outputs } = use.node;
  const operands = [inputs[use.kind === "gather" ? 1 : 0], outputs[0]];
  if (operands.some((name) => (name ?? "") === "")) return { ...use, kind: "float" };
  const { dims, strides, whole } = use.view;
  const columnStride = view.order === "rows" ? 1 : view.rows;
  const rowStride = view.order === "rows" ? view.columns : 1;
  const fits = whole && strides !== null && view.batch === 1 &&
    elementCount(dims) === elementCount(tensor.dims) &&
    (use.kind === "gather"
      ? dims[0] === view.rows && view.order === "rows" &&
        sameStrides(dims, strides, rowMajorStrides(dims))
      : fitsProduct(use, view, columnStride, rowStride));
  return fits ? use : { ...use, kind: "float" };
}

/** Whether a two-dimensional operand is [K, N] (or [N, K] where transposed) over the matrix. */
function fitsProduct(
  use: WeightUse,
  view: MatrixView,
  columnStride: number,
  rowStride: number,
): boolean {
  const { dims, strides } = use.view;
  if (dims.length !== 2) return false;
  const transposed = intAttribute(use.node, "transB", 0) !== 0;
  const expected = transposed ? [view.rows, view.columns] : [view.columns, view.rows];
  const wanted = transposed ? [rowStride, columnStride] : [columnStride, rowStride];
  return dims[0] === expected[0] && dims[1] === expected[1] && sameStrides(dims, strides!, wanted);
}

/** Whether strides agree on every axis of more than one element. */
function sameStrides(
  dims: readonly number[],
  a: readonly number[],
  b: readonly number[],
): boolean {
  return dims.every((dim, axis) => dim === 1 || a[axis] === b[axis]);
}

/** The axis that an operator sums over, as it lies in the tensor. */
interface Reduction {
  readonly extent: number;
  /** Null where it does not lie in the tensor with one stride. */
  readonly stride: number | null;
}

/** Attributes that decide which axis of a weight an operator sums over, or looks up along. */
const DECISIVE_ATTRIBUTES: readonly string[] = [
  "axis",
  "transA",
  "transB",
  "transBatchA",
  "transBatchB",
];

/** What a node does with a weight at operand `input`; null where that is no weight operand. */
function weightOperand(
  node: Node,
  input: number,
  reading: Reading,
): { kind: UseKind; role: WeightRole; reduction: Reduction } | null {
  const { dims, strides } = reading.view;
  const rank = dims.length;
  // Callers of a function say how its node reads the weight, and may say it differently.
  if (hasUnreadAttribute(node, DECISIVE_ATTRIBUTES)) return null;
  const rewritable = !hasUnreadAttribute(node);
  const along = (axes: number[]): Reduction => {
    const wide = axes.filter((axis) => dims[axis]! > 1);
    const extent = elementCount(wide.map((axis) => dims[axis]!));
    if (strides === null) return { extent, stride: null };
    // A sum has no order: what counts is how the axes lie in the tensor.
    wide.sort((a, b) => strides[b]! - strides[a]!);
    const merges = wide.every((axis, at) =>
      at === wide.length - 1 ||
      strides[axis] === strides[wide[at + 1]!]! * dims[wide[at + 1]!]!
    );
    return { extent, stride: merges ? strides[wide.at(-1) ?? axes[0]!] ?? 1 : null };
  };
  switch (`${node.domain}:${node.opType}`) {
    case ":MatMul":
    case "com.microsoft:FusedMatMul": {
      if (rank < 2 || input > 1) return null;
      const transposed = intAttribute(node, input === 0 ? "transA" : "transB", 0) !== 0;
      const reduction = along([(input === 0) === transposed ? rank - 2 : rank - 1]);
      const plain = intAttribute(node, "transBatchA", 0) === 0 &&
        intAttribute(node, "transBatchB", 0) === 0 && intAttribute(node, "transA", 0) === 0;
      const kind = input === 1 && rank === 2 && plain && rewritable ? "matmul" : "float";
      return { kind, role: "matmul", reduction };
    }
    case ":Gemm": {
      if (rank !== 2 || input > 1) return null;
      const transposed = intAttribute(node, input === 0 ? "transA" : "transB", 0) !== 0;
      const reduction = along([(input === 0) === transposed ? 0 : 1]);
      const finite = Number.isFinite(floatAttribute(node, "alpha", 1));
      const kind = input === 1 && finite && rewritable ? "matmul" : "float";
      return { kind, role: "matmul", reduction };
    }
    case ":Gather": {
      const axis = intAttribute(node, "axis", 0);
      if (input !== 0 || rank < 2 || (axis !== 0 && axis !== -rank)) return null;
      const rest = [...dims.keys()].slice(1);
      return { kind: "gather", role: "embedding", reduction: along(rest) };
    }
    case ":Conv":
    case "com.microsoft:FusedConv":
      if (input !== 1 || rank < 3) return null;
      return {
        kind: "float",
        role: "convolution",
        reduction: along([...dims.keys()].slice(1)),
      };
    case ":ConvTranspose": {
      if (input !== 1 || rank < 3 || hasUnreadAttribute(node, ["group"])) return null;
      const channels = dims[0]! / Math.max(1, intAttribute(node, "group", 1));
      const inputs = along([0]);
      const reduction = channels >= 16
        ? { extent: channels, stride: inputs.stride }
        : along([...dims.keys()].slice(1));
      return { kind: "float", role: "convolution", reduction };
    }
    case ":LSTM":
    case ":GRU":
    case ":RNN":
      if ((input !== 1 && input !== 2) || rank !== 3) return null;
      return { kind: "float", role: "recurrent", reduction: along([2]) };
    case "com.microsoft:Attention":
      return input === 1 && rank === 2
        ? { kind: "float", role: "matmul", reduction: along([0]) }
        : null;
    default:
      return null;
  }
}

/** The tensor as matrices with their columns along the reduction. */
function matrixView(tensor: Tensor, weightType: WeightType, reduction: Reduction): MatrixView {
  const { dims } = tensor;
  const count = elementCount(dims);
  const { extent, stride } = reduction;
  if (stride === null || stride <= 1 || count % (stride * extent) !== 0) {
    const least = stride === null ? 1 : extent;
    let columns = 1;
    for (let axis = dims.length - 1; axis >= 0 && (columns === 1 || columns < least); axis--) {
      columns *= dims[axis]!;
    }
    return { batch: 1, rows: count / columns, columns, order: "rows", weightType };
  }
  return {
    batch: count / (stride * extent),
    rows: stride,
    columns: extent,
    order: "columns",
    weightType,
  };
}

/** Values of a constant of up to 64 integers. */
function smallIntegers(tensor: Tensor): number[] | null {
  const count = elementCount(tensor.dims);
  if (count > 64 || (tensor.dtype !== "int64" && tensor.dtype !== "int32")) return null;
  const reader = openTensor(tensor);
  try {
    const bytes = new Uint8Array(reader.byteLength);
    reader.readSync(0, bytes);
    return tensor.dtype === "int64"
      ? [...new BigInt64Array(bytes.buffer, 0, count)].map(Number)
      : [...new Int32Array(bytes.buffer, 0, count)];
  } finally {
    reader.close();
  }
}
