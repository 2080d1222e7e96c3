/**
 * Which type every value of a graph has after a conversion. Nodes are taken in order: a type variable
 * of a node that is bound to one of the source types becomes the new type, unless the operator does
 * not take it, the node is to be left alone, or the node only moves or compares values that all kept
 * theirs. Constants come last: what their users take decides.
 */
import type { DType } from "../../dtype.ts";
import type { Node } from "../../ir.ts";
import type { ConstantFacts } from "./constants.ts";
import type { FloatType } from "./elements.ts";
import {
  type NodeVariable,
  type Operation,
  operatorKey,
  outputsOf,
  type Scope,
  type Slot,
  type Value,
} from "./typed_graph.ts";

/** What is asked of a conversion. */
export interface Demands {
  readonly from: ReadonlySet<DType>;
  readonly to: FloatType;
  /** False leaves all nodes alone: only the constants are stored in the new type. */
  readonly compute: boolean;
  /** Whether the model's inputs and outputs take the new type. */
  readonly io: boolean;
  /** Operations to leave alone, with the reason. */
  readonly islands: ReadonlyMap<Operation, string>;
  readonly excluded: (node: Node) => boolean;
  readonly factsOf: (value: Value) => ConstantFacts | undefined;
}

/** The types after a conversion. */
export interface Decisions {
  /** The type in which a value that is no constant is computed. */
  readonly native: Map<Value, DType>;
  /** The type of a variable; `any` where it takes whatever comes. Unlisted variables stay. */
  readonly chosen: Map<NodeVariable, DType | "any">;
  /** Operations left alone, with the reason. */
  readonly kept: Map<Operation, string>;
  /** Those of them that lack only the operator: their weights may be stored in the new type. */
  readonly refused: Set<Operation>;
}

/** Operators that round nothing: they stay with the type of what they are given. */
const EXACT: ReadonlySet<string> = new Set([
  "Abs",
  "Clip",
  "Compress",
  "Concat",
  "DepthToSpace",
  "Equal",
  "Expand",
  "Flatten",
  "Gather",
  "GatherElements",
  "GatherND",
  "Greater",
  "GreaterOrEqual",
  "Identity",
  "If",
  "Less",
  "LessOrEqual",
  "Max",
  "Min",
  "Neg",
  "Pad",
  "ReduceMax",
  "ReduceMin",
  "Relu",
  "Reshape",
  "ReverseSequence",
  "Scatter",
  "ScatterElements",
  "ScatterND",
  "Sign",
  "Slice",
  "SpaceToDepth",
  "Split",
  "Squeeze",
  "Tile",
  "Transpose",
  "Trilu",
  "Unsqueeze",
  "Where",
]);

/**
 * Inputs that stay as they are whatever the operator would take: the region of interest of Resize
 * is coordinates, and the runtimes read it as float32.
 */
const PINNED: Readonly<Record<string, readonly number[]>> = { Resize: [1] };

/** Operators whose bodies share the types of what they take and give, one by one. */
const CONTROL_FLOW: ReadonlySet<string> = new Set(["If", "Loop", "Scan"]);

/** Operators that look at one input without computing with it: they take it in any type. */
const INSPECTING: ReadonlySet<string> = new Set([
  "ArgMax",
  "ArgMin",
  "Cast",
  "CastLike",
  "IsInf",
  "IsNaN",
  "NonZero",
  "Shape",
  "Size",
]);

/** Decides the types of all values but constants. */
export function decide(scope: Scope, demands: Demands): Decisions {
  const decider = new Decider(demands);
  decider.scope(scope);
  return decider.decisions;
}

class Decider {
  readonly decisions: Decisions = {
    native: new Map(),
    chosen: new Map(),
    kept: new Map(),
    refused: new Set(),
  };
  readonly #demands: Demands;
  /** Values computed from constants alone, and whether one of those overflows. */
  readonly #constant = new Map<Value, boolean>();

  constructor(demands: Demands) {
    this.#demands = demands;
  }

  scope(scope: Scope): void {
    const { from, to, io } = this.#demands;
    for (const value of scope.values.values()) {
      const overflows = this.#demands.factsOf(value)?.overflows ?? false;
      if (value.tensor !== null) this.#constant.set(value, overflows);
      else if (value.modelInput && io && value.dtype !== null && from.has(value.dtype)) {
        this.decisions.native.set(value, to);
      }
    }
    for (const operation of scope.operations) this.#operation(operation);
  }

  #operation(operation: Operation): void {
    const reason = this.#reason(operation);
    if (reason !== null) this.decisions.kept.set(operation, reason);
    this.#propagateConstants(operation);

    // What enters a body must be decided before the body, what leaves it after.
    const entering = (variable: NodeVariable) =>
      variable.slots.some(({ role, value }) => role === "make" && value.scope !== operation.scope);
    const variables = [...operation.variables];
    for (const variable of variables.filter(entering)) this.#variable(operation, variable);
    for (const body of operation.bodies) this.scope(body);
    for (const variable of variables.filter((one) => !entering(one))) {
      this.#variable(operation, variable);
    }
    if (reason === null && this.#demands.compute) this.#reportRefusals(operation);
  }

  /** Why an operation is left alone; null where it is not. */
  #reason(operation: Operation): string | null {
    const { compute, islands, excluded, from, to } = this.#demands;
    const { node } = operation;
    if (!compute) return "only the weights are stored in half precision";
    if (excluded(node)) return "left alone on request";
    const island = islands.get(operation);
    if (island !== undefined) return island;
    if (!operation.known) {
      this.decisions.refused.add(operation);
      return `modelcast does not know the types that ${operatorKey(node)} takes`;
    }
    if (!CONTROL_FLOW.has(operatorKey(node))) {
      if (operation.slots.some(({ value }) => value.container)) {
        return "what is put into sequences keeps its type";
      }
      if (operatorKey(node) === "BitCast") return "the bits of its input are its meaning";
    }
    for (const { role, input, value, variable } of operation.slots) {
      if (role !== "read" || input < 0 || value.dtype === null || !from.has(value.dtype)) continue;
      if (this.#constant.get(value) === true && !variable.fixed) {
        return `"${value.name}" overflows ${to}`;
      }
    }
    return null;
  }

  #propagateConstants(operation: Operation): void {
    if (operation.bodies.length > 0 || operation.node.opType.startsWith("Random")) return;
    const reads = operation.slots.filter((slot) => slot.role === "read");
    if (reads.length === 0 || !reads.every(({ value }) => this.#constant.has(value))) return;
    const overflows = reads.some(({ value }) => this.#constant.get(value) === true);
    for (const value of outputsOf(operation)) this.#constant.set(value, overflows);
  }

  #variable(operation: Operation, variable: NodeVariable): void {
    const type = this.#typeOf(operation, variable);
    if (type !== null) this.decisions.chosen.set(variable, type);
    if (type === null || type === "any") return;
    for (const { role, value } of variable.slots) {
      if (role === "make" && value.tensor === null) this.decisions.native.set(value, type);
    }
  }

  #typeOf(operation: Operation, variable: NodeVariable): DType | "any" | null {
    const { from, to } = this.#demands;
    const { dtype } = variable;
    if (dtype === null || !from.has(dtype) || variable.container) return null;
    if (variable.fixed || !variable.floats.has(to)) return null;
    if (operation.node.domain === "" && INSPECTING.has(operation.node.opType)) {
      if (isOnlyRead(variable)) return "any";
    }
    if (this.decisions.kept.has(operation)) return null;
    const pinned = PINNED[operation.node.opType];
    if (
      operation.node.domain === "" && Object.hasOwn(PINNED, operation.node.opType) &&
      variable.slots.some((slot) => pinned!.includes(slot.input))
    ) return null;
    if (EXACT.has(operation.node.opType) && operation.node.domain === "") {
      const given = variable.slots.filter(({ role, value }) =>
        role === "read" && value.tensor === null
      );
      if (given.length > 0 && given.every((slot) => this.#stays(slot))) return null;
    }
    return to;
  }

  /** Whether the value that a slot reads keeps its type, and not only because it is an input. */
  #stays({ value }: Slot): boolean {
    return !value.modelInput && this.decisions.native.get(value) !== this.#demands.to;
  }

  /** Notes operations of which nothing could take the new type. */
  #reportRefusals(operation: Operation): void {
    const { from, to } = this.#demands;
    const concerned = [...operation.variables].filter(({ dtype, container }) =>
      dtype !== null && from.has(dtype) && !container
    );
    if (concerned.length === 0 || operation.bodies.length > 0) return;
    if (concerned.some((one) => !one.fixed && one.floats.has(to))) return;
    this.decisions.kept.set(operation, `the operator does not take ${to} at this opset`);
    this.decisions.refused.add(operation);
  }
}

function isOnlyRead({ slots }: NodeVariable): boolean {
  return slots.every(({ role }) => role === "read");
}
