/** Recurrent layers for the kernel tests: directions, lengths, peepholes, both forms of the GRU. */
import { familyOf } from "../../src/codegen/kernel_families.ts";
import type { Family } from "../../src/codegen/kernel_family.ts";
import { textOf } from "./kernel_texts.ts";
import { type Expectation, numbers } from "./kernel_cases.ts";
import { randomFrom } from "./random_jobs.ts";

/** Directions, samples, steps and units, and the literals of the header. */
interface Shape {
  readonly directions: number;
  readonly batches: number;
  readonly steps: number;
  readonly hidden: number;
  readonly constants?: Readonly<Record<string, number>>;
}

const SHAPES: Readonly<Record<string, readonly Shape[]>> = {
  lstm: [
    { directions: 1, batches: 1, steps: 1, hidden: 1 },
    { directions: 2, batches: 3, steps: 5, hidden: 10 },
    { directions: 1, batches: 2, steps: 4, hidden: 130, constants: { REVERSE: 1 } },
    { directions: 2, batches: 2, steps: 3, hidden: 7, constants: { COUPLED: 1 } },
    { directions: 1, batches: 2, steps: 0, hidden: 5 },
    { directions: 2, batches: 2, steps: 1, hidden: 9, constants: { ROUNDED: 1 } },
  ],
  gru: [
    { directions: 1, batches: 1, steps: 1, hidden: 1 },
    { directions: 2, batches: 3, steps: 5, hidden: 10 },
    { directions: 2, batches: 3, steps: 4, hidden: 67, constants: { LINEAR_BEFORE_RESET: 1 } },
    { directions: 1, batches: 2, steps: 6, hidden: 9, constants: { REVERSE: 1 } },
    { directions: 1, batches: 1, steps: 0, hidden: 5 },
  ],
  rnn: [
    { directions: 1, batches: 1, steps: 1, hidden: 1 },
    { directions: 2, batches: 3, steps: 5, hidden: 10 },
    { directions: 1, batches: 2, steps: 4, hidden: 75, constants: { REVERSE: 1 } },
  ],
};

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** States as 8-bit codes over their own range and zero tell them. */
function rounded(states: readonly number[]): number[] {
  const [least, greatest] = [Math.min(0, ...states), Math.max(0, ...states)];
  const scale = (greatest - least) / 255 || 1;
  const zero = Math.round(-least / scale);
  return states.map((x) =>
    (Math.min(Math.max(Math.round(x / scale) + zero, 0), 255) - zero) * scale
  );
}

/** The state after a step; `c` is changed in place. */
type Step = (
  gate: (row: number) => number,
  product: (gate: number, state: readonly number[]) => readonly number[],
  h: readonly number[],
  c: number[],
  direction: number,
) => number[];

function* casesOf(family: Family, gateCount: number, extra: number): Generator<Expectation> {
  for (const variant of family.variants) {
    for (const shape of SHAPES[family.name]!) {
      const { directions, batches, steps, hidden, constants = {} } = shape;
      const random = randomFrom(hidden * 17 + steps);
      const gates = numbers(random, directions * steps * batches * gateCount * hidden);
      const weights = numbers(random, directions * gateCount * hidden * hidden);
      const states = family.name === "lstm" ? 2 : 1;
      const initial = numbers(random, states * directions * batches * hidden);
      // One of each: all steps, more than all, none.
      const lengths = Int32Array.from({ length: batches }, (_, i) => [steps, steps + 3, 0][i % 3]!);
      if (batches > 1) lengths[0] = Math.min(2, steps);
      const more = numbers(random, directions * extra * hidden);
      const step = STEPS[family.name]!(hidden, more, constants);
      const y = new Float32Array(steps * directions * batches * hidden);
      const last = new Float32Array(initial.length);
      for (let i = 0; i < directions * batches; i++) {
        const [direction, batch] = [Math.floor(i / batches), i % batches];
        const from = (state: number): number[] => [
          ...initial.subarray(
            (state * directions * batches + i) * hidden,
            (state * directions * batches + i + 1) * hidden,
          ),
        ];
        let h = from(0);
        const c = states === 2 ? from(1) : [];
        const length = Math.min(lengths[batch]!, steps);
        for (let at = 0; at < length; at++) {
          const backward = direction === 1 || constants["REVERSE"] === 1;
          const time = backward ? length - 1 - at : at;
          const first = ((direction * steps + time) * batches + batch) * gateCount * hidden;
          const product = (gate: number, state: readonly number[]): readonly number[] =>
            Array.from({ length: hidden }, (_, unit) => {
              const row = (direction * gateCount + gate) * hidden + unit;
              return state.reduce((sum, value, k) => sum + value * weights[row * hidden + k]!, 0);
            });
          h = step((row) => gates[first + row]!, product, h, c, direction);
          y.set(h, ((time * directions + direction) * batches + batch) * hidden);
        }
        last.set(h, i * hidden);
        if (states === 2) last.set(c, (directions * batches + i) * hidden);
      }
      let text = textOf(variant);
      for (const [name, value] of Object.entries({ HIDDEN: hidden, ...constants })) {
        text = text.replace(
          new RegExp(`^const ${name}: i32 = \\d+;`, "m"),
          `const ${name}: i32 = ${value};`,
        );
      }
      yield {
        label: `${variant.name} ${JSON.stringify(shape)}`,
        text,
        overrides: variant.overrides,
        parameters: { directions, batches, steps },
        groups: variant.groups,
        inputs: [gates, weights, initial, lengths, ...extra > 0 ? [more] : []],
        outputs: [y.length, last.length],
        expected: [y, last],
        // Errors of a product of `hidden` terms, handed on from step to step; cells grow by 1 a step.
        tolerance: {
          ulps: 8 * (hidden + 16) * (steps + 1),
          scales: [y, last].map(({ length }) => new Float32Array(length).fill(1)),
        },
      };
    }
  }
}

/** The steps as ONNX's formulas have them. */
const STEPS: Readonly<
  Record<
    string,
    (hidden: number, more: Float32Array, constants: Readonly<Record<string, number>>) => Step
  >
> = {
  lstm: (hidden, peepholes, { COUPLED, ROUNDED }) => (gate, product, h, c, direction) => {
    const seen = ROUNDED === 1 ? rounded(h) : h;
    const products = [0, 1, 2, 3].map((index) => product(index, seen));
    return h.map((_, unit) => {
      const p = (index: number) => peepholes[(direction * 3 + index) * hidden + unit]!;
      const sum = (index: number) => gate(index * hidden + unit) + products[index]![unit]!;
      const input = sigmoid(sum(0) + p(0) * c[unit]!);
      const kept = COUPLED === 1 ? 1 - input : sigmoid(sum(2) + p(2) * c[unit]!);
      c[unit] = kept * c[unit]! + input * Math.tanh(sum(3));
      return sigmoid(sum(1) + p(1) * c[unit]!) * Math.tanh(c[unit]!);
    });
  },
  gru: (hidden, biases, { LINEAR_BEFORE_RESET }) => (gate, product, h, _c, direction) => {
    const [forUpdate, forReset] = [product(0, h), product(1, h)];
    const reset = h.map((_, unit) => sigmoid(gate(hidden + unit) + forReset[unit]!));
    const whole = product(2, h);
    const partly = product(2, h.map((state, unit) => state * reset[unit]!));
    return h.map((state, unit) => {
      const update = sigmoid(gate(unit) + forUpdate[unit]!);
      const sum = LINEAR_BEFORE_RESET === 1
        ? reset[unit]! * (whole[unit]! + biases[direction * hidden + unit]!)
        : partly[unit]!;
      return (1 - update) * Math.tanh(gate(2 * hidden + unit) + sum) + update * state;
    });
  },
  rnn: () => (gate, product, h) => {
    const sums = product(0, h);
    return h.map((_, unit) => Math.tanh(gate(unit) + sums[unit]!));
  },
};

/** Every shape of every kind of layer. */
export function* recurrentCases(): Generator<Expectation> {
  yield* casesOf(familyOf("lstm"), 4, 3);
  yield* casesOf(familyOf("gru"), 3, 1);
  yield* casesOf(familyOf("rnn"), 1, 0);
}
