/**
 * The intermediate representation: a model as plain data. The ONNX reader makes it, passes and
 * encodings rewrite it, the writer stores it. Weights are references into files, never arrays.
 *
 * `carried` holds the wire bytes (tags included) of a message's fields as they were read, without
 * the nodes, graphs, tensors, attributes and value infos that the IR holds as objects. Where the IR
 * still says what those bytes say, the writer keeps them; where it says something else, the IR
 * wins. So reading and writing lose nothing, unknown fields included, and any property here may
 * simply be assigned to.
 */
import type { DType } from "./dtype.ts";

/** A dimension: its extent, the name of a symbolic extent, or null when nothing is known. */
export type Dim = number | string | null;

/** Where the bytes of a tensor are. The bytes are always those that `raw_data` would hold. */
export type TensorData =
  /** `length` bytes at `offset` of the file `path`. */
  | {
    readonly kind: "file";
    readonly path: string;
    readonly offset: number;
    readonly length: number;
  }
  /** Bytes in memory. */
  | { readonly kind: "memory"; readonly bytes: Uint8Array }
  /**
   * Values in one of the typed fields (`float_data`, `int32_data`, ...): the field's occurrences,
   * whole records, as they stand at `ranges` of the model file; no ranges for an empty tensor.
   * Decoded when asked for. `length` is that of the raw form, for strings that of the ranges.
   */
  | {
    readonly kind: "typed";
    readonly field: TypedField;
    readonly path: string;
    readonly ranges: readonly { readonly offset: number; readonly length: number }[];
    readonly length: number;
  }
  /** Bytes that a conversion will fill in after the file's layout is fixed. */
  | { readonly kind: "pending"; readonly length: number };

/** The typed fields of `TensorProto`. */
export type TypedField =
  | "float_data"
  | "int32_data"
  | "string_data"
  | "int64_data"
  | "double_data"
  | "uint64_data";

/** A constant tensor. */
export interface Tensor {
  name: string;
  dtype: DType;
  dims: readonly number[];
  data: TensorData;
  /** True where the source keeps the bytes in an external file. */
  external: boolean;
  carried: Uint8Array;
}

/** A constant tensor in coordinate form (`SparseTensorProto`). */
export interface SparseTensor {
  values: Tensor;
  indices: Tensor;
  dims: readonly number[];
  carried: Uint8Array;
}

/** The value of an attribute, tagged with ONNX's `AttributeProto.AttributeType` in words. */
export type AttributeValue =
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "int"; readonly value: bigint }
  | { readonly type: "string"; readonly value: Uint8Array }
  | { readonly type: "tensor"; readonly value: Tensor }
  | { readonly type: "graph"; readonly value: Graph }
  | { readonly type: "sparse_tensor"; readonly value: SparseTensor }
  | { readonly type: "floats"; readonly value: readonly number[] }
  | { readonly type: "ints"; readonly value: readonly bigint[] }
  | { readonly type: "strings"; readonly value: readonly Uint8Array[] }
  | { readonly type: "tensors"; readonly value: readonly Tensor[] }
  | { readonly type: "graphs"; readonly value: readonly Graph[] }
  | { readonly type: "sparse_tensors"; readonly value: readonly SparseTensor[] }
  /**
   * What is only carried: a reference to an attribute of the enclosing function, a type, a list
   * of more than 256 KiB.
   */
  | { readonly type: "carried" };

/** A named attribute of a node. */
export interface Attribute {
  name: string;
  value: AttributeValue;
  carried: Uint8Array;
}

/** An operator call. An omitted optional input or output is the empty name. */
export interface Node {
  name: string;
  opType: string;
  /** Domain of the operator; the default domain is the empty string ("ai.onnx" is folded to it). */
  domain: string;
  inputs: string[];
  outputs: string[];
  attributes: Attribute[];
  carried: Uint8Array;
}

/** The type of a named value. `dtype` is null for sequences, maps, optionals and sparse tensors. */
export interface ValueInfo {
  name: string;
  dtype: DType | null;
  /** Null when the rank is unknown. */
  shape: readonly Dim[] | null;
  /** Wire bytes of the whole `ValueInfoProto`; null when made by modelcast. */
  wire: Uint8Array | null;
}

/** A graph or a subgraph. Nodes are in topological order. */
export interface Graph {
  name: string;
  nodes: Node[];
  initializers: Tensor[];
  sparseInitializers: SparseTensor[];
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  valueInfo: ValueInfo[];
  carried: Uint8Array;
}

/** A function that the model defines (`FunctionProto`). */
export interface ModelFunction {
  name: string;
  domain: string;
  /** Tells functions of one name and domain apart; nearly always empty. */
  overload: string;
  opsets: Map<string, number>;
  inputs: string[];
  outputs: string[];
  /** Attributes that have a default value (`attribute_proto`). */
  attributes: Attribute[];
  nodes: Node[];
  valueInfo: ValueInfo[];
  carried: Uint8Array;
}

/** How to train the model (`TrainingInfoProto`). */
export interface TrainingInfo {
  initialization: Graph | null;
  algorithm: Graph | null;
  carried: Uint8Array;
}

/** A whole model. */
export interface Model {
  /** The file it was read from; errors name it. */
  path: string;
  irVersion: number;
  /** Opset version by domain, in the file's order; the default domain is the empty string. */
  opsets: Map<string, number>;
  /** `metadata_props`, in the file's order. */
  metadata: [key: string, value: string][];
  graph: Graph;
  functions: ModelFunction[];
  training: TrainingInfo[];
  /** True where the source keeps any tensor in an external file: its output does so too. */
  external: boolean;
  carried: Uint8Array;
}

/** No carried fields. */
export const NOTHING_CARRIED: Uint8Array = new Uint8Array(0);

/** Number of elements of a shape: the product of its extents, 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}

/** The subgraphs that hang on `node`, in order of their attributes. */
export function* subgraphs(node: Node): Generator<Graph> {
  for (const { value } of node.attributes) {
    if (value.type === "graph") yield value.value;
    else if (value.type === "graphs") yield* value.value;
  }
}

/** `graph` and every graph below it, outer ones first. */
export function* allGraphs(graph: Graph): Generator<Graph> {
  yield graph;
  for (const node of graph.nodes) {
    for (const inner of subgraphs(node)) yield* allGraphs(inner);
  }
}

/** The attribute of `node` with `name`, or undefined. */
export function attribute(node: Node, name: string): AttributeValue | undefined {
  return node.attributes.find((entry) => entry.name === name)?.value;
}

/**
 * Whether the value of one of the attributes `names` of `node` (of any, without names) can't be read
 * here: callers of the function around it give it, or it is a long list.
 */
export function hasUnreadAttribute(node: Node, names?: readonly string[]): boolean {
  return node.attributes.some(({ name, value }) =>
    value.type === "carried" && (names?.includes(name) ?? true)
  );
}

/** The integer attribute `name` of `node`, or `fallback` where it is absent or of another type. */
export function intAttribute(node: Node, name: string, fallback: number): number {
  const value = attribute(node, name);
  return value?.type === "int" ? Number(value.value) : fallback;
}

/** The integer list attribute `name` of `node`, or null where it is absent or of another type. */
export function intsAttribute(node: Node, name: string): number[] | null {
  const value = attribute(node, name);
  return value?.type === "ints" ? value.value.map(Number) : null;
}

/** The float attribute `name` of `node`, or `fallback` where it is absent or of another type. */
export function floatAttribute(node: Node, name: string, fallback: number): number {
  const value = attribute(node, name);
  return value?.type === "float" ? value.value : fallback;
}

/** An integer attribute. */
export function int(name: string, value: number | bigint): Attribute {
  return { name, value: { type: "int", value: BigInt(value) }, carried: NOTHING_CARRIED };
}

/** An integer list attribute. */
export function ints(name: string, value: readonly (number | bigint)[]): Attribute {
  return { name, value: { type: "ints", value: value.map(BigInt) }, carried: NOTHING_CARRIED };
}

/**
 * A node made by modelcast. It has no name unless it is given one: names of nodes must differ, and
 * the name of its output may be that of a node of the source.
 */
export function makeNode(
  opType: string,
  domain: string,
  inputs: string[],
  outputs: string[],
  attributes: Attribute[] = [],
  name = "",
): Node {
  return { name, opType, domain, inputs, outputs, attributes, carried: NOTHING_CARRIED };
}

/** A value info made by modelcast. */
export function makeValueInfo(
  name: string,
  dtype: DType | null,
  shape: readonly Dim[] | null,
): ValueInfo {
  return { name, dtype, shape, wire: null };
}

/** A graph made by modelcast; what is not given is empty. */
export function makeGraph(name: string, parts: Partial<Omit<Graph, "name" | "carried">>): Graph {
  return {
    name,
    nodes: [],
    initializers: [],
    sparseInitializers: [],
    inputs: [],
    outputs: [],
    valueInfo: [],
    ...parts,
    carried: NOTHING_CARRIED,
  };
}

/** A model made by modelcast around `graph`. */
export function makeModel(
  path: string,
  irVersion: number,
  opsets: Map<string, number>,
  graph: Graph,
): Model {
  return {
    path,
    irVersion,
    opsets,
    metadata: [],
    graph,
    functions: [],
    training: [],
    external: false,
    carried: NOTHING_CARRIED,
  };
}

/** A constant tensor made by modelcast. */
export function makeTensor(
  name: string,
  dtype: DType,
  dims: readonly number[],
  data: TensorData,
): Tensor {
  return { name, dtype, dims, data, external: false, carried: NOTHING_CARRIED };
}
