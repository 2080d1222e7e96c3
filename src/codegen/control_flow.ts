/**
 * If, Loop and Scan: their graphs become blocks that the generated program branches to or turns
 * through. Branches that conversion can decide are lowered in place, and so are short loops of a
 * known number of turns.
 */
import {
  apply,
  constant,
  elementOf,
  fromInteger,
  type Integer,
  integer,
  load,
  ONE,
  subtract,
  symbol,
  type Value,
} from "../expr/mod.ts";
import type { DType } from "../dtype.ts";
import type { Graph } from "../ir.ts";
import { type Operand, operand } from "../ops/op.ts";
import { copiedElements, knownElements } from "./host_values.ts";
import type { Lowering } from "./lower.ts";
import { Names } from "./names.ts";
import type { NodeCall } from "./op_call.ts";
import { type Assigned, type Assignment, Tensor, Variable } from "./program.ts";

/** Turns that are written out at most. */
const MOST_WRITTEN_OUT = 8;

/** The number that `variable` holds; `positive` where it is an extent. */
function variableInteger(variable: Variable, positive: boolean): Integer {
  const value = elementOf(load(variable, []));
  return positive ? symbol("n", { definition: value }) : value;
}

/** A tensor that control flow assigns, its unknown extents variables. */
function assigned(
  lowering: Lowering,
  call: NodeCall,
  dtype: DType,
  extents: readonly (Integer | null)[],
): Assigned {
  const dims = extents.map((extent) => extent === null ? new Variable() : null);
  const shape = extents.map((extent, i) => extent ?? variableInteger(dims[i]!, true));
  const tensor = lowering.define(new Tensor(dtype, shape, { kind: "variable" }), call.label);
  return { tensor, dims };
}

/** The one element of `tensor`, on the host. */
function scalarOnHost(call: NodeCall, tensor: Tensor): Value {
  const elements = knownElements(tensor) ?? copiedElements(tensor);
  return elements?.[0] ?? call.fail("its condition or number of turns is no single element");
}

/** The values that `graph` gives, its nodes lowered into the block being filled. */
function lowerGraph(
  lowering: Lowering,
  call: NodeCall,
  graph: Graph,
  names: Names,
  inputs: readonly Tensor[],
): Tensor[] {
  const inner = new Names(names);
  for (const [i, info] of graph.inputs.entries()) inner.set(info.name, inputs[i]!);
  lowering.graph(graph, inner);
  return graph.outputs.map(({ name }) =>
    inner.get(name) ?? call.fail(`its graph's output "${name}" is made by no node`)
  );
}

/**
 * What control flow may assign: each of `tensors` if it is made by the block being filled and comes
 * once, else a copy. A dispatch binds a tensor once, so it may have no second name.
 */
function owned(lowering: Lowering, call: NodeCall, tensors: readonly Tensor[]): Tensor[] {
  const seen = new Set<Tensor>();
  return tensors.map((tensor) => {
    const isOwn = tensor.block === lowering.block && !seen.has(tensor);
    seen.add(tensor);
    return isOwn ? tensor : lowering.copy(tensor, call.label);
  });
}

/** https://onnx.ai/onnx/operators/onnx__If.html */
export function lowerIf(lowering: Lowering, call: NodeCall, names: Names): readonly Operand[] {
  const condition = scalarOnHost(call, call.inputs[0] ?? call.fail("its condition is missing"));
  const graphs = ["then_branch", "else_branch"].map((name) => lowering.subgraph(call, name));
  if (condition.kind === "constant") {
    return lowerGraph(lowering, call, graphs[condition.value !== 0 ? 0 : 1]!, names, []);
  }
  const branches = graphs.map((graph) =>
    lowering.inside(() => lowerGraph(lowering, call, graph, names, []))
  );
  const [yes, no] = branches.map((branch) => branch.result) as [Tensor[], Tensor[]];
  if (yes.some((left, i) => left.dims.length !== no[i]!.dims.length)) {
    // What follows depends on the ranks: this program goes on with one branch, another with the other.
    lowering.chosen.push(call.node);
    const takesFirst = lowering.choices.get(call.node) ?? true;
    call.check(
      takesFirst ? condition : apply("not", condition),
      `its condition is ${!takesFirst}, and its branches give other ranks`,
      takesFirst ? { node: call.node, other: null, reason: null } : undefined,
    );
    lowering.adopt(branches[takesFirst ? 0 : 1]!.block);
    return takesFirst ? yes : no;
  }
  const results = yes.map((left, i) => {
    const right = no[i]!;
    if (left.dtype !== right.dtype) {
      call.fail(`its branches give different types for output ${i}`);
    }
    const dims = left.dims.map((extent, k) => extent === right.dims[k] ? extent : null);
    return assigned(lowering, call, left.dtype, dims);
  });
  const given = branches.map(({ block, result }) =>
    lowering.within(block, () => owned(lowering, call, result))
  );
  lowering.push({
    kind: "if",
    condition,
    branches: branches.map(({ block }, k) => ({
      block,
      assign: results.map((to, i) => ({ to, from: given[k]![i]! })),
    })),
  });
  return results.map(({ tensor }) => tensor);
}

/** One element that the host knows, as a tensor. */
function hostScalar(lowering: Lowering, call: NodeCall, dtype: DType, value: Value): Tensor {
  return lowering.materialize(operand(dtype, [], () => value), call.label);
}

/** True where `extent` follows from the inputs' shapes alone, and so is the same outside a loop. */
function isOfInputs(extent: Integer): boolean {
  return extent.terms.every(({ factors }) =>
    factors.every((factor) => factor.kind === "symbol" && factor.definition === null)
  );
}

/** What goes round in a loop. */
interface Turning {
  readonly graph: Graph;
  /** Values before the first turn. */
  readonly initial: readonly Tensor[];
  /** The graph's inputs, from the turn's number and the carried values. */
  readonly inputs: (turn: Integer, carried: readonly Tensor[]) => readonly Tensor[];
  /** Splits the graph's outputs. */
  readonly outputs: (outputs: readonly Tensor[]) => {
    readonly goOn: Tensor | null;
    readonly carried: readonly Tensor[];
    readonly collected: readonly Tensor[];
  };
  readonly trips: Value | null;
  readonly condition: Value | null;
  /** For each collected value, whether the turns are stored last first. */
  readonly reversed: readonly boolean[];
}

/** Lowers a loop; gives the carried values, then the collected ones. */
function turn(
  lowering: Lowering,
  call: NodeCall,
  names: Names,
  turning: Turning,
): readonly Operand[] {
  const written = writtenOut(lowering, call, names, turning);
  if (written !== null) return written;
  let extents: (Integer | null)[][] = turning.initial.map((tensor) => [...tensor.dims]);
  for (;;) {
    const variable = new Variable();
    const carried = turning.initial.map((tensor, i) =>
      assigned(lowering, call, tensor.dtype, extents[i]!)
    );
    const { block, result } = lowering.inside(() => {
      for (const entry of carried) lowering.define(entry.tensor, call.label);
      const inputs = turning.inputs(
        variableInteger(variable, false),
        carried.map((entry) => entry.tensor),
      );
      const outputs = turning.outputs(lowerGraph(lowering, call, turning.graph, names, inputs));
      const goOn = outputs.goOn === null ? null : scalarOnHost(call, outputs.goOn);
      return { ...outputs, goOn };
    });
    const stable = extents.map((dims, i) =>
      dims.map((extent, k) => extent === result.carried[i]!.dims[k] ? extent : null)
    );
    const changed = stable.some((dims, i) => dims.some((extent, k) => extent !== extents[i]![k]));
    if (changed) {
      extents = stable;
      continue;
    }
    const assignments = (from: readonly Tensor[]): Assignment[] =>
      carried.map((to, i) => ({ to, from: from[i]! }));
    const next = lowering.within(block, () => owned(lowering, call, result.carried));
    // What the first turn begins with may be read in the loop as well.
    const start = turning.initial.map((tensor) => lowering.copy(tensor, call.label));
    for (const entry of carried) lowering.define(entry.tensor, call.label);
    const kept = lowering.within(
      block,
      () =>
        result.collected.map((tensor) =>
          tensor.origin.kind === "weight" ? lowering.copy(tensor, call.label) : tensor
        ),
    );
    const collected = kept.map((from, i) => {
      const count = new Variable();
      const dims = from.dims.map((extent) => isOfInputs(extent) ? null : new Variable());
      const extents = from.dims.map((extent, k) =>
        dims[k] === null ? extent : variableInteger(dims[k]!, true)
      );
      const to = lowering.define(
        new Tensor(from.dtype, [variableInteger(count, true), ...extents], { kind: "variable" }),
        call.label,
      );
      return { from, to, count, dims, reverse: turning.reversed[i]! };
    });
    lowering.push({
      kind: "loop",
      label: call.label,
      trips: turning.trips,
      condition: turning.condition,
      turn: variable,
      block,
      start: assignments(start),
      next: assignments(next),
      goOn: result.goOn?.kind === "constant" && result.goOn.value !== 0 ? null : result.goOn,
      collected,
    });
    return [...carried.map((entry) => entry.tensor), ...collected.map((entry) => entry.to)];
  }
}

/** The loop written out turn by turn, where their number is known and small; else null. */
function writtenOut(
  lowering: Lowering,
  call: NodeCall,
  names: Names,
  turning: Turning,
): readonly Operand[] | null {
  const { trips, condition } = turning;
  if (trips?.kind !== "constant" || trips.value > MOST_WRITTEN_OUT) return null;
  if (condition !== null && condition.kind !== "constant") return null;
  const count = condition?.value === 0 ? 0 : Math.max(trips.value, 0);
  if (count === 0 && turning.reversed.length > 0) return null;
  let carried = turning.initial;
  const collected: Tensor[][] = turning.reversed.map(() => []);
  const { result, block } = lowering.inside(() => {
    for (let i = 0; i < count; i++) {
      const inputs = turning.inputs(integer(i), carried);
      const outputs = turning.outputs(lowerGraph(lowering, call, turning.graph, names, inputs));
      const goOn = outputs.goOn && knownElements(outputs.goOn)?.[0];
      if (outputs.goOn !== null && goOn?.kind !== "constant") return null;
      carried = outputs.carried;
      for (const [k, tensor] of outputs.collected.entries()) collected[k]!.push(tensor);
      if (goOn?.kind === "constant" && goOn.value === 0) break;
    }
    return carried;
  });
  if (result === null) return null;
  for (const list of collected) {
    const [first] = list;
    if (list.some((tensor) => tensor.dims.some((extent, k) => extent !== first!.dims[k]))) {
      return null;
    }
  }
  lowering.adopt(block);
  const stacked = collected.map((list, k) => {
    const turns = turning.reversed[k] ? [...list].reverse() : list;
    const dims = [integer(turns.length), ...turns[0]!.dims];
    return call.parts(
      turns[0]!.dtype,
      dims,
      turns.map((tensor, i) => ({
        extents: tensor.dims,
        place: (position) => [integer(i), ...position],
        value: (position) => tensor.at(position),
      })),
    );
  });
  return [...result, ...stacked];
}

/** https://onnx.ai/onnx/operators/onnx__Loop.html */
export function lowerLoop(lowering: Lowering, call: NodeCall, names: Names): readonly Operand[] {
  const [trips, condition, ...initial] = call.inputs;
  const graph = lowering.subgraph(call, "body");
  const carriedCount = call.inputCount - 2;
  const collectedCount = graph.outputs.length - 1 - carriedCount;
  if (carriedCount < 0 || collectedCount < 0) {
    call.fail(
      `it carries ${Math.max(0, carriedCount)} values, and its body gives ` +
        `${graph.outputs.length} outputs`,
    );
  }
  return turn(lowering, call, names, {
    graph,
    initial: initial.map((tensor) => tensor ?? call.fail("an initial value is missing")),
    trips: trips ? scalarOnHost(call, trips) : null,
    condition: condition ? scalarOnHost(call, condition) : null,
    inputs: (index, carried) => [
      hostScalar(lowering, call, "int64", fromInteger(index)),
      hostScalar(lowering, call, "bool", constant("bool", 1)),
      ...carried,
    ],
    outputs: ([goOn, ...rest]) => ({
      goOn: goOn!,
      carried: rest.slice(0, carriedCount),
      collected: rest.slice(carriedCount),
    }),
    reversed: Array.from({ length: collectedCount }, () => false),
  });
}

/** https://onnx.ai/onnx/operators/onnx__Scan.html */
export function lowerScan(lowering: Lowering, call: NodeCall, names: Names): readonly Operand[] {
  const graph = lowering.subgraph(call, "body");
  const scanned = call.int("num_scan_inputs", 0);
  const states = call.inputCount - scanned;
  const inputs = call.inputs.map((tensor) => tensor ?? call.fail("an input is missing"));
  const collectedCount = graph.outputs.length - states;
  if (!(scanned >= 1) || states < 0 || collectedCount < 0) {
    call.fail(
      `it scans ${scanned} of ${call.inputCount} inputs, and its body gives ` +
        `${graph.outputs.length} outputs`,
    );
  }
  const axes = call.ints("scan_input_axes") ?? Array(scanned).fill(0);
  const directions = call.ints("scan_input_directions") ?? Array(scanned).fill(0);
  const reversed = call.ints("scan_output_directions") ?? Array(collectedCount).fill(0);
  const along = (i: number): number => {
    const axis = axes[i]!;
    return axis < 0 ? axis + inputs[states + i]!.dims.length : axis;
  };
  const turns = inputs[states]!.dims[along(0)]!;
  const results = turn(lowering, call, names, {
    graph,
    initial: inputs.slice(0, states),
    trips: fromInteger(turns),
    condition: null,
    inputs: (index, carried) => [
      ...carried,
      ...inputs.slice(states).map((tensor, i) => {
        const axis = along(i);
        const place = directions[i] === 1 ? subtract(subtract(turns, ONE), index) : index;
        return lowering.materialize(
          operand(
            tensor.dtype,
            tensor.dims.filter((_, k) => k !== axis),
            (position) => tensor.at([...position.slice(0, axis), place, ...position.slice(axis)]),
          ),
          call.label,
        );
      }),
    ],
    outputs: (outputs) => ({
      goOn: null,
      carried: outputs.slice(0, states),
      collected: outputs.slice(states),
    }),
    reversed: reversed.map((direction) => direction === 1),
  });
  const outputAxes = call.ints("scan_output_axes") ?? Array(collectedCount).fill(0);
  return results.map((tensor, i) => {
    const axis = i < states ? 0 : outputAxes[i - states]!;
    return axis === 0 ? tensor : moved(tensor, axis < 0 ? axis + tensor.dims.length : axis);
  });
}

/** `tensor` with its first axis moved to `axis`. */
function moved(tensor: Operand, axis: number): Operand {
  const [first, ...rest] = tensor.dims;
  const dims = [...rest.slice(0, axis), first!, ...rest.slice(axis)];
  return operand(
    tensor.dtype,
    dims,
    (position) => tensor.at([position[axis]!, ...position.filter((_, k) => k !== axis)]),
  );
}
