/**
 * Sliding windows over spatial dimensions, which pooling and convolutions share: extents of the
 * result, padding, and where an element of a window lies in the input. Extents may be symbols.
 */
import { divide, divideUp, maximum, minimum } from "../expr/bounds.ts";
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
import { extentOf, type Value } from "../expr/value.ts";
import { all, inside } from "./extents.ts";
import type { OpCall } from "./op.ts";

/** The windows along one spatial dimension. */
export interface Window {
  /** Extent of the input. */
  readonly input: Integer;
  /** Extent of the result: the number of windows. */
  readonly output: Integer;
  /** Elements of a window. */
  readonly kernel: Integer;
  readonly stride: number;
  readonly dilation: number;
  /** Padding before the first and after the last element. */
  readonly begin: Integer;
  readonly end: Integer;
  /** Whether a window may begin before the input, or end after it. */
  readonly overlaps: { readonly lower: boolean; readonly upper: boolean };
}

/** What of a window is given by attributes. */
export interface WindowAttributes {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  readonly autoPad: "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER";
}

/** The attributes that say how windows lie, for `rank` spatial dimensions. */
export function windowAttributes(call: OpCall, rank: number): WindowAttributes {
  const list = (name: string, count: number, fallback: number, least: number): number[] => {
    const given = call.ints(name) ?? [];
    const values = given.length === 0 ? Array<number>(count).fill(fallback) : [...given];
    if (values.length !== count) {
      call.fail(`${name} has ${values.length} numbers where ${count} belong`);
    }
    if (values.some((value) => value < least || value >= 2 ** 31)) {
      call.fail(`${name} is ${values.join(", ")}`);
    }
    return values;
  };
  const autoPad = call.string("auto_pad", "NOTSET") || "NOTSET";
  if (!isAutoPad(autoPad)) call.fail(`auto_pad "${autoPad}" is none that ONNX has`);
  return {
    strides: list("strides", rank, 1, 1),
    dilations: list("dilations", rank, 1, 1),
    pads: list("pads", 2 * rank, 0, -(2 ** 31)),
    autoPad,
  };
}

function isAutoPad(text: string): text is WindowAttributes["autoPad"] {
  return ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].includes(text);
}

/** The extent that `kernel` elements span. */
export function spanOf(kernel: Integer, dilation: number): Integer {
  return add(multiply(subtract(kernel, ONE), integer(dilation)), ONE);
}

/** The windows of `kernel` elements over the spatial extents `inputs`. */
export function windowsOf(
  call: OpCall,
  inputs: readonly Integer[],
  kernel: readonly Integer[],
  ceil: boolean,
): readonly Window[] {
  const rank = inputs.length;
  if (kernel.length !== rank) {
    call.fail(`its kernel has ${kernel.length} dimensions where its input has ${rank}`);
  }
  if (kernel.some((extent) => asNumber(extent) !== null && asNumber(extent)! < 1)) {
    call.fail("its kernel has no elements");
  }
  const { strides, dilations, pads, autoPad } = windowAttributes(call, rank);
  return inputs.map((input, d): Window => {
    const stride = integer(strides[d]!);
    const span = spanOf(kernel[d]!, dilations[d]!);
    const common = { input, kernel: kernel[d]!, stride: strides[d]!, dilation: dilations[d]! };
    if (autoPad.startsWith("SAME")) {
      const output = extentOf(divideUp(input, stride));
      const covered = add(multiply(subtract(output, ONE), stride), span);
      const total = maximum(subtract(covered, input), ZERO);
      const half = divide(total, integer(2));
      const rest = subtract(total, half);
      const [begin, end] = autoPad === "SAME_UPPER" ? [half, rest] : [rest, half];
      const pads = { lower: begin !== ZERO, upper: end !== ZERO };
      return { ...common, output, begin, end, overlaps: pads };
    }
    const begin = integer(autoPad === "VALID" ? 0 : pads[d]!);
    const end = integer(autoPad === "VALID" ? 0 : pads[d + rank]!);
    const room = subtract(add(input, begin, end), span);
    let count = add((ceil ? divideUp : divide)(room, stride), ONE);
    // The last window must begin in the input or in the padding before it.
    if (ceil) count = minimum(count, divideUp(add(input, begin), stride));
    const known = asNumber(count);
    if (known !== null && known < 0) call.fail("its kernel is larger than its padded input");
    return {
      ...common,
      output: extentOf(count),
      begin,
      end,
      overlaps: { lower: asNumber(begin)! > 0, upper: asNumber(end)! > 0 || ceil },
    };
  });
}

/** Where element `position` of the windows numbered `indices` lies, which may be outside. */
export function elementOfWindow(
  windows: readonly Window[],
  indices: readonly Integer[],
  position: readonly Integer[],
): readonly Integer[] {
  return windows.map(({ stride, dilation, begin }, d) =>
    subtract(
      add(
        multiply(indices[d]!, integer(stride)),
        multiply(position[d]!, integer(dilation)),
      ),
      begin,
    )
  );
}

/** True where `places`, of {@link elementOfWindow}, lie in the input. */
export function insideInput(windows: readonly Window[], places: readonly Integer[]): Value {
  return all(windows.map(({ input, overlaps }, d) => inside(places[d]!, input, overlaps)));
}

/** How many of a window's elements are counted along each dimension: from `least`, below `end`. */
export function countedElements(
  window: Window,
  index: Integer,
  least: Integer,
  end: Integer,
): Integer {
  const { kernel, stride, dilation, begin } = window;
  const start = subtract(multiply(index, integer(stride)), begin);
  const step = integer(dilation);
  const first = maximum(divideUp(subtract(least, start), step), ZERO);
  const last = minimum(divideUp(subtract(end, start), step), kernel);
  return subtract(last, first);
}
