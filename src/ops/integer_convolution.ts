/** Convolutions of quantized tensors: QLinearConv and ConvInteger. */
import { divide, modulo } from "../expr/bounds.ts";
import { add, asNumber, type Integer, integer, multiply } from "../expr/integer.ts";
import { apply, type Value } from "../expr/value.ts";
import { asFloat, over, plus, times } from "./arithmetic.ts";
import { channelsLast, channelsSecond } from "./channels_last.ts";
import { convolution } from "./convolution.ts";
import { exactTerms, floats, wholes } from "./integer_matmul.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { centred, onlyElement, requantized } from "./quantize.ts";

const MICROSOFT = "com.microsoft";

/** `x` less its zero point, as int32. */
function moved(x: Operand, zero: Operand | null): Operand {
  return operand(
    "int32",
    x.dims,
    (indices) => centred(x.at(indices), zero && onlyElement(zero)),
  );
}

/** `parameter` of the output channel that `indices` of a weight or a result begin with, or of all. */
function ofChannel(parameter: Operand, channel: Integer): Value {
  const isOne = parameter.dims.every((extent) => asNumber(extent) === 1);
  return isOne ? onlyElement(parameter) : parameter.at([channel]);
}

/** A weight less the zero points of its output channels, as int32. */
function movedWeight(weight: Operand, zero: Operand | null): Operand {
  return operand(
    "int32",
    weight.dims,
    (indices) => centred(weight.at(indices), zero && ofChannel(zero, indices[0]!)),
  );
}

/** `count` channels of each group of `x`, which has `each`, from the one numbered `start`. */
function channelsOf(x: Operand, groups: number, each: number, start: number, count: number) {
  const channel = (c: Integer): Integer =>
    add(
      multiply(divide(c, integer(count)), integer(each)),
      modulo(c, integer(count)),
      integer(start),
    );
  return operand(
    x.dtype,
    x.dims.with(1, integer(groups * count)),
    (indices) => x.at(indices.with(1, channel(indices[1]!))),
  );
}

/**
 * Sums are of floats, of as many channels as leave them exact; these are added as integers. No kernel
 * file takes a weight whose extents a run gives: its sums are of integers.
 */
function convInteger(call: OpCall): Operand {
  const [x, weight] = [call.input(0), call.input(1)];
  const each = asNumber(weight.dims[1]!);
  const terms = asNumber(multiply(...weight.dims.slice(2)));
  const [input, kernel] = [moved(x, call.optional(2)), movedWeight(weight, call.optional(3))];
  if (each === null || terms === null) return convolution(call, input, kernel, null);
  const most = Math.max(1, Math.floor(exactTerms(call, x, 2, weight, 3) / terms));
  const groups = call.int("group", 1);
  const sums: Operand[] = [];
  for (let start = 0; start < each || start === 0; start += most) {
    const count = Math.min(most, each - start);
    const whole = count === each;
    sums.push(wholes(convolution(
      call,
      floats(whole ? input : channelsOf(input, groups, each, start, count)),
      floats(whole ? kernel : channelsOf(kernel, 1, each, start, count)),
      null,
    )));
  }
  return operand("int32", sums[0]!.dims, (indices) => {
    const [first, ...rest] = sums.map((sum) => sum.at(indices));
    return rest.reduce((total, sum) => apply("add", total, sum), first!);
  });
}

/**
 * Sums are of floats, which are exact up to 2^24: far more than the result's 8 bits tell. Channels of
 * com.microsoft's may come last.
 */
function qLinearConv(call: OpCall): Operand {
  if (call.int("channels_last", 0) === 0) return qLinearConvolved(call, call.input(0));
  return channelsLast(qLinearConvolved(call, channelsSecond(call.input(0))));
}

function qLinearConvolved(call: OpCall, x: Operand): Operand {
  const [xScale, xZero, weight, weightScale, weightZero, yScale, yZero] = Array.from(
    { length: 7 },
    (_, i) => call.input(i + 1),
  ) as [Operand, Operand, Operand, Operand, Operand, Operand, Operand];
  const bias = call.optional(8);
  const sums = convolution(
    call,
    floats(moved(x, xZero)),
    floats(movedWeight(weight, weightZero)),
    null,
  );
  const { dtype } = yZero;
  return operand(dtype, sums.dims, (indices) => {
    const channel = indices[1]!;
    const sum = sums.at(indices);
    const total = bias === null ? sum : plus(sum, asFloat(bias.at([channel])));
    const scale = over(
      times(onlyElement(xScale), ofChannel(weightScale, channel)),
      onlyElement(yScale),
    );
    return requantized(dtype, times(total, scale), onlyElement(yZero));
  });
}

/** https://onnx.ai/onnx/operators/onnx__QLinearConv.html and onnx__ConvInteger.html */
export const INTEGER_CONVOLUTION_OPS: readonly OpRecord[] = [
  { name: "ConvInteger", domain: "", since: 10, lower: (call) => [convInteger(call)] },
  { name: "QLinearConv", domain: "", since: 10, lower: (call) => [qLinearConv(call)] },
  { name: "QLinearConv", domain: MICROSOFT, since: 1, lower: (call) => [qLinearConv(call)] },
];
