/** Linear attentions for the kernel tests: every update rule, shared heads, no steps at all. */
import { familyOf } from "../../src/codegen/kernel_families.ts";
import { textOf } from "./kernel_texts.ts";
import { type Expectation, numbers } from "./kernel_cases.ts";
import { randomFrom } from "./random_jobs.ts";

/** Batches, heads, heads of queries that share one, steps, elements of a key, of a value. */
const SHAPES: readonly (readonly [number, number, number, number, number, number])[] = [
  [1, 1, 1, 1, 1, 1],
  [2, 3, 2, 5, 6, 7],
  [1, 2, 1, 9, 32, 70],
  [2, 1, 3, 0, 4, 4],
  [0, 1, 1, 2, 3, 4],
];

/** Every shape with every rule. */
export function* linearAttentionCases(): Generator<Expectation> {
  for (const variant of familyOf("linear_attention").variants) {
    for (const shape of SHAPES) {
      for (const [gated, delta] of [[0, 0], [1, 0], [0, 1], [1, 1]] as const) {
        const [batches, heads, sharing, steps, size, width] = shape;
        const random = randomFrom(steps * 13 + size + gated * 2 + delta);
        const rows = batches * steps * heads;
        const query = numbers(random, rows * sharing * size);
        const key = numbers(random, rows * size).map((value) => value / Math.sqrt(size));
        const value = numbers(random, rows * width);
        const initial = numbers(random, batches * heads * size * width);
        const decay = numbers(random, rows * size).map((each) => -Math.abs(each));
        const rate = numbers(random, rows).map(Math.abs);
        const states = Float64Array.from(initial);
        const output = new Float32Array(rows * sharing * width);
        for (let batch = 0; batch < batches; batch++) {
          for (let time = 0; time < steps; time++) {
            for (let head = 0; head < heads; head++) {
              const row = (batch * steps + time) * heads + head;
              for (let column = 0; column < width; column++) {
                const at = (d: number): number =>
                  ((batch * heads + head) * size + d) * width + column;
                let held = 0;
                for (let d = 0; d < size; d++) {
                  if (gated === 1) states[at(d)]! *= Math.exp(decay[row * size + d]!);
                  held += states[at(d)]! * key[row * size + d]!;
                }
                const given = value[row * width + column]!;
                const added = delta === 1 ? rate[row]! * (given - held) : given;
                for (let d = 0; d < size; d++) states[at(d)]! += key[row * size + d]! * added;
                for (let reader = 0; reader < sharing; reader++) {
                  const reading = row * sharing + reader;
                  let sum = 0;
                  for (let d = 0; d < size; d++) {
                    sum += query[reading * size + d]! * states[at(d)]!;
                  }
                  output[reading * width + column] = sum;
                }
              }
            }
          }
        }
        const final = Float32Array.from(states);
        const bound = (length: number): Float32Array => new Float32Array(length).fill(size + steps);
        yield {
          label: `${variant.name} ${shape.join("x")} ${gated}${delta}`,
          text: textOf(variant)
            .replace(/^const KEY_SIZE: i32 = \d+;/m, `const KEY_SIZE: i32 = ${size};`)
            .replace(/^const GATED: i32 = \d;/m, `const GATED: i32 = ${gated};`)
            .replace(/^const DELTA: i32 = \d;/m, `const DELTA: i32 = ${delta};`),
          overrides: variant.overrides,
          parameters: { batches, heads, sharing, steps, value_size: width },
          groups: variant.groups,
          inputs: [query, key, value, initial, decay, rate],
          outputs: [output.length, final.length],
          expected: [output, final],
          tolerance: { ulps: 64, scales: [bound(output.length), bound(final.length)] },
        };
      }
    }
  }
}
