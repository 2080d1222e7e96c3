/**
 * Puts patches into a model: new constants, nodes that run at load before all others, nodes in the
 * place of those that read a weight. Then takes out what nothing reads any more.
 */
import type { Model, Node, Tensor } from "../ir.ts";
import { makeNode, NOTHING_CARRIED } from "../ir.ts";
import type { Patch } from "./encodings/encoding.ts";
import { MICROSOFT } from "./encodings/encoding.ts";
import type { Body } from "./scopes.ts";
import { constantTensor, nodesOf, outermost, Scopes } from "./scopes.ts";

/** Rewrites `model` by `patches`, which were made of it as it stands. */
export function rewriteModel(model: Model, patches: readonly Patch[]): void {
  const changes = new Changes();
  for (const patch of patches) changes.add(patch);
  for (const [body, change] of changes.byBody) {
    const fixed = body.graph === null ? change.constants.map(constantNode) : [];
    body.graph?.initializers.push(...change.constants);
    const nodes = nodesOf(body).flatMap((node) =>
      change.removed.has(node) ? [] : change.replacements.get(node) ?? [node]
    );
    setNodes(body, [...fixed, ...change.prologue, ...nodes]);
    removeInitializers(body, change.removedTensors);
    if (change.usesMicrosoft) {
      const opsets = outermost(body).function?.opsets ?? model.opsets;
      if (!opsets.has(MICROSOFT)) opsets.set(MICROSOFT, 1);
      if (!model.opsets.has(MICROSOFT)) model.opsets.set(MICROSOFT, 1);
    }
  }
  removeLeftovers(model, patches);
}

/** What happens to one body. */
interface BodyChange {
  readonly constants: Tensor[];
  readonly prologue: Node[];
  readonly replacements: Map<Node, Node[]>;
  /** Constant nodes whose name another node has now. */
  readonly removed: Set<Node>;
  readonly removedTensors: Set<Tensor>;
  usesMicrosoft: boolean;
}

class Changes {
  readonly byBody = new Map<Body, BodyChange>();
  readonly #constants = new Set<Tensor>();

  add(patch: Patch): void {
    for (const { body, tensor } of patch.constants) {
      // Patches share small constants.
      if (this.#constants.has(tensor)) continue;
      this.#constants.add(tensor);
      this.#of(body).constants.push(tensor);
    }
    for (const { body, node } of patch.prologue) this.#of(body).prologue.push(node);
    for (const [node, { body, nodes }] of patch.replacements) {
      const change = this.#of(body);
      change.replacements.set(node, nodes);
      if (nodes.some(({ domain }) => domain === MICROSOFT)) change.usesMicrosoft = true;
    }
    if (!patch.keepsName) return;
    const { weight } = patch.target;
    const change = this.#of(weight.body);
    if (weight.constant === null) change.removedTensors.add(weight.tensor);
    else change.removed.add(weight.constant);
  }

  #of(body: Body): BodyChange {
    let change = this.byBody.get(body);
    if (change === undefined) {
      change = {
        constants: [],
        prologue: [],
        replacements: new Map(),
        removed: new Set(),
        removedTensors: new Set(),
        usesMicrosoft: false,
      };
      this.byBody.set(body, change);
    }
    return change;
  }
}

/** A function has no initializers: its constants are nodes. */
function constantNode(tensor: Tensor): Node {
  const value = { name: "value", value: { type: "tensor", value: tensor } as const };
  return makeNode("Constant", "", [], [tensor.name], [{ ...value, carried: NOTHING_CARRIED }], "");
}

function setNodes(body: Body, nodes: Node[]): void {
  if (body.graph !== null) body.graph.nodes = nodes;
  else body.function!.nodes = nodes;
}

/** Takes initializers out of a graph, and with them the inputs that old IR versions list them as. */
function removeInitializers(body: Body, removed: ReadonlySet<Tensor>): void {
  if (body.graph === null || removed.size === 0) return;
  const { graph } = body;
  const names = new Set([...removed].map((tensor) => tensor.name));
  graph.initializers = graph.initializers.filter((tensor) => !removed.has(tensor));
  graph.inputs = graph.inputs.filter((input) => !names.has(input.name));
}

/** Removes the weights' constants, and the operators that only moved them, where nothing reads them. */
function removeLeftovers(model: Model, patches: readonly Patch[]): void {
  const scopes = new Scopes(model);
  const counts = new Map<Body["graph"] | Body["function"], Map<string, number>>();
  const bodies = new Map<Body["graph"] | Body["function"], Body>();
  for (const body of scopes.bodies) bodies.set(body.graph ?? body.function, body);
  const count = (body: Body, name: string): number => {
    const key = body.graph ?? body.function;
    let ofBody = counts.get(key);
    if (ofBody === undefined) counts.set(key, ofBody = new Map());
    let uses = ofBody.get(name);
    if (uses === undefined) ofBody.set(name, uses = scopes.uses(body, name).length);
    return uses;
  };
  const dead = new Set<Node>();
  const deadTensors = new Set<Tensor>();
  const release = (from: Body, name: string): void => {
    const definition = scopes.resolve(from, name);
    if (definition === undefined) return;
    const left = count(definition.body, name) - 1;
    counts.get(definition.body.graph ?? definition.body.function)!.set(name, left);
    if (left <= 0) drop(definition.body, name);
  };
  /** Drops the constant or mover that defines `name`, which nothing reads. */
  const drop = (body: Body, name: string): void => {
    const definition = scopes.resolve(body, name);
    if (definition?.kind === "initializer") deadTensors.add(definition.tensor);
    if (definition?.kind !== "node" || dead.has(definition.node)) return;
    const { node } = definition;
    if (constantTensor(node) === null && !movers.has(node)) return;
    if (node.outputs.some((output) => output !== "" && count(body, output) > 0)) return;
    dead.add(node);
    for (const input of node.inputs) release(body, input);
  };
  const movers = new Set<Node>();
  for (const { target } of patches) {
    for (const use of target.weight.uses) for (const { node } of use.path) movers.add(node);
  }
  for (const patch of patches) {
    if (patch.keepsName) continue;
    const { weight } = patch.target;
    const body = bodies.get(weight.body.graph ?? weight.body.function)!;
    if (count(body, weight.name) === 0) drop(body, weight.name);
    for (const use of weight.uses) {
      const last = use.path.at(-1);
      if (last === undefined) continue;
      const of = bodies.get(last.body.graph ?? last.body.function)!;
      for (const output of last.node.outputs) {
        if (output !== "" && count(of, output) === 0) drop(of, output);
      }
    }
  }
  const removedNames = new Map<Body, Set<string>>();
  for (const body of scopes.bodies) {
    const nodes = nodesOf(body);
    const gone = nodes.filter((node) => dead.has(node));
    if (gone.length > 0) setNodes(body, nodes.filter((node) => !dead.has(node)));
    removeInitializers(body, deadTensors);
    removedNames.set(body, new Set(gone.flatMap((node) => node.outputs)));
  }
  for (const [body, names] of removedNames) {
    if (names.size === 0) continue;
    const holder = body.graph ?? body.function!;
    holder.valueInfo = holder.valueInfo.filter((info) => !names.has(info.name));
  }
}
