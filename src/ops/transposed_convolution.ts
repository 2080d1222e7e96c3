/**
 * ConvTranspose (https://onnx.ai/onnx/operators/onnx__ConvTranspose.html): a product gives, for every
 * element of the input, what it adds to each place of its window; each element of the result then
 * sums what falls on it.
 */
import { divide, modulo } from "../expr/bounds.ts";
import {
  add,
  asNumber,
  type Integer,
  integer,
  maximum,
  multiply,
  subtract,
  ZERO,
} from "../expr/mod.ts";
import { apply, extentOf, select } from "../expr/value.ts";
import { float, plus } from "./arithmetic.ts";
import { contract, sameExtent } from "./contraction.ts";
import { all, equal, inside, sumOver } from "./extents.ts";
import { type OpCall, type Operand, operand } from "./op.ts";
import { spanOf, type WindowAttributes, windowAttributes } from "./window.ts";

/** One spatial dimension. */
interface Spread {
  readonly output: Integer;
  /** Elements cut off before the result's first. */
  readonly begin: Integer;
}

function spreadOf(
  call: OpCall,
  d: number,
  input: Integer,
  kernel: Integer,
  { strides, dilations, pads, autoPad }: WindowAttributes,
): Spread {
  const rank = strides.length;
  const stride = integer(strides[d]!);
  const extra = integer(call.ints("output_padding")?.[d] ?? 0);
  const span = spanOf(kernel, dilations[d]!);
  const whole = add(multiply(subtract(input, integer(1)), stride), span, extra);
  const given = call.ints("output_shape")?.at(d - rank) ?? null;
  if (given === null && !autoPad.startsWith("SAME")) {
    const [begin, end] = autoPad === "VALID" ? [0, 0] : [pads[d]!, pads[d + rank]!];
    const output = subtract(whole, integer(begin + end));
    if (asNumber(output) !== null && asNumber(output)! < 0) call.fail("its padding leaves nothing");
    return { output: extentOf(output), begin: integer(begin) };
  }
  const output = given === null ? extentOf(multiply(input, stride)) : integer(given);
  const total = maximum(subtract(whole, output), ZERO);
  const half = divide(total, integer(2));
  return { output, begin: autoPad === "SAME_UPPER" ? half : subtract(total, half) };
}

/** The transposed convolution that `call` describes. */
export function transposedConvolution(call: OpCall): Operand {
  const [input, weight, bias] = [call.input(0), call.input(1), call.optional(2)];
  const spatial = input.dims.slice(2);
  const kernel = weight.dims.slice(2);
  const attributes = windowAttributes(call, spatial.length);
  const { strides, dilations } = attributes;
  const spreads = spatial.map((extent, d) => spreadOf(call, d, extent, kernel[d]!, attributes));
  const groups = call.int("group", 1);
  if (groups < 1) call.fail("group must be 1 or more");
  const group = integer(groups);
  const [batches, channels, filters] = [input.dims[0]!, input.dims[1]!, weight.dims[1]!];
  sameExtent(call, channels, weight.dims[0]!, "its input's and its weight's channels");
  const members = extentOf(divide(channels, group));
  const memberOf = (which: Integer, member: Integer): Integer =>
    add(multiply(which, members), member);
  // (N, G, filters, ...kernel, ...spatial): what each input element adds to its window.
  const rank = spatial.length;
  const spread = contract(call, {
    dtype: input.dtype,
    dims: [batches, group, filters, ...kernel, ...spatial],
    batch: [batches, group],
    rows: [filters, ...kernel],
    columns: spatial,
    depth: [members],
    a: ([, which], [filter, ...position], [member]) =>
      weight.at([memberOf(which!, member!), filter!, ...position]),
    b: ([n, which], [member], place) => input.at([n!, memberOf(which!, member!), ...place]),
    place: ({ batch, row, column }) => [...batch, ...row, ...column],
    position: (indices) => ({
      batch: indices.slice(0, 2),
      row: indices.slice(2, 3 + rank),
      column: indices.slice(3 + rank),
    }),
  });
  const outputs = spreads.map(({ output }) => output);
  return operand(
    input.dtype,
    [batches, multiply(filters, group), ...outputs],
    ([n, channel, ...place]) => {
      const [which, filter] = [divide(channel!, filters), modulo(channel!, filters)];
      const total = sumOver(kernel, (position) => {
        const steps = position.map((k, d) =>
          subtract(
            add(place[d]!, spreads[d]!.begin),
            multiply(k, integer(dilations[d]!)),
          )
        );
        const falls = steps.map((step, d) => {
          const stride = integer(strides[d]!);
          const source = divide(step, stride);
          return apply("and", equal(modulo(step, stride), ZERO), inside(source, spatial[d]!));
        });
        const sources = steps.map((step, d) => divide(step, integer(strides[d]!)));
        return select(
          all(falls),
          spread.at([n!, which, filter, ...position, ...sources]),
          float(0),
        );
      });
      return bias === null ? total : plus(total, bias.at([channel!]));
    },
  );
}
