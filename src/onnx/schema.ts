/**
 * The small fields of ONNX's messages, decoded by protobufjs reflection from the definitions of
 * onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, IR version 14). What is large
 * or nests (nodes, graphs, tensors and their data) is walked by `reader.ts` and never comes here;
 * what is not named here is carried as wire bytes. A string that is not UTF-8 is refused: names are
 * identities, and two broken ones must not become the same text.
 */
import protobuf from "protobufjs/light.js";
import { type DType, dtypeOfOnnx } from "../dtype.ts";
import type { AttributeValue, Dim } from "../ir.ts";
import { ATTRIBUTE_TYPES, FIELD } from "./numbers.ts";

export { ATTRIBUTE_TYPES, FIELD, IR_VERSION, OPSET_VERSION } from "./numbers.ts";

type Field = { readonly id: number; readonly type: string; readonly rule?: "repeated" };

const one = (id: number, type: string): Field => ({ id, type });
const many = (id: number, type: string): Field => ({ id, type, rule: "repeated" });

const MESSAGES: Record<string, Record<string, Field>> = {
  Entry: { key: one(1, "string"), value: one(2, "string") },
  Opset: { domain: one(1, "string"), version: one(2, "int64") },
  Node: {
    input: many(1, "string"),
    output: many(2, "string"),
    name: one(3, "string"),
    op_type: one(4, "string"),
    domain: one(7, "string"),
  },
  Attribute: {
    name: one(1, "string"),
    f: one(2, "float"),
    i: one(3, "int64"),
    s: one(4, "bytes"),
    floats: many(7, "float"),
    ints: many(8, "int64"),
    strings: many(9, "bytes"),
    type: one(20, "int32"),
    ref_attr_name: one(21, "string"),
  },
  AttributeName: { name: one(1, "string") },
  Tensor: {
    dims: many(1, "int64"),
    data_type: one(2, "int32"),
    name: one(8, "string"),
    external_data: many(13, "Entry"),
    data_location: one(14, "int32"),
  },
  Sparse: { dims: many(3, "int64") },
  Graph: { name: one(2, "string") },
  Function: {
    name: one(1, "string"),
    input: many(4, "string"),
    output: many(5, "string"),
    opset_import: many(9, "Opset"),
    domain: one(10, "string"),
    overload: one(13, "string"),
  },
  Model: {
    ir_version: one(1, "int64"),
    opset_import: many(8, "Opset"),
    metadata_props: many(14, "Entry"),
  },
  Dim: { dim_value: one(1, "int64"), dim_param: one(2, "string") },
  Shape: { dim: many(1, "Dim") },
  TensorType: { elem_type: one(1, "int32"), shape: one(2, "Shape") },
  Type: {
    tensor_type: one(1, "TensorType"),
    sequence_type: one(4, "bytes"),
    map_type: one(5, "bytes"),
    opaque_type: one(7, "bytes"),
    sparse_tensor_type: one(8, "bytes"),
    optional_type: one(9, "bytes"),
  },
  ValueInfo: { name: one(1, "string"), type: one(2, "Type") },
};

const root = protobuf.Root.fromJSON({
  nested: Object.fromEntries(
    Object.entries(MESSAGES).map(([name, fields]) => [name, { edition: "2023", fields }]),
  ),
});

/** A decoder of one message; fields that the definition does not name are skipped. */
function message(name: string): (bytes: Uint8Array) => Record<string, unknown> {
  const type = root.lookupType(name);
  return (bytes) => {
    const reader = protobuf.Reader.create(bytes);
    reader.discardUnknown = true;
    return type.decode(reader) as unknown as Record<string, unknown>;
  };
}

interface Long64 {
  readonly low: number;
  readonly high: number;
}

/** A 64-bit integer as a number; integers past 2^53 come out inexact, but past 2^53. */
function number64(value: unknown): number {
  const { low, high } = value as Long64;
  return high * 2 ** 32 + (low >>> 0);
}

const SMALL_INTEGERS = Array.from({ length: 1025 }, (_, index) => BigInt(index - 1));

function bigint64(value: unknown): bigint {
  const { low, high } = value as Long64;
  const small = number64(value);
  if (small >= -1 && small < 1024) return SMALL_INTEGERS[small + 1]!;
  return (BigInt(high) << 32n) | BigInt(low >>> 0);
}

const has = (fields: object, name: string): boolean => Object.hasOwn(fields, name);

/** The default domain is written as nothing or as "ai.onnx". */
function foldDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

/** The small fields of a `NodeProto`. */
export interface NodeFields {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly inputs: string[];
  readonly outputs: string[];
}

const nodeMessage = message("Node");

/** Decodes the small fields of a `NodeProto`. */
export function decodeNode(bytes: Uint8Array): NodeFields {
  const fields = nodeMessage(bytes);
  return {
    name: fields.name as string,
    opType: fields.op_type as string,
    domain: foldDomain(fields.domain as string),
    inputs: [...fields.input as string[]],
    outputs: [...fields.output as string[]],
  };
}

/** The scalar fields of an `AttributeProto`; undefined where absent. */
export interface AttributeFields {
  readonly name: string;
  readonly type: number;
  readonly refName: string;
  readonly f: number | undefined;
  readonly i: bigint | undefined;
  readonly s: Uint8Array | undefined;
  readonly floats: readonly number[];
  readonly ints: readonly bigint[];
  readonly strings: readonly Uint8Array[];
}

const attributeMessage = message("Attribute");

/** Decodes the scalar fields of an `AttributeProto`. */
export function decodeAttribute(bytes: Uint8Array): AttributeFields {
  const fields = attributeMessage(bytes);
  return {
    name: fields.name as string,
    type: fields.type as number,
    refName: fields.ref_attr_name as string,
    f: has(fields, "f") ? fields.f as number : undefined,
    i: has(fields, "i") ? bigint64(fields.i) : undefined,
    s: has(fields, "s") ? fields.s as Uint8Array : undefined,
    floats: fields.floats as number[],
    ints: (fields.ints as unknown[]).map(bigint64),
    strings: fields.strings as Uint8Array[],
  };
}

const attributeNameMessage = message("AttributeName");

/** Decodes the name of an `AttributeProto` alone, whose lists may be long. */
export function decodeAttributeName(bytes: Uint8Array): string {
  return attributeNameMessage(bytes).name as string;
}

/** Kinds of attribute values that the IR holds. */
export type AttributeType = keyof typeof ATTRIBUTE_TYPES;

/** Kinds of attribute values that are messages with data or graphs. */
export type ObjectType = keyof typeof OBJECT_FIELDS;

/** Field that holds the objects of an attribute of a kind. */
export const OBJECT_FIELDS = {
  tensor: FIELD.attribute.t,
  graph: FIELD.attribute.g,
  sparse_tensor: FIELD.attribute.sparseTensor,
  tensors: FIELD.attribute.tensors,
  graphs: FIELD.attribute.graphs,
  sparse_tensors: FIELD.attribute.sparseTensors,
} as const;

/** Whether attributes of a kind hold objects. */
export function isObjectType(type: AttributeType): type is ObjectType {
  return type in OBJECT_FIELDS;
}

const TYPE_NAMES = new Map<number, AttributeType>(
  Object.entries(ATTRIBUTE_TYPES).map(([name, number]) => [number, name as AttributeType]),
);

/**
 * What an attribute is: as declared, else (IR version 1) by the one field that it has. Null for
 * what is only carried.
 */
export function attributeType(
  fields: AttributeFields,
  holds: (field: number) => boolean,
): AttributeType | null {
  if (fields.refName !== "") return null;
  if (fields.type !== 0) return TYPE_NAMES.get(fields.type) ?? null;
  const found: AttributeType[] = [];
  if (fields.f !== undefined) found.push("float");
  if (fields.i !== undefined) found.push("int");
  if (fields.s !== undefined) found.push("string");
  if (fields.floats.length > 0) found.push("floats");
  if (fields.ints.length > 0) found.push("ints");
  if (fields.strings.length > 0) found.push("strings");
  for (const [type, field] of Object.entries(OBJECT_FIELDS)) {
    if (holds(field)) found.push(type as AttributeType);
  }
  return found.length === 1 ? found[0]! : null;
}

/** The value of an attribute that holds no objects; null for one that does. */
export function scalarValue(type: AttributeType, fields: AttributeFields): AttributeValue | null {
  switch (type) {
    case "float":
      return { type, value: fields.f ?? 0 };
    case "int":
      return { type, value: fields.i ?? 0n };
    case "string":
      return { type, value: fields.s ?? new Uint8Array(0) };
    case "floats":
      return { type, value: [...fields.floats] };
    case "ints":
      return { type, value: [...fields.ints] };
    case "strings":
      return { type, value: [...fields.strings] };
    default:
      return null;
  }
}

/** The small fields of a `TensorProto`. */
export interface TensorFields {
  readonly name: string;
  readonly dims: number[];
  readonly dataType: number;
  readonly external: boolean;
  /** `external_data`, in order. */
  readonly entries: readonly [key: string, value: string][];
}

const tensorMessage = message("Tensor");

/** Decodes the small fields of a `TensorProto`. */
export function decodeTensor(bytes: Uint8Array): TensorFields {
  const fields = tensorMessage(bytes);
  return {
    name: fields.name as string,
    dims: (fields.dims as unknown[]).map(number64),
    dataType: fields.data_type as number,
    external: fields.data_location === 1,
    entries: entries(fields.external_data),
  };
}

function entries(list: unknown): [key: string, value: string][] {
  return (list as { key: string; value: string }[]).map(({ key, value }) => [key, value]);
}

const entryMessage = message("Entry");

/** Decodes a `StringStringEntryProto`. */
export function decodeEntry(bytes: Uint8Array): [key: string, value: string] {
  const fields = entryMessage(bytes);
  return [fields.key as string, fields.value as string];
}

const opsetMessage = message("Opset");

/** Decodes an `OperatorSetIdProto`. */
export function decodeOpset(bytes: Uint8Array): [domain: string, version: number] {
  const fields = opsetMessage(bytes);
  return [
    foldDomain(fields.domain as string),
    has(fields, "version") ? number64(fields.version) : 0,
  ];
}

function opsets(list: unknown): [domain: string, version: number][] {
  return (list as Record<string, unknown>[]).map((fields) => [
    foldDomain(fields.domain as string),
    has(fields, "version") ? number64(fields.version) : 0,
  ]);
}

const sparseMessage = message("Sparse");

/** Decodes the dims of a `SparseTensorProto`. */
export function decodeSparseDims(bytes: Uint8Array): number[] {
  return (sparseMessage(bytes).dims as unknown[]).map(number64);
}

const graphMessage = message("Graph");

/** Decodes the name of a `GraphProto`. */
export function decodeGraphName(bytes: Uint8Array): string {
  return graphMessage(bytes).name as string;
}

/** The small fields of a `FunctionProto`. */
export interface FunctionFields {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: string[];
  readonly outputs: string[];
  readonly opsets: [domain: string, version: number][];
}

const functionMessage = message("Function");

/** Decodes the small fields of a `FunctionProto`. */
export function decodeFunction(bytes: Uint8Array): FunctionFields {
  const fields = functionMessage(bytes);
  return {
    name: fields.name as string,
    domain: foldDomain(fields.domain as string),
    overload: fields.overload as string,
    inputs: [...fields.input as string[]],
    outputs: [...fields.output as string[]],
    opsets: opsets(fields.opset_import),
  };
}

/** The small fields of a `ModelProto`. */
export interface ModelFields {
  /** 0 where absent. */
  readonly irVersion: number;
  readonly opsets: [domain: string, version: number][];
  readonly metadata: [key: string, value: string][];
}

const modelMessage = message("Model");

/** Decodes the small fields of a `ModelProto`. */
export function decodeModel(bytes: Uint8Array): ModelFields {
  const fields = modelMessage(bytes);
  return {
    irVersion: has(fields, "ir_version") ? number64(fields.ir_version) : 0,
    opsets: opsets(fields.opset_import),
    metadata: entries(fields.metadata_props),
  };
}

/** What modelcast reads of a `ValueInfoProto`. */
export interface ValueInfoFields {
  readonly name: string;
  readonly dtype: DType | null;
  readonly shape: Dim[] | null;
}

const valueInfoMessage = message("ValueInfo");

/** Decodes the name, the element type and the shape of a `ValueInfoProto`. */
export function decodeValueInfo(bytes: Uint8Array): ValueInfoFields {
  const fields = valueInfoMessage(bytes);
  const name = fields.name as string;
  const type = fields.type as Record<string, unknown> | null;
  const tensor = type?.tensor_type as Record<string, unknown> | null | undefined;
  if (!type || !tensor) return { name, dtype: null, shape: null };
  const shape = tensor.shape as { dim: Record<string, unknown>[] } | null;
  return {
    name,
    dtype: dtypeOfOnnx(tensor.elem_type as number) ?? null,
    shape: shape ? shape.dim.map(dimension) : null,
  };
}

function dimension(fields: Record<string, unknown>): Dim {
  if (has(fields, "dim_param")) return (fields.dim_param as string) || null;
  if (!has(fields, "dim_value")) return null;
  const value = number64(fields.dim_value);
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}
