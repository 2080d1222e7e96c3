/**
 * Reads an ONNX model into the IR. The containers (model, graph, node, attribute, tensor, ...) are
 * walked over a window on the file; tensor data is skipped and kept as a reference; the small
 * fields are carried as wire bytes and decoded by `schema.ts`. The file is untrusted: whatever is
 * wrong with it comes out as an `InputError` that names the file, the field and the byte.
 */
import { byteLength, type DType, dtypeOfOnnx } from "../dtype.ts";
import { InputError } from "../error.ts";
import type {
  Attribute,
  AttributeValue,
  Graph,
  Model,
  ModelFunction,
  Node,
  SparseTensor,
  Tensor,
  TensorData,
  TrainingInfo,
  TypedField,
  ValueInfo,
} from "../ir.ts";
import { ExternalFiles } from "./external.ts";
import { openRegularFile, refuseForeign, SIGNATURE_BYTES } from "./identify.ts";
import {
  type AttributeType,
  attributeType,
  decodeAttribute,
  decodeAttributeName,
  decodeFunction,
  decodeGraphName,
  decodeModel,
  decodeNode,
  decodeSparseDims,
  decodeTensor,
  decodeValueInfo,
  FIELD,
  IR_VERSION,
  isObjectType,
  OBJECT_FIELDS,
  OPSET_VERSION,
  scalarValue,
} from "./schema.ts";
import { countTyped, typedCount, typedFieldOf } from "./typed.ts";
import { fieldError, type FieldPath, fieldPathText, Records, WireFile, WireType } from "./wire.ts";

/**
 * Reads the ONNX model in the file `path`. Weights are not read: the model's tensors refer to the
 * file and to its external data files, which must stay as they are while the model is in use.
 *
 * Throws an `InputError` for a file that is not a sound ONNX model: one that is damaged, that is
 * newer than opset 28 or IR version 14, whose external data lies outside its folder, that nests
 * deeper than 100 messages, that defines a name twice, or whose tensors' shapes don't fit their data.
 */
// deno-lint-ignore require-await
export async function readModel(path: string): Promise<Model> {
  const { file, size } = openRegularFile(path);
  try {
    if (size === 0) {
      throw new InputError(`Cannot read "${path}": it is empty. Get the file again.`);
    }
    const wire = new WireFile(path, file, size);
    const head = new Uint8Array(Math.min(SIGNATURE_BYTES, size));
    wire.read(0, head);
    refuseForeign(path, head);
    return new ModelReader(wire).model();
  } finally {
    file.close();
  }
}

/** Messages within messages that a model may have: what protobuf's own parsers allow. */
const DEEPEST = 100;
/** Bytes of the longest attribute list that is decoded; a longer one is carried. */
const LONGEST_LIST = 256 * 1024;

interface Span {
  readonly start: number;
  end: number;
}

/** A message within the file. */
interface Message {
  readonly from: number;
  readonly to: number;
  readonly path: FieldPath | null;
  readonly depth: number;
}

/** The fields of a message by what the reader does with them. */
interface Split {
  /** Messages of the fields that are walked further, by field number. */
  readonly children: Map<number, Message[]>;
  /** All other fields. */
  readonly carried: Uint8Array;
}

const TYPED_FIELDS: Readonly<Record<number, TypedField>> = {
  [FIELD.tensor.floatData]: "float_data",
  [FIELD.tensor.int32Data]: "int32_data",
  [FIELD.tensor.stringData]: "string_data",
  [FIELD.tensor.int64Data]: "int64_data",
  [FIELD.tensor.doubleData]: "double_data",
  [FIELD.tensor.uint64Data]: "uint64_data",
};

class ModelReader {
  readonly #file: WireFile;
  readonly #external: ExternalFiles;
  readonly #texts = new Map<string, string>();
  #anyExternal = false;

  constructor(file: WireFile) {
    this.#file = file;
    this.#external = new ExternalFiles(file.path);
  }

  model(): Model {
    const message: Message = { from: 0, to: this.#file.size, path: null, depth: 0 };
    const { graph, functions, training } = FIELD.model;
    const { children, carried } = this.#split(message, {
      [graph]: "graph",
      [functions]: "functions",
      [training]: "training_info",
    });
    const fields = this.#decode(message, carried, decodeModel);
    this.#checkVersions(fields.irVersion, fields.opsets);
    const graphs = children.get(graph) ?? [];
    if (graphs.length !== 1) {
      throw this.#fail(message, `has ${graphs.length} graphs where an ONNX model has one`);
    }
    const opsets = new Map(fields.opsets);
    if (opsets.size === 0) opsets.set("", 1);
    const model: Model = {
      path: this.#file.path,
      irVersion: fields.irVersion,
      opsets,
      metadata: fields.metadata,
      graph: this.#graph(graphs[0]!),
      functions: (children.get(functions) ?? []).map((child) => this.#function(child)),
      training: (children.get(training) ?? []).map((child) => this.#training(child)),
      external: false,
      carried,
    };
    model.external = this.#anyExternal;
    return model;
  }

  #checkVersions(irVersion: number, opsets: readonly [string, number][]): void {
    const path = this.#file.path;
    if (irVersion < 1) {
      throw new InputError(
        `Cannot read "${path}": it names no IR version, as every ONNX model does. Check that it ` +
          `is an ONNX model.`,
      );
    }
    if (irVersion > IR_VERSION) {
      throw new InputError(
        `Cannot read "${path}": ir_version ${irVersion} is newer than ${IR_VERSION}, the newest ` +
          `that this version of modelcast knows. Export the model with an older IR version.`,
      );
    }
    for (const [domain, version] of opsets) {
      if (domain === "" && !(version <= OPSET_VERSION)) {
        throw new InputError(
          `Cannot read "${path}": opset_import asks for opset ${version}, newer than ` +
            `${OPSET_VERSION}, the newest that this version of modelcast knows. Export the model ` +
            `with an older opset.`,
        );
      }
      if (version < 0) {
        throw new InputError(
          `Cannot read "${path}": opset_import asks for version ${version} of "${domain}", which ` +
            `can't be. The file is damaged; get it again from where it came from.`,
        );
      }
    }
  }

  #graph(message: Message): Graph {
    const { node, initializer, sparseInitializer, input, output, valueInfo } = FIELD.graph;
    const { children, carried } = this.#split(message, {
      [node]: "node",
      [initializer]: "initializer",
      [sparseInitializer]: "sparse_initializer",
      [input]: "input",
      [output]: "output",
      [valueInfo]: "value_info",
    });
    const of = <T>(number: number, read: (child: Message) => T): T[] =>
      (children.get(number) ?? []).map(read);
    const info = (child: Message) => this.#valueInfo(child);
    const graph: Graph = {
      name: this.#decode(message, carried, decodeGraphName),
      nodes: of(node, (child) => this.#node(child)),
      initializers: of(initializer, (child) => this.#tensor(child)),
      sparseInitializers: of(sparseInitializer, (child) => this.#sparse(child)),
      inputs: of(input, info),
      outputs: of(output, info),
      valueInfo: of(valueInfo, info),
      carried,
    };
    this.#checkNames(message, graph.inputs.map((value) => value.name), graph.nodes, [
      ...graph.initializers.map((tensor) => tensor.name),
      ...graph.sparseInitializers.map((tensor) => tensor.values.name),
    ]);
    return graph;
  }

  /** A value has one definition: an input (which may have an initializer) or a node's output. */
  #checkNames(
    message: Message,
    inputs: readonly string[],
    nodes: readonly Node[],
    initializers: readonly string[],
  ): void {
    const defined = new Set<string>();
    const define = (names: Set<string>, name: string, field: string, index: number) => {
      if (names.has(name)) {
        throw this.#fail(
          message,
          `defines "${name}" twice, the second time in ${field}[${index}]`,
          "Export the model again; names of values must be unique.",
        );
      }
      names.add(name);
    };
    initializers.forEach((name, index) => define(defined, name, "initializer", index));
    const ownInputs = new Set<string>();
    inputs.forEach((name, index) => define(ownInputs, name, "input", index));
    for (const name of ownInputs) defined.add(name);
    nodes.forEach((node, index) => {
      for (const name of node.outputs) {
        if (name !== "") define(defined, name, "node", index);
      }
    });
  }

  #node(message: Message): Node {
    const { children, carried } = this.#split(message, { [FIELD.node.attribute]: "attribute" });
    const fields = this.#decode(message, carried, decodeNode);
    if (fields.opType === "") throw this.#fail(message, "has no op_type");
    return {
      name: fields.name,
      opType: this.#text(fields.opType),
      domain: this.#text(fields.domain),
      inputs: fields.inputs.map((name) => this.#text(name)),
      outputs: fields.outputs.map((name) => this.#text(name)),
      attributes: this.#attributes(message, children.get(FIELD.node.attribute) ?? []),
      carried,
    };
  }

  #attributes(message: Message, children: readonly Message[]): Attribute[] {
    const attributes = children.map((child) => this.#attribute(child));
    const names = new Set(attributes.map((attribute) => attribute.name));
    if (names.size !== attributes.length) {
      const twice = attributes.find(({ name }, index) =>
        attributes.findIndex((other) => other.name === name) !== index
      );
      throw this.#fail(message, `has the attribute "${twice?.name}" twice`);
    }
    return attributes;
  }

  #attribute(message: Message): Attribute {
    const number = FIELD.attribute;
    const inner: Record<number, string> = {
      [number.t]: "t",
      [number.g]: "g",
      [number.tensors]: "tensors",
      [number.graphs]: "graphs",
      [number.sparseTensor]: "sparse_tensor",
      [number.sparseTensors]: "sparse_tensors",
    };
    const runs: Span[] = [];
    const objects: { number: number; from: number; span: Span }[] = [];
    let lists = 0;
    const records = new Records(this.#file, message.from, message.to, message.path);
    while (records.next()) {
      const span = { start: records.start, end: records.end };
      if (records.number in inner && records.wireType === WireType.bytes) {
        objects.push({ number: records.number, from: records.payload, span });
      } else {
        extend(runs, span);
        const listed = records.number === number.floats || records.number === number.ints ||
          records.number === number.strings;
        if (listed) lists += span.end - span.start;
      }
    }
    const rest = this.#file.copy(runs);
    const everything = () => objects.length === 0 ? rest : this.#all(message);
    if (lists > LONGEST_LIST) {
      const name = this.#decode(message, rest, decodeAttributeName);
      return { name: this.#text(name), value: { type: "carried" }, carried: everything() };
    }
    const fields = this.#decode(message, rest, decodeAttribute);
    const name = this.#text(fields.name);
    const type = attributeType(
      fields,
      (field) => objects.some((object) => object.number === field),
    );
    const own = type !== null && isObjectType(type) ? OBJECT_FIELDS[type] : undefined;
    if (type === null || own === undefined) {
      const value = type === null ? null : scalarValue(type, fields);
      return { name, value: value ?? { type: "carried" }, carried: everything() };
    }
    if (objects.some((object) => object.number !== own)) {
      throw this.#fail(message, `is of type ${type} and has values of other types`);
    }
    const messages = objects.map(({ number, from, span }, index) =>
      this.#child(message, inner[number]!, index, from, span.end)
    );
    return { name, value: this.#objects(message, type, messages), carried: rest };
  }

  #objects(
    message: Message,
    type: AttributeType,
    messages: readonly Message[],
  ): AttributeValue {
    if (!isList(type) && messages.length !== 1) {
      throw this.#fail(message, `is of type ${type} and has ${messages.length} of them`);
    }
    switch (type) {
      case "tensor":
        return { type, value: this.#tensor(messages[0]!) };
      case "graph":
        return { type, value: this.#graph(messages[0]!) };
      case "sparse_tensor":
        return { type, value: this.#sparse(messages[0]!) };
      case "tensors":
        return { type, value: messages.map((child) => this.#tensor(child)) };
      case "graphs":
        return { type, value: messages.map((child) => this.#graph(child)) };
      case "sparse_tensors":
        return { type, value: messages.map((child) => this.#sparse(child)) };
      default:
        return { type: "carried" };
    }
  }

  #tensor(message: Message): Tensor {
    const runs: Span[] = [];
    const typed = new Map<TypedField, Span[]>();
    let raw: Span | null = null;
    let rawPath: FieldPath | null = null;
    const records = new Records(this.#file, message.from, message.to, message.path);
    while (records.next()) {
      const field = TYPED_FIELDS[records.number];
      if (records.number === FIELD.tensor.rawData) {
        if (records.wireType !== WireType.bytes) {
          throw records.error("has raw_data that is not bytes");
        }
        raw = { start: records.payload, end: records.end };
        rawPath = { parent: message.path, field: "raw_data", index: null };
      } else if (field !== undefined) {
        const spans = typed.get(field) ?? [];
        extend(spans, { start: records.start, end: records.end });
        typed.set(field, spans);
      } else extend(runs, { start: records.start, end: records.end });
    }
    const carried = this.#file.copy(runs);
    const fields = this.#decode(message, carried, decodeTensor);
    const dtype = dtypeOfOnnx(fields.dataType);
    if (dtype === undefined) {
      throw this.#fail(
        message,
        `has the element type ${fields.dataType}, which ONNX does not have`,
      );
    }
    const count = this.#count(message, fields.dims);
    const expected = byteLength(dtype, count);
    const tensor = (data: TensorData): Tensor => ({
      name: this.#text(fields.name),
      dtype,
      dims: fields.dims,
      data,
      external: fields.external,
      carried,
    });
    if (fields.external) {
      if (dtype === "string") throw this.#fail(message, "keeps strings in an external file");
      const place = this.#external.resolve(
        fields.entries,
        expected,
        (state, remedy) => this.#fail(message, state, remedy),
      );
      this.#anyExternal = true;
      return tensor({ kind: "file", ...place });
    }
    if (raw !== null) {
      if (typed.size > 0) {
        throw this.#fail(message, `has raw_data and ${[...typed.keys()].join(", ")}`);
      }
      const length = raw.end - raw.start;
      if (dtype === "string") throw this.#fail(message, "keeps strings in raw_data");
      if (length !== expected) {
        throw fieldError(
          this.#file.path,
          rawPath,
          raw.start,
          `has ${length} bytes where ${dtype} [${fields.dims}] takes ${expected}`,
        );
      }
      return tensor({ kind: "file", path: this.#file.path, offset: raw.start, length });
    }
    const field = typedFieldOf(dtype);
    for (const other of typed.keys()) {
      if (other !== field) throw this.#fail(message, `keeps ${dtype} values in ${other}`);
    }
    const ranges = (typed.get(field) ?? []).map(({ start, end }) => ({
      offset: start,
      length: end - start,
    }));
    this.#checkTyped(message, field, dtype, count, fields.dims, typed.get(field) ?? []);
    const stored = ranges.reduce((sum, range) => sum + range.length, 0);
    const length = dtype === "string" ? stored : expected;
    return tensor({ kind: "typed", field, path: this.#file.path, ranges, length });
  }

  /** Product of `dims`, which must be a possible shape. */
  #count(message: Message, dims: readonly number[]): number {
    let count = 1;
    for (const dim of dims) {
      if (dim < 0) throw this.#fail(message, `has the negative extent ${dim} in its dims`);
      if (!Number.isSafeInteger(dim)) throw this.#fail(message, `has an extent of 2^53 or more`);
      count *= dim;
      if (!Number.isSafeInteger(count * 16)) {
        throw this.#fail(message, `has dims [${dims}], whose product is past every file's size`);
      }
    }
    return count;
  }

  /** The count of values in a typed field must be what the dims say. */
  #checkTyped(
    message: Message,
    field: TypedField,
    dtype: DType,
    count: number,
    dims: readonly number[],
    spans: readonly Span[],
  ): void {
    const found = countTyped(this.#file, field, spans, message.path);
    const wanted = typedCount(dtype, count);
    if (found !== wanted) {
      throw this.#fail(
        message,
        `has ${found} values in ${field} where ${dtype} [${dims}] takes ${wanted}`,
      );
    }
  }

  #sparse(message: Message): SparseTensor {
    const { values, indices } = FIELD.sparse;
    const { children, carried } = this.#split(message, {
      [values]: "values",
      [indices]: "indices",
    });
    const only = (number: number, field: string): Tensor => {
      const found = children.get(number) ?? [];
      if (found.length !== 1) throw this.#fail(message, `has ${found.length} ${field}`);
      return this.#tensor(found[0]!);
    };
    const dims = this.#decode(message, carried, decodeSparseDims);
    this.#count(message, dims);
    return {
      values: only(values, "values"),
      indices: only(indices, "indices"),
      dims,
      carried,
    };
  }

  #valueInfo(message: Message): ValueInfo {
    const wire = this.#all(message);
    const fields = this.#decode(message, wire, decodeValueInfo);
    return { ...fields, name: this.#text(fields.name), wire };
  }

  #function(message: Message): ModelFunction {
    const { node, attributeProto, valueInfo } = FIELD.function;
    const { children, carried } = this.#split(message, {
      [node]: "node",
      [attributeProto]: "attribute_proto",
      [valueInfo]: "value_info",
    });
    const fields = this.#decode(message, carried, decodeFunction);
    const made: ModelFunction = {
      name: fields.name,
      domain: fields.domain,
      overload: fields.overload,
      opsets: new Map(fields.opsets),
      inputs: fields.inputs,
      outputs: fields.outputs,
      attributes: this.#attributes(message, children.get(attributeProto) ?? []),
      nodes: (children.get(node) ?? []).map((child) => this.#node(child)),
      valueInfo: (children.get(valueInfo) ?? []).map((child) => this.#valueInfo(child)),
      carried,
    };
    this.#checkNames(message, made.inputs, made.nodes, []);
    return made;
  }

  #training(message: Message): TrainingInfo {
    const { initialization, algorithm } = FIELD.training;
    const { children, carried } = this.#split(message, {
      [initialization]: "initialization",
      [algorithm]: "algorithm",
    });
    const only = (number: number, field: string): Graph | null => {
      const found = children.get(number) ?? [];
      if (found.length > 1) throw this.#fail(message, `has ${found.length} ${field} graphs`);
      return found[0] === undefined ? null : this.#graph(found[0]);
    };
    return {
      initialization: only(initialization, "initialization"),
      algorithm: only(algorithm, "algorithm"),
      carried,
    };
  }

  /** Separates the fields of `message` that are in `inner` from those that are carried. */
  #split(message: Message, inner: Readonly<Record<number, string>>): Split {
    const children = new Map<number, Message[]>();
    const runs: Span[] = [];
    const records = new Records(this.#file, message.from, message.to, message.path);
    while (records.next()) {
      const field = inner[records.number];
      if (field === undefined) extend(runs, { start: records.start, end: records.end });
      else if (records.wireType !== WireType.bytes) {
        throw records.error(`has ${field} with wire type ${records.wireType}`);
      } else {
        const list = children.get(records.number) ?? [];
        children.set(records.number, list);
        list.push(this.#child(message, field, list.length, records.payload, records.end));
      }
    }
    return { children, carried: this.#file.copy(runs) };
  }

  #child(
    parent: Message,
    field: string,
    index: number | null,
    from: number,
    to: number,
  ): Message {
    const path = { parent: parent.path, field, index: SINGULAR.has(field) ? null : index };
    if (parent.depth >= DEEPEST) {
      const text = fieldPathText(path);
      const shown = text.length > 200 ? `${text.slice(0, 100)}...${text.slice(-100)}` : text;
      throw new InputError(
        `Cannot read "${this.#file.path}": ${shown} at byte ${from} lies more than ${DEEPEST} ` +
          `messages deep. The file is damaged or made to do harm; get it again.`,
      );
    }
    return { from, to, path, depth: parent.depth + 1 };
  }

  #all(message: Message): Uint8Array {
    return this.#file.copy([{ start: message.from, end: message.to }]);
  }

  #decode<T>(message: Message, bytes: Uint8Array, decode: (bytes: Uint8Array) => T): T {
    try {
      return decode(bytes);
    } catch (cause) {
      const text = cause instanceof TypeError ? "a name that is not UTF-8" : String(cause);
      throw this.#fail(message, `can't be decoded: ${text}`);
    }
  }

  /** One string object a text: value names occur again and again. */
  #text(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    this.#texts.set(text, text);
    return text;
  }

  #fail(message: Message, state: string, remedy?: string): InputError {
    return fieldError(this.#file.path, message.path, message.from, state, remedy);
  }
}

const SINGULAR = new Set([
  "graph",
  "t",
  "g",
  "sparse_tensor",
  "values",
  "indices",
  "initialization",
  "algorithm",
]);

function isList(type: AttributeType): boolean {
  return type === "tensors" || type === "graphs" || type === "sparse_tensors";
}

function extend(runs: Span[], span: Span): void {
  const last = runs.at(-1);
  if (last !== undefined && last.end === span.start) last.end = span.end;
  else runs.push({ ...span });
}
