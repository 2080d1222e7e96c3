/**
 * The small fields of ONNX's messages as bytes: the carried bytes where they still say what the IR
 * says, else with the fields that it has changed replaced. With nothing carried the fields come out
 * in the order of their numbers, as protobuf writes them.
 */
import { DTYPES } from "../dtype.ts";
import type {
  Attribute,
  AttributeValue,
  Model,
  ModelFunction,
  Node,
  SparseTensor,
  Tensor,
  ValueInfo,
} from "../ir.ts";
import { Edit, sameBytes, sameList } from "./edit.ts";
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
  type TensorFields,
  type ValueInfoFields,
} from "./schema.ts";
import { memoryRecords, WireBuilder } from "./wire.ts";

/** Where a tensor's bytes go when they don't go into the model file. */
export interface ExternalTarget {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** The fields of a `ModelProto` but graph, functions and training information. */
export function modelFields(model: Model): Uint8Array {
  const number = FIELD.model;
  const was = decodeModel(model.carried);
  const edit = new Edit(model.carried);
  if (was.irVersion !== model.irVersion) {
    edit.replace(number.irVersion, (out) => out.int(number.irVersion, model.irVersion));
  }
  editOpsets(edit, number.opsetImport, was.opsets, model.opsets, was.irVersion > 0);
  editMetadata(edit, model.carried, was.metadata, model.metadata);
  return edit.finish();
}

/** The fields of a `GraphProto` but those that hold messages of the IR. */
export function graphFields(graph: { name: string; carried: Uint8Array }): Uint8Array {
  const edit = new Edit(graph.carried);
  if (decodeGraphName(graph.carried) !== graph.name) edit.string(FIELD.graph.name, graph.name);
  return edit.finish();
}

/** The fields of a `NodeProto` but its attributes. */
export function nodeFields(node: Omit<Node, "attributes">): Uint8Array {
  const number = FIELD.node;
  const was = decodeNode(node.carried);
  const edit = new Edit(node.carried);
  if (!sameList(was.inputs, node.inputs)) edit.strings(number.input, node.inputs);
  if (!sameList(was.outputs, node.outputs)) edit.strings(number.output, node.outputs);
  if (was.name !== node.name) edit.string(number.name, node.name);
  if (was.opType !== node.opType) edit.string(number.opType, node.opType);
  if (was.domain !== node.domain) edit.string(number.domain, node.domain);
  return edit.finish();
}

/** The fields of an `AttributeProto` but tensors and graphs. */
export function attributeFields({ name, value, carried }: Attribute): Uint8Array {
  const number = FIELD.attribute;
  const edit = new Edit(carried);
  if (decodeAttributeName(carried) !== name) edit.string(number.name, name);
  if (value.type === "carried") return edit.finish();
  const object = isObjectType(value.type) ? OBJECT_FIELDS[value.type] : undefined;
  const held = new Set<number>();
  for (const record of memoryRecords(carried)) held.add(record.number);
  if (object !== undefined) held.add(object);
  const was = decodeAttribute(carried);
  const type = attributeType(was, (field) => held.has(field));
  const old = type === null ? null : scalarValue(type, was);
  if (object === undefined && (old === null || !sameScalar(old, value))) {
    for (const field of SCALAR_FIELDS) edit.drop(field);
    edit.append((out) => addScalar(out, value));
  }
  // An attribute that modelcast made has no type yet, though its object would let one guess.
  if (type !== value.type || carried.length === 0) {
    for (const field of VALUE_FIELDS) edit.drop(field);
    edit.replace(number.type, (out) => out.int(number.type, ATTRIBUTE_TYPES[value.type]));
  }
  return edit.finish();
}

/** The fields of a `TensorProto` but its data; `target` is where that goes, if outside. */
export function tensorFields(
  tensor: Pick<Tensor, "name" | "dtype" | "dims" | "carried">,
  target: ExternalTarget | undefined,
): Uint8Array {
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
  if (target !== undefined) editExternal(edit, was, target);
  else if (was.external) {
    edit.drop(number.externalData);
    edit.drop(number.dataLocation);
  }
  return edit.finish();
}

/** The fields of a `SparseTensorProto` but its tensors. */
export function sparseFields(sparse: SparseTensor): Uint8Array {
  const number = FIELD.sparse;
  const edit = new Edit(sparse.carried);
  if (!sameList(decodeSparseDims(sparse.carried), sparse.dims)) {
    edit.replace(number.dims, (out) => {
      for (const dim of sparse.dims) out.int(number.dims, dim);
    });
  }
  return edit.finish();
}

/** The fields of a `FunctionProto` but nodes, attribute defaults and value infos. */
export function functionFields(definition: ModelFunction): Uint8Array {
  const number = FIELD.function;
  const was = decodeFunction(definition.carried);
  const edit = new Edit(definition.carried);
  if (was.name !== definition.name) edit.string(number.name, definition.name);
  if (!sameList(was.inputs, definition.inputs)) edit.strings(number.input, definition.inputs);
  if (!sameList(was.outputs, definition.outputs)) edit.strings(number.output, definition.outputs);
  editOpsets(edit, number.opsetImport, was.opsets, definition.opsets, false);
  if (was.domain !== definition.domain) edit.string(number.domain, definition.domain);
  if (was.overload !== definition.overload) edit.string(number.overload, definition.overload);
  return edit.finish();
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
  was: TensorFields,
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

/** A `ValueInfoProto`, whole. */
export function valueInfoMessage(value: ValueInfo): Uint8Array {
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
  return edit.finish();
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

function sameShape(a: ValueInfoFields, b: ValueInfo): boolean {
  if (a.shape === null || b.shape === null) return a.shape === b.shape;
  return sameList(a.shape, b.shape);
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
