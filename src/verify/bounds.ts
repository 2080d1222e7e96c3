/**
 * Which outputs of a model are probabilities, as far as its graph says: made by Sigmoid, HardSigmoid or
 * Softmax, and only rearranged, chosen from or averaged afterwards.
 */
import { allGraphs, type Graph, type Model, type Node, subgraphs } from "../ir.ts";

/** Ops whose results lie between 0 and 1. */
const PROBABILITIES = new Set(["Sigmoid", "HardSigmoid", "Softmax"]);

/** Ops whose results lie between the bounds of their first input. */
const KEEPING = new Set([
  "Identity",
  "Cast",
  "Reshape",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Transpose",
  "Slice",
  "Gather",
  "Split",
  "MaxPool",
  "AveragePool",
  "GlobalAveragePool",
  "ReduceMean",
  "ReduceMax",
  "ReduceMin",
]);

/** Nodes between an output and what made it, past which nothing is claimed. */
const LONGEST_CHAIN = 256;

/** Names of the outputs of `model` that lie between 0 and 1. */
export function probabilityOutputs(model: Model): Set<string> {
  const makers = new Map<string, Node>();
  for (const graph of allGraphs(model.graph)) {
    for (const node of graph.nodes) for (const output of node.outputs) makers.set(output, node);
  }
  const seen = new Map<string, boolean>();
  let depth = 0;
  const isProbability = (name: string): boolean => {
    const known = seen.get(name);
    if (known !== undefined) return known;
    if (depth >= LONGEST_CHAIN) return false;
    // A name that is met again while it is being looked at is one of a broken graph.
    seen.set(name, false);
    const maker = makers.get(name);
    depth++;
    const answer = maker !== undefined && madeSo(maker, name, isProbability);
    depth--;
    seen.set(name, answer);
    return answer;
  };
  return new Set(
    model.graph.outputs.map(({ name }) => name).filter((name) => isProbability(name)),
  );
}

/** Whether output `name` of `node` is a probability. */
function madeSo(node: Node, name: string, isProbability: (name: string) => boolean): boolean {
  const { opType, inputs } = node;
  if (node.domain !== "") return false;
  if (PROBABILITIES.has(opType)) return true;
  if (KEEPING.has(opType)) return inputs[0] !== undefined && isProbability(inputs[0]);
  if (opType === "Concat") return inputs.every(isProbability);
  if (opType === "If") {
    const place = node.outputs.indexOf(name);
    const branches: Graph[] = [...subgraphs(node)];
    return branches.length > 0 && branches.every((branch) => {
      const output = branch.outputs[place];
      return output !== undefined && isProbability(output.name);
    });
  }
  return false;
}
