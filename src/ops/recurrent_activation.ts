/**
 * The activations that recurrent layers name in attributes
 * (https://onnx.ai/onnx/operators/onnx__LSTM.html lists them), with parameters that are consumed by
 * those that have any, in order.
 */
import { apply, constant, select, type Value } from "../expr/value.ts";
import { hardSigmoid, leakyRelu } from "./activation.ts";
import { clamp, float, minus, over, plus, sigmoid, softplus, times } from "./arithmetic.ts";
import type { OpCall } from "./op.ts";

/** A function of one float. */
export type Activation = (x: Value) => Value;

/** An activation by its parameters, and the parameters where none are given. */
interface ActivationRow {
  readonly alpha?: number;
  readonly beta?: number;
  readonly make: (alpha: number, beta: number) => Activation;
}

const zero = constant("f32", 0);

/** By name, in lower case. */
const ROWS: Readonly<Record<string, ActivationRow>> = {
  affine: {
    alpha: 1,
    beta: 0,
    make: (alpha, beta) => (x) => plus(times(float(alpha), x), float(beta)),
  },
  elu: {
    alpha: 1,
    make: (alpha) => (x) =>
      select(
        apply("less", x, zero),
        times(float(alpha), minus(apply("exp", x), float(1))),
        x,
      ),
  },
  hardsigmoid: {
    alpha: 0.2,
    beta: 0.5,
    make: (alpha, beta) => (x) => hardSigmoid(x, alpha, beta),
  },
  leakyrelu: { alpha: 0.01, make: (alpha) => (x) => leakyRelu(x, alpha) },
  relu: { make: () => (x) => apply("max", x, zero) },
  scaledtanh: {
    alpha: 1,
    beta: 1,
    make: (alpha, beta) => (x) => times(float(alpha), apply("tanh", times(float(beta), x))),
  },
  sigmoid: { make: () => sigmoid },
  softplus: { make: () => softplus },
  softsign: { make: () => (x) => over(x, plus(float(1), apply("abs", x))) },
  tanh: { make: () => (x) => apply("tanh", x) },
  thresholdedrelu: {
    alpha: 1,
    make: (alpha) => (x) => select(apply("greaterOrEqual", x, float(alpha)), x, zero),
  },
};

/**
 * The activations of `directions` directions, `fallback.length` each, whose arguments are clipped where
 * the attribute "clip" says so.
 * `same` says whether every direction has the same.
 */
export function activationsOf(
  call: OpCall,
  fallback: readonly string[],
  directions: number,
): { readonly lists: readonly (readonly Activation[])[]; readonly same: boolean } {
  const count = fallback.length * directions;
  const names = call.strings("activations") ??
    Array.from({ length: directions }, () => fallback).flat();
  if (names.length !== count) {
    call.fail(`it names ${names.length} activations where ${count} belong`);
  }
  const [alphas, betas] = [
    call.floats("activation_alpha") ?? [],
    call.floats("activation_beta") ?? [],
  ];
  let [nextAlpha, nextBeta] = [0, 0];
  const clip = call.float("clip", 0);
  const made = names.map((name, i) => {
    const row = ROWS[name.toLowerCase()];
    if (row === undefined) return call.fail(`the activation "${name}" is none that ONNX has`);
    const alpha = row.alpha === undefined ? 0 : alphas[nextAlpha++] ?? row.alpha;
    const beta = row.beta === undefined ? 0 : betas[nextBeta++] ?? row.beta;
    const activation = row.make(alpha, beta);
    return {
      key: `${name.toLowerCase()} ${alpha} ${beta}`,
      // ONNX Runtime clips no cell on its way to the third, the output's.
      activation: clip > 0 && i % fallback.length < 2
        ? (x: Value): Value => activation(clamp(x, float(-clip), float(clip)))
        : activation,
    };
  });
  const each = fallback.length;
  return {
    lists: Array.from(
      { length: directions },
      (_, d) => made.slice(d * each, (d + 1) * each).map(({ activation }) => activation),
    ),
    same: made.every(({ key }, i) => key === made[i % each]!.key),
  };
}
