/**
 * Made-up pictures: a shaded ground with lines of figures on it, like those of a seven-segment
 * display, so that models which look for edges, objects or text find something.
 */
import type { Random } from "./random.ts";

/** Segments of the figures 0 to 9: top, top right, bottom right, bottom, bottom left, top left, bar. */
const FIGURES = [0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f] as const;

/** Where each segment lies in a figure's box, from 0 to 1: left, top, right, bottom. */
const SEGMENTS = [
  [0, 0, 1, 0.14],
  [0.75, 0, 1, 0.55],
  [0.75, 0.45, 1, 1],
  [0, 0.86, 1, 1],
  [0, 0.45, 0.25, 1],
  [0, 0, 0.25, 0.55],
  [0, 0.43, 1, 0.57],
] as const;

/** Heights of figures, in pixels, where the picture is high enough for several lines. */
const LOWEST_LINE = 16;
const HIGHEST_LINE = 48;

/**
 * The values, from -1 to 1, of a picture of the extents `dims` with the channels on `channelAxis`, as
 * a function of the place in row-major order.
 */
export function picturePattern(
  random: Random,
  dims: readonly number[],
  channelAxis: 1 | 3,
): (index: number) => number {
  const [height, width] = channelAxis === 1 ? [dims[2]!, dims[3]!] : [dims[1]!, dims[2]!];
  const channels = dims[channelAxis]!;
  const shade = paint(random, width, height);
  const tints = Array.from({ length: channels }, () => 0.85 + 0.15 * random.next());
  const pixels = width * height;
  return (index) => {
    const channel = channelAxis === 1 ? Math.floor(index / pixels) % channels : index % channels;
    const pixel = channelAxis === 1 ? index % pixels : Math.floor(index / channels) % pixels;
    const value = shade[pixel]! * tints[channel]! + 0.03 * random.normal();
    return Math.max(-1, Math.min(1, value));
  };
}

/** Paints the ground and the lines of figures. */
function paint(random: Random, width: number, height: number): Float32Array {
  const shade = new Float32Array(width * height);
  const slopeX = (random.next() - 0.5) / width;
  const slopeY = (random.next() - 0.5) / height;
  const paper = 0.4 + 0.4 * random.next();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      shade[y * width + x] = paper + slopeX * (x - width / 2) + slopeY * (y - height / 2);
    }
  }
  const ink = -0.5 - 0.5 * random.next();
  for (let top = 0; top < height;) {
    const room = height - top;
    const line = room <= 1.5 * HIGHEST_LINE
      ? room
      : LOWEST_LINE + random.integer(HIGHEST_LINE - LOWEST_LINE + 1);
    const figure = { width: 0.36 * line, height: 0.6 * line, top: top + 0.2 * line };
    let left = random.next() * Math.max(0, width / 4);
    while (left + figure.width < width) {
      // One figure in six is left out, as a space between words.
      if (random.integer(6) > 0) {
        const segments = FIGURES[random.integer(FIGURES.length)]!;
        SEGMENTS.forEach(([x0, y0, x1, y1], segment) => {
          if ((segments >> segment & 1) === 0) return;
          const rows = [figure.top + y0 * figure.height, figure.top + y1 * figure.height] as const;
          const columns = [left + x0 * figure.width, left + x1 * figure.width] as const;
          for (let y = Math.round(rows[0]); y < Math.min(height, rows[1]); y++) {
            for (let x = Math.round(columns[0]); x < Math.min(width, columns[1]); x++) {
              shade[y * width + x] = ink;
            }
          }
        });
      }
      left += figure.width * 1.4;
    }
    top += line;
  }
  return shade;
}
