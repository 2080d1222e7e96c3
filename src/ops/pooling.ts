/**
 * Pooling (https://onnx.ai/onnx/operators/onnx__MaxPool.html and others): reductions over windows of
 * the spatial dimensions, or over all of them.
 */
import { DTYPES } from "../dtype.ts";
import { add, type Integer, integer, multiply, ONE, subtract, ZERO } from "../expr/integer.ts";
import {
  apply,
  constant,
  extentOf,
  fromInteger,
  reduce,
  select,
  toInteger,
  type Value,
} from "../expr/value.ts";
import { asFloat, float, over } from "./arithmetic.ts";
import { channelsLast, channelsSecond } from "./channels_last.ts";
import { countOf, inside, meanOver, sumOver } from "./extents.ts";
import { norm } from "./normalization.ts";
import { indicesAt, rowMajor } from "./offsets.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf } from "./op.ts";
import {
  countedElements,
  elementOfWindow,
  insideInput,
  type Window,
  windowAttributes,
  windowsOf,
} from "./window.ts";

/** The windows of a pooling op, and an element of one, or `outside` where there is none. */
function pooled(call: OpCall, input = call.input(0)): {
  input: Operand;
  dims: readonly Integer[];
  windows: readonly Window[];
  kernel: readonly Integer[];
  element: (
    indices: readonly Integer[],
    position: readonly Integer[],
    outside: Value,
  ) => Value;
} {
  const kernel = (call.ints("kernel_shape") ?? call.fail("it has no kernel_shape")).map(integer);
  const ceil = call.int("ceil_mode", 0) !== 0;
  const windows = windowsOf(call, input.dims.slice(2), kernel, ceil);
  return {
    input,
    dims: [...input.dims.slice(0, 2), ...windows.map(({ output }) => output)],
    windows,
    kernel,
    element: (indices, position, outside) => {
      const places = elementOfWindow(windows, indices.slice(2), position);
      const value = input.at([...indices.slice(0, 2), ...places]);
      return select(insideInput(windows, places), value, outside);
    },
  };
}

/** The least element of a dtype. */
function leastOf(input: Operand): Value {
  const { kind, bits } = DTYPES[input.dtype];
  if (kind === "float") return float(-Infinity);
  return kind === "int" ? constant("i32", -(2 ** (Math.min(bits, 32) - 1))) : constant("u32", 0);
}

function lowerMaxPool(call: OpCall, given = call.input(0)): Operand[] {
  const { input, dims, windows, kernel, element } = pooled(call, given);
  const outside = leastOf(input);
  const largest = operand(
    input.dtype,
    dims,
    (indices) => reduce("max", kernel, (position) => element(indices, position, outside)),
  );
  if (call.wanted[1] !== true) return [largest];
  const columnMajor = call.int("storage_order", 0) !== 0;
  const places = operand("int64", dims, (indices) => {
    const best = toInteger(
      reduce("argmax", kernel, (position) => element(indices, position, outside)),
    );
    const position = indicesAt(kernel, best);
    const place = elementOfWindow(windows, indices.slice(2), position);
    const spatial = input.dims.slice(2);
    const inner = columnMajor
      ? rowMajor(spatial.toReversed(), place.toReversed())
      : rowMajor(spatial, place);
    const plane = rowMajor(input.dims.slice(0, 2), indices.slice(0, 2));
    return fromInteger(add(multiply(plane, multiply(...spatial)), inner));
  });
  return [largest, places];
}

/**
 * The average pooling of `input` that the attributes of `call` describe. Where padding counts, so does
 * what lies `beyond` it, if that is asked for.
 */
export function averagePool(call: OpCall, input: Operand, beyond = false): Operand {
  const { dims, windows, kernel, element } = pooled(call, input);
  const padded = call.int("count_include_pad", 0) !== 0;
  const isWhole = (padded && beyond) ||
    windows.every(({ overlaps }) => !overlaps.lower && !overlaps.upper);
  return operand(input.dtype, dims, (indices) => {
    const total = sumOver(kernel, (position) => element(indices, position, float(0)));
    if (isWhole) return over(total, countOf(kernel));
    const counts = windows.map((window, d) => {
      const least = padded ? subtract(ZERO, window.begin) : ZERO;
      const end = padded ? add(window.input, window.end) : window.input;
      return countedElements(window, indices[d + 2]!, least, end);
    });
    return over(total, asFloat(fromInteger(multiply(...counts))));
  });
}

function lowerLpPool(call: OpCall): Operand[] {
  const { input, dims, kernel, element } = pooled(call);
  const power = call.int("p", 2);
  return [
    operand(input.dtype, dims, (indices) =>
      norm(power, {
        extents: kernel,
        at: (position) => element(indices, position, float(0)),
      })),
  ];
}

/** A reduction over all spatial dimensions. */
const global = (
  name: string,
  compute: (
    extents: readonly Integer[],
    at: (position: readonly Integer[]) => Value,
    call: OpCall,
  ) => Value,
): OpRecord => ({
  name,
  domain: "",
  since: 22,
  lower: (call) => {
    const input = call.input(0);
    const spatial = input.dims.slice(2);
    const dims = [...input.dims.slice(0, 2), ...spatial.map(() => ONE)];
    return [
      operand(
        input.dtype,
        dims,
        (indices) =>
          compute(spatial, (position) => input.at([...indices.slice(0, 2), ...position]), call),
      ),
    ];
  },
});

/**
 * MaxUnpool: zeros, then every element at its place, which is counted in the shape that undoes the
 * pooling, whatever the shape of the result is.
 */
function lowerMaxUnpool(call: OpCall): Operand[] {
  const [input, places] = [call.input(0), call.input(1)];
  const kernel = call.ints("kernel_shape") ?? call.fail("it has no kernel_shape");
  const { strides, pads } = windowAttributes(call, kernel.length);
  const undone = [
    ...input.dims.slice(0, 2),
    ...kernel.map((size, d) =>
      extentOf(add(
        multiply(subtract(input.dims[d + 2]!, ONE), integer(strides[d]!)),
        integer(size - pads[d]! - pads[d + kernel.length]!),
      ))
    ),
  ];
  const dims = call.optional(2) === null ? undone : call.integers(2).map(extentOf);
  const zero = constant(scalarOf(input.dtype), 0);
  const placed = (position: readonly Integer[]): readonly Integer[] =>
    indicesAt(undone, toInteger(places.at(position)));
  return [
    call.parts(input.dtype, dims, [
      { extents: dims, place: (position) => position, value: () => zero },
      {
        extents: input.dims,
        place: placed,
        value: (position) => input.at(position),
        skip: (position) => {
          const within = placed(position).map((index, d) => inside(index, dims[d]!));
          return apply("not", within.reduce((a, b) => apply("and", a, b)));
        },
      },
    ]),
  ];
}

const row = (name: string, lower: OpRecord["lower"], hostInputs?: readonly number[]): OpRecord => ({
  name,
  domain: "",
  since: 22,
  ...(hostInputs && { hostInputs }),
  lower,
});

/** Records of pooling. */
export const POOLING_OPS: readonly OpRecord[] = [
  row("AveragePool", (call) => [averagePool(call, call.input(0))]),
  global("GlobalAveragePool", meanOver),
  global("GlobalLpPool", (extents, at, call) => norm(call.int("p", 2), { extents, at })),
  global("GlobalMaxPool", (extents, at) => reduce("max", extents, at)),
  row("LpPool", lowerLpPool),
  row("MaxPool", (call) => lowerMaxPool(call)),
  row("MaxUnpool", lowerMaxUnpool, [2]),
  {
    name: "NhwcMaxPool",
    domain: "com.microsoft",
    since: 1,
    lower: (call) => [channelsLast(lowerMaxPool(call, channelsSecond(call.input(0)))[0]!)],
  },
];
