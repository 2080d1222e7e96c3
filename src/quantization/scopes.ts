/**
 * Names in a model: which value a node's input is, across subgraphs and functions, and who reads a
 * value. A body is a list of nodes with its own names: the main graph, a subgraph, a function. A
 * subgraph sees the names of the bodies around it and may shadow them; a function sees only its own.
 */
import type { Graph, Model, ModelFunction, Node, Tensor } from "../ir.ts";
import { attribute, subgraphs } from "../ir.ts";

/** A list of nodes with its own names. */
export interface Body {
  /** Null for a function. */
  readonly graph: Graph | null;
  /** Null for a graph. */
  readonly function: ModelFunction | null;
  /** The body whose names this one sees as well. */
  readonly parent: Body | null;
}

/** What gives a value its name. */
export type Definition =
  | { readonly kind: "initializer"; readonly body: Body; readonly tensor: Tensor }
  | { readonly kind: "sparse"; readonly body: Body; readonly tensor: Tensor }
  | { readonly kind: "node"; readonly body: Body; readonly node: Node; readonly output: number }
  | { readonly kind: "input"; readonly body: Body };

/** A place where a value is read: operand `input` of `node`, or an output of `body`. */
export type Use =
  | { readonly kind: "operand"; readonly body: Body; readonly node: Node; readonly input: number }
  | { readonly kind: "output"; readonly body: Body };

/** The function or main graph that a body is, or lies in. */
export function outermost(body: Body): Body {
  let at = body;
  while (at.parent !== null) at = at.parent;
  return at;
}

/** The nodes of a body. */
export function nodesOf(body: Body): Node[] {
  return body.graph?.nodes ?? body.function!.nodes;
}

/** The tensor that a Constant node holds, or null where it holds none (`value_float`, a reference). */
export function constantTensor(node: Node): Tensor | null {
  if (node.opType !== "Constant" || node.domain !== "") return null;
  const value = attribute(node, "value");
  return value?.type === "tensor" ? value.value : null;
}

/** The sparse constants that a body defines, by the tensors of their values. */
export function* sparseConstantsOf(body: Body): Generator<{ name: string; values: Tensor }> {
  for (const { values } of body.graph?.sparseInitializers ?? []) {
    yield { name: values.name, values };
  }
  for (const node of nodesOf(body)) {
    if (node.opType !== "Constant" || node.domain !== "") continue;
    const value = attribute(node, "sparse_value");
    if (value?.type !== "sparse_tensor") continue;
    yield { name: node.outputs[0] ?? "", values: value.value.values };
  }
}

/** Every name of a model, resolved once. Later changes to the model are not seen. */
export class Scopes {
  /** The main graph, then its subgraphs, then functions; outer bodies first. */
  readonly bodies: Body[] = [];
  readonly #definitions = new Map<Body, Map<string, Definition>>();
  readonly #uses = new Map<Body, Map<string, Use[]>>();
  readonly #names = new Set<string>();

  constructor(readonly model: Model) {
    this.#define({ graph: model.graph, function: null, parent: null });
    for (const entry of model.functions) {
      this.#define({ graph: null, function: entry, parent: null });
    }
    for (const body of this.bodies) this.#collectUses(body);
  }

  /** What defines `name` as it is seen from `body`; undefined where nothing does. */
  resolve(body: Body, name: string): Definition | undefined {
    for (let at: Body | null = body; at !== null; at = at.parent) {
      const definition = this.#definitions.get(at)!.get(name);
      if (definition !== undefined) return definition;
    }
    return undefined;
  }

  /** The readers of the value that `body` itself defines as `name`, in order of the nodes. */
  uses(body: Body, name: string): readonly Use[] {
    return this.#uses.get(body)?.get(name) ?? [];
  }

  /** The constant tensor that `name` is, seen from `body`, or null where it is none. */
  constant(body: Body, name: string): Tensor | null {
    const definition = this.resolve(body, name);
    if (definition?.kind === "initializer") {
      return isOverridable(this.model, definition) ? null : definition.tensor;
    }
    return definition?.kind === "node" ? constantTensor(definition.node) : null;
  }

  /** A name that nothing in the model has: `wish`, or `wish` and a number. It is taken from then on. */
  freshName(wish: string): string {
    let name = wish;
    for (let number = 1; this.#names.has(name); number++) name = `${wish}.${number}`;
    this.#names.add(name);
    return name;
  }

  #define(body: Body): void {
    this.bodies.push(body);
    const names = new Map<string, Definition>();
    this.#definitions.set(body, names);
    const add = (name: string, definition: Definition) => {
      if (name === "") return;
      names.set(name, definition);
      this.#names.add(name);
    };
    for (const input of body.graph?.inputs ?? []) add(input.name, { kind: "input", body });
    for (const name of body.function?.inputs ?? []) add(name, { kind: "input", body });
    for (const tensor of body.graph?.initializers ?? []) {
      add(tensor.name, { kind: "initializer", body, tensor });
    }
    for (const { values } of body.graph?.sparseInitializers ?? []) {
      add(values.name, { kind: "sparse", body, tensor: values });
    }
    for (const node of nodesOf(body)) {
      node.outputs.forEach((name, output) => add(name, { kind: "node", body, node, output }));
    }
    for (const node of nodesOf(body)) {
      for (const graph of subgraphs(node)) this.#define({ graph, function: null, parent: body });
    }
  }

  #collectUses(body: Body): void {
    for (const node of nodesOf(body)) {
      node.inputs.forEach((name, input) =>
        this.#use(body, name, { kind: "operand", body, node, input })
      );
    }
    for (const output of body.graph?.outputs ?? []) {
      this.#use(body, output.name, { kind: "output", body });
    }
    for (const name of body.function?.outputs ?? []) {
      this.#use(body, name, { kind: "output", body });
    }
  }

  #use(body: Body, name: string, use: Use): void {
    if (name === "") return;
    const definition = this.resolve(body, name);
    if (definition === undefined) return;
    let ofBody = this.#uses.get(definition.body);
    if (ofBody === undefined) this.#uses.set(definition.body, ofBody = new Map());
    const uses = ofBody.get(name);
    if (uses === undefined) ofBody.set(name, [use]);
    else uses.push(use);
  }
}

/**
 * Whether a caller may replace the initializer: it is also an input of its graph. Before IR version
 * 4 every initializer had to be one, and none was meant to be replaced.
 */
export function isOverridable(
  model: Model,
  definition: { readonly body: Body; readonly tensor: Tensor },
): boolean {
  return model.irVersion >= 4 &&
    definition.body.graph!.inputs.some((input) => input.name === definition.tensor.name);
}
