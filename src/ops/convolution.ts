/**
 * Convolutions (https://onnx.ai/onnx/operators/onnx__Conv.html). One is the product of the weight
 * (output channels by elements of a window) and the windows, a column each, which are read straight
 * from the input; groups are batches of that product. Where a group has few output channels, as in
 * depthwise convolutions, each element sums its window itself.
 */
import { divide, modulo } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  integer,
  multiply,
  ONE,
  subtract,
  ZERO,
} from "../expr/integer.ts";
import { apply, constant, extentOf, fromInteger, select, type Value } from "../expr/value.ts";
import { float, plus, sigmoid, times } from "./arithmetic.ts";
import { contract, sameExtent } from "./contraction.ts";
import { sumOver } from "./extents.ts";
import { activationByName } from "./fused_activation.ts";
import { refuseOthers } from "./refusal.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf } from "./op.ts";
import { transposedConvolution } from "./transposed_convolution.ts";
import { elementOfWindow, insideInput, type Window, windowsOf } from "./window.ts";

/** Output channels of a group from which on the product is worth its own kernel. */
const FEWEST_ROWS = 4;

/** What a convolution reads. */
export interface Convolved {
  readonly input: Operand;
  /** (N, C, ...): extents of the input. */
  readonly weight: Operand;
  readonly bias: Operand | null;
  readonly groups: number;
  /** Elements of a window, and how many windows there are, in each dimension. */
  readonly kernel: readonly Integer[];
  readonly outputs: readonly Integer[];
  /** What `element` reads, where that is the input with zeros around it. */
  readonly windows?: readonly Window[];
  /** The element of a channel that `position` in the window of the result's `place` reads. */
  readonly element: (
    batch: Integer,
    channel: Integer,
    place: readonly Integer[],
    position: readonly Integer[],
  ) => Value;
}

/** The convolution of what `element` gives. */
export function convolve(call: OpCall, convolved: Convolved): Operand {
  const { input, weight, bias, groups, kernel, outputs, element } = convolved;
  if (groups < 1) call.fail("group must be 1 or more");
  const group = integer(groups);
  const [batches, filters] = [input.dims[0]!, weight.dims[0]!];
  const members = weight.dims[1]!;
  sameExtent(
    call,
    input.dims[1]!,
    multiply(members, group),
    "its input's and its weight's channels",
  );
  const rows = extentOf(divide(filters, group));
  if (asNumber(filters) !== null && asNumber(filters)! % groups !== 0) {
    call.fail(`its ${asNumber(filters)} output channels can't be parted into ${groups} groups`);
  }
  const channelOf = (which: Integer, member: Integer): Integer =>
    add(multiply(which, members), member);
  const dims = [batches, filters, ...outputs];
  const fewRows = asNumber(rows) !== null && asNumber(rows)! < FEWEST_ROWS;
  const product = directly(call, convolved, rows) ?? (fewRows && groups > 1
    ? operand(
      input.dtype,
      dims,
      ([n, filter, ...place]) =>
        sumOver([members, ...kernel], ([member, ...position]) =>
          times(
            weight.at([filter!, member!, ...position]),
            element(n!, channelOf(divide(filter!, rows), member!), place, position),
          )),
    )
    : contract(call, {
      dtype: input.dtype,
      dims,
      batch: groups === 1 ? [batches] : [batches, group],
      rows: [rows],
      columns: outputs,
      depth: [members, ...kernel],
      a: ([, which], [row], [member, ...position]) =>
        weight.at([add(multiply(which ?? ZERO, rows), row!), member!, ...position]),
      b: ([n, which], [member, ...position], place) =>
        element(n!, channelOf(which ?? ZERO, member!), place, position),
      place: ({ batch: [n, which], row: [row], column }) => [
        n!,
        add(multiply(which ?? ZERO, rows), row!),
        ...column,
      ],
      position: ([n, filter, ...column]) => ({
        batch: groups === 1 ? [n!] : [n!, divide(filter!, rows)],
        row: [groups === 1 ? filter! : modulo(filter!, rows)],
        column,
      }),
    }));
  if (bias === null) return product;
  return operand(
    input.dtype,
    dims,
    (indices) => plus(product.at(indices), bias.at([indices[1]!])),
  );
}

/** Names that the kernel has for dimensions. */
const AXES = ["depth", "height", "width"] as const;

/**
 * The convolution by the kernel of its own, or null where a product is better: for single elements,
 * and where the kernel's tiles would stay empty.
 */
function directly(
  call: OpCall,
  { input, weight, groups, outputs, windows }: Convolved,
  rows: Integer,
): Operand | null {
  if (windows === undefined || windows.length > AXES.length) return null;
  const kernel = windows.map(({ kernel }) => asNumber(kernel));
  if (kernel.some((size) => size === null) || kernel.every((size) => size === 1)) return null;
  const [members, filters] = [asNumber(weight.dims[1]!), asNumber(rows)];
  const depthwise = filters !== null && filters <= 2 && groups > 1;
  const width = asNumber(outputs.at(-1)!);
  const fills = members !== null && members >= 4 && (width === null || width >= 4);
  if (!depthwise && !fills) return null;
  const missing = AXES.length - windows.length;
  const sizes: Record<string, Integer> = {
    batches: input.dims[0]!,
    groups_of_channels: integer(groups),
    group_channels_out: rows,
    group_channels_in: weight.dims[1]!,
  };
  const constants: Record<string, number> = {};
  for (const [i, name] of AXES.entries()) {
    const window = windows[i - missing];
    sizes[`out_${name}`] = window?.output ?? ONE;
    sizes[`in_${name}`] = window?.input ?? ONE;
    sizes[`pad_${name}`] = window?.begin ?? ZERO;
    constants[`KERNEL_${name.toUpperCase()}`] = kernel[i - missing] ?? 1;
    constants[`STRIDE_${name.toUpperCase()}`] = window?.stride ?? 1;
    constants[`DILATION_${name.toUpperCase()}`] = window?.dilation ?? 1;
  }
  const { store } = call.kernel({
    core: "conv",
    sizes,
    loads: {
      x: ([n, channel, ...place]) => input.at([n!, channel!, ...place.slice(missing)]),
      w: ([filter, member, ...position]) =>
        weight.at([filter!, member!, ...position.slice(missing)]),
    },
    stores: {
      store: {
        dtype: input.dtype,
        dims: [input.dims[0]!, weight.dims[0]!, ...outputs],
        place: ([n, filter, ...place]) => [n!, filter!, ...place.slice(missing)],
      },
    },
    constants,
  });
  return store;
}

/** Zero outside the input. */
function paddedElement(
  input: Operand,
  windows: readonly Window[],
): Convolved["element"] {
  return (batch, channel, place, position) => {
    const places = elementOfWindow(windows, place, position);
    return select(
      insideInput(windows, places),
      input.at([batch, channel, ...places]),
      constant(scalarOf(input.dtype), 0),
    );
  };
}

/** The convolution that the inputs and attributes of `call` describe. */
export function convolution(
  call: OpCall,
  input: Operand,
  weight: Operand,
  bias: Operand | null,
): Operand {
  const spatial = weight.dims.slice(2);
  if (input.dims.length !== weight.dims.length || input.dims.length < 3) {
    call.fail(`its input has rank ${input.dims.length} and its weight ${weight.dims.length}`);
  }
  const kernel = call.ints("kernel_shape")?.map(integer) ?? spatial;
  spatial.forEach((extent, d) => sameExtent(call, extent, kernel[d]!, "its kernel's extents"));
  const windows = windowsOf(call, input.dims.slice(2), kernel, false);
  return convolve(call, {
    input,
    weight,
    bias,
    groups: call.int("group", 1),
    kernel,
    outputs: windows.map(({ output }) => output),
    windows,
    element: paddedElement(input, windows),
  });
}

/** Conv, then the sum with another tensor, then an activation (com.microsoft). */
function lowerFused(call: OpCall): Operand[] {
  const made = convolution(call, call.input(0), call.input(1), call.optional(2));
  const addend = call.optional(3);
  const summed = addend === null
    ? made
    : operand(made.dtype, made.dims, (at) => plus(made.at(at), addend.at(at)));
  const activate = activationByName(call);
  return [operand(made.dtype, made.dims, (at) => activate(summed.at(at)))];
}

/**
 * A depthwise convolution over the elements before and at each one; those before the first are the
 * state (https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html).
 */
function lowerCausal(call: OpCall): Operand[] {
  const [input, weight] = [call.input(0), call.input(1)];
  const [bias, past] = [call.optional(2), call.optional(3)];
  const size = weight.dims[2]!;
  const before = subtract(size, integer(1));
  const activation = call.string("activation", "none");
  if (!["none", "silu", "swish"].includes(activation)) {
    call.fail(`the activation "${activation}" is none that ONNX has`);
  }
  /** The element `place` of the state and the input, one after another. */
  const joined = (n: Integer, channel: Integer, place: Integer): Value => {
    const inState = apply("less", fromInteger(place), fromInteger(before));
    const given = past === null ? float(0) : past.at([n, channel, place]);
    return select(inState, given, input.at([n, channel, subtract(place, before)]));
  };
  const output = operand(input.dtype, input.dims, ([n, channel, place]) => {
    const sum = sumOver(
      [size],
      ([k]) => times(weight.at([channel!, ZERO, k!]), joined(n!, channel!, add(place!, k!))),
    );
    const value = bias === null ? sum : plus(sum, bias.at([channel!]));
    return activation === "none" ? value : times(value, sigmoid(value));
  });
  const state = operand(
    input.dtype,
    [...input.dims.slice(0, 2), extentOf(before)],
    ([n, channel, place]) => joined(n!, channel!, add(place!, input.dims[2]!)),
  );
  return [output, state];
}

/** com.microsoft's, of which what ONNX took over is compiled: one dimension, no gaps. */
function lowerMicrosoftCausal(call: OpCall): Operand[] {
  const settings = ["activation", "dilation", "ndim"];
  refuseOthers(call, settings, 4);
  if (call.int("dilation", 1) !== 1 || call.int("ndim", 1) !== 1) {
    call.fail("a dilation or ndim other than 1 isn't compiled");
  }
  return lowerCausal(call);
}

const row = (
  name: string,
  since: number,
  lower: OpRecord["lower"],
  domain = "",
): OpRecord => ({ name, domain, since, lower });

const MICROSOFT = "com.microsoft";

/** Records of convolutions. */
export const CONVOLUTION_OPS: readonly OpRecord[] = [
  row("CausalConvWithState", 27, lowerCausal),
  row("Conv", 22, (call) => [
    convolution(call, call.input(0), call.input(1), call.optional(2)),
  ]),
  row("ConvTranspose", 22, (call) => [transposedConvolution(call)]),
  row("CausalConvWithState", 1, lowerMicrosoftCausal, MICROSOFT),
  row("FusedConv", 1, lowerFused, MICROSOFT),
];
