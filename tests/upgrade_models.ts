/**
 * Small models of given opsets for the tests of the opset upgrade, as IR objects, and their bytes.
 */
import { type DType, DTYPES } from "../src/dtype.ts";
import {
  type Attribute,
  type Dim,
  type Graph,
  int,
  ints,
  makeNode,
  makeTensor,
  type Model,
  type ModelFunction,
  type Node,
  NOTHING_CARRIED,
  type Tensor,
  type ValueInfo,
} from "../src/ir.ts";
import { encodeModel } from "../src/onnx/encode.ts";
import { openTensor } from "../src/onnx/tensor.ts";

const carried = NOTHING_CARRIED;

/** Values of attributes: an integer, floats, a text, lists, or a graph. */
export type AttributeInput =
  | bigint
  | { float: number }
  | { floats: number[] }
  | string
  | readonly (number | bigint)[]
  | Graph;

function attributeOf(name: string, value: AttributeInput): Attribute {
  if (typeof value === "bigint") return int(name, value);
  if (typeof value === "string") {
    return { name, value: { type: "string", value: new TextEncoder().encode(value) }, carried };
  }
  if ("float" in value) return { name, value: { type: "float", value: value.float }, carried };
  if ("floats" in value) return { name, value: { type: "floats", value: value.floats }, carried };
  if ("nodes" in value) return { name, value: { type: "graph", value }, carried };
  return ints(name, value);
}

/** A node of the default domain: `node("Clip", "x", "y", { min: { float: 0 } })`. */
export function node(
  op: string,
  inputs: string,
  outputs: string,
  attributes: Readonly<Record<string, AttributeInput>> = {},
  domain = "",
): Node {
  const split = (text: string): string[] => text === "" ? [] : text.split(",");
  const list = Object.entries(attributes).map(([name, value]) => attributeOf(name, value));
  return makeNode(op, domain, split(inputs), split(outputs), list);
}

/** A constant tensor of `values`. */
export function tensor(
  name: string,
  dtype: "float32" | "float64" | "float16" | "int64" | "int32" | "uint8" | "bool",
  dims: readonly number[],
  values: readonly number[],
): Tensor {
  const size = DTYPES[dtype].bits / 8;
  const bytes = new Uint8Array(values.length * size);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    const at = index * size;
    if (dtype === "float32") view.setFloat32(at, value, true);
    else if (dtype === "float64") view.setFloat64(at, value, true);
    else if (dtype === "float16") view.setFloat16(at, value, true);
    else if (dtype === "int64") view.setBigInt64(at, BigInt(value), true);
    else if (dtype === "int32") view.setInt32(at, value, true);
    else view.setUint8(at, value);
  });
  return makeTensor(name, dtype, dims, { kind: "memory", bytes });
}

/** The declaration of a value; without `shape`, one of unknown rank. */
export function declared(
  name: string,
  dtype: DType | null = "float32",
  shape: readonly Dim[] | null = null,
): ValueInfo {
  return { name, dtype, shape, wire: null };
}

/** A graph. Strings name float32 outputs of unknown rank. */
export function graph(
  nodes: Node[],
  outputs: (string | ValueInfo)[],
  options: { inputs?: ValueInfo[]; initializers?: Tensor[]; name?: string } = {},
): Graph {
  return {
    name: options.name ?? "graph",
    nodes,
    initializers: options.initializers ?? [],
    sparseInitializers: [],
    inputs: options.inputs ?? [],
    outputs: outputs.map((output) => typeof output === "string" ? declared(output) : output),
    valueInfo: [],
    carried,
  };
}

/** Lowest IR versions in which an opset came; for opsets above, 8. */
const IR: Readonly<Record<number, number>> = {
  6: 3,
  7: 3,
  8: 3,
  9: 4,
  10: 5,
  11: 6,
  12: 7,
  13: 7,
  14: 7,
};

/** A model of `opset` around `graph`. */
export function modelOf(
  opset: number,
  graph: Graph,
  options: { functions?: ModelFunction[]; irVersion?: number; domains?: [string, number][] } = {},
): Model {
  return {
    path: "test.onnx",
    irVersion: options.irVersion ?? IR[opset] ?? (opset > 20 ? 10 : opset > 18 ? 9 : 8),
    opsets: new Map([["", opset], ...(options.domains ?? [])]),
    metadata: [],
    graph,
    functions: options.functions ?? [],
    training: [],
    external: false,
    carried,
  };
}

/** A function of domain "local". */
export function functionOf(
  name: string,
  opset: number,
  nodes: Node[],
  inputs: string[],
  outputs: string[],
): ModelFunction {
  return {
    name,
    domain: "local",
    overload: "",
    inputs,
    outputs,
    attributes: [],
    opsets: new Map([["", opset]]),
    nodes,
    valueInfo: [],
    carried,
  };
}

/** A tensor's data as it stands in a model file: records of a typed field, or raw bytes. */
function dataOf(tensor: Tensor): Uint8Array {
  const { data } = tensor;
  if (data.kind !== "typed") {
    const reader = openTensor(tensor);
    const bytes = new Uint8Array(reader.byteLength);
    reader.readSync(0, bytes);
    reader.close();
    return bytes;
  }
  const file = Deno.readFileSync(data.path);
  const parts = data.ranges.map(({ offset, length }) => file.subarray(offset, offset + length));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}

/** The file of a model without external data. */
export function bytesOf(model: Model): Uint8Array<ArrayBuffer> {
  const rope = encodeModel(model, () => undefined);
  const bytes = new Uint8Array(rope.length);
  let at = 0;
  for (const piece of rope.pieces) {
    bytes.set(piece instanceof Uint8Array ? piece : dataOf(piece.tensor), at);
    at += piece.length;
  }
  return bytes;
}
