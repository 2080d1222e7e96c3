/**
 * DeformConv (https://onnx.ai/onnx/operators/onnx__DeformConv.html): a convolution whose windows'
 * elements are moved by offsets and read between elements by linear interpolation. What is read is
 * stored, since every output channel reads it.
 */
import { divide } from "../expr/bounds.ts";
import { add, type Integer, integer, multiply } from "../expr/integer.ts";
import { apply, extentOf, fromInteger, select, toInteger, type Value } from "../expr/value.ts";
import { asFloat, float, minus, plus, times } from "./arithmetic.ts";
import { convolve } from "./convolution.ts";
import { all, inside } from "./extents.ts";
import { rowMajor } from "./offsets.ts";
import { castTo, type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { elementOfWindow, windowsOf } from "./window.ts";

/** The plane `at` between its elements around `place`; zero outside. */
function interpolated(
  dims: readonly Integer[],
  place: readonly Value[],
  at: (indices: readonly Integer[]) => Value,
): Value {
  const floors = place.map((value) => apply("floor", value));
  // A place that is far outside, or no number, is kept from overflowing an index.
  const safe = floors.map((value, d) =>
    apply(
      "fastMin",
      apply("fastMax", value, float(-2)),
      plus(asFloat(fromInteger(dims[d]!)), float(1)),
    )
  );
  const first = safe.map((value) => toInteger(castTo("int32", value)));
  const fractions = place.map((value, d) => minus(value, floors[d]!));
  let total: Value | null = null;
  for (let corner = 0; corner < 2 ** dims.length; corner++) {
    const upper = dims.map((_, d) => (corner >> d) & 1);
    const indices = first.map((index, d) => add(index, integer(upper[d]!)));
    const share = fractions
      .map((fraction, d) => upper[d] === 1 ? fraction : minus(float(1), fraction))
      .reduce((a, b) => times(a, b));
    const within = all(indices.map((index, d) => inside(index, dims[d]!)));
    const part = select(within, times(share, at(indices)), float(0));
    total = total === null ? part : plus(total, part);
  }
  return total!;
}

function lower(call: OpCall): Operand[] {
  const [input, weight, offsets] = [call.input(0), call.input(1), call.input(2)];
  const [bias, mask] = [call.optional(3), call.optional(4)];
  const kernel = call.ints("kernel_shape")?.map(integer) ?? weight.dims.slice(2);
  const spatial = input.dims.slice(2);
  const windows = windowsOf(call, spatial, kernel, false);
  const outputs = windows.map(({ output }) => output);
  const offsetGroups = call.int("offset_group", 1);
  if (offsetGroups < 1) call.fail("offset_group must be 1 or more");
  const perGroup = extentOf(divide(input.dims[1]!, integer(offsetGroups)));
  const rank = spatial.length;
  const points = multiply(...kernel);
  const sampled = call.stored(operand(
    input.dtype,
    [input.dims[0]!, input.dims[1]!, ...kernel, ...outputs],
    ([n, channel, ...rest]) => {
      const [position, place] = [rest.slice(0, rank), rest.slice(rank)];
      const group = divide(channel!, perGroup);
      const point = add(multiply(group, points), rowMajor(kernel, position));
      const regular = elementOfWindow(windows, place, position);
      const moved = regular.map((index, d) =>
        plus(
          asFloat(fromInteger(index)),
          offsets.at([n!, add(multiply(point, integer(rank)), integer(d)), ...place]),
        )
      );
      const value = interpolated(
        spatial,
        moved,
        (indices) => input.at([n!, channel!, ...indices]),
      );
      return mask === null ? value : times(value, mask.at([n!, point, ...place]));
    },
  ));
  return [
    convolve(call, {
      input,
      weight,
      bias,
      groups: call.int("group", 1),
      kernel,
      outputs,
      element: (n, channel, place, position) => sampled.at([n, channel, ...position, ...place]),
    }),
  ];
}

/** Record of the deformable convolution. */
export const DEFORMABLE_CONVOLUTION_OPS: readonly OpRecord[] = [
  { name: "DeformConv", domain: "", since: 22, lower },
];
