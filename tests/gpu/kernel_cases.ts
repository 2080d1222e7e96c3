/** What the kernel tests run: every kernel file on odd shapes, with what plain JavaScript gives. */
import { FAMILIES, familyOf, type Variant } from "../../src/codegen/kernels.ts";
import type { KernelCase } from "./kernel_runner.ts";
import { randomFrom } from "./random_jobs.ts";

/** A kernel to run and what it has to give. */
export interface Expectation extends KernelCase {
  readonly expected: readonly Float32Array[];
  /** The greatest difference allowed at an element: absolute, or in units of 2^-24 of `scales`. */
  readonly tolerance: { readonly ulps: number; readonly scales: readonly Float32Array[] };
}

type Random = () => number;

/** Numbers within -1 .. 1. */
export function numbers(random: Random, length: number): Float32Array {
  return Float32Array.from({ length }, () => 2 * random() - 1);
}

/** All variants of a family, and their first passes. */
function variantsOf(family: string): readonly Variant[] {
  return familyOf(family).variants;
}

/** Batches, rows, columns and depth: of one, of less than a tile, of a tile and a bit, empty ones. */
const MATMUL_SHAPES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 1],
  [1, 1, 7, 5],
  [1, 2, 3, 300],
  [1, 4, 4, 4],
  [2, 5, 6, 7],
  [3, 8, 33, 64],
  [1, 33, 65, 31],
  [1, 64, 64, 16],
  [2, 70, 5, 129],
  [1, 7, 130, 600],
  [1, 3, 5, 0],
  [1, 0, 5, 3],
  [0, 4, 5, 3],
];

function* matmulCases(): Generator<Expectation> {
  for (const variant of variantsOf("matmul")) {
    for (const [batches, rows, columns, depth] of MATMUL_SHAPES) {
      const sizes: Record<string, number> = { batches, rows, columns, depth };
      const applies = variant.limits.every(({ size, is, number }) =>
        is === "at least" ? sizes[size]! >= number : sizes[size]! <= number
      );
      if (!applies) continue;
      const random = randomFrom(rows * 131 + columns * 17 + depth);
      const left = numbers(random, batches * rows * depth);
      const right = numbers(random, batches * depth * columns);
      const alongK = variant.vectors.some(({ name }) => name === "b4k");
      const expected = new Float32Array(batches * rows * columns);
      const scale = new Float32Array(batches * rows * columns);
      for (let batch = 0; batch < batches; batch++) {
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            let sum = 0;
            let size = 0;
            for (let k = 0; k < depth; k++) {
              const product = left[(batch * rows + row) * depth + k]! *
                (alongK
                  ? right[(batch * columns + column) * depth + k]!
                  : right[(batch * depth + k) * columns + column]!);
              sum += product;
              size += Math.abs(product);
            }
            expected[(batch * rows + row) * columns + column] = sum;
            scale[(batch * rows + row) * columns + column] = size;
          }
        }
      }
      yield {
        label: `${variant.name} ${batches}x${rows}x${columns}x${depth}`,
        text: variant.text,
        overrides: variant.overrides,
        parameters: sizes,
        groups: variant.groups,
        inputs: [left, right],
        outputs: [batches * rows * columns],
        expected: [expected],
        // Each of `depth` sums rounds once, by at most half a unit of what it has added up to.
        tolerance: { ulps: depth, scales: [scale] },
      };
    }
  }
}

/** Every case. */
export function* kernelCases(): Generator<Expectation> {
  yield* matmulCases();
}

/** Every text that must compile as it stands. */
export function* kernelTexts(): Generator<Pick<Variant, "name" | "text" | "overrides">> {
  for (const family of FAMILIES) {
    for (const variant of family.variants) {
      yield variant;
      if (variant.after !== undefined) yield variant.after.variant;
    }
  }
}
