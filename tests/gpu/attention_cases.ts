/** Attentions for the kernel tests: masks, rows that see nothing, sizes that fill no tile. */
import { familyOf } from "../../src/codegen/kernel_families.ts";
import { textOf } from "./kernel_texts.ts";
import { type Expectation, numbers } from "./kernel_cases.ts";
import { randomFrom } from "./random_jobs.ts";

/** Batches, heads, queries, keys, elements of a key, elements of a value. */
const SHAPES: readonly (readonly [number, number, number, number, number, number])[] = [
  [1, 1, 1, 1, 1, 1],
  [1, 2, 5, 9, 18, 7],
  [2, 3, 17, 33, 8, 16],
  [1, 1, 4, 70, 64, 64],
  [1, 1, 3, 0, 4, 4],
  [0, 1, 3, 4, 4, 4],
];

/** Masks; the last two also say what becomes of rows that have no softmax. */
const KINDS = [
  "none",
  "causal",
  "bias",
  "all but one",
  "infinite",
  "replaced",
  "infinite, NaN",
  "NaN, zeros",
] as const;

/** `const UNDEFINED_ROWS` of a kind, where it is not 0. */
const UNDEFINED_ROWS: Partial<Record<typeof KINDS[number], number>> = {
  "infinite, NaN": 1,
  "NaN, zeros": 2,
};

/** Every shape with every kind of mask. */
export function* attentionCases(): Generator<Expectation> {
  for (const variant of familyOf("attention").variants) {
    for (const shape of SHAPES) {
      for (const kind of KINDS) {
        const [batches, heads, queries, keys, headSize, valueSize] = shape;
        const random = randomFrom(queries * 13 + keys);
        const [q, k, v] = [
          // Large scores: the greatest must be subtracted.
          numbers(random, batches * heads * queries * headSize).map((value) => 30 * value),
          numbers(random, batches * heads * keys * headSize),
          numbers(random, batches * heads * keys * valueSize),
        ];
        const mask = Float32Array.from({ length: batches * heads * queries * keys }, (_, i) => {
          const [key, query] = [i % keys, Math.floor(i / keys) % queries];
          switch (kind) {
            case "none":
              return 0;
            case "causal":
              return key > query ? -3.4e38 : 0;
            case "bias":
              return 4 * random() - 2;
            case "all but one":
              return key === query % keys ? 1 : -Infinity;
            case "infinite":
            case "infinite, NaN":
              return query % 2 === 0 || key > 5 ? -Infinity : 0;
            case "replaced":
              return query % 2 === 0 || key > 5 ? -1e4 : 0;
            case "NaN, zeros":
              return query % 3 === 0 ? -Infinity : query % 3 === 1 && key === 1 ? NaN : 0;
          }
        });
        const undefinedRows = UNDEFINED_ROWS[kind] ?? 0;
        const expected = new Float32Array(batches * heads * queries * valueSize);
        for (let row = 0; row < batches * heads * queries; row++) {
          const first = Math.floor(row / queries) * keys;
          const scores = Array.from({ length: keys }, (_, key) => {
            let product = 0;
            for (let d = 0; d < headSize; d++) {
              product += q[row * headSize + d]! * k[(first + key) * headSize + d]!;
            }
            const added = mask[row * keys + key]!;
            if (kind === "replaced" && added !== 0) return added;
            return added < -3e38 ? -Infinity : 0.25 * product + added;
          });
          const greatest = Math.max(...scores);
          const of = expected.subarray(row * valueSize, (row + 1) * valueSize);
          if (greatest === -Infinity || Number.isNaN(greatest)) {
            of.fill(undefinedRows === 1 ? NaN : 0);
            continue;
          }
          const weights = scores.map((score) => Math.exp(score - greatest));
          const total = weights.reduce((a, b) => a + b, 0);
          for (let d = 0; d < valueSize; d++) {
            of[d] = weights.reduce(
              (sum, weight, key) => sum + weight * v[(first + key) * valueSize + d]!,
              0,
            ) / total;
          }
        }
        const isReplaced = "select(0.0, 1.0, mask(batch, head, query, key) < -9000.0)";
        yield {
          label: `${variant.name} ${shape.join("x")} ${kind}`,
          text: textOf(variant)
            .replace(/^const HEAD_SIZE: i32 = \d+;/m, `const HEAD_SIZE: i32 = ${headSize};`)
            .replace(/^const VALUE_SIZE: i32 = \d+;/m, `const VALUE_SIZE: i32 = ${valueSize};`)
            .replace(/^(const UNDEFINED_ROWS: i32) = \d+;/m, `$1 = ${undefinedRows};`)
            .replace(
              /^(fn replaced\(.*) return 0\.0;/m,
              `$1 return ${kind === "replaced" ? isReplaced : "0.0"};`,
            ),
          overrides: variant.overrides,
          parameters: { batches, heads, queries, keys },
          groups: variant.groups,
          inputs: [q, k, v, mask],
          outputs: [expected.length],
          expected: [expected],
          // Scores up to 7.5 * headSize, whose error is one of the exponent.
          tolerance: {
            ulps: 32 + 8 * headSize,
            scales: [new Float32Array(expected.length).fill(1)],
          },
        };
      }
    }
  }
}
