/**
 * What ONNX Runtime's optimizer makes of models that draw pictures: group norms and convolutions whose
 * channels come last, biases joined with what follows them
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
 */
import { divide } from "../expr/bounds.ts";
import { add, type Integer, integer } from "../expr/integer.ts";
import { extentOf, type Value } from "../expr/value.ts";
import { gelu, plus, sigmoid, times } from "./arithmetic.ts";
import { broadcastIndices } from "./broadcast.ts";
import { channelsLast, channelsSecond } from "./channels_last.ts";
import { convolution } from "./convolution.ts";
import { mapped } from "./matmul.ts";
import { groupNormalization } from "./normalization.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** `input` normalized in groups by inputs 1 and 2, then activated as the attribute says. */
function normalizedInGroups(call: OpCall, input: Operand): Operand {
  const last = call.int("channels_last", 1) !== 0;
  const normalized = groupNormalization(
    call,
    last ? channelsSecond(input) : input,
    call.input(1),
    call.input(2),
    call.int("groups", 0),
    call.float("epsilon", 1e-5),
  );
  const activated = call.int("activation", 0) === 0
    ? normalized
    : mapped(normalized, (value) => times(value, sigmoid(value)));
  return { ...(last ? channelsLast(activated) : activated), dtype: input.dtype };
}

/** The input, a skip connection of its shape or of one element a channel, and a bias. */
function skipped(call: OpCall): Operand[] {
  const [input, skip, bias] = [call.input(0), call.input(3), call.optional(4)];
  const axis = call.int("channels_last", 1) !== 0 ? input.dims.length - 1 : 1;
  const skipAt = (indices: readonly Integer[]): Value => {
    if (skip.dims.length === 2) return skip.at([indices[0]!, indices[axis]!]);
    return skip.at(broadcastIndices(skip.dims, input.dims, indices));
  };
  const sum = call.stored(operand(input.dtype, input.dims, (indices) => {
    const value = plus(input.at(indices), skipAt(indices));
    return bias === null ? value : plus(value, bias.at([indices[axis]!]));
  }));
  return [normalizedInGroups(call, sum), sum];
}

/** The sum of the input, a bias along the last dimension and a residual. */
function biasAdd(call: OpCall): Operand {
  const [x, bias, skip] = [call.input(0), call.input(1), call.input(2)];
  return operand(
    x.dtype,
    x.dims,
    (at) => plus(plus(x.at(at), bias.at([at.at(-1)!])), skip.at(at)),
  );
}

/** The first half of the biased rows times the Gelu of the second. */
function biasSplitGelu(call: OpCall): Operand {
  const [x, bias] = [call.input(0), call.input(1)];
  const half = extentOf(divide(x.dims.at(-1)!, integer(2)));
  return operand(x.dtype, x.dims.with(-1, half), (at) => {
    const value = (place: Integer): Value =>
      plus(x.at([...at.slice(0, -1), place]), bias.at([place]));
    return times(value(at.at(-1)!), gelu(value(add(at.at(-1)!, half))));
  });
}

/** A convolution of an input whose channels come last; those of the weight come second. */
function nhwcConvolution(call: OpCall): Operand {
  const made = convolution(
    call,
    channelsSecond(call.input(0)),
    call.input(1),
    call.optional(2),
  );
  return channelsLast(made);
}

const row = (name: string, lower: (call: OpCall) => readonly Operand[]): OpRecord => ({
  name,
  domain: "com.microsoft",
  since: 1,
  lower,
});

/** Records of these ops. */
export const DIFFUSION_OPS: readonly OpRecord[] = [
  row("BiasAdd", (call) => [biasAdd(call)]),
  row("BiasSplitGelu", (call) => [biasSplitGelu(call)]),
  row("GroupNorm", (call) => [normalizedInGroups(call, call.input(0))]),
  row("NhwcConv", (call) => [nhwcConvolution(call)]),
  row("SkipGroupNorm", skipped),
];
