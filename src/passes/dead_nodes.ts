/** Nodes and constants that no output needs. */
import { allGraphs, type Model, type Node, subgraphs } from "../ir.ts";

/** Drops from `model` what none of its outputs depends on. Names must be distinct. */
export function dropDead(model: Model): void {
  const makers = new Map<string, Node>();
  for (const graph of allGraphs(model.graph)) {
    for (const node of graph.nodes) for (const name of node.outputs) makers.set(name, node);
  }
  const needed = new Set<string>();
  const live = new Set<Node>();
  const waiting = model.graph.outputs.map(({ name }) => name);
  for (;;) {
    const name = waiting.pop();
    if (name === undefined) break;
    if (name === "" || needed.has(name)) continue;
    needed.add(name);
    const maker = makers.get(name);
    if (maker === undefined || live.has(maker)) continue;
    live.add(maker);
    waiting.push(...maker.inputs);
    for (const graph of subgraphs(maker)) {
      for (const output of graph.outputs) waiting.push(output.name);
    }
  }
  for (const graph of allGraphs(model.graph)) {
    graph.nodes = graph.nodes.filter((node) => live.has(node));
    graph.initializers = graph.initializers.filter((tensor) => needed.has(tensor.name));
  }
}
