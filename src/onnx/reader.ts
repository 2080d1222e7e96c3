/**
 * Reads an ONNX model into the IR. The containers (model, graph, node, attribute, tensor, ...) are
 * walked over a window on the file; tensor data is skipped and kept as a reference; the small
 * fields are carried as wire bytes and decoded by `schema.ts`. The file is untrusted: whatever is
 * wrong with it comes out as an `InputError` that names the file, the field and the byte.
 */
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
  TrainingInfo,
  ValueInfo,
} from "../ir.ts";
import { openRegularFile, refuseForeign, SIGNATURE_BYTES } from "./identify.ts";
import { CarriedFields, type ChildField, type Message, MessageReader } from "./message.ts";
import {
  attributeType,
  decodeAttribute,
  decodeAttributeName,
  decodeFunction,
  decodeGraphName,
  decodeModel,
  decodeNode,
  decodeValueInfo,
  FIELD,
  IR_VERSION,
  isObjectType,
  OBJECT_FIELDS,
  type ObjectType,
  OPSET_VERSION,
  scalarValue,
} from "./schema.ts";
import { TensorMessages } from "./tensor_message.ts";
import { WireFile, WireType } from "./wire.ts";

/**
 * Reads the ONNX model in the file `path`. Weights are not read: the model's tensors refer to the
 * file and to its external data files, which must stay as they are while the model is in use.
 *
 * Throws an `InputError` for a file that is not a sound ONNX model: one that is damaged, that is
 * newer than opset 28 or IR version 14, whose external data lies outside its folder, that nests
 * deeper than 100 messages, that defines a name twice or has one that is not UTF-8, or whose
 * tensors' shapes don't fit their data.
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
    return new ModelReader(new MessageReader(wire)).model();
  } finally {
    file.close();
  }
}

/** Bytes of the longest attribute list that is decoded; a longer one is carried. */
const LONGEST_LIST = 256 * 1024;
/** Bytes of the longest type of a value: real ones take some tens. */
const LONGEST_TYPE = 64 * 1024;

const one = (name: string): ChildField => ({ name, repeated: false });
const many = (name: string): ChildField => ({ name, repeated: true });

const ATTRIBUTE_OBJECTS: Readonly<Record<number, ChildField>> = {
  [FIELD.attribute.t]: one("t"),
  [FIELD.attribute.g]: one("g"),
  [FIELD.attribute.tensors]: many("tensors"),
  [FIELD.attribute.graphs]: many("graphs"),
  [FIELD.attribute.sparseTensor]: one("sparse_tensor"),
  [FIELD.attribute.sparseTensors]: many("sparse_tensors"),
};

class ModelReader {
  readonly #reader: MessageReader;
  readonly #tensors: TensorMessages;

  constructor(reader: MessageReader) {
    this.#reader = reader;
    this.#tensors = new TensorMessages(reader);
  }

  model(): Model {
    const reader = this.#reader;
    const message: Message = { from: 0, to: reader.file.size, path: null, depth: 0 };
    const inner = {
      [FIELD.model.graph]: one("graph"),
      [FIELD.model.functions]: many("functions"),
      [FIELD.model.training]: many("training_info"),
    };
    // Versions first: a model from the future must not look like a broken one.
    const carried = reader.walk(message, inner, () => {});
    const fields = reader.decode(message, carried, decodeModel);
    reader.charge((fields.metadata.length + fields.opsets.length) * 200);
    this.#checkVersions(fields.irVersion, fields.opsets);
    let graph: Graph | null = null;
    const functions: ModelFunction[] = [];
    const defined = new Set<string>();
    const training: TrainingInfo[] = [];
    reader.walk(message, inner, (number, child) => {
      if (number === FIELD.model.graph) graph = this.#graph(child);
      else if (number === FIELD.model.functions) {
        const { domain, name, overload } = functions[functions.push(this.#function(child)) - 1]!;
        const key = JSON.stringify([domain, name, overload]);
        if (defined.has(key)) {
          const whole = `${domain}:${name}${overload === "" ? "" : `:${overload}`}`;
          throw reader.fail(child, `defines the function "${whole}" for the second time`);
        }
        defined.add(key);
      } else training.push(this.#training(child));
    });
    if (graph === null) throw reader.fail(message, "has no graph");
    const opsets = new Map(fields.opsets);
    if (opsets.size === 0) opsets.set("", 1);
    return {
      path: reader.file.path,
      irVersion: fields.irVersion,
      opsets,
      metadata: fields.metadata,
      graph,
      functions,
      training,
      external: this.#tensors.anyExternal,
      carried,
    };
  }

  #checkVersions(irVersion: number, opsets: readonly [string, number][]): void {
    const { path } = this.#reader.file;
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
      if (domain === "" && version > OPSET_VERSION) {
        throw new InputError(
          `Cannot read "${path}": opset_import asks for opset ${version}, newer than ` +
            `${OPSET_VERSION}, the newest that this version of modelcast knows. Export the model ` +
            `with an older opset.`,
        );
      }
      if (!Number.isSafeInteger(version) || version < 0) {
        throw new InputError(
          `Cannot read "${path}": opset_import asks for version ${version} of "${domain}", which ` +
            `can't be. The file is damaged; get it again from where it came from.`,
        );
      }
    }
  }

  #graph(message: Message): Graph {
    const reader = this.#reader;
    const number = FIELD.graph;
    const nodes: Node[] = [];
    const initializers: Tensor[] = [];
    const sparseInitializers: SparseTensor[] = [];
    const inputs: ValueInfo[] = [];
    const outputs: ValueInfo[] = [];
    const valueInfo: ValueInfo[] = [];
    const inner = {
      [number.node]: many("node"),
      [number.initializer]: many("initializer"),
      [number.sparseInitializer]: many("sparse_initializer"),
      [number.input]: many("input"),
      [number.output]: many("output"),
      [number.valueInfo]: many("value_info"),
    };
    // Initializers first: how much the nodes may take depends on the external data there is.
    const carried = reader.walk(message, inner, (field, child) => {
      if (field === number.initializer) initializers.push(this.#tensors.tensor(child));
      else if (field === number.sparseInitializer) {
        sparseInitializers.push(this.#tensors.sparse(child));
      }
    });
    reader.walk(message, inner, (field, child) => {
      if (field === number.node) nodes.push(this.#node(child));
      else if (field === number.input) inputs.push(this.#valueInfo(child));
      else if (field === number.output) outputs.push(this.#valueInfo(child));
      else if (field === number.valueInfo) valueInfo.push(this.#valueInfo(child));
    });
    const name = reader.decode(message, carried, decodeGraphName);
    this.#checkNames(message, inputs.map((value) => value.name), nodes, [
      ...initializers.map((tensor) => tensor.name),
      ...sparseInitializers.map((tensor) => tensor.values.name),
    ]);
    return { name, nodes, initializers, sparseInitializers, inputs, outputs, valueInfo, carried };
  }

  /** A value has one definition: an input (which may have an initializer) or a node's output. */
  #checkNames(
    message: Message,
    inputs: readonly string[],
    nodes: readonly Node[],
    initializers: readonly string[],
  ): void {
    const define = (names: Set<string>, name: string, field: string, index: number) => {
      if (!names.has(name)) return names.add(name);
      throw this.#reader.fail(
        message,
        `defines "${name}" twice, the second time in ${field}[${index}]`,
        "Export the model again; names of values must be unique.",
      );
    };
    const defined = new Set<string>();
    initializers.forEach((name, index) => define(defined, name, "initializer", index));
    const ownInputs = new Set<string>();
    inputs.forEach((name, index) => define(ownInputs, name, "input", index));
    for (const name of ownInputs) defined.add(name);
    nodes.forEach((node, index) => {
      for (const name of node.outputs) if (name !== "") define(defined, name, "node", index);
    });
  }

  #node(message: Message): Node {
    const reader = this.#reader;
    reader.charge(240);
    const attributes: Attribute[] = [];
    const carried = reader.walk(message, {
      [FIELD.node.attribute]: many("attribute"),
    }, (_, child) => attributes.push(this.#attribute(child)));
    const fields = reader.decode(message, carried, decodeNode);
    if (fields.opType === "") throw reader.fail(message, "has no op_type");
    this.#checkAttributes(message, attributes);
    return {
      name: fields.name,
      opType: reader.text(fields.opType),
      domain: reader.text(fields.domain),
      inputs: fields.inputs.map((name) => reader.text(name)),
      outputs: fields.outputs.map((name) => reader.text(name)),
      attributes,
      carried,
    };
  }

  #checkAttributes(message: Message, attributes: readonly Attribute[]): void {
    const names = new Set<string>();
    for (const { name } of attributes) {
      if (names.has(name)) throw this.#reader.fail(message, `has the attribute "${name}" twice`);
      names.add(name);
    }
  }

  #attribute(message: Message): Attribute {
    const reader = this.#reader;
    reader.charge(160);
    const carried = new CarriedFields(reader.file);
    const objects: { readonly number: number; readonly from: number; readonly to: number }[] = [];
    const { floats, ints, strings } = FIELD.attribute;
    let lists = 0;
    const records = reader.records(message);
    while (records.next()) {
      const { number, start, end } = records;
      if (number in ATTRIBUTE_OBJECTS && records.wireType === WireType.bytes) {
        reader.charge(60);
        objects.push({ number, from: records.payload, to: end });
      } else {
        carried.add(start, end);
        if (number === floats || number === ints || number === strings) lists += end - start;
      }
    }
    // The values of lists are accounted for when they are decoded.
    reader.charge(100);
    const rest = carried.finish();
    const everything = () => objects.length === 0 ? rest : reader.whole(message);
    if (lists > LONGEST_LIST) {
      const name = reader.decode(message, rest, decodeAttributeName);
      return { name: reader.text(name), value: { type: "carried" }, carried: everything() };
    }
    const fields = reader.decode(message, rest, decodeAttribute);
    reader.charge(fields.floats.length * 8 + fields.ints.length * 64 + fields.strings.length * 120);
    if (fields.name === "") throw reader.fail(message, "has no name");
    const name = reader.text(fields.name);
    const type = attributeType(fields, (field) => objects.some((entry) => entry.number === field));
    if (type === null || !isObjectType(type)) {
      const value = type === null ? null : scalarValue(type, fields);
      return { name, value: value ?? { type: "carried" }, carried: everything() };
    }
    if (objects.some((entry) => entry.number !== OBJECT_FIELDS[type])) {
      throw reader.fail(message, `is of type ${type} and has values of other types`);
    }
    const children = objects.map(({ number, from, to }, index) =>
      reader.child(message, ATTRIBUTE_OBJECTS[number]!, index, from, to)
    );
    return { name, value: this.#objects(message, type, children), carried: rest };
  }

  #objects(message: Message, type: ObjectType, children: readonly Message[]): AttributeValue {
    const single = (): Message => {
      if (children.length === 1) return children[0]!;
      throw this.#reader.fail(message, `is of type ${type} and has ${children.length} of them`);
    };
    const tensors = this.#tensors;
    switch (type) {
      case "tensor":
        return { type, value: tensors.tensor(single()) };
      case "graph":
        return { type, value: this.#graph(single()) };
      case "sparse_tensor":
        return { type, value: tensors.sparse(single()) };
      case "tensors":
        return { type, value: children.map((child) => tensors.tensor(child)) };
      case "graphs":
        return { type, value: children.map((child) => this.#graph(child)) };
      case "sparse_tensors":
        return { type, value: children.map((child) => tensors.sparse(child)) };
    }
  }

  #valueInfo(message: Message): ValueInfo {
    const reader = this.#reader;
    reader.charge(250);
    const records = reader.records(message);
    while (records.next()) {
      if (records.number !== FIELD.valueInfo.type) continue;
      const length = records.end - records.start;
      if (length > LONGEST_TYPE) throw records.error(`has a type of ${length} bytes`);
      reader.charge(length);
    }
    const wire = reader.whole(message);
    const { name, dtype, shape } = reader.decode(message, wire, decodeValueInfo);
    if (name === "") throw reader.fail(message, "has no name");
    return { name: reader.text(name), dtype, shape, wire };
  }

  #function(message: Message): ModelFunction {
    const reader = this.#reader;
    reader.charge(800);
    const number = FIELD.function;
    const nodes: Node[] = [];
    const attributes: Attribute[] = [];
    const valueInfo: ValueInfo[] = [];
    const carried = reader.walk(message, {
      [number.node]: many("node"),
      [number.attributeProto]: many("attribute_proto"),
      [number.valueInfo]: many("value_info"),
    }, (field, child) => {
      if (field === number.node) nodes.push(this.#node(child));
      else if (field === number.valueInfo) valueInfo.push(this.#valueInfo(child));
      else attributes.push(this.#attribute(child));
    });
    const fields = reader.decode(message, carried, decodeFunction);
    reader.charge(fields.opsets.length * 200);
    this.#checkAttributes(message, attributes);
    this.#checkNames(message, fields.inputs, nodes, []);
    return {
      name: fields.name,
      domain: fields.domain,
      overload: fields.overload,
      opsets: new Map(fields.opsets),
      inputs: fields.inputs,
      outputs: fields.outputs,
      attributes,
      nodes,
      valueInfo,
      carried,
    };
  }

  #training(message: Message): TrainingInfo {
    let initialization: Graph | null = null;
    let algorithm: Graph | null = null;
    this.#reader.charge(120);
    const carried = this.#reader.walk(message, {
      [FIELD.training.initialization]: one("initialization"),
      [FIELD.training.algorithm]: one("algorithm"),
    }, (number, child) => {
      if (number === FIELD.training.initialization) initialization = this.#graph(child);
      else algorithm = this.#graph(child);
    });
    return { initialization, algorithm, carried };
  }
}
