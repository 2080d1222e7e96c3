/**
 * Carries out a conversion that is decided: changes tensors, attributes, stated types and names in
 * the graphs, puts a Cast wherever a value is wanted in another type than it has, at most one for a
 * value and a type, and takes out Casts that have become idle.
 */
import { type DType, DTYPES } from "../../dtype.ts";
import {
  type AttributeValue,
  type Graph,
  int,
  intAttribute,
  makeNode,
  type Model,
  type Node,
  NOTHING_CARRIED,
  type Tensor,
} from "../../ir.ts";
import type { Decisions, Demands } from "./decisions.ts";
import {
  allOperations,
  allScopes,
  type Operation,
  type Scope,
  type Slot,
  type Value,
} from "./typed_graph.ts";
import { typeAttribute } from "./output_types.ts";

/** What a rewrite did. */
export interface RewriteCounts {
  readonly castsAdded: number;
  readonly castsRemoved: number;
}

/** The type that a slot wants after the conversion. */
export function wanted(slot: Slot, decisions: Decisions, demands: Demands): DType | null {
  const { value, variable, operation } = slot;
  if (operation === null) {
    const converts = demands.io && value.dtype !== null && demands.from.has(value.dtype) &&
      !value.container;
    return converts ? demands.to : value.dtype;
  }
  const chosen = decisions.chosen.get(variable);
  if (chosen === undefined) return value.dtype;
  if (chosen !== "any") return chosen;
  return value.tensor !== null ? demands.to : decisions.native.get(value) ?? value.dtype;
}

/**
 * Rewrites `model`. `constants` gives the new tensors of the constants that change, which have the
 * type `demands.to`; `scalars` the new `value` of ConstantOfShape nodes.
 */
export function rewrite(
  model: Model,
  scope: Scope,
  decisions: Decisions,
  demands: Demands,
  constants: ReadonlyMap<Value, Tensor>,
  scalars: ReadonlyMap<Operation, Tensor>,
): RewriteCounts {
  const rewriter = new Rewriter(model, decisions, demands, constants, scalars);
  return rewriter.run(scope);
}

class Rewriter {
  readonly #model: Model;
  readonly #decisions: Decisions;
  readonly #demands: Demands;
  readonly #constants: ReadonlyMap<Value, Tensor>;
  readonly #scalars: ReadonlyMap<Operation, Tensor>;
  readonly #names = new Set<string>();
  /** The name under which a value is had in a type. */
  readonly #named = new Map<Value, Map<DType, string>>();
  /** Values of idle Casts, and the value to read instead. */
  readonly #idle = new Map<Value, Value>();
  readonly #idleNodes = new Set<Node>();
  readonly #casts = new Map<Scope | Operation, Node[]>();
  #castsAdded = 0;

  constructor(
    model: Model,
    decisions: Decisions,
    demands: Demands,
    constants: ReadonlyMap<Value, Tensor>,
    scalars: ReadonlyMap<Operation, Tensor>,
  ) {
    this.#model = model;
    this.#decisions = decisions;
    this.#demands = demands;
    this.#constants = constants;
    this.#scalars = scalars;
  }

  run(root: Scope): RewriteCounts {
    const scopes = [...allScopes(root)];
    const operations = [...allOperations(root)];
    this.#collectNames(scopes);
    for (const scope of scopes) {
      for (const value of scope.values.values()) this.#nameOutput(value);
    }
    for (const operation of operations) this.#findIdle(operation);
    for (const operation of operations) {
      for (const slot of operation.slots) this.#renameSlot(slot);
      this.#setAttributes(operation);
    }
    // A constant or an input that is an output of the model too has no slot that makes it.
    for (const scope of scopes) {
      for (const value of scope.values.values()) {
        const output = value.uses.find((slot) => slot.operation === null);
        if (output !== undefined) {
          this.#nameIn(value, wanted(output, this.#decisions, this.#demands));
        }
      }
    }
    for (const scope of scopes) {
      this.#setTypes(scope, scope === root);
      this.#setConstants(scope);
      this.#setNodes(scope);
    }
    return { castsAdded: this.#castsAdded, castsRemoved: this.#idleNodes.size };
  }

  /** The type a value has where it is computed or stored. */
  #native(value: Value): DType | null {
    if (value.tensor !== null) {
      return this.#constants.has(value) ? this.#demands.to : value.tensor.dtype;
    }
    return this.#decisions.native.get(value) ?? value.dtype;
  }

  #wanted(slot: Slot): DType | null {
    return wanted(slot, this.#decisions, this.#demands);
  }

  #collectNames(scopes: readonly Scope[]): void {
    for (const { graph, values } of scopes) {
      for (const name of values.keys()) this.#names.add(name);
      for (const info of [...graph.outputs, ...graph.valueInfo]) this.#names.add(info.name);
      for (const node of graph.nodes) {
        for (const name of node.inputs) this.#names.add(name);
      }
    }
  }

  #fresh(base: string): string {
    let name = base;
    for (let count = 2; this.#names.has(name); count++) name = `${base}_${count}`;
    this.#names.add(name);
    return name;
  }

  /** Gives an output of the model its name in the type it has to have; the rest is renamed. */
  #nameOutput(value: Value): void {
    const native = this.#native(value);
    if (native === null) return;
    const output = value.uses.find((slot) => slot.operation === null);
    const type = output === undefined ? null : this.#wanted(output);
    const renamed = type !== null && type !== native && !value.modelInput;
    const name = renamed ? this.#fresh(`${value.name}_${native}`) : value.name;
    this.#named.set(value, new Map([[native, name]]));
    if (renamed) this.#cast(value, type, value.name);
  }

  /** A Cast is idle when it has come to cast a type to itself. */
  #findIdle({ node, slots }: Operation): void {
    if (node.domain !== "" || (node.opType !== "Cast" && node.opType !== "CastLike")) return;
    const input = slots.find((slot) => slot.input === 0)?.value;
    const output = slots.find((slot) => slot.role === "make")?.value;
    if (input === undefined || output === undefined) return;
    const source = this.#idle.get(input) ?? input;
    const type = this.#native(output);
    if (type === null || type !== this.#native(source)) return;
    // Casts that were idle in the source are left alone.
    if (type === output.dtype && input.dtype === output.dtype) return;
    // An output of a graph has to be made in it, and under its own name.
    if (output.uses.some((slot) => slot.input < 0)) return;
    this.#idle.set(output, source);
    this.#idleNodes.add(node);
  }

  /** The name of `value` in `type`, by a Cast where it has another. */
  #nameIn(value: Value, type: DType | null): string {
    const source = this.#idle.get(value) ?? value;
    const names = this.#named.get(source);
    if (type === null || names === undefined) return source.name;
    return names.get(type) ?? this.#cast(source, type, this.#fresh(`${source.name}_${type}`));
  }

  #cast(value: Value, type: DType, name: string): string {
    const names = this.#named.get(value)!;
    const [native] = names.values();
    names.set(type, name);
    const place = value.producer !== null && value.producer.scope === value.scope
      ? value.producer
      : value.scope;
    const node = makeNode("Cast", "", [native!], [name], [int("to", DTYPES[type].onnx)]);
    const casts = this.#casts.get(place);
    if (casts === undefined) this.#casts.set(place, [node]);
    else casts.push(node);
    this.#castsAdded++;
    return name;
  }

  #renameSlot(slot: Slot): void {
    if (this.#idleNodes.has(slot.operation!.node) && slot.operation!.bodies.length === 0) return;
    const { value } = slot;
    const name = slot.role === "make"
      ? this.#nameIn(value, this.#native(value))
      : this.#nameIn(value, this.#wanted(slot));
    if (name !== value.name) slot.rename(name);
  }

  /** Attributes that say the type of an output, where that type or the one it followed changed. */
  #setAttributes(operation: Operation): void {
    const { node, slots } = operation;
    const scalar = this.#scalars.get(operation);
    if (scalar !== undefined) {
      setAttribute(node, "value", { type: "tensor", value: scalar });
      return;
    }
    const output = slots.find((slot) => slot.role === "make");
    if (node.opType === "CastLike" && node.domain === "" && output !== undefined) {
      // What it is to be like may have got another type; and it is known now.
      const type = this.#native(output.value);
      if (type === null || type === output.value.dtype) return;
      node.opType = "Cast";
      node.inputs.length = 1;
      setAttribute(node, "to", { type: "int", value: BigInt(DTYPES[type].onnx) });
      return;
    }
    const name = typeAttribute(node);
    if (name === null || output === undefined || this.#idleNodes.has(node)) return;
    if (output.variable.slots.some((slot) => slot.role === "read")) return;
    const type = this.#decisions.chosen.get(output.variable) ?? output.variable.dtype;
    if (type === null || type === "any") return;
    const followed = slots.find((slot) =>
      slot.input === (node.opType === "DequantizeLinear" ? 1 : 0)
    );
    const stated = intAttribute(node, name, 0);
    const follows = followed === undefined ? null : this.#wanted(followed);
    const now = stated !== 0 ? stated : follows !== null ? DTYPES[follows].onnx : 0;
    if (now === DTYPES[type].onnx) return;
    const changed = type !== output.variable.dtype ||
      (stated === 0 && followed !== undefined && follows !== followed.value.dtype);
    if (changed) setAttribute(node, name, { type: "int", value: BigInt(DTYPES[type].onnx) });
  }

  #setTypes(scope: Scope, isRoot: boolean): void {
    const { graph } = scope;
    const restate = (info: Graph["inputs"][number], type: DType | null) => {
      if (type === null || info.dtype === null || info.dtype === type) return;
      info.dtype = type;
    };
    const listed = (name: string) => {
      const value = scope.values.get(name);
      return value?.tensor != null && this.#constants.has(value);
    };
    if (graph.inputs.some((info) => listed(info.name))) {
      // Only before IR version 4 did initializers have to be listed as inputs.
      graph.inputs = graph.inputs.filter((info) => !listed(info.name));
      this.#model.irVersion = Math.max(this.#model.irVersion, 4);
    }
    for (const info of graph.inputs) {
      const value = scope.values.get(info.name);
      if (value !== undefined && !value.container) restate(info, this.#native(value));
    }
    if (isRoot && this.#demands.io) {
      for (const info of graph.outputs) {
        if (info.dtype !== null && this.#demands.from.has(info.dtype)) {
          restate(info, this.#demands.to);
        }
      }
    }
    graph.valueInfo = graph.valueInfo.filter((info) => {
      const value = scope.values.get(info.name);
      if (value === undefined || value.container) return true;
      if (this.#idle.has(value)) return false;
      const native = this.#native(value);
      if (native !== null && this.#named.get(value)?.get(native) === info.name) {
        restate(info, native);
      }
      return true;
    });
    for (const { bodies, slots } of scope.operations) {
      if (bodies.length === 0) continue;
      for (const slot of slots) {
        if (slot.role === "read" && slot.input < 0) this.#restateBodyOutput(slot, restate);
      }
    }
  }

  #restateBodyOutput(
    slot: Slot,
    restate: (info: Graph["outputs"][number], type: DType | null) => void,
  ): void {
    const name = this.#nameIn(slot.value, this.#wanted(slot));
    for (const body of slot.operation!.bodies) {
      for (const info of body.graph.outputs) {
        if (info.name === name) restate(info, this.#wanted(slot));
      }
    }
  }

  #setConstants(scope: Scope): void {
    const { graph } = scope;
    const replaced = new Map<Tensor, Tensor>();
    for (const value of scope.values.values()) {
      const made = this.#constants.get(value);
      if (made === undefined || value.tensor === null) continue;
      if (value.producer !== null) {
        const { node } = value.producer;
        node.attributes = [];
        setAttribute(node, "value", { type: "tensor", value: made });
        continue;
      }
      made.name = this.#named.get(value)?.get(made.dtype) ?? value.name;
      replaced.set(value.tensor, made);
    }
    for (const value of scope.values.values()) {
      // A constant that keeps its type but gives up its name to the Cast that makes an output.
      if (value.tensor === null || value.producer !== null || this.#constants.has(value)) continue;
      const name = this.#named.get(value)?.get(value.tensor.dtype);
      if (name !== undefined) value.tensor.name = name;
    }
    if (replaced.size > 0) {
      graph.initializers = graph.initializers.map((tensor) => replaced.get(tensor) ?? tensor);
    }
  }

  #setNodes(scope: Scope): void {
    const nodes = [...this.#casts.get(scope) ?? []];
    for (const operation of scope.operations) {
      if (!this.#idleNodes.has(operation.node)) nodes.push(operation.node);
      nodes.push(...this.#casts.get(operation) ?? []);
    }
    scope.graph.nodes = nodes;
  }
}

function setAttribute(
  node: Node,
  name: string,
  value: AttributeValue,
): void {
  const entry = { name, value, carried: NOTHING_CARRIED };
  const at = node.attributes.findIndex((one) => one.name === name);
  if (at < 0) node.attributes.push(entry);
  else node.attributes[at] = entry;
}
