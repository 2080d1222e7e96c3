/**
 * Linear quantization: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html and its inverse. Scales
 * and zero points belong to a tensor, to the positions of an axis, or to blocks along one.
 */
import { type DType, DTYPES } from "../dtype.ts";
import { divide } from "../expr/bounds.ts";
import { type Integer, integer, ONE, ZERO } from "../expr/integer.ts";
import { apply, convert, reduce, select, type Value } from "../expr/value.ts";
import { asFloat, float, isFloat, minus, over, plus, times } from "./arithmetic.ts";
import { axisOf } from "./broadcast.ts";
import { dtypeAttribute, rounded, type Rounding, USUAL_ROUNDING } from "./cast.ts";
import { type OpCall, type Operand, operand, type OpRecord, scalarOf } from "./op.ts";

const MICROSOFT = "com.microsoft";

/** The least and greatest integer of `dtype`. */
export function integerRange(dtype: DType): readonly [number, number] {
  const { kind, bits } = DTYPES[dtype];
  return kind === "int" ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
}

/** The float `x` divided by `scale`, rounded, moved by `zero` and held to the range of `dtype`. */
export function quantized(
  dtype: DType,
  x: Value,
  scale: Value,
  zero: Value | null,
  precision: DType = "float32",
  rounding: Rounding = USUAL_ROUNDING,
): Value {
  const quotient = rounded(precision, over(x, scale), USUAL_ROUNDING);
  if (isFloat(dtype)) {
    return rounded(dtype, zero === null ? quotient : plus(quotient, zero), rounding);
  }
  return requantized(dtype, quotient, zero);
}

/** The float `x` rounded to an integer, moved by `zero` and held to the range of `dtype`. */
export function requantized(dtype: DType, x: Value, zero: Value | null): Value {
  const whole = apply("round", x);
  return held(dtype, zero === null ? whole : plus(whole, asFloat(zero)));
}

/** The whole float `x` as the nearest integer of `dtype`; a NaN, which has none, as any number. */
function held(dtype: DType, x: Value): Value {
  const [least, greatest] = integerRange(dtype);
  const limited = apply("fastMin", apply("fastMax", x, float(least)), float(greatest));
  return convert(scalarOf(dtype), limited);
}

/** The integer `x` less the integer `zero`, both of narrow types, as an i32. */
export function centred(x: Value, zero: Value | null): Value {
  const signed = convert("i32", x);
  return zero === null ? signed : minus(signed, convert("i32", zero));
}

/** (x - zero) * scale. */
export function dequantized(x: Value, scale: Value, zero: Value | null): Value {
  if (x.type === "f32") return times(zero === null ? x : minus(x, zero), scale);
  return times(asFloat(centred(x, zero)), scale);
}

/** The element of `parameter`, a scalar or a tensor of one element. */
export function onlyElement(parameter: Operand): Value {
  return parameter.at(parameter.dims.map(() => ZERO));
}

/** The element of `parameter`, a scale or a zero point, that concerns the element of `x` at indices. */
function parameterOf(
  call: OpCall,
  x: Operand,
  parameter: Operand,
): (indices: readonly Integer[]) => Value {
  const rank = parameter.dims.length;
  const block = call.int("block_size", 0);
  const isWhole = x.dims.length === 1 && block === 0 && !call.has("axis");
  if (isWhole || parameter.dims.every((extent) => extent === ONE)) {
    return () => onlyElement(parameter);
  }
  if (rank === 1 && (block === 0 || x.dims.length !== 1)) {
    const axis = axisOf(call, call.int("axis", 1), x.dims.length);
    return (indices) => parameter.at([indices[axis]!]);
  }
  if (rank !== x.dims.length || block <= 0) {
    call.fail("its scale is neither of the tensor, of an axis nor of blocks");
  }
  const axis = axisOf(call, call.int("axis", 1), rank);
  return (indices) =>
    parameter.at(indices.map((index, i) => {
      if (parameter.dims[i] === ONE) return ZERO;
      return i === axis ? divide(index, integer(block)) : index;
    }));
}

/** The dtype of the attribute `name`, or `fallback` where it is missing or undefined. */
function dtypeOr(call: OpCall, name: string, fallback: DType): DType {
  return call.int(name, 0) === 0 ? fallback : dtypeAttribute(call, name);
}

function quantizeLinear(call: OpCall): Operand {
  const [x, scale] = [call.input(0), call.input(1)];
  const zero = call.optional(2);
  const dtype = zero?.dtype ?? dtypeOr(call, "output_dtype", "uint8");
  const precision = dtypeOr(call, "precision", scale.dtype);
  const rounding = { ...USUAL_ROUNDING, saturate: call.int("saturate", 1) !== 0 };
  const [scaleAt, zeroAt] = [parameterOf(call, x, scale), zero && parameterOf(call, x, zero)];
  return operand(dtype, x.dims, (indices) =>
    quantized(
      dtype,
      asFloat(x.at(indices)),
      asFloat(scaleAt(indices)),
      zeroAt && zeroAt(indices),
      isFloat(precision) && precision !== "float8e8m0" ? precision : "float32",
      rounding,
    ));
}

function dequantizeLinear(call: OpCall): Operand {
  const [x, scale] = [call.input(0), call.input(1)];
  const zero = call.optional(2);
  const dtype = dtypeOr(call, "output_dtype", scale.dtype);
  const [scaleAt, zeroAt] = [parameterOf(call, x, scale), zero && parameterOf(call, x, zero)];
  return operand(
    dtype,
    x.dims,
    (indices) => dequantized(x.at(indices), scaleAt(indices), zeroAt && zeroAt(indices)),
  );
}

/** https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html; a range of nothing has scale 1/255. */
export function dynamicallyQuantized(
  call: OpCall,
  x: Operand,
): { readonly codes: Operand; readonly scale: Operand; readonly zero: Operand } {
  const extreme = (kind: "min" | "max"): Value =>
    apply(kind, reduce(kind, x.dims, (indices) => x.at(indices)), float(0));
  const limits = (["min", "max"] as const).map((kind) =>
    call.stored(operand("float32", [], () => extreme(kind))).at([])
  ) as [Value, Value];
  const [least, greatest] = limits;
  const span = minus(greatest, least);
  const width = over(select(apply("equal", span, float(0)), float(1), span), float(255));
  const scale = call.stored(operand("float32", [], () => width));
  const first = apply("round", over(apply("negate", least), scale.at([])));
  const zero = call.stored(operand("uint8", [], () => held("uint8", first)));
  const codes = operand(
    "uint8",
    x.dims,
    (indices) => quantized("uint8", x.at(indices), scale.at([]), zero.at([])),
  );
  return { codes, scale, zero };
}

const linear = (
  name: string,
  domain: string,
  since: number,
  lower: (call: OpCall) => Operand,
): OpRecord => ({ name, domain, since, lower: (call) => [lower(call)] });

/** https://onnx.ai/onnx/operators/ */
export const QUANTIZE_OPS: readonly OpRecord[] = [
  linear("QuantizeLinear", "", 28, quantizeLinear),
  linear("DequantizeLinear", "", 28, dequantizeLinear),
  linear("QuantizeLinear", MICROSOFT, 1, quantizeLinear),
  linear("DequantizeLinear", MICROSOFT, 1, dequantizeLinear),
  {
    name: "DynamicQuantizeLinear",
    domain: "",
    since: 11,
    lower: (call) => {
      const { codes, scale, zero } = dynamicallyQuantized(call, call.input(0));
      return [codes, scale, zero];
    },
  },
];
