/**
 * Dropout (https://onnx.ai/onnx/operators/onnx__Dropout.html). Outside training it changes nothing.
 * ONNX leaves the generator open. In training with a seed, elements are dropped that its reference
 * implementation drops, by numbers that the host draws; without one, by a hash of their position.
 */
import { type Integer, multiply, ZERO } from "../expr/integer.ts";
import { apply, constant, fromInteger, select, type Value } from "../expr/value.ts";
import { float, minus, over, times } from "./arithmetic.ts";
import { rowMajor } from "./offsets.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";
import { uniform } from "./random.ts";

/** The scalar input `i`, or `fallback` where it is missing. */
function scalar(call: OpCall, i: number, fallback: Value): Value {
  const values = call.constants(i);
  if (values !== null) return constant(fallback.type, values[0] ?? 0);
  const given = call.optional(i);
  return given === null ? fallback : given.at(given.dims.map(() => ZERO));
}

/** Which elements are kept, by their number. */
function drawn(call: OpCall, x: Operand, ratio: Value): (position: Integer) => Value {
  if (!call.has("seed")) {
    return (position) => apply("greaterOrEqual", uniform(0x5eed, position), ratio);
  }
  const count = operand("int64", [], () => fromInteger(multiply(...x.dims)));
  const [mask] = call.host(
    "keptByTwister",
    [count, operand("float32", [], () => ratio)],
    [call.int("seed", 0) >>> 0],
    [{ dtype: "bool", rank: 1 }],
  );
  return (position) => mask!.at([position]);
}

function dropout(call: OpCall): readonly Operand[] {
  const x = call.input(0);
  const training = scalar(call, 2, constant("bool", 0));
  const ratio = scalar(call, 1, float(0.5));
  const drops = apply("and", training, apply("notEqual", ratio, float(0)));
  if (drops.kind === "constant" && drops.value === 0) {
    return [x, operand("bool", x.dims, () => constant("bool", 1))];
  }
  const draws = drawn(call, x, ratio);
  const kept = (indices: readonly Integer[]): Value =>
    select(drops, draws(rowMajor(x.dims, indices)), constant("bool", 1));
  const scale = select(drops, over(float(1), minus(float(1), ratio)), float(1));
  return [
    operand(x.dtype, x.dims, (indices) => {
      const value = x.at(indices);
      return select(kept(indices), times(value, scale), float(0));
    }),
    operand("bool", x.dims, kept),
  ];
}

/** https://onnx.ai/onnx/operators/onnx__Dropout.html */
export const DROPOUT_OPS: readonly OpRecord[] = [
  { name: "Dropout", domain: "", since: 22, lower: dropout },
];
