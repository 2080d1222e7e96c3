/**
 * Lowering: walks a model's nodes in order and asks each op's record what its outputs are. The
 * result is a {@link Program}: tensors given by expressions, and the few steps whose order matters.
 */
import { InputError, ModelcastError } from "../error.ts";
import {
  attribute,
  elementCount,
  type Graph,
  type Model,
  type Node,
  type Tensor as Initializer,
  type ValueInfo,
} from "../ir.ts";
import { type DType, DTYPES } from "../dtype.ts";
import {
  type Axis,
  constant,
  fromAtom,
  type Integer,
  integer,
  load,
  ONE,
  symbol,
  ZERO,
} from "../expr/mod.ts";
import { startFolding } from "../expr/fold.ts";
import { opRecord } from "../ops/mod.ts";
import { type Operand, scalarOf } from "../ops/op.ts";
import { lowerIf, lowerLoop, lowerScan } from "./control_flow.ts";
import { decodeElements } from "./elements.ts";
import { expressionElements } from "./host_values.ts";
import { Names } from "./names.ts";
import { packedDtype } from "./storage.ts";
import { columnWeights, cutOf, keepsCut, planCut } from "./weight_parts.ts";
import { BUFFER_BYTES } from "./weights_file.ts";
import { MOST_AXES, NodeCall } from "./op_call.ts";
import { type Block, outputAxes, type Program, type Step, Tensor } from "./program.ts";

/** Elements of a constant that are read at conversion at most: shapes, axes, scalars. */
const MOST_CONSTANT_ELEMENTS = 1024;

/** Positions along an axis at most: shaders count in 32 bits. */
const MOST_POSITIONS = 2 ** 31 - 1;

/** Nodes of a model at most, subgraphs included: what the compiler takes a few minutes for. */
export const MOST_NODES = 100_000;

/** Everything that conversion must know of constants, read beforehand. */
export type SmallConstants = ReadonlyMap<Initializer, readonly number[]>;

/** True where the elements of `tensor` are to be read at conversion. */
export function isSmallConstant(tensor: Initializer): boolean {
  return tensor.dtype !== "string" && elementCount(tensor.dims) <= MOST_CONSTANT_ELEMENTS;
}

/** The elements of a small constant, from its bytes. */
export function smallElements(tensor: Initializer, bytes: Uint8Array): readonly number[] {
  return decodeElements(tensor.dtype, bytes, elementCount(tensor.dims));
}

function isNumeric(dtype: DType): boolean {
  return dtype !== "string" && !dtype.startsWith("complex");
}

/** Lowers a model. */
export class Lowering {
  #block: Block = { steps: [], parent: null };
  #nodes = 0;
  readonly #constants = new Map<Initializer, Tensor>();
  readonly #views = new Map<string, Tensor>();
  readonly #declared = new Map<string, ValueInfo>();

  /** Ifs whose branches give other ranks, in order. */
  readonly chosen: Node[] = [];
  readonly #columnWeights: ReadonlySet<string>;

  /**
   * `bindingBytes`: bytes of a weight past which it is stored in parts. `choices`: for Ifs whose branches
   * give other ranks, whether the first is taken; it is where nothing is said.
   */
  constructor(
    readonly model: Model,
    readonly small: SmallConstants,
    readonly bindingBytes: number = BUFFER_BYTES,
    readonly choices: ReadonlyMap<Node, boolean> = new Map(),
  ) {
    startFolding();
    this.#columnWeights = columnWeights(model);
  }

  /** The model as a program. */
  run(): Program {
    const { graph } = this.model;
    const names = new Names(null);
    const initialized = new Set(graph.initializers.map((tensor) => tensor.name));
    const inputs = graph.inputs.filter((info) => !initialized.has(info.name)).map((info, index) => {
      const dims = this.#inputDims(info);
      const extents = dims.map((dim) => typeof dim === "number" ? integer(dim) : symbol(dim));
      const tensor = new Tensor(this.#dtypeOf(info), extents, { kind: "input", index });
      names.set(info.name, tensor);
      return { name: info.name, dims, tensor };
    });
    const block = this.#block;
    this.graph(graph, names);
    const outputs = graph.outputs.map((info) => ({
      name: info.name,
      dims: info.shape ?? [],
      tensor: this.activation(this.#outputOf(names, info.name), "output"),
    }));
    return { inputs, outputs, block };
  }

  #inputDims(info: ValueInfo): (number | string)[] {
    if (info.shape === null) {
      throw new InputError(
        `Cannot compile "${this.model.path}": the input "${info.name}" has no known rank. ` +
          `Give it a shape; its dimensions may be symbolic.`,
      );
    }
    const dims = info.shape.map((dim, i) => dim ?? `${info.name}.${i}`);
    this.#checkDims(
      `the input "${info.name}"`,
      dims.map((dim) => typeof dim === "number" ? integer(dim) : ONE),
    );
    return dims;
  }

  /**
   * Refuses what has more axes than expressions can be written for (strides are products of extents, so
   * that they grow with the square), and extents that shaders can't count to.
   */
  #checkDims(what: string, dims: readonly Integer[]): void {
    if (dims.length > MOST_AXES) {
      throw new InputError(
        `Cannot compile "${this.model.path}": ${what} has ${dims.length} axes, more than ${MOST_AXES}.`,
      );
    }
    for (const { constant } of dims) {
      if (Math.abs(constant) <= MOST_POSITIONS) continue;
      throw new InputError(
        `Cannot compile "${this.model.path}": ${what} has an extent of ${constant} or about that, ` +
          `more than ${MOST_POSITIONS}.`,
      );
    }
  }

  #dtypeOf(info: ValueInfo): DType {
    const { dtype } = info;
    if (dtype === null || !isNumeric(dtype)) {
      throw new InputError(
        `Cannot compile "${this.model.path}": the input "${info.name}" is no tensor of numbers.`,
      );
    }
    return dtype;
  }

  /** `tensor`, which the host reads; a constant is packed, and perhaps in parts. */
  activation(tensor: Tensor, label: string): Tensor {
    if (tensor.origin.kind !== "weight") return tensor;
    const isWhole = tensor.cut === null && DTYPES[packedDtype(tensor.dtype)].bits === 32;
    return isWhole ? tensor : this.copy(tensor, label);
  }

  #outputOf(names: Names, name: string): Tensor {
    const tensor = names.get(name);
    if (tensor === undefined) {
      throw new InputError(
        `Cannot compile "${this.model.path}": the output "${name}" is made by no node.`,
      );
    }
    return tensor;
  }

  /** Lowers the nodes of `graph` into the block being filled. */
  graph(graph: Graph, names: Names): void {
    for (const info of [...graph.valueInfo, ...graph.outputs]) this.#declared.set(info.name, info);
    for (const tensor of graph.initializers) names.set(tensor.name, this.constant(tensor));
    if (graph.sparseInitializers.length > 0) {
      throw new InputError(
        `Cannot compile "${this.model.path}": sparse initializers aren't compiled.`,
      );
    }
    for (const node of graph.nodes) this.#node(node, names);
  }

  #node(node: Node, names: Names): void {
    const label = `${node.opType} ${this.#nodes++}`;
    // Graphs in loops are lowered more than once.
    if (this.#nodes > 4 * MOST_NODES) {
      throw new InputError(
        `Cannot compile "${this.model.path}": its loops, nested, come to more than ` +
          `${4 * MOST_NODES} nodes.`,
      );
    }
    const inputs = node.inputs.map((name) => {
      if (name === "") return null;
      const tensor = names.get(name);
      if (tensor === undefined) {
        throw new InputError(
          `Cannot compile ${node.opType} "${node.name}" of "${this.model.path}": its input ` +
            `"${name}" is made by no node.`,
        );
      }
      return tensor;
    });
    const call: NodeCall = new NodeCall(node, label, this, inputs, this.model.path, names);
    for (const tensor of inputs) {
      if (tensor !== null && !isNumeric(tensor.dtype)) {
        call.fail(`an input is of type ${tensor.dtype}, which shaders don't have`);
      }
    }
    const outputs = this.#outputs(node, call, names);
    for (const [i, name] of node.outputs.entries()) {
      if (name === "") continue;
      const output = outputs[i];
      if (output === undefined) call.fail(`its output ${i} isn't compiled`);
      names.set(name, this.materialize(output, label));
    }
  }

  #outputs(node: Node, call: NodeCall, names: Names): readonly Operand[] {
    try {
      if (node.domain === "") {
        if (node.opType === "If") return lowerIf(this, call, names);
        if (node.opType === "Loop") return lowerLoop(this, call, names);
        if (node.opType === "Scan") return lowerScan(this, call, names);
      }
      const record = opRecord(node.domain, node.opType);
      if (record !== undefined) return record.lower(call);
    } catch (cause) {
      // Records check what ONNX leaves open; that ranks and types are what it says, they presume.
      if (cause instanceof ModelcastError || !(cause instanceof Error)) throw cause;
      if (isStackOverflow(cause)) throw cause;
      call.fail(`its inputs and attributes don't fit the op (${cause.message})`, { cause });
    }
    return call.fail(
      `the op ${
        node.domain === "" ? "" : `${node.domain}.`
      }${node.opType} isn't compiled to WebGPU`,
    );
  }

  /** The graph attribute `name` of `call`'s node. */
  subgraph(call: NodeCall, name: string): Graph {
    const value = attribute(call.node, name);
    return value?.type === "graph" ? value.value : call.fail(`it has no graph "${name}"`);
  }

  /** Runs `fill` with a new block inside the one being filled; gives that block. */
  inside<T>(fill: () => T): { block: Block; result: T } {
    const block: Block = { steps: [], parent: this.#block };
    return { block, result: this.within(block, fill) };
  }

  /** Runs `fill` with `block`, made by {@link inside}, the one being filled. */
  within<T>(block: Block, fill: () => T): T {
    const outer = this.#block;
    this.#block = block;
    try {
      return fill();
    } finally {
      this.#block = outer;
    }
  }

  /** Moves the steps of `block`, made by {@link inside}, into the block being filled. */
  adopt(block: Block): void {
    for (const step of block.steps) {
      if (step.kind === "compute") step.tensor.block = this.#block;
      else if (step.kind === "kernel") {
        for (const tensor of step.results.values()) tensor.block = this.#block;
      } else if (step.kind === "host") {
        for (const tensor of step.outputs) tensor.block = this.#block;
      }
      this.#block.steps.push(step);
    }
  }

  /** Adds a step to the block being filled. */
  push(step: Step): void {
    this.#block.steps.push(step);
  }

  /** Makes `tensor` one of the block being filled. */
  define(tensor: Tensor, label: string): Tensor {
    tensor.block = this.#block;
    tensor.label = label;
    return tensor;
  }

  /** `operand` as a tensor. */
  materialize(operand: Operand, label: string): Tensor {
    if (operand instanceof Tensor) return operand;
    this.#checkDims(`a result of ${label}`, operand.dims);
    const axes = outputAxes(operand.dims);
    const body = operand.at(axes.map((entry) => this.#position(entry)));
    const tensor = this.define(
      new Tensor(operand.dtype, operand.dims, { kind: "expression", axes, body }),
      label,
    );
    if (body.type !== tensor.type) {
      throw new Error(`${label} computes ${body.type} for an output of ${operand.dtype}`);
    }
    tensor.elements = expressionElements(tensor, (source, indices) => {
      const value = source.at(indices);
      return value.kind === "load" && value.source === source ? null : value;
    });
    this.push({ kind: "compute", tensor });
    return tensor;
  }

  /** An axis of one position is position 0. */
  #position(entry: Axis): Integer {
    return entry.extent === ONE ? ZERO : fromAtom(entry);
  }

  /** The block being filled. */
  get block(): Block {
    return this.#block;
  }

  /** `tensor` stored once more, by the block being filled: as an activation, and one of its own. */
  copy(tensor: Tensor, label: string): Tensor {
    return this.materialize(
      { dtype: tensor.dtype, dims: tensor.dims, at: (indices) => load(tensor, indices) },
      label,
    );
  }

  /** A constant of the model. */
  constant(initializer: Initializer): Tensor {
    let tensor = this.#constants.get(initializer);
    if (tensor === undefined) {
      const dims = initializer.dims.map(integer);
      this.#checkDims(`the constant "${initializer.name}"`, dims);
      tensor = new Tensor(initializer.dtype, dims, {
        kind: "weight",
        initializer,
        part: null,
      });
      tensor.cut = cutOf(
        initializer,
        initializer.dtype,
        initializer.dims,
        this.#planOf(initializer),
      );
      const numbers = this.small.get(initializer);
      if (numbers !== undefined) {
        const type = scalarOf(initializer.dtype);
        tensor.elements = numbers.map((number) => constant(type, number));
      }
      this.#constants.set(initializer, tensor);
    }
    return tensor;
  }

  /** Where `initializer` is cut; null where it is stored whole. */
  #planOf(initializer: Initializer): ReturnType<typeof planCut> {
    const isRight = this.#columnWeights.has(initializer.name) && initializer.dims.length === 2;
    return planCut(initializer, this.bindingBytes, isRight);
  }

  /**
   * The bytes of a constant as elements of another dtype; null where it is stored in parts that begin
   * elsewhere in such elements.
   */
  view(initializer: Initializer, dtype: DType, dims: readonly number[]): Tensor | null {
    const whole = this.constant(initializer);
    if (whole.dtype === dtype && String(initializer.dims) === String(dims)) return whole;
    const plan = this.#planOf(initializer);
    if (!keepsCut(plan, initializer.dims, dims)) return null;
    const key = `${whole.id}:${dtype}:${dims.join(",")}`;
    let tensor = this.#views.get(key);
    if (tensor === undefined) {
      tensor = new Tensor(dtype, dims.map(integer), { kind: "weight", initializer, part: null });
      tensor.cut = cutOf(initializer, dtype, dims, plan);
      this.#views.set(key, tensor);
    }
    return tensor;
  }

  /** The rank that the model declares for the value `name`, or null. */
  declaredRank(name: string): number | null {
    return this.#declared.get(name)?.shape?.length ?? null;
  }
}

/** True for what ends a recursion that went too deep. */
export function isStackOverflow(cause: unknown): boolean {
  return cause instanceof RangeError && /stack/.test(cause.message);
}
