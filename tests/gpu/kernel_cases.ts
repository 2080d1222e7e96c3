/** What the kernel tests run: every kernel file on odd shapes, with what plain JavaScript gives. */
import { familyOf } from "../../src/codegen/kernel_families.ts";
import type { Variant } from "../../src/codegen/kernel_family.ts";
import { textOf } from "./kernel_texts.ts";
import { attentionCases } from "./attention_cases.ts";
import { convCases } from "./conv_cases.ts";
import type { KernelCase } from "./kernel_runner.ts";
import { linearAttentionCases } from "./linear_attention_cases.ts";
import { recurrentCases } from "./recurrent_cases.ts";
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
      // Where it isn't worth taking it has to be right too.
      const sizes: Record<string, number> = { batches, rows, columns, depth };
      if (variant.after !== undefined) {
        yield* splitCases(variant, variant.after.variant, sizes);
        continue;
      }
      const random = randomFrom(rows * 131 + columns * 17 + depth);
      const left = numbers(random, batches * rows * depth);
      const right = numbers(random, batches * depth * columns);
      const expected = new Float32Array(batches * rows * columns);
      const scale = new Float32Array(batches * rows * columns);
      for (let batch = 0; batch < batches; batch++) {
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            let sum = 0;
            let size = 0;
            for (let k = 0; k < depth; k++) {
              const product = left[(batch * rows + row) * depth + k]! *
                right[(batch * depth + k) * columns + column]!;
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
        features: variant.features ?? [],
        text: textOf(variant),
        overrides: variant.overrides,
        parameters: sizes,
        groups: variant.groups,
        inputs: [left, right],
        outputs: [batches * rows * columns],
        expected: [expected],
        // Each of `depth` sums rounds once, by at most half a unit of what it has added up to. Two
        // operands of float16 are rounded by 2^-11 of themselves each.
        tolerance: {
          ulps: depth + (variant.features?.includes("shader-f16") ? 2 ** 14 + 2 ** 4 : 0),
          scales: [scale],
        },
      };
    }
  }
}

/** The two passes of a matrix product whose sums are split, each by itself. */
function* splitCases(
  sum: Variant,
  parts: Omit<Variant, "limits" | "adapter">,
  { batches, rows, columns, depth }: Record<string, number>,
): Generator<Expectation> {
  const [b, r, c, d] = [batches!, rows!, columns!, depth!];
  const splits = Math.ceil(d / 256);
  const random = randomFrom(r * 11 + c * 7 + d);
  const left = numbers(random, b * r * d);
  const right = numbers(random, b * d * c);
  const partial = new Float32Array(b * splits * r * c);
  const partialSize = new Float32Array(partial.length);
  const whole = new Float32Array(b * r * c);
  const wholeSize = new Float32Array(whole.length);
  for (let i = 0; i < whole.length * d; i++) {
    const k = i % d;
    const at = Math.floor(i / d);
    const [batch, inBatch] = [Math.floor(at / (r * c)), at % (r * c)];
    const [row, column] = [Math.floor(inBatch / c), inBatch % c];
    const product = left[(batch * r + row) * d + k]! *
      right[(batch * d + k) * c + column]!;
    const part = (batch * splits + Math.floor(k / 256)) * r * c + inBatch;
    partial[part]! += product;
    partialSize[part]! += Math.abs(product);
  }
  for (let i = 0; i < partial.length; i++) {
    const at = Math.floor(i / (splits * r * c)) * r * c + i % (r * c);
    whole[at]! += partial[i]!;
    wholeSize[at]! += Math.abs(partial[i]!);
  }
  const shape = `${b}x${r}x${c}x${d}`;
  yield {
    ...parts,
    text: textOf(parts),
    label: `${parts.name} ${shape}`,
    parameters: { batches: b, rows: r, columns: c, depth: d, splits },
    inputs: [left, right],
    outputs: [partial.length],
    expected: [partial],
    // The reference adds in float32 too.
    tolerance: { ulps: 512, scales: [partialSize] },
  };
  yield {
    ...sum,
    text: textOf(sum),
    label: `${sum.name} ${shape}`,
    parameters: { batches: b, rows: r, columns: c, splits },
    inputs: [partial],
    outputs: [whole.length],
    expected: [whole],
    tolerance: { ulps: 2 * splits, scales: [wholeSize] },
  };
}

/** Orders of rows, many of whose keys are equal, some the greatest there is. */
function* sortCases(): Generator<Expectation> {
  const shapes = [[1, 1, 1], [3, 2, 2], [2, 100, 7], [5, 129, 129], [2, 2048, 33], [0, 5, 2]];
  for (const variant of variantsOf("sort")) {
    for (const [rows, length, kept] of shapes as [number, number, number][]) {
      const random = randomFrom(length * 3 + kept);
      const keys = Uint32Array.from(
        { length: rows * length },
        () => random() < 0.2 ? 0xffffffff : Math.floor(random() * length / 2) * 0x10001,
      );
      const expected = new Float32Array(rows * kept);
      for (let row = 0; row < rows; row++) {
        const own = keys.subarray(row * length, (row + 1) * length);
        const order = Array.from(own, (_, i) => i).sort((a, b) => own[a]! - own[b]! || a - b);
        expected.set(order.slice(0, kept), row * kept);
      }
      yield {
        label: `${variant.name} ${rows}x${length} first ${kept}`,
        text: textOf(variant),
        overrides: variant.overrides,
        parameters: { rows, length, kept },
        groups: variant.groups,
        inputs: [keys],
        outputs: [rows * kept],
        integers: true,
        expected: [expected],
        tolerance: { ulps: 0, scales: [expected] },
      };
    }
  }
}

/** Running sums, both ways, with and without the element itself. */
function* scanCases(): Generator<Expectation> {
  const shapes = [[1, 1], [70, 3], [3, 64], [2, 1000], [4, 0]] as const;
  for (const variant of variantsOf("scan")) {
    for (const [rows, length] of shapes) {
      for (const flags of [0, 1, 2, 3, 4, 7]) {
        const [exclusive, reverse, whole] = [flags & 1, flags >> 1 & 1, flags >> 2 === 1];
        const random = numbers(randomFrom(rows + length * 5 + flags), rows * length);
        const elements = whole ? Int32Array.from(random, (value) => 1000 * value) : random;
        const expected = new Float32Array(rows * length);
        const scale = new Float32Array(rows * length);
        for (let row = 0; row < rows; row++) {
          let sum = 0;
          let size = 0;
          for (let i = 0; i < length; i++) {
            const at = row * length + (reverse === 1 ? length - 1 - i : i);
            const before = sum;
            sum += elements[at]!;
            size += Math.abs(elements[at]!);
            expected[at] = exclusive === 1 ? before : sum;
            scale[at] = size;
          }
        }
        yield {
          label: `${variant.name} ${rows}x${length} ${exclusive}${reverse}${whole ? " whole" : ""}`,
          text: textOf(variant)
            .replace("alias Element = f32;", `alias Element = ${whole ? "i32" : "f32"};`)
            .replace("const EXCLUSIVE: i32 = 0;", `const EXCLUSIVE: i32 = ${exclusive};`)
            .replace("const REVERSE: i32 = 0;", `const REVERSE: i32 = ${reverse};`),
          overrides: variant.overrides,
          parameters: { rows, length },
          groups: variant.groups,
          inputs: [elements],
          outputs: [rows * length],
          integers: whole,
          expected: [expected],
          // Each of the sums rounds once, those of integers not at all.
          tolerance: { ulps: whole ? 0 : length, scales: [scale] },
        };
      }
    }
  }
}

/** Every case. */
export function* kernelCases(): Generator<Expectation> {
  yield* matmulCases();
  yield* convCases();
  yield* attentionCases();
  yield* recurrentCases();
  yield* linearAttentionCases();
  yield* sortCases();
  yield* scanCases();
}
