/**
 * CumSum and CumProd (https://onnx.ai/onnx/operators/onnx__CumSum.html): each element combines those
 * before it along an axis, which may be known only when the model runs. Along an axis of few elements
 * each is computed by itself; else the kernel family `scan` goes along it once.
 */
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
import { apply, constant, extentOf, reduce, type Reduction, type Value } from "../expr/value.ts";
import { axisFlags, equal, extentWhere } from "./extents.ts";
import { blend } from "./indices.ts";
import { indicesAt } from "./offsets.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf, wrapped } from "./op.ts";

/** The most elements along an axis that are combined for each anew. */
const FEW = 32;

/** How a reduction joins two values, and what it begins with. */
const JOINED = {
  sum: { operation: "add", neutral: 0 },
  product: { operation: "mul", neutral: 1 },
} as const satisfies Partial<Record<Reduction, unknown>>;

interface Cumulation {
  readonly reduction: keyof typeof JOINED;
  /** Whether an element has no part in its own result. */
  readonly exclusive: boolean;
  /** Whether it begins at the last element. */
  readonly reverse: boolean;
  /** 1 for the axis that it goes along, else 0. */
  readonly flags: readonly Integer[];
  /** The extent along that axis. */
  readonly length: Integer;
}

/** Each element by itself. */
function oneByOne(x: Operand, cumulation: Cumulation): Operand {
  const { reduction, reverse, flags, length } = cumulation;
  const exclusive = integer(cumulation.exclusive ? 1 : 0);
  return operand(x.dtype, x.dims, (indices) => {
    const own = add(ZERO, ...indices.map((index, d) => multiply(flags[d]!, index)));
    const count = subtract(reverse ? subtract(length, own) : add(own, ONE), exclusive);
    const first = reverse ? add(own, exclusive) : ZERO;
    const value = reduce(
      reduction,
      [count],
      ([r]) => x.at(indices.map((index, d) => blend(flags[d]!, index, add(first, r!)))),
    );
    return wrapped(x.dtype, value);
  });
}

/** All along the axis, row by row. */
function scanned(call: OpCall, x: Operand, cumulation: Cumulation): Operand {
  const { reduction, exclusive, reverse, flags, length } = cumulation;
  const { operation, neutral } = JOINED[reduction];
  // Rows are counted by the other axes.
  const others = x.dims.map((extent, d) => extentWhere(subtract(ONE, flags[d]!), extent));
  const place = ([row, i]: readonly Integer[]): readonly Integer[] =>
    indicesAt(others, row!).map((index, d) =>
      flags[d] === ONE ? i! : add(index, multiply(flags[d]!, i!))
    );
  const type = scalarOf(x.dtype);
  const { store } = call.kernel({
    core: "scan",
    sizes: { rows: multiply(ONE, ...others), length },
    loads: { x: (at) => x.at(place(at)) },
    stores: { store: { dtype: x.dtype, dims: x.dims, place } },
    constants: { EXCLUSIVE: exclusive ? 1 : 0, REVERSE: reverse ? 1 : 0 },
    functions: {
      combined: ([a, b]): Value => wrapped(x.dtype, apply(operation, a!, b!)),
      neutral: () => constant(type, neutral),
    },
  });
  return store;
}

const cumulative = (name: string, since: number, reduction: keyof typeof JOINED): OpRecord => ({
  name,
  domain: "",
  since,
  hostInputs: [1],
  lower: (call) => {
    const x = call.input(0);
    const flags = axisFlags(call.integers(1).slice(0, 1), x.dims.length);
    call.check(equal(add(ZERO, ...flags), ONE), "its axis is none of its input's");
    const along = add(ZERO, ...x.dims.map((extent, d) => multiply(flags[d]!, extent)));
    const cumulation: Cumulation = {
      reduction,
      exclusive: call.int("exclusive", 0) !== 0,
      reverse: call.int("reverse", 0) !== 0,
      flags,
      length: asNumber(along) === null ? extentOf(along) : along,
    };
    const number = asNumber(along);
    return [
      number !== null && number <= FEW ? oneByOne(x, cumulation) : scanned(call, x, cumulation),
    ];
  },
});

/** https://onnx.ai/onnx/operators/ */
export const CUMULATIVE_OPS: readonly OpRecord[] = [
  cumulative("CumSum", 14, "sum"),
  cumulative("CumProd", 26, "product"),
];
