/**
 * Puts nodes behind those whose values they read. ONNX wants models so; ONNX Runtime takes them in
 * any order, so that converters exist which write others.
 */
import { InputError } from "../error.ts";
import { allGraphs, type Model, type Node, subgraphs } from "../ir.ts";

/**
 * Sorts the nodes of every graph and function of `model`, whose names must be distinct. Nodes stay
 * in their order as far as what they read allows.
 *
 * @throws {InputError} for nodes that wait for each other.
 */
export function sortNodes(model: Model): void {
  for (const graph of allGraphs(model.graph)) graph.nodes = sorted(graph.nodes, model.path);
  for (const body of model.functions) body.nodes = sorted(body.nodes, model.path);
}

function sorted(nodes: Node[], path: string): Node[] {
  const makers = new Map<string, Node>();
  for (const node of nodes) {
    for (const name of node.outputs) if (name !== "") makers.set(name, node);
  }
  const done = new Set<Node>();
  const open = new Set<Node>();
  for (const first of nodes) {
    const waiting = [first];
    for (let node = waiting.at(-1); node !== undefined; node = waiting.at(-1)) {
      const makersOf = done.has(node) || open.has(node) ? [] : [...readBy(node)].flatMap((name) => {
        const maker = makers.get(name);
        return maker === undefined || done.has(maker) ? [] : [maker];
      });
      if (makersOf.length === 0) {
        waiting.pop();
        open.delete(node);
        done.add(node);
        continue;
      }
      open.add(node);
      for (const maker of makersOf.toReversed()) {
        if (open.has(maker)) {
          throw new InputError(
            `Cannot compile "${path}": ${maker.opType} "${maker.name}" waits for a value that is ` +
              `made of its own. Export the model again.`,
          );
        }
        waiting.push(maker);
      }
    }
  }
  return [...done];
}

/** What `node` reads, and the graphs in it from outside of them. */
function readBy(node: Node): Set<string> {
  const read = new Set(node.inputs);
  for (const graph of subgraphs(node)) {
    const inside = new Set(graph.outputs.map(({ name }) => name));
    for (const inner of graph.nodes) for (const name of readBy(inner)) inside.add(name);
    const own = new Set([...graph.inputs, ...graph.initializers].map(({ name }) => name));
    for (const inner of graph.nodes) for (const name of inner.outputs) own.add(name);
    for (const name of inside) if (!own.has(name)) read.add(name);
  }
  return read;
}
