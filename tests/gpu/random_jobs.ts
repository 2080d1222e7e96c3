/**
 * Random matrices for comparing engines: every format, method, order and type of weights in turn,
 * odd shapes, and values of all kinds that a model file can hold. The same seed gives the same jobs.
 */
import { BLOCK_SIZES, type BlockFormat } from "../../src/formats.ts";
import type { Method, QuantizeJob, WeightType } from "../../src/quantization/engine.ts";
import { bfloat16FromNumber, float16FromNumber } from "../../src/quantization/half.ts";

/** A job, and what it is in words. */
export interface RandomJob {
  readonly job: QuantizeJob;
  readonly text: string;
}

/** Numbers in [0, 1) by a fixed generator (PCG's output permutation over a 32-bit LCG). */
export type Random = () => number;

/** A generator of random numbers. */
export function randomFrom(seed: number): Random {
  let state = (seed ^ 0x9e3779b9) >>> 0;
  return () => {
    state = (Math.imul(state, 747796405) + 2891336453) >>> 0;
    const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
    return (((word >>> 22) ^ word) >>> 0) / 2 ** 32 + 2 ** -33;
  };
}

const METHODS: readonly Method[] = ["rtn", "mse", "hqq"];
const BITS = [8, 4, 3, 2] as const;
const SIZES = [...BLOCK_SIZES, 0] as const;
const WEIGHT_TYPES: readonly WeightType[] = ["float32", "float16", "bfloat16", "float64"];

/** `count` jobs. */
export function* randomJobs(seed: number, count: number): Generator<RandomJob> {
  const random = randomFrom(seed);
  const up = (limit: number) => 1 + Math.floor(random() * limit);
  for (let index = 0; index < count; index++) {
    // Scattered, so that few jobs meet every choice, and 2304 in a row every combination.
    let rest = (index * 1009) % 2304;
    const take = <T>(choices: readonly T[]): T => {
      const choice = choices[rest % choices.length]!;
      rest = Math.floor(rest / choices.length);
      return choice;
    };
    const format: BlockFormat = {
      blockSize: take(SIZES),
      bits: take(BITS),
      symmetric: take([true, false]),
      scaleType: take(["float16", "float32"] as const),
    };
    const method = take(METHODS);
    const order = take(["rows", "columns"] as const);
    const weightType = take(WEIGHT_TYPES);
    const rows = up(random() < 0.1 ? 200 : 12);
    const columns = format.blockSize === 0
      ? up(random() < 0.3 ? 2500 : 300)
      : up(Math.ceil(2.5 * format.blockSize));
    const [kind, values] = randomValues(random, rows * columns);
    const weighted = method === "mse" && random() < 0.3;
    yield {
      job: {
        weights: encode(values, weightType),
        weightType,
        rows,
        columns,
        order,
        format,
        method,
        measure: true,
        ...(weighted
          ? { importance: Float32Array.from({ length: columns }, () => 4 ** (8 * random() - 4)) }
          : {}),
      },
      text: `job ${index} of seed ${seed}: ${method} ${JSON.stringify(format)} of ` +
        `${rows} x ${columns} ${weightType} by ${order}, ${kind}${weighted ? ", weighted" : ""}`,
    };
  }
}

/** Kinds of values: how to make the one at `index`. */
const KINDS: Readonly<Record<string, (random: Random, scale: number) => number>> = {
  normal: (random, scale) => scale * normal(random),
  uniform: (random, scale) => scale * (random() - 0.5),
  "heavy tails": (random, scale) => scale * normal(random) ** 3,
  "ties": (random, scale) => scale * Math.floor(random() * 33 - 16) / 2,
  "mostly zeros": (random, scale) => random() < 0.9 ? 0 : scale * normal(random),
  positive: (random, scale) => scale * (1 + random()),
  negative: (random, scale) => -scale * random() ** 2,
  outliers: (random, scale) => scale * normal(random) * (random() < 0.02 ? 60 : 1),
  constant: (_, scale) => scale,
  zeros: () => 0,
  "not all finite": (random, scale) =>
    random() < 0.003 ? [NaN, Infinity, -Infinity][Math.floor(random() * 3)]! : scale * random(),
  "any magnitude": (random) => (random() - 0.5) * 2 ** Math.floor(random() * 270 - 145),
};

function randomValues(random: Random, count: number): [kind: string, values: Float64Array] {
  const names = Object.keys(KINDS);
  const name = random() < 0.4 ? "normal" : names[Math.floor(random() * names.length)]!;
  // Mostly like trained weights, at times so small or so large that types under- or overflow.
  const place = random();
  const exponent = place < 0.7 ? -4 : place < 0.85 ? 40 * random() - 20 : 250 * random() - 130;
  const scale = 2 ** exponent * (1 + random());
  const make = KINDS[name]!;
  return [
    `${name} at 2^${exponent.toFixed(1)}`,
    new Float64Array(count).map(() => make(random, scale)),
  ];
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
}

/** `values` as little-endian elements of `type`, at an address that is a multiple of 8. */
function encode(values: Float64Array, type: WeightType): Uint8Array {
  switch (type) {
    case "float64":
      return new Uint8Array(values.slice().buffer);
    case "float32":
      return new Uint8Array(Float32Array.from(values).buffer);
    case "float16":
      return new Uint8Array(
        Uint16Array.from(values, (v) => float16FromNumber(Math.fround(v))).buffer,
      );
    case "bfloat16":
      return new Uint8Array(
        Uint16Array.from(values, (v) => bfloat16FromNumber(Math.fround(v))).buffer,
      );
  }
}
