/**
 * Makes the names of values distinct in a whole model, so that passes may rename without regard to
 * scopes: ONNX lets two branches use one name, and many models let a branch shadow an outer one.
 */
import { InputError } from "../error.ts";
import { allGraphs, type Graph, type Model, type Node, subgraphs } from "../ir.ts";

/** The names that `graph` itself makes, each once. */
function* madeBy(graph: Graph): Generator<string> {
  const initialized = new Set<string>();
  for (const { name } of graph.initializers) {
    initialized.add(name);
    yield name;
  }
  for (const { values: { name } } of graph.sparseInitializers) {
    initialized.add(name);
    yield name;
  }
  for (const { name } of graph.inputs) if (!initialized.has(name)) yield name;
  for (const node of graph.nodes) {
    for (const name of node.outputs) if (name !== "") yield name;
  }
}

/**
 * Renames values of `model`'s subgraphs until no two values have one name. Inputs and outputs of the
 * model keep theirs.
 *
 * @throws {InputError} for a graph that makes a value twice.
 */
export function distinctNames(model: Model): void {
  const taken = new Set<string>();
  for (const graph of allGraphs(model.graph)) {
    const own = new Set<string>();
    for (const name of madeBy(graph)) {
      if (own.has(name)) {
        throw new InputError(
          `Cannot compile "${model.path}": the value "${name}" is made twice. Each value has one ` +
            `node, input or initializer; export the model again.`,
        );
      }
      own.add(name);
    }
  }
  // Names that the model's own graph makes or reads stay; what lies deeper gives way.
  for (const name of madeBy(model.graph)) taken.add(name);
  for (const { name } of model.graph.outputs) taken.add(name);
  for (const node of model.graph.nodes) for (const name of node.inputs) taken.add(name);
  const suffixes = new Map<string, number>();
  const visit = (graph: Graph, outer: ReadonlyMap<string, string>, isTop: boolean): void => {
    const names = new Map(outer);
    if (!isTop) {
      for (const name of madeBy(graph)) {
        let made = name;
        let suffix = suffixes.get(name) ?? 0;
        while (taken.has(made)) made = `${name}_${++suffix}`;
        suffixes.set(name, suffix);
        taken.add(made);
        if (made === name) names.delete(name);
        else names.set(name, made);
      }
    }
    const now = (name: string): string => names.get(name) ?? name;
    if (names.size > 0) renameOwn(graph, now);
    for (const node of graph.nodes) {
      for (const inner of subgraphs(node)) visit(inner, names, false);
    }
  };
  visit(model.graph, new Map(), true);
}

/** Renames what `graph` itself names, without the graphs in it. */
function renameOwn(graph: Graph, now: (name: string) => string): void {
  for (const info of [...graph.inputs, ...graph.outputs, ...graph.valueInfo]) {
    info.name = now(info.name);
  }
  for (const tensor of graph.initializers) tensor.name = now(tensor.name);
  for (const { values } of graph.sparseInitializers) values.name = now(values.name);
  for (const node of graph.nodes) {
    node.outputs = node.outputs.map(now);
    renameInputs(node, now);
  }
}

/** Renames what `node` itself reads. */
function renameInputs(node: Node, now: (name: string) => string): void {
  if (node.inputs.some((name) => now(name) !== name)) node.inputs = node.inputs.map(now);
}

/** Renames what `node` and the graphs in it read. */
export function renameReads(node: Node, now: (name: string) => string): void {
  renameInputs(node, now);
  for (const top of subgraphs(node)) {
    for (const graph of allGraphs(top)) {
      for (const info of graph.outputs) info.name = now(info.name);
      for (const inner of graph.nodes) renameInputs(inner, now);
    }
  }
}
