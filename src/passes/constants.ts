/**
 * Constants in one place and one form: dense initializers of the model's graph, each content once.
 */
import { createHash } from "node:crypto";
import { byteLength, DTYPES } from "../dtype.ts";
import { InputError } from "../error.ts";
import {
  allGraphs,
  attribute,
  elementCount,
  type Graph,
  makeTensor,
  type Model,
  type SparseTensor,
  type Tensor,
} from "../ir.ts";
import { contentKey, openTensor, tensorBytes } from "../onnx/tensor.ts";
import { renameReads } from "./names.ts";
import type { ModelView, Rule } from "./rule.ts";

/** Bytes that a sparse tensor takes once it is dense, at most: a few bytes of a file may claim any. */
const MOST_DENSE_BYTES = 2 ** 28;

/** `sparse` with every element, zeros where it has none. https://onnx.ai/onnx/api/classes.html */
async function dense(sparse: SparseTensor, path: string): Promise<Tensor> {
  const { values, indices, dims } = sparse;
  const refuse = (state: string): never => {
    throw new InputError(
      `Cannot compile "${path}": the sparse tensor "${values.name}" ${state}. Store it densely.`,
    );
  };
  const { bits, kind } = DTYPES[values.dtype];
  if (kind === "string" || bits % 8 !== 0) refuse(`holds elements of ${values.dtype}`);
  const size = byteLength(values.dtype, elementCount(dims));
  if (!(size <= MOST_DENSE_BYTES)) refuse(`takes ${size} bytes, more than ${MOST_DENSE_BYTES}`);
  const count = elementCount(values.dims);
  const rank = indices.dims.length === 2 ? dims.length : 1;
  if (indices.dtype !== "int64" || elementCount(indices.dims) !== count * rank) {
    refuse(`has indices [${indices.dims}] for ${count} values`);
  }
  const width = bits / 8;
  const bytes = new Uint8Array(size);
  const given = await tensorBytes(values);
  const raw = await tensorBytes(indices);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const extents = rank === 1 && indices.dims.length < 2 ? [elementCount(dims)] : dims;
  for (let i = 0; i < count; i++) {
    let offset = 0;
    for (const [k, extent] of extents.entries()) {
      const index = Number(view.getBigInt64(8 * (i * extents.length + k), true));
      if (index < 0 || index >= extent) refuse(`has the index ${index} in an extent of ${extent}`);
      offset = offset * extent + index;
    }
    bytes.set(given.subarray(i * width, (i + 1) * width), offset * width);
  }
  return makeTensor(values.name, values.dtype, dims, { kind: "memory", bytes });
}

/** Makes sparse initializers of `model` dense, and constants of subgraphs those of the model. */
export async function gatherConstants(model: Model): Promise<void> {
  const top = model.graph;
  for (const graph of [...allGraphs(top)]) {
    for (const sparse of graph.sparseInitializers) {
      graph.initializers.push(await dense(sparse, model.path));
    }
    graph.sparseInitializers = [];
    if (graph === top) dropDefaults(graph);
    else hoist(graph, top);
  }
}

/** An initializer is what its input is, as far as a compiled model goes. */
function dropDefaults(graph: Graph): void {
  const initialized = new Set(graph.initializers.map((tensor) => tensor.name));
  graph.inputs = graph.inputs.filter((info) => !initialized.has(info.name));
}

/** An initializer that is also an input of its subgraph gets its value from the node. */
function hoist(graph: Graph, top: Graph): void {
  const inputs = new Set(graph.inputs.map((info) => info.name));
  top.initializers.push(...graph.initializers.filter((tensor) => !inputs.has(tensor.name)));
  graph.initializers = [];
}

/** A Constant that holds a tensor becomes an initializer. */
export const constantNodes: Rule = {
  name: "constant nodes",
  async rewrite(view, node) {
    if (node.opType !== "Constant" || node.domain !== "") return null;
    const name = node.outputs[0]!;
    if (view.isOutput(name)) return null;
    const value = attribute(node, "value");
    if (value?.type === "tensor" && value.value.dtype !== "string") {
      return { nodes: [], initializers: [{ ...value.value, name }] };
    }
    const sparse = attribute(node, "sparse_value");
    if (sparse?.type !== "sparse_tensor") return null;
    return { nodes: [], initializers: [{ ...await dense(sparse.value, view.model.path), name }] };
  },
};

/** Bytes that are compared first where two constants may be the same. */
const SAMPLE = 4096;

/** Initializers of one content, wherever in the file they lie, become one. */
export async function mergeConstants(view: ModelView): Promise<void> {
  const { graph } = view.model;
  const alike = Map.groupBy(
    graph.initializers.filter(({ dtype }) => dtype !== "string"),
    ({ dtype, dims }) => `${dtype} ${dims.join()}`,
  );
  const renames = new Map<string, string>();
  for (const group of alike.values()) {
    if (group.length < 2) continue;
    for (const same of await partitions(group)) {
      const kept = same.find(({ name }) => view.isOutput(name)) ?? same[0]!;
      for (const { name } of same) {
        if (name !== kept.name && !view.isOutput(name)) renames.set(name, kept.name);
      }
    }
  }
  if (renames.size === 0) return;
  graph.initializers = graph.initializers.filter(({ name }) => !renames.has(name));
  for (const node of graph.nodes) renameReads(node, (name) => renames.get(name) ?? name);
}

/** The sets of equal tensors in `group`, which are of one dtype and shape. */
async function partitions(group: readonly Tensor[]): Promise<Tensor[][]> {
  const sampled = Map.groupBy(group, (tensor) => hash(tensor, SAMPLE));
  const sets: Tensor[][] = [];
  for (const candidates of sampled.values()) {
    if (candidates.length < 2) continue;
    const isShort = byteLength(candidates[0]!.dtype, elementCount(candidates[0]!.dims)) <= SAMPLE;
    if (isShort) {
      sets.push(candidates);
      continue;
    }
    const places = [...Map.groupBy(candidates, contentKey).values()];
    const firsts = await Promise.all(places.map(([first]) => wholeHash(first!)));
    sets.push(...Map.groupBy(places, (_, i) => firsts[i]!).values().map((found) => found.flat()));
  }
  return sets.filter((set) => set.length > 1);
}

/** A hash of the first `most` bytes of `tensor`. */
function hash(tensor: Tensor, most: number): string {
  const reader = openTensor(tensor);
  try {
    const bytes = new Uint8Array(Math.min(most, reader.byteLength));
    reader.readSync(0, bytes);
    return createHash("sha256").update(bytes).digest("hex");
  } finally {
    reader.close();
  }
}

/** A hash of all bytes of `tensor`, read piece by piece. */
async function wholeHash(tensor: Tensor): Promise<string> {
  const reader = openTensor(tensor);
  try {
    const state = createHash("sha256");
    const piece = new Uint8Array(2 ** 20);
    for (let at = 0; at < reader.byteLength; at += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, reader.byteLength - at));
      await reader.read(at, part);
      state.update(part);
    }
    return state.digest("hex");
  } finally {
    reader.close();
  }
}
