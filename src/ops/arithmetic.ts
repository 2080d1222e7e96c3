/** Scalar formulas that several families of ops share, over {@link Value}s. */
import { type DType, DTYPES } from "../dtype.ts";
import { apply, call, constant, convert, type Value } from "../expr/value.ts";

/** A float32 number. */
export function float(value: number): Value {
  return constant("f32", value);
}

/** The sum of one or more values. */
export function plus(first: Value, ...rest: readonly Value[]): Value {
  return rest.reduce((sum, value) => apply("add", sum, value), first);
}

/** `a - b`. */
export function minus(a: Value, b: Value): Value {
  return apply("sub", a, b);
}

/** The product of one or more values. */
export function times(first: Value, ...rest: readonly Value[]): Value {
  return rest.reduce((product, value) => apply("mul", product, value), first);
}

/** The quotient of floats. */
export function over(a: Value, b: Value): Value {
  return apply("div", a, b);
}

/** `value` as a float. */
export function asFloat(value: Value): Value {
  return convert("f32", value);
}

/** True where elements of `dtype` are floating-point numbers. */
export function isFloat(dtype: DType): boolean {
  return DTYPES[dtype].kind === "float";
}

/** `value` between `least` and `greatest`; a NaN stays. */
export function clamp(value: Value, least: Value, greatest: Value): Value {
  return apply("min", apply("max", value, least), greatest);
}

/** 1 / (1 + e^-x). */
export function sigmoid(x: Value): Value {
  return over(float(1), plus(float(1), apply("exp", apply("negate", x))));
}

/** log(1 + e^x), which neither overflows nor loses large x. */
export function softplus(x: Value): Value {
  const tail = apply("exp", apply("negate", apply("abs", x)));
  return plus(apply("max", x, float(0)), call("safeLog1p", "f32", tail));
}

/** x times the standard normal distribution function of x. */
export function gelu(x: Value): Value {
  const erf = apply("erf", times(x, float(Math.SQRT1_2)));
  return times(x, float(0.5), plus(float(1), erf));
}

/** The approximation of {@link gelu} by the hyperbolic tangent. */
export function geluByTanh(x: Value): Value {
  const inner = times(
    float(Math.sqrt(2 / Math.PI)),
    plus(x, times(float(0.044715), x, x, x)),
  );
  return times(float(0.5), x, plus(float(1), apply("tanh", inner)));
}
