/**
 * Opset upgrade: raises a model's default-domain opset and its IR version, in the graph, its
 * subgraphs and its functions, so that every output stays what it was. The changes are rows of
 * `upgrade/table.ts`; this file walks the nodes and applies them.
 */
import { InputError } from "../error.ts";
import {
  allGraphs,
  type Attribute,
  type Graph,
  type Model,
  type ModelFunction,
  type Node,
  NOTHING_CARRIED,
  subgraphs,
} from "../ir.ts";
import { FIELD } from "./schema.ts";
import { type Names, Rewriter } from "./upgrade/rewriter.ts";
import { HIGHEST_OPSET, LOWEST_OPSET, type Row, ROWS, SINCE_FIRST } from "./upgrade/table.ts";
import { Scope } from "./upgrade/types.ts";
import { memoryRecords } from "./wire.ts";

/** IR version from which initializers need not be graph inputs. */
const FREE_INITIALIZERS_SINCE = 4;

/** IR version that ONNX released together with each opset version. */
const IR_OF_OPSET: readonly (readonly [opset: number, irVersion: number])[] = [
  [28, 14],
  [25, 13],
  [24, 12],
  [23, 11],
  [21, 10],
  [19, 9],
  [15, 8],
  [12, 7],
  [11, 6],
  [10, 5],
  [9, 4],
  [1, 3],
];

/** The lowest IR version whose release had opset `opset` of the default domain. */
export function irVersionOf(opset: number): number {
  return IR_OF_OPSET.find(([since]) => opset >= since)?.[1] ?? 3;
}

const ROWS_OF_OP: ReadonlyMap<string, readonly Row[]> = Map.groupBy(
  [...ROWS].sort((a, b) => a.since - b.since),
  (row) => row.op,
);

/**
 * Raises `model` in place: its default-domain opset to at least `minimum.opset`, its IR version to
 * what that opset needs and at least to `minimum.irVersion`. Never lowers either, and leaves other
 * domains alone. Where an IR 3 model passes to a later one, initializers cease to be graph inputs:
 * IR 3 demanded the listing, a later one would make of it a default that a caller may replace.
 *
 * @throws {InputError} if the model's opset is below {@link LOWEST_OPSET} and an op was another then, if `minimum.opset` is
 * above {@link HIGHEST_OPSET}, or if a node has no equal in that opset; the model is then partly
 * rewritten and must be dropped.
 */
export function upgradeModel(
  model: Model,
  minimum: { readonly opset: number; readonly irVersion?: number },
): void {
  const target = minimum.opset;
  if (!Number.isInteger(target) || target > HIGHEST_OPSET) {
    throw new InputError(
      `Cannot upgrade "${model.path}" to opset ${target}: the newest that is known is ` +
        `${HIGHEST_OPSET}. Ask for that or less.`,
    );
  }
  const own = new Set(
    model.functions.filter((entry) => entry.domain === "").map((entry) => entry.name),
  );
  const from = checkedOpset(model, model.path, model.opsets, defaultOps(model.graph, own));
  const opset = Math.max(from ?? target, target);
  const irVersion = Math.max(
    model.irVersion,
    minimum.irVersion ?? 0,
    from === null || from < target ? irVersionOf(opset) : 0,
  );
  if (model.irVersion < FREE_INITIALIZERS_SINCE && irVersion >= FREE_INITIALIZERS_SINCE) {
    freeInitializers(model.graph);
  }
  model.irVersion = irVersion;

  for (const definition of model.functions) upgradeFunction(model, definition, target, own);
  if (from !== null && from < target) {
    const tops = [model.graph, ...trainingGraphs(model)];
    const upgrade: Upgrade = {
      from,
      target,
      own,
      path: model.path,
      names: namesOf(tops),
      constantNodes: irVersion < FREE_INITIALIZERS_SINCE,
      references: [],
    };
    const scope = upgradeGraph(model.graph, null, upgrade);
    for (const graph of trainingGraphs(model)) upgradeGraph(graph, scope, upgrade);
  }
  model.opsets.set("", opset);
}

interface Upgrade {
  readonly from: number;
  readonly target: number;
  /** Default-domain operators that the model itself defines. */
  readonly own: ReadonlySet<string>;
  readonly names: Names;
  readonly path: string;
  /** True where a constant is a node: functions have no initializers, IR 3 makes them inputs. */
  readonly constantNodes: boolean;
  /** Takes the references to function attributes that became the value of a constant. */
  readonly references: Attribute[];
}

function upgradeGraph(graph: Graph, outer: Scope | null, upgrade: Upgrade): Scope {
  const scope = new Scope(outer);
  scope.declare(graph);
  const rewriter = new Rewriter({ ...upgrade, scope, graph: upgrade.constantNodes ? null : graph });
  graph.nodes = upgradeNodes(graph.nodes, scope, rewriter, upgrade);
  return scope;
}

function upgradeFunction(
  model: Model,
  definition: ModelFunction,
  target: number,
  own: ReadonlySet<string>,
): void {
  const title = `${definition.domain}:${definition.name}" in "${model.path}`;
  const pretend = functionGraph(definition);
  const from = checkedOpset(model, title, definition.opsets, defaultOps(pretend, own));
  if (from === null || from >= target) return;
  const scope = new Scope(null);
  scope.declare(pretend);
  const names = namesOf([pretend]);
  for (const input of definition.inputs) names.taken.add(input);
  for (const output of definition.outputs) names.read.add(output);
  const references: Attribute[] = [];
  const upgrade = { from, target, own, names, path: title, constantNodes: true, references };
  const rewriter = new Rewriter({ ...upgrade, graph: null, scope });
  definition.nodes = upgradeNodes(definition.nodes, scope, rewriter, upgrade);
  definition.opsets.set("", target);
  checkCallers(model, definition, references, title);
}

function upgradeNodes(nodes: Node[], scope: Scope, rewriter: Rewriter, upgrade: Upgrade): Node[] {
  const upgraded: Node[] = [];
  for (const node of nodes) {
    for (const inner of subgraphs(node)) upgradeGraph(inner, scope, upgrade);
    scope.infer(node);
    const replaced = raise(node, upgrade.from, rewriter, upgrade);
    for (const before of rewriter.takeBefore()) upgraded.push(before);
    for (const after of replaced) {
      // Runtimes refuse two nodes of one name, and a new node is named by its output.
      if (after !== node && upgrade.names.nodes.has(after.name)) {
        after.name = rewriter.fresh(after.name);
      }
      upgraded.push(after);
    }
  }
  return upgraded;
}

/** The nodes that stand for `node`, a node of opset `version`, in the target opset. */
function raise(node: Node, version: number, rewriter: Rewriter, upgrade: Upgrade): Node[] {
  if (node.domain !== "" || upgrade.own.has(node.opType)) return [node];
  const row = ROWS_OF_OP.get(node.opType)?.find(
    ({ since, change }) =>
      since > version && since <= upgrade.target && typeof change === "function",
  );
  if (row === undefined || typeof row.change === "string") return [node];
  const result = row.change(node, rewriter);
  const [nodes, reached] = Array.isArray(result)
    ? [result, row.since]
    : [result.nodes, result.version];
  return nodes.flatMap((entry) => raise(entry, reached, rewriter, upgrade));
}

/** The default-domain version of `opsets`, null where there is none and no node needs one. */
function checkedOpset(
  model: Model,
  title: string,
  opsets: ReadonlyMap<string, number>,
  ops: ReadonlySet<string>,
): number | null {
  const opset = opsets.get("");
  if (opset === undefined) {
    if (ops.size === 0) return null;
    throw new InputError(
      `Cannot upgrade "${title}": it has nodes of the default domain and imports no opset of it. ` +
        `Export "${model.path}" again.`,
    );
  }
  const old = opset < LOWEST_OPSET ? [...ops].find((op) => !SINCE_FIRST.has(op)) : undefined;
  if (old !== undefined) {
    throw new InputError(
      `Cannot upgrade "${title}": its opset ${opset} is below ${LOWEST_OPSET}, the lowest that is ` +
        `supported for ${old}. Export it with a later opset.`,
    );
  }
  return opset;
}

/** The ops of the default domain in `top` that no function of the model, one of `own`, defines. */
function defaultOps(top: Graph, own: ReadonlySet<string>): ReadonlySet<string> {
  return new Set(
    [...allGraphs(top)].flatMap((graph) =>
      graph.nodes.filter((node) => node.domain === "" && !own.has(node.opType))
        .map((node) => node.opType)
    ),
  );
}

/** The body of a function as a graph that declares only what the function knows of its values. */
function functionGraph({ name, nodes, valueInfo }: ModelFunction): Graph {
  return {
    name,
    nodes,
    valueInfo,
    initializers: [],
    sparseInitializers: [],
    inputs: [],
    outputs: [],
    carried: NOTHING_CARRIED,
  };
}

function trainingGraphs(model: Model): Graph[] {
  return model.training.flatMap(({ initialization, algorithm }) =>
    [initialization, algorithm].filter((graph) => graph !== null)
  );
}

interface GatheredNames extends Names {
  readonly read: Set<string>;
}

function namesOf(tops: readonly Graph[]): GatheredNames {
  const taken = new Set<string>();
  const nodes = new Set<string>();
  const read = new Set<string>();
  for (const graph of tops.flatMap((top) => [...allGraphs(top)])) {
    for (const { name } of [...graph.inputs, ...graph.outputs, ...graph.valueInfo]) taken.add(name);
    for (const { name } of graph.outputs) read.add(name);
    for (const { name } of graph.initializers) taken.add(name);
    for (const { values } of graph.sparseInitializers) taken.add(values.name);
    for (const node of graph.nodes) {
      taken.add(node.name);
      nodes.add(node.name);
      for (const name of node.inputs) {
        taken.add(name);
        read.add(name);
      }
      for (const name of node.outputs) taken.add(name);
    }
  }
  return { taken, nodes, read, suffixes: new Map() };
}

function freeInitializers(graph: Graph): void {
  const initialized = new Set([
    ...graph.initializers.map((tensor) => tensor.name),
    ...graph.sparseInitializers.map((tensor) => tensor.values.name),
  ]);
  graph.inputs = graph.inputs.filter((input) => !initialized.has(input.name));
}

/**
 * Refuses a call of `definition` that leaves out an attribute which one of `references` refers to:
 * a node could go without it, the constant that stands in its place can't.
 */
function checkCallers(
  model: Model,
  definition: ModelFunction,
  references: readonly Attribute[],
  title: string,
): void {
  const needed = new Set(references.map(referenceName).filter((name) => name !== null));
  for (const { name } of definition.attributes) needed.delete(name);
  if (needed.size === 0) return;
  const tops = [model.graph, ...trainingGraphs(model), ...model.functions.map(functionGraph)];
  for (const graph of tops.flatMap((top) => [...allGraphs(top)])) {
    for (const node of graph.nodes) {
      if (node.domain !== definition.domain || node.opType !== definition.name) continue;
      const missing = needed.difference(new Set(node.attributes.map((entry) => entry.name)));
      if (missing.size === 0) continue;
      const [name] = missing;
      throw new InputError(
        `Cannot upgrade "${title}": its body needs attribute "${name}", which node ` +
          `"${
            node.name || node.outputs[0]
          }" (${node.opType}) leaves out. Inline the function first.`,
      );
    }
  }
}

/** The attribute of the function that `taken` refers to; null where it holds a long list. */
function referenceName(taken: Attribute): string | null {
  for (const { number, payload } of memoryRecords(taken.carried)) {
    if (number === FIELD.attribute.refName) return new TextDecoder().decode(payload);
  }
  return null;
}
