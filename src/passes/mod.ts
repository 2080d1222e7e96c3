/**
 * Passes: what makes a model simpler before it is compiled. A rule takes the model and a node and
 * gives a patch or null; the driver here walks the nodes, inner graphs too, and puts patches in.
 */
import { type Graph, type Model, subgraphs } from "../ir.ts";
import { attentions } from "./attention.ts";
import { batchNormalizations } from "./batch_normalization.ts";
import { commonSubexpressions } from "./common_subexpressions.ts";
import { constantNodes, gatherConstants, mergeConstants } from "./constants.ts";
import { dropDead } from "./dead_nodes.ts";
import { inlineFunctions } from "./functions.ts";
import { identities } from "./identity.ts";
import { distinctNames, renameReads } from "./names.ts";
import { sortNodes } from "./order.ts";
import { byteCodes, planeCodes, planeProducts } from "./packed_codes.ts";
import { ModelView, type Rule } from "./rule.ts";

/** The rules, in the order in which they go over a model that has no functions left. */
const RULES: readonly Rule[] = [
  identities,
  planeProducts,
  planeCodes,
  byteCodes,
  commonSubexpressions,
  batchNormalizations,
  attentions,
];

/** How passes go about a model. */
export interface PassOptions {
  /** Called after each pass, for tests: the pass's name and the model as it then is. */
  readonly after?: (pass: string, model: Model) => void;
}

/**
 * Simplifies `model`, which must be of the newest opset, in place. Its inputs and outputs keep names,
 * order and values; weights stay where they are but for small ones that are computed.
 *
 * @throws {InputError} for a model that makes a value twice or of itself, whose functions have no end, or
 * whose sparse tensors are too large.
 */
export async function runPasses(model: Model, options: PassOptions = {}): Promise<void> {
  const done = (pass: string): void => options.after?.(pass, model);
  distinctNames(model);
  sortNodes(model);
  done("distinct names, in order");
  for (const rule of [inlineFunctions(model), constantNodes]) {
    await apply(rule, new ModelView(model));
    if (rule !== constantNodes) model.functions = [];
    done(rule.name);
  }
  await gatherConstants(model);
  done("dense constants");
  dropDead(model);
  done("dead nodes");
  const view = new ModelView(model);
  await mergeConstants(view);
  done("equal constants");
  for (const rule of RULES) {
    await apply(rule, new ModelView(model));
    done(rule.name);
  }
  dropDead(model);
  done("dead nodes");
}

/** Goes over all nodes of the model with `rule`; what a patch brings is gone over too. */
async function apply(rule: Rule, view: ModelView): Promise<void> {
  const { model } = view;
  const renames = new Map<string, string>();
  const now = (name: string): string => renames.get(name) ?? name;
  const sweep = async (graph: Graph): Promise<void> => {
    view.enterGraph();
    const kept: Graph["nodes"] = [];
    const waiting = graph.nodes.toReversed();
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      if (renames.size > 0) renameReads(node, now);
      const result = rule.rewrite(view, node);
      const patch = result instanceof Promise ? await result : result;
      if (patch !== null) {
        view.replace(node, patch);
        for (const [from, to] of patch.renames ?? []) renames.set(from, to);
        model.graph.initializers.push(...patch.initializers ?? []);
        graph.valueInfo.push(...patch.valueInfo ?? []);
        waiting.push(...patch.nodes.toReversed());
        continue;
      }
      for (const inner of subgraphs(node)) await sweep(inner);
      kept.push(node);
      view.pass(node);
    }
    graph.nodes = kept;
    view.leaveGraph();
  };
  await sweep(model.graph);
}
