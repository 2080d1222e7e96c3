/**
 * Scan at 9. Version 8 ran a batch: axis 0 of every input and output is the batch, axis 1 of the
 * scanned ones is time. Since 9 there is no batch. So a Scan over the batch runs, for every sample,
 * the Scan over time.
 */
import {
  attribute,
  type Graph,
  int,
  ints,
  makeNode,
  type Node,
  NOTHING_CARRIED,
  type ValueInfo,
} from "../../ir.ts";
import { type Rewriter, takeAttribute } from "./rewriter.ts";

/** Scan at 9. `sequence_lens` freezes the states of a sample once it has ended. */
export function scanBatch(node: Node, rewriter: Rewriter): Node[] {
  const body = attribute(node, "body");
  if (body?.type !== "graph") throw rewriter.error(node, `attribute "body" is missing`);
  const scans = rewriter.plainInt(node, "num_scan_inputs", 0);
  const [lengths = "", ...data] = node.inputs;
  const states = data.length - scans;
  const inner = body.value;
  if (scans < 1 || states < 0 || inner.inputs.length !== data.length) {
    throw rewriter.error(
      node,
      `its ${data.length} states and scanned inputs do not fit its body of ` +
        `${inner.inputs.length} inputs`,
    );
  }
  takeAttribute(node, "body");
  const directions = takeAttribute(node, "directions");
  const list = directions?.value.type === "ints" ? directions.value.value : [];
  const limited = lengths !== "";
  if (limited && list.some((direction) => direction !== 0n)) {
    throw rewriter.error(
      node,
      `it scans backwards with sequence lengths, for which no later version has an equal. ` +
        `Export the model with opset 9 or later`,
    );
  }

  const formals = inner.inputs.map((input, index) =>
    formal(rewriter, input, index < states ? 0 : 1)
  );
  const results = inner.outputs.map((output, index) =>
    formal(rewriter, output, index < states ? 0 : 1)
  );
  const time = makeNode(
    "Scan",
    "",
    formals.map((value) => value.name),
    results.map((value) => value.name),
    [
      { name: "body", value: { type: "graph", value: inner }, carried: NOTHING_CARRIED },
      int("num_scan_inputs", scans),
    ],
  );
  if (list.length > 0) time.attributes.push(ints("scan_input_directions", list));
  const batch: Graph = {
    name: `${inner.name}_batch`,
    nodes: [time],
    initializers: [],
    sparseInitializers: [],
    inputs: formals,
    outputs: results,
    valueInfo: [],
    carried: NOTHING_CARRIED,
  };
  if (limited) {
    const length = rewriter.fresh("length");
    batch.inputs = [value(length, []), ...formals];
    freeze(inner, time, length, states, rewriter);
  }
  node.inputs = limited ? [lengths, ...data] : data;
  node.attributes = [
    { name: "body", value: { type: "graph", value: batch }, carried: NOTHING_CARRIED },
    ...node.attributes.filter((entry) => entry.name !== "num_scan_inputs"),
    int("num_scan_inputs", node.inputs.length),
  ];
  return [node];
}

/** Counts time in a first state and keeps the other states from time `length` on. */
function freeze(
  inner: Graph,
  time: Node,
  length: string,
  states: number,
  rewriter: Rewriter,
): void {
  const now = rewriter.fresh("time");
  const next = rewriter.fresh("time_next");
  const running = rewriter.fresh("running");
  inner.nodes.push(
    makeNode("Less", "", [now, length], [running]),
    makeNode("Add", "", [now, rewriter.constant("one", "int64", [], [1])], [next]),
  );
  for (let state = 0; state < states; state++) {
    const output = inner.outputs[state]!;
    const kept = rewriter.fresh(`${output.name}_kept`);
    const before = inner.inputs[state]!.name;
    inner.nodes.push(makeNode("Where", "", [running, output.name, before], [kept]));
    inner.outputs[state] = { ...output, name: kept, wire: null };
  }
  inner.inputs.unshift(value(now, []));
  inner.outputs.unshift(value(next, []));
  time.inputs.unshift(rewriter.constant("zero", "int64", [], [0]));
  time.outputs.unshift(rewriter.fresh("time_end"));
}

function value(name: string, shape: readonly number[]): ValueInfo {
  return { name, dtype: "int64", shape, wire: null };
}

/** A value of the batch's body like `like`, with `extra` axes in front. */
function formal(rewriter: Rewriter, like: ValueInfo, extra: 0 | 1): ValueInfo {
  const shape = like.shape === null ? null : [...(extra === 1 ? [null] : []), ...like.shape];
  return { name: rewriter.fresh(`${like.name}_sample`), dtype: like.dtype, shape, wire: null };
}
