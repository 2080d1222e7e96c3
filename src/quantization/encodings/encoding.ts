/**
 * What a form of a quantized weight in ONNX is: a record that says which weights it can express,
 * what it needs of a runtime, and the patch that puts it into a model. A patch is built without
 * touching the model, so that sizes are known to the byte before anything is changed.
 */
import type { DType } from "../../dtype.ts";
import { byteLength, DTYPES } from "../../dtype.ts";
import type { BlockFormat } from "../../formats.ts";
import { blockLayout } from "../../formats.ts";
import type { Attribute, Node, Tensor } from "../../ir.ts";
import { elementCount, int, makeNode, makeTensor } from "../../ir.ts";
import type { MatrixView } from "../pipeline.ts";
import type { Need } from "../runtimes.ts";
import type { Body, Scopes } from "../scopes.ts";
import type { Weight } from "../weights.ts";
import type { Fill, Packing } from "./packing.ts";
import { makeFill } from "./packing.ts";

/** Domain of ONNX Runtime's own operators. */
export const MICROSOFT = "com.microsoft";

/** Weights that share a scale: blocks of a fixed count, whole rows, or all of them. */
export type Granularity = "block" | "channel" | "tensor";

/** A weight together with the format that it is stored in. */
export interface Target {
  readonly weight: Weight;
  readonly granularity: Granularity;
  readonly format: BlockFormat;
  /** The matrix that engines quantize: the weight's own, or one row for `tensor`. */
  readonly view: MatrixView;
  /** Type that the graph will be converted to compute in; absent where it stays as it is. */
  readonly activations?: DType;
}

/** Names of the forms. */
export type FormName =
  | "matmulnbits"
  | "matmulnbits-joined"
  | "gatherblockquantized"
  | "gather"
  | "arithmetic"
  | "dequantizelinear";

/** A form of a quantized weight. */
export interface Form {
  readonly name: FormName;
  /** Why the form can't express this weight in this format at all; null when it can. */
  rejects(target: Target): string | null;
  /** What a runtime must have. */
  needs(target: Target): Need[];
  /** The patch; only for a target that is not rejected. */
  express(target: Target, builder: PatchBuilder): void;
}

/** What a form makes of one weight. */
export interface Patch {
  readonly target: Target;
  readonly form: FormName;
  /** New constants, in the bodies that hold them. */
  readonly constants: { readonly body: Body; readonly tensor: Tensor }[];
  /** Nodes that compute from constants alone, in order, by body. */
  readonly prologue: { readonly body: Body; readonly node: Node }[];
  /** Nodes that take the place of one that read the weight. */
  readonly replacements: Map<Node, { readonly body: Body; readonly nodes: Node[] }>;
  readonly fills: Fill[];
  /** Whether the weight's name goes to the last node of the prologue. */
  readonly keepsName: boolean;
  readonly usesMicrosoft: boolean;
  /** Lowest default-domain opset and IR version of what is emitted. */
  readonly opset: number;
  readonly irVersion: number;
  /** Bytes of codes, scales and zero points. */
  readonly bytes: number;
  /** Bytes of the protobuf around them: nodes, names, small constants. Within a few bytes. */
  readonly overhead: number;
  /** Bytes that a runtime which computes constants at load keeps. */
  readonly memoryBytes: number;
}

/** Small constants that the weights of a body share, by body and content. */
export class SharedConstants {
  readonly #tensors = new Map<Body, Map<string, Tensor>>();

  constructor(readonly scopes: Scopes) {}

  /** The tensor with this content in `body`; a new name the first time. */
  take(body: Body, dtype: DType, dims: readonly number[], values: readonly number[]): Tensor {
    let ofBody = this.#tensors.get(body);
    if (ofBody === undefined) this.#tensors.set(body, ofBody = new Map());
    const key = `${dtype}[${dims}]=${values}`;
    let tensor = ofBody.get(key);
    if (tensor === undefined) {
      const name = this.scopes.freshName(`c${values.slice(0, 4).join("_")}`);
      tensor = makeTensor(name, dtype, dims, {
        kind: "memory",
        bytes: encodeValues(dtype, values),
      });
      ofBody.set(key, tensor);
    }
    return tensor;
  }
}

/** Where nodes are put: among those that run at load, or in place of a node. */
export type Place = { readonly body: Body; readonly nodes: Node[] };

/** Collects a patch. */
export class PatchBuilder {
  readonly constants: { body: Body; tensor: Tensor }[] = [];
  readonly replacements = new Map<Node, { body: Body; nodes: Node[] }>();
  readonly fills: Fill[] = [];
  /** Nodes in the weight's own body that compute from constants. */
  readonly load: Place;
  keepsName = false;
  opset = 1;
  irVersion = 4;
  memoryBytes = 0;
  readonly #prefix: string;
  #zeroBytes = 0;
  #values = 0;
  #sharedUsed = new Set<Tensor>();

  constructor(
    readonly target: Target,
    readonly form: FormName,
    readonly shared: SharedConstants,
    /** Number of the weight in the model, from which the names of inner values are made. */
    number: number,
  ) {
    this.load = { body: target.weight.body, nodes: [] };
    this.#prefix = `q${number}`;
  }

  /** A constant that quantization fills in, named after the weight. */
  pending(part: string, dtype: DType, dims: readonly number[], packing: Packing): string {
    const { weight } = this.target;
    const name = this.shared.scopes.freshName(`${weight.name}.${part}`);
    const length = byteLength(dtype, elementCount(dims));
    const tensor = makeTensor(name, dtype, dims, { kind: "pending", length });
    this.require(constantOpset(this.target, dtype), Math.max(4, DTYPES[dtype].irVersion));
    this.constants.push({ body: weight.body, tensor });
    this.fills.push(makeFill(tensor, this.target, packing));
    return name;
  }

  /** A constant of zeros, named after the weight. */
  zeros(part: string, dtype: DType, dims: readonly number[]): string {
    const { weight } = this.target;
    const name = this.shared.scopes.freshName(`${weight.name}.${part}`);
    const bytes = new Uint8Array(byteLength(dtype, elementCount(dims)));
    this.constants.push({
      body: weight.body,
      tensor: makeTensor(name, dtype, dims, { kind: "memory", bytes }),
    });
    this.#zeroBytes += bytes.length;
    return name;
  }

  /** A small constant, shared within the body. */
  constant(
    body: Body,
    dtype: DType,
    dims: readonly number[],
    values: readonly number[],
  ): string {
    const tensor = this.shared.take(body, dtype, dims, values);
    if (!this.#sharedUsed.has(tensor)) {
      this.#sharedUsed.add(tensor);
      this.constants.push({ body, tensor });
    }
    return tensor.name;
  }

  /** A list of int64, as shapes and axes are. */
  list(body: Body, values: readonly number[]): string {
    return this.constant(body, "int64", [values.length], values);
  }

  /** Appends a node and gives the name of its only output. */
  emit(
    place: Place,
    opType: string,
    inputs: string[],
    attributes: Attribute[] = [],
    output = this.value(),
    domain = "",
  ): string {
    this.require(OPSETS[opType] ?? 1, 4);
    place.nodes.push(makeNode(opType, domain, inputs, [output], attributes, ""));
    return output;
  }

  /** Appends a Cast. */
  cast(place: Place, input: string, to: DType, output?: string): string {
    return this.emit(place, "Cast", [input], [int("to", DTYPES[to].onnx)], output);
  }

  /** Appends a Reshape; 0 keeps an extent. */
  reshape(place: Place, input: string, dims: readonly number[], output?: string): string {
    return this.emit(place, "Reshape", [input, this.list(place.body, dims)], [], output);
  }

  /** Appends a Slice that keeps the first `length` of `axis`. */
  first(place: Place, input: string, axis: number, length: number, output?: string): string {
    const { body } = place;
    const inputs = [
      input,
      this.list(body, [0]),
      this.list(body, [length]),
      this.list(body, [axis]),
    ];
    return this.emit(place, "Slice", inputs, [], output);
  }

  /** Gives the weight's name to what the last node that runs at load computes. */
  giveName(): void {
    this.load.nodes.at(-1)!.outputs[0] = this.target.weight.name;
    this.keepsName = true;
  }

  /** A place for the nodes that take the place of `node`. */
  replace(body: Body, node: Node): Place {
    const place: { body: Body; nodes: Node[] } = { body, nodes: [] };
    this.replacements.set(node, place);
    return place;
  }

  /** Bytes of the constants that quantization fills in. */
  pendingBytes(): number {
    return this.fills.reduce((sum, { tensor }) => sum + pendingLength(tensor.data), 0);
  }

  /** Name for an inner value. */
  value(): string {
    return this.shared.scopes.freshName(`${this.#prefix}_${this.#values++}`);
  }

  /** Raises what the patch needs. */
  require(opset: number, irVersion: number): void {
    this.opset = Math.max(this.opset, opset);
    this.irVersion = Math.max(this.irVersion, irVersion);
  }

  /** The patch as it stands. */
  finish(): Patch {
    const nodes = [...this.load.nodes, ...[...this.replacements.values()].flatMap((p) => p.nodes)];
    const pendingTensors = this.fills.map((fill) => fill.tensor);
    return {
      target: this.target,
      form: this.form,
      constants: this.constants,
      prologue: this.load.nodes.map((node) => ({ body: this.load.body, node })),
      replacements: this.replacements,
      fills: this.fills,
      keepsName: this.keepsName,
      usesMicrosoft: nodes.some((node) => node.domain === MICROSOFT),
      opset: this.opset,
      irVersion: this.irVersion,
      bytes: this.pendingBytes() + this.#zeroBytes,
      overhead: nodes.reduce((sum, node) => sum + nodeBytes(node), 0) -
        [...this.replacements.keys()].reduce((sum, node) => sum + nodeBytes(node), 0) +
        pendingTensors.reduce((sum, tensor) => sum + 16 + tensor.name.length, 0),
      memoryBytes: this.memoryBytes,
    };
  }
}

/**
 * Default-domain opset from which the target's body may hold a constant of a type. An initializer's
 * type is bound to no opset; a function has none, and the outputs of its Constant nodes are.
 */
export function constantOpset({ weight }: Target, dtype: DType): number {
  if (weight.body.graph !== null) return 1;
  return { uint4: 21, int4: 21, uint2: 25, int2: 25 }[dtype as string] ?? 1;
}

/** Default-domain opset that gave an operator the form in which it is emitted here. */
const OPSETS: Readonly<Record<string, number>> = {
  Add: 7,
  BitShift: 11,
  BitwiseAnd: 18,
  BitwiseOr: 18,
  Cast: 9,
  Div: 7,
  Expand: 8,
  Mod: 10,
  Mul: 7,
  ReduceSum: 13,
  Reshape: 5,
  Slice: 10,
  Sub: 7,
};

function pendingLength(data: Tensor["data"]): number {
  return data.kind === "pending" ? data.length : 0;
}

/** About the bytes of a node in the file. */
function nodeBytes(node: Node): number {
  const text = [node.name, node.domain, ...node.inputs, ...node.outputs];
  return 4 + node.opType.length + text.reduce((sum, name) => sum + 2 + name.length, 0) +
    node.attributes.reduce((sum, { name }) => sum + 9 + name.length, 0);
}

/** Little-endian bytes of small constants. */
function encodeValues(dtype: DType, values: readonly number[]): Uint8Array {
  switch (dtype) {
    case "int64":
      return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    case "int32":
      return new Uint8Array(Int32Array.from(values).buffer);
    case "float32":
      return new Uint8Array(Float32Array.from(values).buffer);
    case "uint8":
      return Uint8Array.from(values);
    default:
      throw new TypeError(`no small constants of ${dtype} are made`);
  }
}

/** Blocks of the target, as `formats.ts` lays them out. */
export function layoutOf(target: Target): ReturnType<typeof blockLayout> {
  return blockLayout(target.format, target.view.rows, target.view.columns);
}

/**
 * Whether a product sums over the axis along which the rows that have scales of their own lie,
 * because another reader of the weight sums over its other axis.
 */
export function scalesAlongSum({ weight, granularity }: Target): boolean {
  return granularity !== "tensor" && weight.uses.length > 1 &&
    weight.uses.some(({ role, kind }) => role === "matmul" && kind === "float");
}

/** Rows of all matrices of the target. */
export function allRows(target: Target): number {
  return target.view.batch * target.view.rows;
}
