/**
 * Turns a model into the wire bytes of an ONNX file, with gaps where tensor data goes.
 */
import type {
  Attribute,
  Graph,
  Model,
  ModelFunction,
  Node,
  SparseTensor,
  Tensor,
  TrainingInfo,
} from "../ir.ts";
import {
  attributeFields,
  type ExternalTarget,
  functionFields,
  graphFields,
  modelFields,
  nodeFields,
  sparseFields,
  tensorFields,
  valueInfoMessage,
} from "./edit_fields.ts";
import { FIELD } from "./schema.ts";
import { memoryRecords, WireBuilder } from "./wire.ts";

/** Data of `tensor` that goes into the file between two pieces of wire bytes. */
export interface DataPiece {
  readonly tensor: Tensor;
  readonly length: number;
}

/** Part of a file: wire bytes, or a gap for a tensor's data. */
export type Piece = Uint8Array | DataPiece;

/** A message as pieces. */
export class Rope {
  length = 0;
  readonly pieces: Piece[] = [];

  /** Appends bytes or a gap. */
  add(piece: Piece): this {
    if (piece.length > 0) this.pieces.push(piece);
    this.length += piece.length;
    return this;
  }

  /** Appends `inner` as the message field `number`. */
  message(number: number, inner: Rope): this {
    this.add(new WireBuilder().header(number, inner.length).finish());
    for (const piece of inner.pieces) this.pieces.push(piece);
    this.length += inner.length;
    return this;
  }
}

/** Tells where a tensor's bytes go that don't go into the model file. */
export type External = (tensor: Tensor) => ExternalTarget | undefined;

/** The pieces of `model`'s file. */
export function encodeModel(model: Model, external: External): Rope {
  const number = FIELD.model;
  const fields = modelFields(model);
  const head = lengthBeforeGraph(fields);
  const rope = new Rope().add(fields.subarray(0, head));
  rope.message(number.graph, encodeGraph(model.graph, external));
  rope.add(fields.subarray(head));
  for (const training of model.training) {
    rope.message(number.training, encodeTraining(training, external));
  }
  for (const definition of model.functions) {
    rope.message(number.functions, encodeFunction(definition, external));
  }
  return rope;
}

/**
 * Length of the model's fields that go before its graph: all, but where one repeats, as opset imports
 * do, before three different ones were seen. OpenVINO takes no such file: the graph goes in between.
 */
function lengthBeforeGraph(fields: Uint8Array): number {
  const seen = new Set<number>();
  let length = 0;
  for (const { number, record } of memoryRecords(fields)) {
    if (seen.size < 3 && seen.has(number)) return length;
    seen.add(number);
    length += record.length;
  }
  return length;
}

function encodeGraph(graph: Graph, external: External): Rope {
  const number = FIELD.graph;
  const rope = new Rope().add(graphFields(graph));
  for (const node of graph.nodes) rope.message(number.node, encodeNode(node, external));
  for (const tensor of graph.initializers) {
    rope.message(number.initializer, encodeTensor(tensor, external));
  }
  for (
    const { list, field } of [
      { list: graph.inputs, field: number.input },
      { list: graph.outputs, field: number.output },
      { list: graph.valueInfo, field: number.valueInfo },
    ]
  ) {
    for (const value of list) rope.message(field, new Rope().add(valueInfoMessage(value)));
  }
  for (const tensor of graph.sparseInitializers) {
    rope.message(number.sparseInitializer, encodeSparse(tensor, external));
  }
  return rope;
}

function encodeNode(node: Node, external: External): Rope {
  const rope = new Rope().add(nodeFields(node));
  for (const attribute of node.attributes) {
    rope.message(FIELD.node.attribute, encodeAttribute(attribute, external));
  }
  return rope;
}

function encodeAttribute(attribute: Attribute, external: External): Rope {
  const number = FIELD.attribute;
  const { value } = attribute;
  const rope = new Rope().add(attributeFields(attribute));
  switch (value.type) {
    case "tensor":
      return rope.message(number.t, encodeTensor(value.value, external));
    case "graph":
      return rope.message(number.g, encodeGraph(value.value, external));
    case "sparse_tensor":
      return rope.message(number.sparseTensor, encodeSparse(value.value, external));
    case "tensors":
      for (const entry of value.value) rope.message(number.tensors, encodeTensor(entry, external));
      return rope;
    case "graphs":
      for (const entry of value.value) rope.message(number.graphs, encodeGraph(entry, external));
      return rope;
    case "sparse_tensors":
      for (const entry of value.value) {
        rope.message(number.sparseTensors, encodeSparse(entry, external));
      }
      return rope;
    default:
      return rope;
  }
}

function encodeTensor(tensor: Tensor, external: External): Rope {
  const target = external(tensor);
  const rope = new Rope().add(tensorFields(tensor, target));
  if (target !== undefined) return rope;
  const length = inlineLength(tensor);
  if (tensor.data.kind !== "typed") {
    rope.add(new WireBuilder().header(FIELD.tensor.rawData, length).finish());
  }
  return rope.add({ tensor, length });
}

function encodeSparse(sparse: SparseTensor, external: External): Rope {
  return new Rope().add(sparseFields(sparse))
    .message(FIELD.sparse.values, encodeTensor(sparse.values, external))
    .message(FIELD.sparse.indices, encodeTensor(sparse.indices, external));
}

function encodeFunction(definition: ModelFunction, external: External): Rope {
  const number = FIELD.function;
  const rope = new Rope().add(functionFields(definition));
  for (const node of definition.nodes) rope.message(number.node, encodeNode(node, external));
  for (const attribute of definition.attributes) {
    rope.message(number.attributeProto, encodeAttribute(attribute, external));
  }
  for (const value of definition.valueInfo) {
    rope.message(number.valueInfo, new Rope().add(valueInfoMessage(value)));
  }
  return rope;
}

function encodeTraining(training: TrainingInfo, external: External): Rope {
  const { initialization, algorithm } = FIELD.training;
  const rope = new Rope().add(training.carried);
  if (training.initialization !== null) {
    rope.message(initialization, encodeGraph(training.initialization, external));
  }
  if (training.algorithm !== null) {
    rope.message(algorithm, encodeGraph(training.algorithm, external));
  }
  return rope;
}

/** Bytes that a tensor's data takes within the model file; a typed field's with its tags. */
export function inlineLength(tensor: Tensor): number {
  const { data } = tensor;
  switch (data.kind) {
    case "memory":
      return data.bytes.length;
    case "typed":
      return data.ranges.reduce((sum, range) => sum + range.length, 0);
    default:
      return data.length;
  }
}
