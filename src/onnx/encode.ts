/**
 * Turns a model into the wire bytes of an ONNX file, with gaps where tensor data goes. Carried bytes
 * are kept wherever they still say what the IR says (presence of empty fields, packing, "ai.onnx"
 * and unknown fields included); fields that the IR has changed are replaced.
 */
import { DTYPES } from "../dtype.ts";
import type {
  Attribute,
  AttributeValue,
  Graph,
  Model,
  ModelFunction,
  Node,
  SparseTensor,
  Tensor,
  TrainingInfo,
  ValueInfo,
} from "../ir.ts";
import {
  ATTRIBUTE_TYPES,
  attributeType,
  decodeAttribute,
  decodeAttributeName,
  decodeEntry,
  decodeFunction,
  decodeGraphName,
  decodeModel,
  decodeNode,
  decodeOpset,
  decodeSparseDims,
  decodeTensor,
  decodeValueInfo,
  FIELD,
  isObjectType,
  OBJECT_FIELDS,
  scalarValue,
  type ValueInfoFields,
} from "./schema.ts";
import { memoryRecords, WireBuilder } from "./wire.ts";

/** Data of `tensor` that goes into the file between two pieces of wire bytes. */
export interface DataPiece {
  readonly tensor: Tensor;
  readonly length: number;
}

/** Part of a file: wire bytes, or a gap for a tensor's data. */
export type Piece = Uint8Array | DataPiece;

/** Where a tensor's bytes go when they don't go into the model file. */
export interface ExternalTarget {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

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

/** The pieces of `model`'s file; `external` tells which tensors' bytes go elsewhere. */
export function encodeModel(
  model: Model,
  external: (tensor: Tensor) => ExternalTarget | undefined,
): Rope {
  return new Encoder(external).model(model);
}

class Encoder {
  readonly #external: (tensor: Tensor) => ExternalTarget | undefined;

  constructor(external: (tensor: Tensor) => ExternalTarget | undefined) {
    this.#external = external;
  }

  model(model: Model): Rope {
    const number = FIELD.model;
    const was = decodeModel(model.carried);
    const edit = new Edit(model.carried);
    if (was.irVersion !== model.irVersion) {
      edit.replace(number.irVersion, (out) => out.int(number.irVersion, model.irVersion));
    }
    editOpsets(edit, number.opsetImport, was.opsets, model.opsets, was.irVersion > 0);
    editMetadata(edit, model.carried, was.metadata, model.metadata);
    const fields = edit.finish();
    // OpenVINO takes no file in which a field repeats, as opset imports do, before it has seen three
    // different ones: then the graph goes in between.
    const seen = new Set<number>();
    let head = 0;
    for (const { number: field, record } of memoryRecords(fields)) {
      if (seen.size < 3 && seen.has(field)) break;
      seen.add(field);
      head += record.length;
    }
    const rope = new Rope().add(fields.subarray(0, head))
      .message(number.graph, this.#graph(model.graph)).add(fields.subarray(head));
    for (const training of model.training) {
      rope.message(number.training, this.#training(training));
    }
    for (const definition of model.functions) {
      rope.message(number.functions, this.#function(definition));
    }
    return rope;
  }

  #graph(graph: Graph): Rope {
    const number = FIELD.graph;
    const edit = new Edit(graph.carried);
    if (decodeGraphName(graph.carried) !== graph.name) edit.string(number.name, graph.name);
    const rope = new Rope().add(edit.finish());
    for (const node of graph.nodes) rope.message(number.node, this.#node(node));
    for (const tensor of graph.initializers) {
      rope.message(number.initializer, this.#tensor(tensor));
    }
    for (const tensor of graph.sparseInitializers) {
      rope.message(number.sparseInitializer, this.#sparse(tensor));
    }
    for (const value of graph.inputs) rope.message(number.input, valueInfo(value));
    for (const value of graph.outputs) rope.message(number.output, valueInfo(value));
    for (const value of graph.valueInfo) rope.message(number.valueInfo, valueInfo(value));
    return rope;
  }

  #node(node: Node): Rope {
    const number = FIELD.node;
    const was = decodeNode(node.carried);
    const edit = new Edit(node.carried);
    if (!sameList(was.inputs, node.inputs)) edit.strings(number.input, node.inputs);
    if (!sameList(was.outputs, node.outputs)) edit.strings(number.output, node.outputs);
    if (was.name !== node.name) edit.string(number.name, node.name);
    if (was.opType !== node.opType) edit.string(number.opType, node.opType);
    if (was.domain !== node.domain) edit.string(number.domain, node.domain);
    const rope = new Rope().add(edit.finish());
    for (const attribute of node.attributes) {
      rope.message(number.attribute, this.#attribute(attribute));
    }
    return rope;
  }

  #attribute(attribute: Attribute): Rope {
    const number = FIELD.attribute;
    const { name, value, carried } = attribute;
    const edit = new Edit(carried);
    if (decodeAttributeName(carried) !== name) edit.string(number.name, name);
    if (value.type === "carried") return new Rope().add(edit.finish());
    const object = isObjectType(value.type) ? OBJECT_FIELDS[value.type] : undefined;
    const held = new Set<number>();
    for (const record of memoryRecords(carried)) held.add(record.number);
    if (object !== undefined) held.add(object);
    const was = decodeAttribute(carried);
    const type = attributeType(was, (field) => held.has(field));
    if (type !== value.type || carried.length === 0) {
      for (const field of VALUE_FIELDS) edit.drop(field);
      edit.replace(number.type, (out) => out.int(number.type, ATTRIBUTE_TYPES[value.type]));
    }
    const old = type === null ? null : scalarValue(type, was);
    if (object === undefined && (old === null || !sameScalar(old, value))) {
      for (const field of SCALAR_FIELDS) edit.drop(field);
      edit.append((out) => addScalar(out, value));
    }
    const rope = new Rope().add(edit.finish());
    switch (value.type) {
      case "tensor":
        return rope.message(number.t, this.#tensor(value.value));
      case "graph":
        return rope.message(number.g, this.#graph(value.value));
      case "sparse_tensor":
        return rope.message(number.sparseTensor, this.#sparse(value.value));
      case "tensors":
        for (const tensor of value.value) rope.message(number.tensors, this.#tensor(tensor));
        return rope;
      case "graphs":
        for (const graph of value.value) rope.message(number.graphs, this.#graph(graph));
        return rope;
      case "sparse_tensors":
        for (const tensor of value.value) rope.message(number.sparseTensors, this.#sparse(tensor));
        return rope;
      default:
        return rope;
    }
  }

  #tensor(tensor: Tensor): Rope {
    const number = FIELD.tensor;
    const was = decodeTensor(tensor.carried);
    const edit = new Edit(tensor.carried);
    if (!sameList(was.dims, tensor.dims)) {
      edit.replace(number.dims, (out) => {
        for (const dim of tensor.dims) out.int(number.dims, dim);
      });
    }
    const dataType = DTYPES[tensor.dtype].onnx;
    if (was.dataType !== dataType) {
      edit.replace(number.dataType, (out) => out.int(number.dataType, dataType));
    }
    if (was.name !== tensor.name) edit.string(number.name, tensor.name);
    const target = this.#external(tensor);
    if (target !== undefined) {
      editExternal(edit, was, target);
      return new Rope().add(edit.finish());
    }
    if (was.external) {
      edit.drop(number.externalData);
      edit.drop(number.dataLocation);
    }
    const { data } = tensor;
    const length = inlineLength(tensor);
    if (data.kind !== "typed") edit.append((out) => out.header(number.rawData, length));
    return new Rope().add(edit.finish()).add({ tensor, length });
  }

  #sparse(sparse: SparseTensor): Rope {
    const number = FIELD.sparse;
    const edit = new Edit(sparse.carried);
    if (!sameList(decodeSparseDims(sparse.carried), sparse.dims)) {
      edit.replace(number.dims, (out) => {
        for (const dim of sparse.dims) out.int(number.dims, dim);
      });
    }
    return new Rope().add(edit.finish())
      .message(number.values, this.#tensor(sparse.values))
      .message(number.indices, this.#tensor(sparse.indices));
  }

  #function(definition: ModelFunction): Rope {
    const number = FIELD.function;
    const { carried } = definition;
    const was = decodeFunction(carried);
    const edit = new Edit(carried);
    if (was.name !== definition.name) edit.string(number.name, definition.name);
    if (was.domain !== definition.domain) edit.string(number.domain, definition.domain);
    if (was.overload !== definition.overload) edit.string(number.overload, definition.overload);
    if (!sameList(was.inputs, definition.inputs)) edit.strings(number.input, definition.inputs);
    if (!sameList(was.outputs, definition.outputs)) edit.strings(number.output, definition.outputs);
    editOpsets(edit, number.opsetImport, was.opsets, definition.opsets, false);
    const rope = new Rope().add(edit.finish());
    for (const node of definition.nodes) rope.message(number.node, this.#node(node));
    for (const attribute of definition.attributes) {
      rope.message(number.attributeProto, this.#attribute(attribute));
    }
    for (const value of definition.valueInfo) rope.message(number.valueInfo, valueInfo(value));
    return rope;
  }

  #training(training: TrainingInfo): Rope {
    const number = FIELD.training;
    const rope = new Rope().add(training.carried);
    if (training.initialization !== null) {
      rope.message(number.initialization, this.#graph(training.initialization));
    }
    if (training.algorithm !== null) {
      rope.message(number.algorithm, this.#graph(training.algorithm));
    }
    return rope;
  }
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

/** Carried bytes with some of their fields replaced. */
class Edit {
  readonly #carried: Uint8Array;
  readonly #dropped = new Set<number>();
  #added: WireBuilder | null = null;

  constructor(carried: Uint8Array) {
    this.#carried = carried;
  }

  drop(number: number): void {
    this.#dropped.add(number);
  }

  append(build: (out: WireBuilder) => void): void {
    build(this.#added ??= new WireBuilder());
  }

  replace(number: number, build: (out: WireBuilder) => void): void {
    this.drop(number);
    this.append(build);
  }

  /** Replaces the records of the bytes field `number`, one by one. */
  rewrite(number: number, each: (payload: Uint8Array, out: WireBuilder) => void): void {
    this.replace(number, (out) => {
      for (const record of memoryRecords(this.#carried)) {
        if (record.number === number) each(record.payload, out);
      }
    });
  }

  /** An empty string is written as an absent one. */
  string(number: number, value: string): void {
    this.replace(number, (out) => {
      if (value !== "") out.string(number, value);
    });
  }

  strings(number: number, values: readonly string[]): void {
    this.replace(number, (out) => {
      for (const value of values) out.string(number, value);
    });
  }

  finish(): Uint8Array {
    if (this.#dropped.size === 0 && this.#added === null) return this.#carried;
    const out = new WireBuilder();
    if (this.#dropped.size === 0) out.raw(this.#carried);
    else {
      for (const { number, record } of memoryRecords(this.#carried)) {
        if (!this.#dropped.has(number)) out.raw(record);
      }
    }
    if (this.#added !== null) out.raw(this.#added.finish());
    return out.finish();
  }
}

/**
 * Opset imports. A domain whose version has changed keeps its entry's other fields; `implied` is
 * true where a missing list means opset 1, as in IR version 1 and 2.
 */
function editOpsets(
  edit: Edit,
  number: number,
  was: readonly [domain: string, version: number][],
  now: ReadonlyMap<string, number>,
  implied: boolean,
): void {
  const before = new Map(was);
  if (implied && before.size === 0) before.set("", 1);
  if (sameList([...before].flat(), [...now].flat())) return;
  const left = new Map(now);
  edit.rewrite(number, (payload, out) => {
    const [domain] = decodeOpset(payload);
    const version = now.get(domain);
    if (version === undefined) return;
    left.delete(domain);
    const entry = new Edit(payload);
    entry.replace(FIELD.opset.version, (inner) => inner.int(FIELD.opset.version, version));
    out.bytes(number, entry.finish());
  });
  edit.append((out) => {
    for (const [domain, version] of left) {
      const entry = new WireBuilder().string(FIELD.opset.domain, domain)
        .int(FIELD.opset.version, version);
      out.bytes(number, entry.finish());
    }
  });
}

/** Metadata entries; one that is still the same keeps its bytes. */
function editMetadata(
  edit: Edit,
  carried: Uint8Array,
  was: readonly [key: string, value: string][],
  now: readonly [key: string, value: string][],
): void {
  const number = FIELD.model.metadata;
  if (sameList(was.flat(), now.flat())) return;
  const kept = new Map<string, Uint8Array>();
  for (const record of memoryRecords(carried)) {
    if (record.number !== number) continue;
    const text = JSON.stringify(decodeEntry(record.payload));
    if (!kept.has(text)) kept.set(text, record.record);
  }
  edit.replace(number, (out) => {
    for (const entry of now) {
      const record = kept.get(JSON.stringify(entry));
      if (record !== undefined) out.raw(record);
      else addEntry(out, number, entry);
    }
  });
}

function addEntry(out: WireBuilder, number: number, [key, value]: readonly [string, string]): void {
  const entry = new WireBuilder().string(FIELD.entry.key, key).string(FIELD.entry.value, value);
  out.bytes(number, entry.finish());
}

/** Keys of `external_data` that tell of the file the bytes came from, not of the tensor. */
function tellsOfFile(key: string): boolean {
  return key === "location" || key === "offset" || key === "length" || key === "checksum" ||
    key.startsWith("prepacked");
}

function editExternal(
  edit: Edit,
  was: ReturnType<typeof decodeTensor>,
  target: ExternalTarget,
): void {
  const number = FIELD.tensor;
  const entries: [string, string][] = [
    ["location", target.location],
    ["offset", String(target.offset)],
    ["length", String(target.length)],
    ...was.entries.filter(([key]) => !tellsOfFile(key)),
  ];
  if (!was.external) {
    edit.replace(number.dataLocation, (out) => out.int(number.dataLocation, 1));
  }
  if (sameList(was.entries.flat(), entries.flat())) return;
  edit.replace(number.externalData, (out) => {
    for (const entry of entries) addEntry(out, number.externalData, entry);
  });
}

function valueInfo(value: ValueInfo): Rope {
  const number = FIELD.valueInfo;
  const wire = value.wire ?? new Uint8Array(0);
  const was = decodeValueInfo(wire);
  const edit = new Edit(wire);
  if (was.name !== value.name) edit.string(number.name, value.name);
  if (was.dtype !== value.dtype || !sameShape(was, value)) {
    const old = value.wire === null ? undefined : lastField(wire, number.type);
    edit.replace(number.type, (out) => {
      if (value.dtype !== null || value.shape !== null) {
        out.bytes(number.type, tensorType(old, value));
      }
    });
  }
  return new Rope().add(edit.finish());
}

/** A `TypeProto` of a tensor; denotations of `old` and its unknown fields stay. */
function tensorType(old: Uint8Array | undefined, value: ValueInfo): Uint8Array {
  const type = new Edit(old ?? new Uint8Array(0));
  const { tensor, sequence, map, opaque, sparseTensor, optional } = FIELD.type;
  for (const other of [sequence, map, opaque, sparseTensor, optional]) type.drop(other);
  const oldTensor = old && lastField(old, tensor);
  const inner = new Edit(oldTensor ?? new Uint8Array(0));
  const { elemType, shape } = FIELD.tensorType;
  const { dtype } = value;
  if (dtype !== null) inner.replace(elemType, (out) => out.int(elemType, DTYPES[dtype].onnx));
  const dims = value.shape;
  inner.drop(shape);
  if (dims !== null) {
    const oldShape = oldTensor && lastField(oldTensor, shape);
    const oldDims = oldShape === undefined
      ? []
      : [...memoryRecords(oldShape)].filter((record) => record.number === FIELD.shape.dim);
    const list = new Edit(oldShape ?? new Uint8Array(0));
    list.drop(FIELD.shape.dim);
    dims.forEach((dim, index) => {
      const entry = new Edit(oldDims[index]?.payload ?? new Uint8Array(0));
      entry.drop(FIELD.dim.value);
      entry.drop(FIELD.dim.param);
      entry.append((out) => {
        if (typeof dim === "number") out.int(FIELD.dim.value, dim);
        else if (dim !== null) out.string(FIELD.dim.param, dim);
      });
      list.append((out) => out.bytes(FIELD.shape.dim, entry.finish()));
    });
    inner.append((out) => out.bytes(shape, list.finish()));
  }
  type.replace(tensor, (out) => out.bytes(tensor, inner.finish()));
  return type.finish();
}

function lastField(bytes: Uint8Array, number: number): Uint8Array | undefined {
  let found: Uint8Array | undefined;
  for (const record of memoryRecords(bytes)) {
    if (record.number === number) found = record.payload;
  }
  return found;
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((entry, index) => entry === b[index]);
}

function sameShape(a: ValueInfoFields, b: ValueInfo): boolean {
  if (a.shape === null || b.shape === null) return a.shape === b.shape;
  return sameList(a.shape, b.shape);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

const SCALAR_FIELDS: readonly number[] = [
  FIELD.attribute.f,
  FIELD.attribute.i,
  FIELD.attribute.s,
  FIELD.attribute.floats,
  FIELD.attribute.ints,
  FIELD.attribute.strings,
];

const VALUE_FIELDS: readonly number[] = [
  ...SCALAR_FIELDS,
  ...Object.values(OBJECT_FIELDS),
  FIELD.attribute.typeProto,
  FIELD.attribute.typeProtos,
  FIELD.attribute.refName,
];

function sameScalar(a: AttributeValue, b: AttributeValue): boolean {
  const sameFloat = (x: number, y: number | undefined) =>
    y !== undefined && Object.is(Math.fround(x), Math.fround(y));
  switch (a.type) {
    case "float":
      return b.type === "float" && sameFloat(a.value, b.value);
    case "int":
      return b.type === "int" && a.value === b.value;
    case "string":
      return b.type === "string" && sameBytes(a.value, b.value);
    case "floats":
      return b.type === "floats" && a.value.length === b.value.length &&
        a.value.every((entry, index) => sameFloat(entry, b.value[index]));
    case "ints":
      return b.type === "ints" && sameList(a.value, b.value);
    case "strings": {
      if (b.type !== "strings" || a.value.length !== b.value.length) return false;
      const others = b.value;
      return a.value.every((entry, index) => sameBytes(entry, others[index]!));
    }
    default:
      return false;
  }
}

function addScalar(out: WireBuilder, value: AttributeValue): void {
  const number = FIELD.attribute;
  switch (value.type) {
    case "float":
      out.float(number.f, value.value);
      break;
    case "int":
      out.int(number.i, value.value);
      break;
    case "string":
      out.bytes(number.s, value.value);
      break;
    case "floats":
      for (const entry of value.value) out.float(number.floats, entry);
      break;
    case "ints":
      for (const entry of value.value) out.int(number.ints, entry);
      break;
    case "strings":
      for (const entry of value.value) out.bytes(number.strings, entry);
      break;
  }
}
