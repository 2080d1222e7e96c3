/**
 * Pictures as model inputs: a PNG or JPEG file is decoded, laid over white where it is transparent,
 * resized by bilinear interpolation (averaging over the source pixels when it shrinks), and
 * normalized channel by channel.
 */
import jpeg from "jpeg-js";
import { InputError } from "../error.ts";
import { decodePng, MOST_PIXELS, type Picture } from "./png.ts";

export type { Picture } from "./png.ts";

/**
 * How bytes 0 to 255 become numbers: `symmetric` (x/255 - 0.5) / 0.5, from -1 to 1, as the PP-OCR
 * models want; `unit` x/255; `imagenet` (x/255 - mean) / deviation with ImageNet's means 0.485,
 * 0.456, 0.406 and deviations 0.229, 0.224, 0.225; `byte` x itself.
 */
export type Normalization = "symmetric" | "unit" | "imagenet" | "byte";

/** Names of the normalizations. */
export const NORMALIZATIONS = ["symmetric", "unit", "imagenet", "byte"] as const;

/** Mean and deviation of red, green and blue, of bytes divided by 255. */
const MOMENTS: Readonly<
  Record<Normalization, readonly [mean: readonly number[], deviation: readonly number[]]>
> = {
  symmetric: [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
  unit: [[0, 0, 0], [1, 1, 1]],
  imagenet: [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
  byte: [[0, 0, 0], [1 / 255, 1 / 255, 1 / 255]],
};

/** Weights of red, green and blue in a gray value (ITU-R BT.601). */
const LUMA = [0.299, 0.587, 0.114] as const;

/** Whether `bytes` begin as a PNG or JPEG file does. */
export function isPicture(bytes: Uint8Array): boolean {
  return isPng(bytes) || isJpeg(bytes);
}

function isPng(bytes: Uint8Array): boolean {
  return bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e && bytes[3] === 0x47;
}

function isJpeg(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

/** Scans of a JPEG file at most: each goes through all pixels, and takes some bytes of the file. */
const MOST_SCANS = 100;

/** How often a scan begins in `bytes`: no other data of a JPEG hold that marker but thumbnails. */
function scansOf(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(0xff); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    if (bytes[at + 1] === 0xda) count++;
  }
  return count;
}

/** Decodes the picture in `bytes`. Throws an `InputError` that names `source`. */
export function decodePicture(bytes: Uint8Array, source: string): Picture {
  try {
    if (isPng(bytes)) return decodePng(bytes);
    if (isJpeg(bytes)) {
      const scans = scansOf(bytes);
      if (scans > MOST_SCANS) throw new Error(`it has ${scans} scans, more than ${MOST_SCANS}`);
      const { width, height, data } = jpeg.decode(bytes, {
        useTArray: true,
        formatAsRGBA: true,
        tolerantDecoding: false,
        maxResolutionInMP: MOST_PIXELS / 1e6,
        maxMemoryUsageInMB: 1024,
      });
      return { width, height, rgba: data };
    }
  } catch (cause) {
    // The decoder of JPEG trusts its tables to be there.
    const state = cause instanceof TypeError || cause instanceof RangeError
      ? "its tables don't fit what refers to them"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new InputError(
      `Cannot read picture "${source}": ${state}. Save it again as PNG or JPEG.`,
      { cause },
    );
  }
  throw new InputError(
    `Cannot read picture "${source}": it is neither PNG nor JPEG. Convert it to one of them.`,
  );
}

/**
 * The numbers of `picture` at `width` by `height`, [channels, height, width]: red, green and blue, or
 * one channel of gray.
 */
export function pictureValues(
  picture: Picture,
  width: number,
  height: number,
  channels: 1 | 3,
  normalization: Normalization,
): Float32Array {
  const [mean, deviation] = MOMENTS[normalization];
  const resized = resize(flatten(picture, channels), channels, picture, { width, height });
  const pixels = width * height;
  for (let channel = 0; channel < channels; channel++) {
    for (let i = channel * pixels; i < (channel + 1) * pixels; i++) {
      resized[i] = (resized[i]! / 255 - mean[channel]!) / deviation[channel]!;
    }
  }
  return resized;
}

/** Planes of 0 to 255, [channels, height, width], transparent pixels laid over white. */
function flatten(picture: Picture, channels: 1 | 3): Float32Array {
  const pixels = picture.width * picture.height;
  const planes = new Float32Array(channels * pixels);
  const { rgba } = picture;
  for (let i = 0; i < pixels; i++) {
    const alpha = rgba[4 * i + 3]! / 255;
    for (let color = 0; color < 3; color++) {
      const value = rgba[4 * i + color]! * alpha + 255 * (1 - alpha);
      if (channels === 3) planes[color * pixels + i] = value;
      else planes[i]! += value * LUMA[color]!;
    }
  }
  return planes;
}

/** A width and a height in pixels. */
interface Size {
  readonly width: number;
  readonly height: number;
}

/** Resizes `planes` of size `from`, columns first, then rows. */
function resize(planes: Float32Array, channels: number, from: Size, to: Size): Float32Array {
  const across = filterTaps(from.width, to.width);
  const narrow = new Float32Array(channels * from.height * to.width);
  for (let row = 0; row < channels * from.height; row++) {
    for (let x = 0; x < to.width; x++) {
      narrow[row * to.width + x] = weigh(planes, row * from.width, 1, across[x]!);
    }
  }
  const down = filterTaps(from.height, to.height);
  const resized = new Float32Array(channels * to.height * to.width);
  for (let channel = 0; channel < channels; channel++) {
    const base = channel * from.height * to.width;
    for (let y = 0; y < to.height; y++) {
      const out = (channel * to.height + y) * to.width;
      for (let x = 0; x < to.width; x++) {
        resized[out + x] = weigh(narrow, base + x, to.width, down[y]!);
      }
    }
  }
  return resized;
}

/** The source elements that make one target element: the first of them, and their weights. */
interface Taps {
  readonly first: number;
  readonly weights: readonly number[];
}

/** Sum of `taps` over the elements of `data` that start at `base`, `stride` apart. */
function weigh(data: Float32Array, base: number, stride: number, taps: Taps): number {
  let sum = 0;
  for (let i = 0; i < taps.weights.length; i++) {
    sum += taps.weights[i]! * data[base + (taps.first + i) * stride]!;
  }
  return sum;
}

/**
 * Taps of a triangle filter with pixel centers at halves: plain bilinear interpolation where `to` is
 * the larger, and as wide as a target pixel where it is the smaller, so that nothing is skipped.
 */
function filterTaps(from: number, to: number): Taps[] {
  const step = from / to;
  const radius = Math.max(1, step);
  return Array.from({ length: to }, (_, target) => {
    const center = (target + 0.5) * step - 0.5;
    const first = Math.max(0, Math.ceil(center - radius));
    const last = Math.min(from - 1, Math.floor(center + radius));
    const weights: number[] = [];
    for (let i = first; i <= last; i++) weights.push(1 - Math.abs(i - center) / radius);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
