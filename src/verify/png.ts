/**
 * Decoder of PNG pictures (https://www.w3.org/TR/png-3/): every color type and bit depth, palettes,
 * transparency and Adam7, to 8 bits of red, green, blue and alpha. Files are untrusted: the size is
 * checked before memory is taken, and inflating stops at the size that the header implies.
 */
import { crc32, inflateSync } from "node:zlib";

/** Pixels that a picture may have. */
export const MOST_PIXELS = 32 * 2 ** 20;

/** A decoded picture: 4 bytes a pixel, red, green, blue, alpha, row by row from the top. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8Array;
}

/** Samples a pixel, by color type. */
const SAMPLES: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** Bit depths that a color type may have. */
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};

/** Where each pass of Adam7 starts and how far it steps: x0, y0, dx, dy. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** The chunks of a file that decide how its pixels look. */
interface Chunks {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colorType: number;
  readonly interlaced: boolean;
  readonly palette: Uint8Array | null;
  readonly transparency: Uint8Array | null;
  readonly data: Uint8Array;
}

/** Decodes the PNG picture in `bytes`. Throws an `Error` that says what is wrong and where. */
export function decodePng(bytes: Uint8Array): Picture {
  const chunks = readChunks(bytes);
  const { width, height, depth, colorType } = chunks;
  const bitsPerPixel = SAMPLES[colorType]! * depth;
  const passes = (chunks.interlaced ? ADAM7 : [[0, 0, 1, 1] as const])
    .map(([x0, y0, dx, dy]) => ({
      x0,
      y0,
      dx,
      dy,
      columns: Math.ceil((width - x0) / dx),
      rows: Math.ceil((height - y0) / dy),
    }))
    .filter((pass) => pass.columns > 0 && pass.rows > 0);
  const expected = passes.reduce(
    (sum, { columns, rows }) => sum + rows * (1 + Math.ceil(columns * bitsPerPixel / 8)),
    0,
  );
  let filtered: Uint8Array;
  try {
    filtered = inflateSync(chunks.data, { maxOutputLength: expected });
  } catch (cause) {
    throw new Error("its pixels do not inflate to the size in its header", { cause });
  }
  if (filtered.length < expected) throw new Error("it has fewer pixels than its header says");

  const rgba = new Uint8Array(width * height * 4);
  const paint = painter(chunks, rgba);
  let at = 0;
  for (const { x0, y0, dx, dy, columns, rows } of passes) {
    const rowBytes = Math.ceil(columns * bitsPerPixel / 8);
    let previous = new Uint8Array(rowBytes);
    for (let row = 0; row < rows; row++) {
      const line = filtered.subarray(at + 1, at + 1 + rowBytes);
      unfilter(filtered[at]!, line, previous, Math.max(1, bitsPerPixel >> 3));
      for (let column = 0; column < columns; column++) {
        paint(line, column, ((y0 + row * dy) * width + x0 + column * dx) * 4);
      }
      previous = line as Uint8Array<ArrayBuffer>;
      at += 1 + rowBytes;
    }
  }
  return { width, height, rgba };
}

/** Reads and checks the chunks of a file. */
function readChunks(bytes: Uint8Array): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8 || view.getUint32(0) !== 0x89504e47 || view.getUint32(4) !== 0x0d0a1a0a) {
    throw new Error("it does not begin with the PNG signature");
  }
  let header: Uint8Array | null = null;
  let palette: Uint8Array | null = null;
  let transparency: Uint8Array | null = null;
  const data: Uint8Array[] = [];
  let at = 8;
  for (let ended = false; !ended;) {
    if (at + 12 > bytes.length) throw new Error(`it ends within a chunk at byte ${at}`);
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) {
      throw new Error(`the chunk at byte ${at} passes the end of the file`);
    }
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) {
      throw new Error(`the chunk at byte ${at} is damaged: its CRC does not match`);
    }
    if (header === null && type !== "IHDR") throw new Error("its first chunk is not IHDR");
    if (type === "IHDR") header = content;
    else if (type === "PLTE") palette = content;
    else if (type === "tRNS") transparency = content;
    else if (type === "IDAT") data.push(content);
    else if (type === "IEND") ended = true;
    // A lower-case first letter marks a chunk that a decoder may skip.
    else if ((bytes[at + 4]! & 32) === 0) {
      throw new Error(`it needs the unknown chunk at byte ${at}`);
    }
    at += 12 + length;
  }
  if (header === null || header.length !== 13) throw new Error("its IHDR chunk is not 13 bytes");
  const fields = new DataView(header.buffer, header.byteOffset, 13);
  const width = fields.getUint32(0);
  const height = fields.getUint32(4);
  const depth = fields.getUint8(8);
  const colorType = fields.getUint8(9);
  if (width === 0 || height === 0 || width * height > MOST_PIXELS) {
    throw new Error(`its size of ${width}x${height} is not from 1 to ${MOST_PIXELS} pixels`);
  }
  if (!DEPTHS[colorType]?.includes(depth)) {
    throw new Error(`its header has color type ${colorType} with ${depth} bits`);
  }
  if (fields.getUint8(10) !== 0 || fields.getUint8(11) !== 0 || fields.getUint8(12) > 1) {
    throw new Error("its header names an unknown compression, filter or interlace method");
  }
  if (colorType === 3 && (palette === null || palette.length % 3 !== 0)) {
    throw new Error("its palette is missing or broken");
  }
  const joined = new Uint8Array(data.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of data) {
    joined.set(part, offset);
    offset += part.length;
  }
  return {
    width,
    height,
    depth,
    colorType,
    interlaced: fields.getUint8(12) === 1,
    palette,
    transparency,
    data: joined,
  };
}

/** Undoes the filter `type` of `line` in place; `pixelBytes` is the distance to the left pixel. */
function unfilter(type: number, line: Uint8Array, previous: Uint8Array, pixelBytes: number): void {
  for (let i = 0; i < line.length; i++) {
    const left = i < pixelBytes ? 0 : line[i - pixelBytes]!;
    const up = previous[i]!;
    switch (type) {
      case 0:
        return;
      case 1:
        line[i]! += left;
        break;
      case 2:
        line[i]! += up;
        break;
      case 3:
        line[i]! += (left + up) >> 1;
        break;
      case 4:
        line[i]! += paeth(left, up, i < pixelBytes ? 0 : previous[i - pixelBytes]!);
        break;
      default:
        throw new Error(`a row of it has the unknown filter ${type}`);
    }
  }
}

/** The one of left, up and up-left nearest to left + up - upLeft. */
function paeth(left: number, up: number, upLeft: number): number {
  const estimate = left + up - upLeft;
  const toLeft = Math.abs(estimate - left);
  const toUp = Math.abs(estimate - up);
  const toUpLeft = Math.abs(estimate - upLeft);
  if (toLeft <= toUp && toLeft <= toUpLeft) return left;
  return toUp <= toUpLeft ? up : upLeft;
}

/** A function that stores pixel `column` of an unfiltered row at `rgba[to]` and the three after. */
function painter(
  chunks: Chunks,
  rgba: Uint8Array,
): (line: Uint8Array, column: number, to: number) => void {
  const { depth, colorType, palette, transparency } = chunks;
  const samples = SAMPLES[colorType]!;
  const highest = (1 << depth) - 1;
  const sample = (line: Uint8Array, index: number): number => {
    if (depth === 8) return line[index]!;
    if (depth === 16) return line[2 * index]! << 8 | line[2 * index + 1]!;
    const bit = index * depth;
    return (line[bit >> 3]! >> (8 - depth - (bit & 7))) & highest;
  };
  const toByte = (value: number) => depth === 16 ? value >> 8 : Math.round(value * 255 / highest);

  if (colorType === 3) {
    const colors = palette!.length / 3;
    return (line, column, to) => {
      const index = sample(line, column);
      if (index >= colors) throw new Error(`a pixel of it has color ${index} of ${colors}`);
      rgba.set(palette!.subarray(3 * index, 3 * index + 3), to);
      rgba[to + 3] = transparency?.[index] ?? 255;
    };
  }
  const hasAlpha = colorType === 4 || colorType === 6;
  const colors = hasAlpha ? samples - 1 : samples;
  /** The samples that stand for a fully transparent pixel. */
  const key = !hasAlpha && transparency !== null && transparency.length >= 2 * colors
    ? Array.from({ length: colors }, (_, i) => transparency[2 * i]! << 8 | transparency[2 * i + 1]!)
    : null;
  return (line, column, to) => {
    const first = column * samples;
    let isKey = key !== null;
    for (let color = 0; color < 3; color++) {
      const value = sample(line, first + (colors === 1 ? 0 : color));
      rgba[to + color] = toByte(value);
      if (key !== null && value !== key[colors === 1 ? 0 : color]) isKey = false;
    }
    rgba[to + 3] = hasAlpha ? toByte(sample(line, first + colors)) : isKey ? 0 : 255;
  };
}
