/**
 * CumSum and CumProd (https://onnx.ai/onnx/operators/onnx__CumSum.html): each element combines those
 * before it along an axis, which may be known only when the model runs.
 */
import { add, type Integer, integer, multiply, ONE, subtract, ZERO } from "../expr/integer.ts";
import { reduce, type Reduction } from "../expr/value.ts";
import { axisFlags } from "./extents.ts";
import { blend } from "./indices.ts";
import { operand, type OpRecord, wrapped } from "./op.ts";

const cumulative = (name: string, since: number, reduction: Reduction): OpRecord => ({
  name,
  domain: "",
  since,
  hostInputs: [1],
  lower: (call) => {
    const x = call.input(0);
    const flags = axisFlags(call.integers(1).slice(0, 1), x.dims.length);
    const exclusive = integer(call.int("exclusive", 0) === 0 ? 0 : 1);
    const reverse = call.int("reverse", 0) !== 0;
    const along = (values: readonly Integer[]): Integer =>
      add(...values.map((value, d) => multiply(flags[d]!, value)));
    return [
      operand(x.dtype, x.dims, (indices) => {
        const own = along(indices);
        const count = subtract(reverse ? subtract(along(x.dims), own) : add(own, ONE), exclusive);
        const first = reverse ? add(own, exclusive) : ZERO;
        const value = reduce(
          reduction,
          [count],
          ([r]) => x.at(indices.map((index, d) => blend(flags[d]!, index, add(first, r!)))),
        );
        return wrapped(x.dtype, value);
      }),
    ];
  },
});

/** https://onnx.ai/onnx/operators/ */
export const CUMULATIVE_OPS: readonly OpRecord[] = [
  cumulative("CumSum", 14, "sum"),
  cumulative("CumProd", 26, "product"),
];
