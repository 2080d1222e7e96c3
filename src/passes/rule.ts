/**
 * What a rule of a pass is, and what it sees of a model: who makes a value, who reads it, what is
 * constant. Names are distinct in the whole model (`names.ts`), so a name alone tells a value.
 */
import {
  allGraphs,
  type Graph,
  type Model,
  type Node,
  subgraphs,
  type Tensor,
  type ValueInfo,
} from "../ir.ts";
import { openTensor } from "../onnx/tensor.ts";

/** What stands in the place of a node. */
export interface Patch {
  /** The nodes, in order; every output of the old node that is still read is made by one of them. */
  readonly nodes: readonly Node[];
  /** Outputs of the old node that nobody makes any more, and the values to read instead. */
  readonly renames?: readonly (readonly [from: string, to: string])[];
  /** New constants of the model. */
  readonly initializers?: readonly Tensor[];
  /** What is known of new values. */
  readonly valueInfo?: readonly ValueInfo[];
}

/** Rewrites nodes one at a time. */
export interface Rule {
  readonly name: string;
  /** What to put in the place of `node`, or null. Changes nothing itself. */
  readonly rewrite: (model: ModelView, node: Node) => Patch | null | Promise<Patch | null>;
}

/** Bytes of a constant that rules look into at most, unless they fold it. */
const MOST_LOOKED_AT = 512;

/** A model as rules see it. */
export class ModelView {
  readonly #constants = new Map<string, Tensor>();
  readonly #makers = new Map<string, Node>();
  readonly #reads = new Map<string, number>();
  readonly #outputs = new Set<string>();
  readonly #taken = new Set<string>();
  readonly #suffixes = new Map<string, number>();
  /** Nodes that the sweep has passed, by the first value that they read, graph by graph. */
  readonly #passed: Map<string, Node[]>[] = [];
  /** Bytes of weights that rules have made in memory. */
  foldedBytes = 0;

  constructor(readonly model: Model) {
    for (const tensor of model.graph.initializers) this.addConstant(tensor);
    for (const graph of allGraphs(model.graph)) this.#enterGraph(graph);
  }

  /** The constant `name`, or null. */
  constant(name: string | undefined): Tensor | null {
    return this.#constants.get(name ?? "") ?? null;
  }

  /** The node that makes the value `name`, or null. */
  maker(name: string | undefined): Node | null {
    return this.#makers.get(name ?? "") ?? null;
  }

  /** How many inputs and outputs of graphs read the value `name`; 0 for the empty name. */
  reads(name: string | undefined): number {
    return this.#reads.get(name ?? "") ?? 0;
  }

  /** Whether a graph gives the value `name` by that name. */
  isOutput(name: string): boolean {
    return this.#outputs.has(name);
  }

  /** A name that no value has. */
  fresh(base: string): string {
    let suffix = this.#suffixes.get(base) ?? 0;
    let name = base;
    while (name === "" || this.#taken.has(name)) name = `${base}_${++suffix}`;
    this.#suffixes.set(base, suffix);
    this.#taken.add(name);
    return name;
  }

  /** The bytes of the constant `name` where they are few, else null. */
  bytes(name: string | undefined): Uint8Array<ArrayBuffer> | null {
    const tensor = this.constant(name);
    if (tensor === null || tensor.dtype === "string") return null;
    const reader = openTensor(tensor);
    try {
      if (reader.byteLength > MOST_LOOKED_AT) return null;
      const bytes = new Uint8Array(reader.byteLength);
      reader.readSync(0, bytes);
      return bytes;
    } finally {
      reader.close();
    }
  }

  /** The elements of the constant `name` where they are few integers or truth values, else null. */
  integers(name: string | undefined): readonly number[] | null {
    const tensor = this.constant(name);
    if (tensor === null) return null;
    const width = { bool: 1, uint8: 1, int32: 4, int64: 8 }[tensor.dtype as string];
    const bytes = width === undefined ? null : this.bytes(name);
    if (width === undefined || bytes === null) return null;
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / width }, (_, i) => {
      if (width === 1) return view.getUint8(i);
      return width === 4 ? view.getInt32(4 * i, true) : Number(view.getBigInt64(8 * i, true));
    });
  }

  /** Nodes before the one at hand, in its graph and those around, that read `name` first. */
  *passed(name: string): Generator<Node> {
    for (const level of this.#passed) yield* level.get(name) ?? [];
  }

  /** The sweep enters a graph. For the driver. */
  enterGraph(): void {
    this.#passed.push(new Map());
  }

  /** The sweep leaves the graph. For the driver. */
  leaveGraph(): void {
    this.#passed.pop();
  }

  /** The sweep leaves `node` behind as it is. For the driver. */
  pass(node: Node): void {
    const level = this.#passed.at(-1)!;
    const first = node.inputs[0] ?? "";
    const list = level.get(first);
    if (list === undefined) level.set(first, [node]);
    else list.push(node);
  }

  /** `patch` takes the place of `node`. For the driver. */
  replace(node: Node, patch: Patch): void {
    if (!patch.nodes.includes(node)) {
      for (const name of node.outputs) this.#makers.delete(name);
      this.#count(node, -1);
    }
    const made = patch.nodes.filter((entry) => entry !== node);
    for (const entry of made) this.#enter(entry);
    for (const graph of graphsOf(made)) this.#enterGraph(graph);
    for (const tensor of patch.initializers ?? []) this.addConstant(tensor);
    for (const [from, to] of patch.renames ?? []) {
      this.#read(to, this.reads(from));
      this.#reads.delete(from);
    }
  }

  /** A new constant. For the driver. */
  addConstant(tensor: Tensor): void {
    this.#constants.set(tensor.name, tensor);
    this.#taken.add(tensor.name);
  }

  #enterGraph(graph: Graph): void {
    for (const { name } of [...graph.inputs, ...graph.initializers]) this.#taken.add(name);
    for (const { name } of graph.outputs) {
      this.#taken.add(name);
      this.#outputs.add(name);
      this.#read(name, 1);
    }
    for (const node of graph.nodes) this.#enter(node);
  }

  #enter(node: Node): void {
    for (const name of node.outputs) {
      if (name === "") continue;
      this.#makers.set(name, node);
      this.#taken.add(name);
    }
    for (const name of node.inputs) this.#read(name, 1);
  }

  #count(node: Node, by: number): void {
    for (const name of node.inputs) this.#read(name, by);
    for (const graph of subgraphs(node)) {
      for (const inner of graph.nodes) this.#count(inner, by);
      for (const { name } of graph.outputs) this.#read(name, by);
    }
  }

  #read(name: string, by: number): void {
    if (name !== "") this.#reads.set(name, this.reads(name) + by);
  }
}

/** Every graph of `nodes`, inner ones too. */
function* graphsOf(nodes: readonly Node[]): Generator<Graph> {
  for (const node of nodes) {
    for (const graph of subgraphs(node)) yield* allGraphs(graph);
  }
}
