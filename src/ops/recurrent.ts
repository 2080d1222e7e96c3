/**
 * LSTM, GRU and RNN (https://onnx.ai/onnx/operators/onnx__LSTM.html and its neighbours). What the
 * inputs contribute to all gates of all steps is one product; a kernel then goes through the steps.
 */
import { add, asNumber, type Integer, integer, ONE, scaled, ZERO } from "../expr/integer.ts";
import { apply, fromInteger, reduce, select, type Value } from "../expr/value.ts";
import { asFloat, float, minus, plus, times } from "./arithmetic.ts";
import { contract } from "./contraction.ts";
import { equal, int } from "./extents.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { centred, dynamicallyQuantized } from "./quantize.ts";
import { type Activation, activationsOf } from "./recurrent_activation.ts";

/** A kind of layer. */
interface Layer {
  /** Name of the kernel family. */
  readonly core: string;
  /** Rows of weights for each unit. */
  readonly gates: number;
  /** Names of the activations, where none are given. */
  readonly activations: readonly string[];
}

const LSTM: Layer = { core: "lstm", gates: 4, activations: ["Sigmoid", "Tanh", "Tanh"] };
const GRU: Layer = { core: "gru", gates: 3, activations: ["Sigmoid", "Tanh"] };
const RNN: Layer = { core: "rnn", gates: 1, activations: ["Tanh"] };

/** Inputs of a layer; weights are (directions, rows, inputs or units). */
export interface RecurrentInputs {
  readonly input: Operand;
  readonly weight: Operand;
  readonly recurrent: Operand;
  readonly bias: Operand | null;
  readonly lengths: Operand | null;
  readonly initialState: Operand | null;
  readonly initialCell?: Operand | null;
  readonly peepholes?: Operand | null;
  /** Whether products see states rounded to 8 bits. */
  readonly rounded?: boolean;
}

/** The inputs of ONNX's ops. */
function inputsOf(call: OpCall): RecurrentInputs {
  return {
    input: call.input(0),
    weight: call.input(1),
    recurrent: call.input(2),
    bias: call.optional(3),
    lengths: call.optional(4),
    initialState: call.optional(5),
    initialCell: call.optional(6),
    peepholes: call.optional(7),
  };
}

/** Storage bindings that a kernel may have. */
const MOST_BINDINGS = 8;

/** Runs `layer`; gives all states, the last ones, and the last cells where there are any. */
function runLayer(call: OpCall, layer: Layer, inputs: RecurrentInputs): Operand[] {
  const { input, weight, recurrent, bias } = inputs;
  const direction = call.string("direction", "forward");
  if (!["forward", "reverse", "bidirectional"].includes(direction)) {
    call.fail(`the direction "${direction}" is none that ONNX has`);
  }
  const hidden = asNumber(recurrent.dims[2]!) ?? call.int("hidden_size", 0);
  if (hidden < 1) return call.fail("the number of its units is not known");
  const directions = direction === "bidirectional" ? 2 : 1;
  const batchFirst = call.int("layout", 0) === 1;
  const [steps, batches] = batchFirst
    ? [input.dims[1]!, input.dims[0]!]
    : [input.dims[0]!, input.dims[1]!];
  const rows = integer(layer.gates * hidden);
  const linear = call.int("linear_before_reset", 0);
  const product = contract(call, {
    dtype: input.dtype,
    dims: [integer(directions), steps, batches, rows],
    batch: [integer(directions)],
    rows: [steps, batches],
    columns: [rows],
    depth: [input.dims[2]!],
    a: (_, [time, n], [k]) => input.at(batchFirst ? [n!, time!, k!] : [time!, n!, k!]),
    b: ([d], [k], [row]) => weight.at([d!, row!, k!]),
    place: ({ batch, row, column }) => [...batch, ...row, ...column],
    position: ([d, time, n, row]) => ({ batch: [d!], row: [time!, n!], column: [row!] }),
  });
  // Stored even if it sums nothing: the kernel has bindings for one tensor.
  const contributed = bias === null
    ? call.stored(product)
    : call.stored(operand(product.dtype, product.dims, (indices) => {
      const [d, row] = [indices[0]!, indices[3]!];
      const own = bias.at([d, add(rows, row)]);
      // A GRU that resets after its product adds the last gate's recurrent bias before resetting.
      const kept = layer === GRU && linear !== 0
        ? select(apply("less", fromInteger(row), int(2 * hidden)), own, float(0))
        : own;
      return plus(product.at(indices), plus(bias.at([d, row]), kept));
    }));
  const states = statesOf(call, inputs, batchFirst, hidden, directions, batches);
  const { lists, same } = activationsOf(call, layer.activations, directions);
  const run = (first: Integer, count: number, activations: readonly Activation[]) =>
    runKernel(call, layer, {
      first,
      count,
      hidden,
      batchFirst,
      steps,
      batches,
      reverse: direction === "reverse" || first === ONE,
      activations,
      contributed,
      linear,
      ...states,
      inputs,
    });
  if (same || directions === 1) return run(ZERO, directions, lists[0]!);
  const [forward, backward] = [run(ZERO, 1, lists[0]!), run(ONE, 1, lists[1]!)];
  return forward.map((one, i) => joined(one, backward[i]!, directionAxis(i, batchFirst)));
}

/** The dimension that counts directions, in output `i`. */
function directionAxis(i: number, batchFirst: boolean): number {
  if (i === 0) return batchFirst ? 2 : 1;
  return batchFirst ? 1 : 0;
}

/** Two tensors of one direction each as one of both. */
function joined(forward: Operand, backward: Operand, axis: number): Operand {
  return operand(forward.dtype, forward.dims.with(axis, integer(2)), (indices) => {
    const at = indices.with(axis, ZERO);
    return select(equal(indices[axis]!, ZERO), forward.at(at), backward.at(at));
  });
}

/** A value by direction, sample and unit. */
type ByUnit = (indices: readonly Integer[]) => Value;

/** The initial states and cells. Where a kernel would have too many operands they are joined. */
function statesOf(
  call: OpCall,
  inputs: RecurrentInputs,
  batchFirst: boolean,
  hidden: number,
  directions: number,
  batches: Integer,
): { initialState: ByUnit; initialCell: ByUnit } {
  const read = (tensor: Operand | null | undefined): ByUnit => ([d, n, unit]) =>
    tensor ? tensor.at(batchFirst ? [n!, d!, unit!] : [d!, n!, unit!]) : float(0);
  const { initialState, initialCell, lengths, peepholes } = inputs;
  const operands = [initialState, initialCell, lengths, peepholes].filter((each) => each).length;
  // Contributions, recurrent weights and three results are the others.
  if (operands + 5 <= MOST_BINDINGS || !initialState || !initialCell) {
    return { initialState: read(initialState), initialCell: read(initialCell) };
  }
  const both = call.stored(operand(
    initialState.dtype,
    [integer(2), integer(directions), batches, integer(hidden)],
    ([which, ...rest]) =>
      select(equal(which!, ZERO), read(initialState)(rest), read(initialCell)(rest)),
  ));
  return {
    initialState: (indices) => both.at([ZERO, ...indices]),
    initialCell: (indices) => both.at([ONE, ...indices]),
  };
}

/** A run of the kernel over `count` directions from `first` on. */
interface KernelRun {
  readonly first: Integer;
  readonly count: number;
  readonly hidden: number;
  readonly batchFirst: boolean;
  readonly steps: Integer;
  readonly batches: Integer;
  readonly reverse: boolean;
  readonly activations: readonly Activation[];
  readonly contributed: Operand;
  readonly linear: number;
  readonly initialState: ByUnit;
  readonly initialCell: ByUnit;
  readonly inputs: RecurrentInputs;
}

function runKernel(call: OpCall, layer: Layer, run: KernelRun): Operand[] {
  const { first, count, hidden, batchFirst, steps, batches, inputs } = run;
  const units = integer(hidden);
  const directions = integer(count);
  const { recurrent, bias, lengths, peepholes, input } = inputs;
  const at = (d: Integer): Integer => add(d, first);
  const state = (dims: readonly Integer[], place: (indices: readonly Integer[]) => Integer[]) => ({
    dtype: input.dtype,
    dims,
    place,
  });
  const last = batchFirst
    ? state([batches, directions, units], ([d, n, unit]) => [n!, d!, unit!])
    : state([directions, batches, units], ([d, n, unit]) => [d!, n!, unit!]);
  const loads: Record<string, (indices: readonly Integer[]) => Value> = {
    gates: ([d, ...rest]) => run.contributed.at([at(d!), ...rest]),
    r: ([d, row, k]) => recurrent.at([at(d!), row!, k!]),
    initial_h: ([d, ...rest]) => run.initialState([at(d!), ...rest]),
    sequence_length: ([n]) => lengths === null ? fromInteger(steps) : lengths.at([n!]),
  };
  const stores = {
    store_y: batchFirst
      ? state(
        [batches, steps, directions, units],
        ([time, d, n, unit]) => [n!, time!, d!, unit!],
      )
      : state([steps, directions, batches, units], ([time, d, n, unit]) => [
        time!,
        d!,
        n!,
        unit!,
      ]),
    store_h: last,
  };
  const constants: Record<string, number> = { HIDDEN: hidden, REVERSE: run.reverse ? 1 : 0 };
  const functions = Object.fromEntries(
    run.activations.map((activation, i) => [
      `activation_${"fgh"[i]}`,
      ([x]: readonly Value[]) => activation(x!),
    ]),
  );
  const sizes = { directions, batches, steps };
  if (layer === LSTM) {
    constants.COUPLED = call.int("input_forget", 0) === 0 ? 0 : 1;
    constants.ROUNDED = inputs.rounded === true ? 1 : 0;
    loads.initial_c = ([d, ...rest]) => run.initialCell([at(d!), ...rest]);
    loads.peephole = ([d, gate, unit]) =>
      peepholes ? peepholes.at([at(d!), add(scaled(gate!, hidden), unit!)]) : float(0);
    const { store_y, store_h, store_c } = call.kernel({
      core: layer.core,
      sizes,
      loads,
      stores: { ...stores, store_c: last },
      constants,
      functions,
    });
    return [store_y, store_h, store_c];
  }
  if (layer === GRU) {
    constants.LINEAR_BEFORE_RESET = run.linear === 0 ? 0 : 1;
    loads.recurrent_bias = ([d, unit]) =>
      bias === null ? float(0) : bias.at([at(d!), add(integer(5 * hidden), unit!)]);
  }
  const { store_y, store_h } = call.kernel({
    core: layer.core,
    sizes,
    loads,
    stores,
    constants,
    functions,
  });
  return [store_y, store_h];
}

/** `codes` (directions, inputs, rows), with a scale a direction or a row, as (directions, rows, inputs). */
function dequantized(
  call: OpCall,
  codes: Operand,
  scale: Operand,
  zeroPoint: Operand | null,
): Operand {
  const [directions, inputs, rows] = codes.dims as [Integer, Integer, Integer];
  const at = (tensor: Operand, d: Integer, row: Integer): Value =>
    tensor.at(tensor.dims.length === 1 ? [d] : [d, row]);
  return call.stored(operand("float32", [directions, rows, inputs], ([d, row, k]) => {
    const code = asFloat(codes.at([d!, k!, row!]));
    const centered = zeroPoint === null ? code : minus(code, asFloat(at(zeroPoint, d!, row!)));
    return times(centered, at(scale, d!, row!));
  }));
}

/** `x` (steps, batches, inputs) rounded to 8 bits over the range of its steps that any sample has. */
function roundedInput(call: OpCall, x: Operand, lengths: Operand | null): Operand {
  const longest = lengths === null
    ? fromInteger(x.dims[0]!)
    : reduce("max", lengths.dims, (sample) => lengths.at(sample));
  const { codes, scale, zero } = dynamicallyQuantized(
    call,
    operand(
      x.dtype,
      x.dims,
      (at) => select(apply("less", fromInteger(at[0]!), longest), x.at(at), float(0)),
    ),
  );
  return call.stored(operand(
    x.dtype,
    x.dims,
    (at) => times(asFloat(centred(codes.at(at), zero.at([]))), scale.at([])),
  ));
}

/**
 * com.microsoft's LSTM with 8-bit weights: products see its input rounded to 8 bits over its range,
 * and each sample's state over the range that it has at a step. ONNX Runtime takes the range of as
 * many samples as a thread of it has, so that results depend on the threads; here they don't.
 */
function lowerQuantized(call: OpCall): Operand[] {
  const inputs = inputsOf(call);
  return runLayer(call, LSTM, {
    ...inputs,
    input: roundedInput(call, inputs.input, inputs.lengths),
    weight: dequantized(call, call.input(1), call.input(8), call.optional(9)),
    recurrent: dequantized(call, call.input(2), call.input(10), call.optional(11)),
    rounded: true,
  });
}

const row = (name: string, layer: Layer): OpRecord => ({
  name,
  domain: "",
  since: 22,
  lower: (call) => runLayer(call, layer, inputsOf(call)),
});

/** Records of recurrent layers. */
export const RECURRENT_OPS: readonly OpRecord[] = [
  {
    name: "DynamicQuantizeLSTM",
    domain: "com.microsoft",
    since: 1,
    lower: lowerQuantized,
  },
  row("GRU", GRU),
  row("LSTM", LSTM),
  row("RNN", RNN),
];
