/**
 * Normalizations (https://onnx.ai/onnx/operators/onnx__LayerNormalization.html and others). Every
 * result is an expression over the elements that share its statistics; variances are means of
 * squared distances from the mean, so large means cost no precision.
 */
import { dtypeOfOnnx } from "../dtype.ts";
import { add, asNumber, type Integer, integer, multiply, ONE, subtract } from "../expr/integer.ts";
import { divide, modulo } from "../expr/bounds.ts";
import { apply, extentOf, select, type Value } from "../expr/value.ts";
import { float, minus, over, plus, times } from "./arithmetic.ts";
import { axisOf, broadcastIndices } from "./broadcast.ts";
import { inside, meanOver, sumOver } from "./extents.ts";
import { type OpCall, type Operand, operand, type OpRecord } from "./op.ts";

/** Elements with common statistics. */
interface Population {
  readonly extents: readonly Integer[];
  readonly at: (position: readonly Integer[]) => Value;
}

const square = (x: Value): Value => times(x, x);

/** The mean and the variance, by the number of elements, of a population. */
function moments({ extents, at }: Population): { mean: Value; variance: Value } {
  const mean = meanOver(extents, at);
  return { mean, variance: meanOver(extents, (position) => square(minus(at(position), mean))) };
}

/** 1 / sqrt(variance + epsilon). */
function inverseDeviation(variance: Value, epsilon: number): Value {
  return over(float(1), apply("sqrt", plus(variance, float(epsilon))));
}

/** Elements of `input` that share all indices before `axis` with `indices`. */
function trailing(input: Operand, axis: number, indices: readonly Integer[]): Population {
  return {
    extents: input.dims.slice(axis),
    at: (position) => input.at([...indices.slice(0, axis), ...position]),
  };
}

/** `values` broadcast to the shape of `to`. */
function broadcast(values: Operand, to: Operand, indices: readonly Integer[]): Value {
  return values.at(broadcastIndices(values.dims, to.dims, indices));
}

/** LayerNormalization over the dimensions from `axis` on, with its statistics. */
export function layerNormalization(
  input: Operand,
  axis: number,
  epsilon: number,
  scale: Operand | null,
  bias: Operand | null,
): {
  normalized: Operand;
  mean: (indices: readonly Integer[]) => Value;
  inverse: (indices: readonly Integer[]) => Value;
} {
  const statistics = (indices: readonly Integer[]) => moments(trailing(input, axis, indices));
  const inverse = (indices: readonly Integer[]): Value =>
    inverseDeviation(statistics(indices).variance, epsilon);
  const mean = (indices: readonly Integer[]): Value => statistics(indices).mean;
  const normalized = operand(input.dtype, input.dims, (indices) => {
    let value = times(minus(input.at(indices), mean(indices)), inverse(indices));
    if (scale !== null) value = times(value, broadcast(scale, input, indices));
    return bias === null ? value : plus(value, broadcast(bias, input, indices));
  });
  return { normalized, mean, inverse };
}

/** x / sqrt(mean(x^2) + epsilon), scaled, over the dimensions from `axis` on. */
export function rmsNormalization(
  input: Operand,
  axis: number,
  epsilon: number,
  scale: Operand,
): { normalized: Operand; inverse: (indices: readonly Integer[]) => Value } {
  const inverse = (indices: readonly Integer[]): Value => {
    const { extents, at } = trailing(input, axis, indices);
    return inverseDeviation(meanOver(extents, (position) => square(at(position))), epsilon);
  };
  const normalized = operand(
    input.dtype,
    input.dims,
    (indices) =>
      times(times(input.at(indices), inverse(indices)), broadcast(scale, input, indices)),
  );
  return { normalized, inverse };
}

function lowerLayer(call: OpCall): Operand[] {
  const input = call.input(0);
  const axis = axisOf(call, call.int("axis", -1), input.dims.length);
  const made = layerNormalization(
    input,
    axis,
    call.float("epsilon", 1e-5),
    call.input(1),
    call.optional(2),
  );
  const dtype = dtypeOfOnnx(call.int("stash_type", 1)) ?? "float32";
  const dims = input.dims.map((extent, d) => d < axis ? extent : ONE);
  return [made.normalized, operand(dtype, dims, made.mean), operand(dtype, dims, made.inverse)];
}

/**
 * `input` (N, C, ...) normalized by the statistics of a sample's channels in groups. The tensor is
 * computed as (N, G, C / G, ...), so that a group is a row, and seen as (N, C, ...).
 */
export function groupNormalization(
  call: OpCall,
  input: Operand,
  scale: Operand,
  bias: Operand,
  groups: number,
  epsilon: number,
): Operand {
  const [batch, channels, ...spatial] = input.dims as readonly [Integer, Integer, ...Integer[]];
  if (groups < 1) call.fail("its number of groups must be 1 or more");
  const count = asNumber(channels);
  if (count !== null && count % groups !== 0) {
    call.fail(`its ${count} channels can't be parted into ${groups} groups`);
  }
  const each = extentOf(divide(channels, integer(groups)));
  const normalized = call.stored(operand(
    input.dtype,
    [batch, integer(groups), each, ...spatial],
    ([n, group, c, ...place]) => {
      const channel = add(multiply(group!, each), c!);
      const { mean, variance } = moments({
        extents: [each, ...spatial],
        at: ([member, ...position]) =>
          input.at([n!, add(multiply(group!, each), member!), ...position]),
      });
      const value = minus(input.at([n!, channel, ...place]), mean);
      const normal = times(value, inverseDeviation(variance, epsilon));
      return plus(times(normal, scale.at([channel])), bias.at([channel]));
    },
  ));
  return operand(
    input.dtype,
    input.dims,
    ([n, c, ...place]) => normalized.at([n!, divide(c!, each), modulo(c!, each), ...place]),
  );
}

function lowerGroup(call: OpCall): Operand[] {
  const [input, scale, bias] = [call.input(0), call.input(1), call.input(2)];
  const epsilon = call.float("epsilon", 1e-5);
  return [groupNormalization(call, input, scale, bias, call.int("num_groups", 0), epsilon)];
}

function lowerInstance(call: OpCall): Operand[] {
  const [input, scale, bias] = [call.input(0), call.input(1), call.input(2)];
  const epsilon = call.float("epsilon", 1e-5);
  return [
    operand(input.dtype, input.dims, (indices) => {
      const { mean, variance } = moments(trailing(input, 2, indices));
      const normal = times(
        minus(input.at(indices), mean),
        inverseDeviation(variance, epsilon),
      );
      return plus(times(normal, scale.at([indices[1]!])), bias.at([indices[1]!]));
    }),
  ];
}

/** BatchNormalization; training gives the running statistics too. */
function lowerBatch(call: OpCall): Operand[] {
  const [input, scale, bias] = [call.input(0), call.input(1), call.input(2)];
  const [givenMean, givenVariance] = [call.input(3), call.input(4)];
  const epsilon = call.float("epsilon", 1e-5);
  const channelOf = (indices: readonly Integer[]): Integer => indices[1] ?? integer(0);
  const normalize = (mean: Operand, variance: Operand): Operand =>
    operand(input.dtype, input.dims, (indices) => {
      const channel = [channelOf(indices)];
      const factor = times(
        scale.at(channel),
        inverseDeviation(variance.at(channel), epsilon),
      );
      return plus(times(minus(input.at(indices), mean.at(channel)), factor), bias.at(channel));
    });
  if (call.int("training_mode", 0) === 0) return [normalize(givenMean, givenVariance)];
  const statistics = ([channel]: readonly Integer[]) =>
    moments({
      extents: [input.dims[0]!, ...input.dims.slice(2)],
      at: ([n, ...position]) => input.at([n!, channel!, ...position]),
    });
  const dims = [input.dims[1] ?? ONE];
  const mean = call.stored(operand(input.dtype, dims, (at) => statistics(at).mean));
  const variance = call.stored(operand(input.dtype, dims, (at) => statistics(at).variance));
  const momentum = call.float("momentum", 0.9);
  const running = (given: Operand, current: Operand): Operand =>
    operand(
      given.dtype,
      given.dims,
      (at) =>
        plus(times(given.at(at), float(momentum)), times(current.at(at), float(1 - momentum))),
    );
  return [
    normalize(mean, variance),
    running(givenMean, mean),
    running(givenVariance, variance),
  ];
}

/** The p-norm of a population. */
export function norm(power: number, { extents, at }: Population): Value {
  if (power === 1) return sumOver(extents, (position) => apply("abs", at(position)));
  if (power === 2) return apply("sqrt", sumOver(extents, (position) => square(at(position))));
  const total = sumOver(
    extents,
    (position) => apply("pow", apply("abs", at(position)), float(power)),
  );
  return apply("pow", total, float(1 / power));
}

/** Along an axis; a row of zeros stays as it is. */
function lowerLp(call: OpCall): Operand[] {
  const input = call.input(0);
  const axis = axisOf(call, call.int("axis", -1), input.dims.length);
  const power = call.int("p", 2);
  return [
    operand(input.dtype, input.dims, (indices) => {
      const length = norm(power, {
        extents: [input.dims[axis]!],
        at: ([position]) => input.at(indices.with(axis, position!)),
      });
      const value = input.at(indices);
      return select(apply("equal", length, float(0)), float(0), over(value, length));
    }),
  ];
}

function lowerMeanVariance(call: OpCall): Operand[] {
  const input = call.input(0);
  const axes = (call.ints("axes") ?? [0, 2, 3])
    .map((axis) => axisOf(call, axis, input.dims.length));
  return [
    operand(input.dtype, input.dims, (indices) => {
      const { mean, variance } = moments({
        extents: axes.map((axis) => input.dims[axis]!),
        at: (position) =>
          input.at(indices.map((index, d) => {
            const k = axes.indexOf(d);
            return k < 0 ? index : position[k]!;
          })),
      });
      const deviation = plus(apply("sqrt", variance), float(1e-9));
      return over(minus(input.at(indices), mean), deviation);
    }),
  ];
}

/** LRN: each element by the squares of the channels around it. */
function lowerLocalResponse(call: OpCall): Operand[] {
  const input = call.input(0);
  const size = call.int("size", 1);
  const [alpha, beta] = [call.float("alpha", 1e-4), call.float("beta", 0.75)];
  const bias = call.float("bias", 1);
  const before = Math.floor((size - 1) / 2);
  return [
    operand(input.dtype, input.dims, (indices) => {
      const total = sumOver([integer(size)], ([k]) => {
        const channel = subtract(add(indices[1]!, k!), integer(before));
        return select(
          inside(channel, input.dims[1]!),
          square(input.at(indices.with(1, channel))),
          float(0),
        );
      });
      const base = plus(float(bias), times(total, float(alpha / size)));
      return over(input.at(indices), apply("pow", base, float(beta)));
    }),
  ];
}

function lowerRms(call: OpCall): Operand[] {
  const input = call.input(0);
  const axis = axisOf(call, call.int("axis", -1), input.dims.length);
  return [rmsNormalization(input, axis, call.float("epsilon", 1e-5), call.input(1)).normalized];
}

const row = (name: string, since: number, lower: OpRecord["lower"]): OpRecord => ({
  name,
  domain: "",
  since,
  lower,
});

/** Records of the normalizations. */
export const NORMALIZATION_OPS: readonly OpRecord[] = [
  row("BatchNormalization", 15, lowerBatch),
  row("GroupNormalization", 21, lowerGroup),
  row("InstanceNormalization", 22, lowerInstance),
  row("LRN", 13, lowerLocalResponse),
  row("LayerNormalization", 17, lowerLayer),
  row("LpNormalization", 22, lowerLp),
  row("MeanVarianceNormalization", 13, lowerMeanVariance),
  row("RMSNormalization", 23, lowerRms),
];
