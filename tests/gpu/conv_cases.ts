/** Convolutions for the kernel tests: strides, dilations, pads, groups, one to three axes. */
import { familyOf } from "../../src/codegen/kernel_families.ts";
import { textOf } from "./kernel_texts.ts";
import { type Expectation, numbers } from "./kernel_cases.ts";
import { randomFrom } from "./random_jobs.ts";

type Three = readonly [number, number, number];

interface Shape {
  readonly batches: number;
  readonly groups: number;
  /** Of a group. */
  readonly channels: readonly [outs: number, ins: number];
  readonly extents: Three;
  readonly kernel: Three;
  readonly strides?: Three;
  readonly dilations?: Three;
  readonly begin?: Three;
  readonly end?: Three;
}

const SHAPES: readonly Shape[] = [
  { batches: 1, groups: 1, channels: [1, 1], extents: [1, 1, 1], kernel: [1, 1, 1] },
  { batches: 2, groups: 1, channels: [5, 7], extents: [1, 6, 9], kernel: [1, 1, 1] },
  {
    batches: 1,
    groups: 1,
    channels: [6, 8],
    extents: [1, 7, 10],
    kernel: [1, 3, 3],
    begin: [0, 1, 1],
    end: [0, 1, 1],
  },
  {
    batches: 2,
    groups: 9,
    channels: [1, 1],
    extents: [1, 8, 11],
    kernel: [1, 5, 3],
    strides: [1, 2, 2],
    begin: [0, 2, 0],
    end: [0, 1, 2],
  },
  {
    batches: 1,
    groups: 3,
    channels: [4, 5],
    extents: [1, 1, 30],
    kernel: [1, 1, 4],
    strides: [1, 1, 3],
    dilations: [1, 1, 2],
    begin: [0, 0, 5],
    end: [0, 0, 4],
  },
  {
    batches: 1,
    groups: 2,
    channels: [3, 6],
    extents: [5, 6, 7],
    kernel: [2, 3, 2],
    strides: [2, 1, 2],
    dilations: [1, 2, 1],
    begin: [1, 0, 1],
    end: [0, 3, 1],
  },
  { batches: 0, groups: 1, channels: [2, 2], extents: [1, 4, 4], kernel: [1, 3, 3] },
  { batches: 1, groups: 1, channels: [2, 0], extents: [1, 4, 4], kernel: [1, 3, 3] },
];

const NAMES = ["DEPTH", "HEIGHT", "WIDTH"] as const;
const ONES: Three = [1, 1, 1];
const NONE: Three = [0, 0, 0];

/** Every convolution on every kernel: each is right for all, if slow for some. */
export function* convCases(): Generator<Expectation> {
  for (const variant of familyOf("conv").variants) {
    for (const shape of SHAPES) {
      const { batches, groups, channels: [outs, ins], extents, kernel } = shape;
      const { strides = ONES, dilations = ONES, begin = NONE, end = NONE } = shape;
      const [d, h, w] = extents;
      const out = extents.map((extent, i) =>
        Math.floor(
          (extent + begin[i]! + end[i]! - dilations[i]! * (kernel[i]! - 1) - 1) / strides[i]!,
        ) + 1
      );
      const [od, oh, ow] = [out[0]!, out[1]!, out[2]!];
      const random = randomFrom(outs * 31 + ins * 7 + ow);
      const picture = numbers(random, batches * groups * ins * d * h * w);
      const taps = kernel[0] * kernel[1] * kernel[2];
      const filters = numbers(random, groups * outs * ins * taps);
      const expected = new Float32Array(batches * groups * outs * od * oh * ow);
      const scale = new Float32Array(expected.length);
      for (let i = 0; i < expected.length; i++) {
        const [x, y, z] = [i % ow, Math.floor(i / ow) % oh, Math.floor(i / ow / oh) % od];
        const channel = Math.floor(i / ow / oh / od) % (groups * outs);
        const batch = Math.floor(i / ow / oh / od / groups / outs);
        let sum = 0;
        let size = 0;
        for (let k = 0; k < ins * taps; k++) {
          const [kx, ky] = [k % kernel[2], Math.floor(k / kernel[2]) % kernel[1]];
          const kz = Math.floor(k / kernel[2] / kernel[1]) % kernel[0];
          const ci = Math.floor(k / taps);
          const at: Three = [
            z * strides[0] + kz * dilations[0] - begin[0],
            y * strides[1] + ky * dilations[1] - begin[1],
            x * strides[2] + kx * dilations[2] - begin[2],
          ];
          if (at.some((place, axis) => place < 0 || place >= extents[axis]!)) continue;
          const plane = (batch * groups + Math.floor(channel / outs)) * ins + ci;
          const product = filters[channel * ins * taps + k]! *
            picture[((plane * d + at[0]) * h + at[1]) * w + at[2]]!;
          sum += product;
          size += Math.abs(product);
        }
        expected[i] = sum;
        scale[i] = size;
      }
      let text = textOf(variant);
      for (const [i, name] of NAMES.entries()) {
        const literals = { KERNEL: kernel, STRIDE: strides, DILATION: dilations };
        for (const [what, values] of Object.entries(literals)) {
          text = text.replace(
            new RegExp(`^const ${what}_${name}: i32 = \\d+;`, "m"),
            `const ${what}_${name}: i32 = ${values[i]};`,
          );
        }
      }
      yield {
        label: `${variant.name} ${JSON.stringify(shape)}`,
        text,
        overrides: variant.overrides,
        parameters: {
          batches,
          groups_of_channels: groups,
          group_channels_out: outs,
          group_channels_in: ins,
          out_depth: od,
          out_height: oh,
          out_width: ow,
          in_depth: d,
          in_height: h,
          in_width: w,
          pad_depth: begin[0],
          pad_height: begin[1],
          pad_width: begin[2],
        },
        groups: variant.groups,
        inputs: [picture, filters],
        outputs: [expected.length],
        expected: [expected],
        // Each of the sums rounds once.
        tolerance: { ulps: ins * taps, scales: [scale] },
      };
    }
  }
}
