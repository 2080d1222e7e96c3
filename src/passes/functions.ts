/**
 * Functions that a model defines (`FunctionProto`), put in the place of their calls: nested ones too,
 * with the call's attributes or the function's defaults where the body refers to them.
 */
import { InputError } from "../error.ts";
import {
  type Attribute,
  type AttributeValue,
  type Graph,
  makeNode,
  type Model,
  type ModelFunction,
  type Node,
  NOTHING_CARRIED,
  type ValueInfo,
} from "../ir.ts";
import { FIELD } from "../onnx/schema.ts";
import { memoryRecords } from "../onnx/wire.ts";
import type { ModelView, Patch, Rule } from "./rule.ts";

/** Nodes that calls grow to at most: a few functions that call each other twice make any number. */
const MOST_NODES = 200_000;
/** Calls within calls, as deep as messages may lie in a model. */
const DEEPEST = 100;
/** Number of the field `overload` of a node. */
const OVERLOAD = 8;

const TEXT = new TextDecoder();

/** The text of field `number` in a message's carried bytes, or the empty text. */
function textField(carried: Uint8Array, number: number): string {
  for (const record of memoryRecords(carried)) {
    if (record.number === number) return TEXT.decode(record.payload);
  }
  return "";
}

function keyOf(domain: string, name: string, overload: string): string {
  return JSON.stringify([domain, name, overload]);
}

/** The rule that puts the functions of `model` in the place of their calls. */
export function inlineFunctions(model: Model): Rule {
  const functions = new Map(
    model.functions.map((entry) => [keyOf(entry.domain, entry.name, entry.overload), entry]),
  );
  const find = (node: Node): ModelFunction | undefined =>
    functions.size === 0 ? undefined : functions.get(
      keyOf(node.domain, node.opType, textField(node.carried, OVERLOAD)),
    );
  refuseEndless(model, find);
  let count = 0;
  return {
    name: "functions",
    rewrite(view, node) {
      const definition = find(node);
      if (definition === undefined) return null;
      count += definition.nodes.length;
      if (count > MOST_NODES) {
        throw new InputError(
          `Cannot compile "${model.path}": calls of its functions grow to more than ` +
            `${MOST_NODES} nodes. Inline or simplify them before.`,
        );
      }
      return inlined(view, node, definition);
    },
  };
}

/** Refuses functions of `model` that call themselves, which has no end, and calls too deep to follow. */
function refuseEndless(model: Model, find: (node: Node) => ModelFunction | undefined): void {
  /** Calls within calls that each function makes; null while it is looked at. */
  const heights = new Map<ModelFunction, number | null>();
  const heightOf = (definition: ModelFunction, depth: number): number => {
    const known = heights.get(definition);
    if (known === null) {
      throw new InputError(
        `Cannot compile "${model.path}": its function "${definition.name}" calls itself. ONNX ` +
          `allows no recursion; export the model again.`,
      );
    }
    if (known !== undefined && depth + known <= DEEPEST) return known;
    if (depth + (known ?? 1) > DEEPEST) {
      throw new InputError(
        `Cannot compile "${model.path}": its function "${definition.name}" lies in calls more than ` +
          `${DEEPEST} deep. Inline its functions before.`,
      );
    }
    heights.set(definition, null);
    const height = 1 + highest(definition.nodes, depth + 1);
    heights.set(definition, height);
    return height;
  };
  const highest = (nodes: readonly Node[], depth: number): number => {
    let most = 0;
    for (const node of nodes) {
      const inner = find(node);
      if (inner !== undefined) most = Math.max(most, heightOf(inner, depth));
      for (const { value } of node.attributes) {
        const graphs = value.type === "graph"
          ? [value.value]
          : value.type === "graphs"
          ? value.value
          : [];
        for (const graph of graphs) most = Math.max(most, highest(graph.nodes, depth));
      }
    }
    return most;
  };
  for (const entry of model.functions) heightOf(entry, 0);
}

/** The body of `definition` as the nodes of `call`. */
function inlined(view: ModelView, call: Node, definition: ModelFunction): Patch {
  const title = call.name || call.opType;
  const names = new Map<string, string>([["", ""]]);
  for (const [i, name] of definition.inputs.entries()) names.set(name, call.inputs[i] ?? "");
  const copies: Node[] = [];
  for (const [i, name] of definition.outputs.entries()) {
    const output = call.outputs[i] ?? "";
    if (output === "") continue;
    // An output that is an input too, or that is listed twice, is a value of its own.
    if (names.has(name)) copies.push(makeNode("Identity", "", [names.get(name)!], [output]));
    else names.set(name, output);
  }
  const given = new Map(
    [...definition.attributes, ...call.attributes].map((entry) => [entry.name, entry]),
  );
  const body = new Body(view, title, names, given);
  const nodes = definition.nodes.map((node) => body.node(node));
  const valueInfo = definition.valueInfo.filter(({ name }) => names.has(name)).map((info) =>
    body.info(info)
  );
  return { nodes: [...nodes, ...copies], valueInfo };
}

/** Copies what stands in a function's body. */
class Body {
  constructor(
    readonly view: ModelView,
    readonly title: string,
    readonly names: Map<string, string>,
    readonly given: ReadonlyMap<string, Attribute>,
    /** Whether names that the body doesn't make are those of the call's surroundings. */
    readonly isOpen = false,
  ) {}

  /** What the value `name` of the body is called in the model. */
  name(name: string): string {
    let made = this.names.get(name);
    if (made === undefined && this.isOpen) return name;
    if (made === undefined) {
      made = this.view.fresh(`${this.title}/${name}`);
      this.names.set(name, made);
    }
    return made;
  }

  node(node: Node): Node {
    return {
      ...node,
      name: `${this.title}/${node.name || node.opType}`,
      inputs: node.inputs.map((name) => this.name(name)),
      outputs: node.outputs.map((name) => this.name(name)),
      attributes: node.attributes.flatMap((entry) => this.attribute(entry)),
    };
  }

  /** An attribute, or what it refers to: nothing where the call leaves that out. */
  attribute(entry: Attribute): Attribute[] {
    const { value } = entry;
    if (value.type === "carried") {
      const reference = textField(entry.carried, FIELD.attribute.refName);
      if (reference === "") return [entry];
      const found = this.given.get(reference);
      if (found === undefined) return [];
      // A graph that the call gives may be meant twice, and reads what stands around the call.
      const caller = new Body(this.view, this.title, new Map([["", ""]]), new Map(), true);
      return [{ ...found, name: entry.name, value: caller.value(found.value) }];
    }
    return [{ ...entry, value: this.value(value) }];
  }

  value(value: AttributeValue): AttributeValue {
    if (value.type === "graph") return { type: "graph", value: this.graph(value.value) };
    if (value.type !== "graphs") return value;
    return { type: "graphs", value: value.value.map((graph) => this.graph(graph)) };
  }

  /** A graph in the body: it may use a name of its own that a sibling uses too. */
  graph(graph: Graph): Graph {
    const inner = new Body(this.view, this.title, new Map(this.names), this.given, this.isOpen);
    const own = [
      ...graph.inputs.map((info) => info.name),
      ...graph.initializers.map((tensor) => tensor.name),
      ...graph.sparseInitializers.map((sparse) => sparse.values.name),
      ...graph.nodes.flatMap((node) => node.outputs),
    ];
    for (const name of own) {
      if (name !== "") inner.names.set(name, this.view.fresh(`${this.title}/${name}`));
    }
    return {
      ...graph,
      inputs: graph.inputs.map((info) => inner.info(info)),
      initializers: graph.initializers.map((tensor) => ({
        ...tensor,
        name: inner.name(tensor.name),
      })),
      sparseInitializers: graph.sparseInitializers.map((sparse) => ({
        ...sparse,
        values: { ...sparse.values, name: inner.name(sparse.values.name) },
      })),
      nodes: graph.nodes.map((node) => inner.node(node)),
      outputs: graph.outputs.map((info) => inner.info(info)),
      valueInfo: graph.valueInfo.map((info) => inner.info(info)),
      carried: NOTHING_CARRIED,
    };
  }

  info(info: ValueInfo): ValueInfo {
    return { ...info, name: this.name(info.name), wire: null };
  }
}
