/**
 * A model's graphs with every name resolved to its value. Every place where a node touches a value is
 * a {@link Slot} bound to a type variable of the node. What a body takes from its node and gives back
 * to it are slots of that node too, so that whoever reads this need not know about control flow.
 * `resolver.ts` makes it and infers the types.
 */
import { type DType, DTYPES } from "../../dtype.ts";
import type { Graph, Node, Tensor } from "../../ir.ts";

/** A value of a graph. */
export interface Value {
  readonly name: string;
  readonly scope: Scope;
  /** Element type; null while or where it is unknown. */
  dtype: DType | null;
  /** True for a sequence, an optional or a map of such elements. */
  container: boolean;
  /** The node that computes it, or whose body it enters; null for a model's input or initializer. */
  readonly producer: Operation | null;
  /** Slots that read it. */
  readonly uses: Slot[];
  /** The tensor of an initializer or of a Constant node. */
  tensor: Tensor | null;
  /** Whether it is an input of the model's graph, which the person feeds. */
  readonly modelInput: boolean;
}

/** A type variable of one node. */
export interface NodeVariable {
  dtype: DType | null;
  container: boolean;
  /** True where the operator takes no other type. */
  readonly fixed: boolean;
  /** Floating-point types that the operator takes. */
  readonly floats: ReadonlySet<DType>;
  readonly slots: Slot[];
}

/** A place where a node, or the model's end, reads or makes a value. */
export interface Slot {
  readonly value: Value;
  /** `read`: takes the value. `make`: computes it, or hands it to a body. */
  readonly role: "read" | "make";
  /** The node; null at the outputs of the model. */
  readonly operation: Operation | null;
  variable: NodeVariable;
  /** Position among the node's inputs; -1 where the slot is none of them. */
  readonly input: number;
  /** Makes the slot read or make `name` instead. */
  rename(name: string): void;
}

/** A node, resolved. */
export interface Operation {
  readonly node: Node;
  readonly scope: Scope;
  readonly bodies: readonly Scope[];
  readonly slots: Slot[];
  readonly variables: Set<NodeVariable>;
  /** False for an operator that the table of schemas doesn't know. */
  readonly known: boolean;
}

/** A graph, resolved. */
export interface Scope {
  readonly graph: Graph;
  readonly parent: Scope | null;
  readonly values: Map<string, Value>;
  readonly operations: Operation[];
}

/** The key of an operator in tables: `domain:OpType`, or `OpType` in the default domain. */
export function operatorKey(node: Node): string {
  return node.domain === "" ? node.opType : `${node.domain}:${node.opType}`;
}

/** The floating-point types that convert into each other. */
export const FLOATS: ReadonlySet<DType> = new Set<DType>([
  "float16",
  "bfloat16",
  "float32",
  "float64",
]);

/** No type. */
export const NONE: ReadonlySet<DType> = new Set<DType>();

/** `scope` and all below it, outer ones first. */
export function* allScopes(scope: Scope): Generator<Scope> {
  yield scope;
  for (const { bodies } of scope.operations) {
    for (const body of bodies) yield* allScopes(body);
  }
}

/** All operations, each before those of its bodies. */
export function* allOperations(scope: Scope): Generator<Operation> {
  for (const operation of scope.operations) {
    yield operation;
    for (const body of operation.bodies) yield* allOperations(body);
  }
}

/** The operation's input at `index` as a value; null where it is absent. */
export function inputOf(operation: Operation, index: number): Value | null {
  return operation.slots.find((slot) => slot.input === index)?.value ?? null;
}

/** The values that an operation makes in its own scope. */
export function outputsOf(operation: Operation): Value[] {
  return operation.slots.flatMap((slot) =>
    slot.role === "make" && slot.value.scope === operation.scope ? [slot.value] : []
  );
}

/** Adds a value to `scope`, in place of one with its name. */
export function define(
  scope: Scope,
  name: string,
  producer: Operation | null,
  dtype: DType | null,
  modelInput = false,
): Value {
  const value: Value = {
    name,
    scope,
    dtype,
    container: false,
    producer,
    uses: [],
    tensor: null,
    modelInput,
  };
  scope.values.set(name, value);
  return value;
}

/** The value that `name` means in `scope`: its own, else the nearest outer one; null for none. */
export function lookUp(scope: Scope, name: string): Value | null {
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    const value = at.values.get(name);
    if (value !== undefined) return value;
  }
  return null;
}

/** A slot at which `operation` reads `value`. */
export function read(
  value: Value,
  operation: Operation | null,
  variable: NodeVariable,
  input: number,
  rename: (name: string) => void,
): Slot {
  const slot: Slot = { value, role: "read", operation, variable, input, rename };
  value.uses.push(slot);
  variable.slots.push(slot);
  return slot;
}

/** A slot at which `operation` makes `value`. */
export function make(
  value: Value,
  operation: Operation,
  variable: NodeVariable,
  rename: (name: string) => void,
): Slot {
  const slot: Slot = { value, role: "make", operation, variable, input: -1, rename };
  variable.slots.push(slot);
  return slot;
}

/** Whether a type holds whole numbers. */
export function isInteger(dtype: DType | null): boolean {
  return dtype !== null && (DTYPES[dtype].kind === "int" || DTYPES[dtype].kind === "uint");
}
