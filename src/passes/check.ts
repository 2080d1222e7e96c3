/**
 * What holds of every model between passes: each value is made once in the whole model, before it is
 * read, and every output is made.
 */
import { type Graph, type Model, subgraphs } from "../ir.ts";

/**
 * Checks `model`, whose names must be distinct.
 *
 * @throws {Error} that says what doesn't hold: a pass is wrong.
 */
export function check(model: Model): void {
  const made = new Set<string>();
  const visible: Set<string>[] = [];
  const make = (name: string, what: string): void => {
    if (name === "") return;
    if (made.has(name)) throw new Error(`the value "${name}" is made twice, again by ${what}`);
    made.add(name);
    visible.at(-1)!.add(name);
  };
  const read = (name: string, what: string): void => {
    if (name === "" || visible.some((names) => names.has(name))) return;
    throw new Error(`${what} reads "${name}", which is not made before it`);
  };
  const visit = (graph: Graph, title: string): void => {
    visible.push(new Set());
    for (const { name } of graph.inputs) make(name, `an input of ${title}`);
    for (const { name } of graph.initializers) make(name, `an initializer of ${title}`);
    for (const { values } of graph.sparseInitializers) {
      make(values.name, `an initializer of ${title}`);
    }
    for (const node of graph.nodes) {
      const what = `${node.opType} "${node.name}"`;
      for (const name of node.inputs) read(name, what);
      for (const inner of subgraphs(node)) visit(inner, `a graph of ${what}`);
      for (const name of node.outputs) make(name, what);
    }
    for (const { name } of graph.outputs) read(name, `an output of ${title}`);
    visible.pop();
  };
  visit(model.graph, "the model");
}
