/** Pictures as inputs: the PNG decoder on every kind of PNG, JPEG, resizing and normalization. */
import assert from "node:assert/strict";
import { crc32, deflateSync } from "node:zlib";
import fc from "fast-check";
import { InputError } from "../../src/error.ts";
import { decodePng } from "../../src/verify/png.ts";
import { decodePicture, pictureValues } from "../../src/verify/picture.ts";

const SAMPLES: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [
  0,
  1,
  1,
  2,
]];

/** How to store a picture. */
interface Kind {
  readonly colorType: number;
  readonly depth: number;
  readonly interlaced: boolean;
  readonly filter: number;
}

function chunk(type: string, data: Uint8Array): number[] {
  const body = [...new TextEncoder().encode(type), ...data];
  const word = (
    value: number,
  ) => [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
  return [...word(data.length), ...body, ...word(crc32(Uint8Array.from(body)))];
}

/** An encoder as plain as can be: `sample(x, y, s)` is sample s of a pixel. */
function encodePng(
  width: number,
  height: number,
  kind: Kind,
  sample: (x: number, y: number, s: number) => number,
  extra: number[] = [],
  inflated?: Uint8Array,
): Uint8Array {
  const { colorType, depth, interlaced, filter } = kind;
  const samples = SAMPLES[colorType]!;
  const distance = Math.max(1, samples * depth >> 3);
  const rows: number[] = [];
  for (const [x0, y0, dx, dy] of inflated ? [] : interlaced ? ADAM7 : [[0, 0, 1, 1]]) {
    let previous: number[] = [];
    for (let y = y0!; y < height; y += dy!) {
      let bits = "";
      for (let x = x0!; x < width; x += dx!) {
        for (let s = 0; s < samples; s++) bits += sample(x, y, s).toString(2).padStart(depth, "0");
      }
      if (bits === "") continue;
      const line = bits.match(/.{1,8}/g)!.map((byte) => parseInt(byte.padEnd(8, "0"), 2));
      rows.push(
        filter,
        ...line.map((value, i) => {
          const left = line[i - distance] ?? 0;
          const up = previous[i] ?? 0;
          const corner = i < distance ? 0 : previous[i - distance] ?? 0;
          const guess = left + up - corner;
          const nearest = [left, up, corner].toSorted((a, b) =>
            Math.abs(guess - a) - Math.abs(guess - b)
          )[0]!;
          return (value - [0, left, up, (left + up) >> 1, nearest][filter]!) & 255;
        }),
      );
      previous = line;
    }
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, depth);
  header.setUint8(9, colorType);
  header.setUint8(12, interlaced ? 1 : 0);
  const packed = deflateSync(inflated ?? Uint8Array.from(rows));
  const half = packed.length >> 1;
  return Uint8Array.from([
    ...[0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
    ...chunk("IHDR", new Uint8Array(header.buffer)),
    ...extra,
    ...chunk("IDAT", packed.subarray(0, half)),
    ...chunk("IDAT", packed.subarray(half)),
    ...chunk("IEND", new Uint8Array(0)),
  ]);
}

const kinds = fc.record({
  kind: fc.constantFrom(
    ...[[0, 1], [0, 2], [0, 4], [0, 8], [0, 16], [2, 8], [2, 16], [4, 8], [4, 16], [6, 8], [6, 16]],
  ),
  interlaced: fc.boolean(),
  filter: fc.integer({ min: 0, max: 4 }),
  width: fc.integer({ min: 1, max: 20 }),
  height: fc.integer({ min: 1, max: 20 }),
  salt: fc.nat(),
});

Deno.test("PNG of every color type, depth, filter and interlacing decodes to its samples", () => {
  fc.assert(
    fc.property(kinds, ({ kind: [colorType, depth], interlaced, filter, width, height, salt }) => {
      const most = 2 ** depth! - 1;
      const sample = (x: number, y: number, s: number) =>
        Math.imul(salt + 7 * x + 31 * y + 101 * s, 2654435761) >>> (32 - depth!);
      const kind = { colorType: colorType!, depth: depth!, interlaced, filter };
      const picture = decodePng(encodePng(width, height, kind, sample));
      const toByte = (value: number) => depth === 16 ? value >> 8 : Math.round(value * 255 / most);
      assert.deepEqual([picture.width, picture.height], [width, height]);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const gray = colorType === 0 || colorType === 4;
          const all = [0, 1, 2].map((s) => toByte(sample(x, y, gray ? 0 : s)));
          all.push(colorType === 4 ? toByte(sample(x, y, 1)) : 255);
          if (colorType === 6) all[3] = toByte(sample(x, y, 3));
          const at = 4 * (y * width + x);
          assert.deepEqual([...picture.rgba.subarray(at, at + 4)], all, `${x},${y}`);
        }
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("palettes, transparent palette entries and transparent colors", () => {
  const palette = chunk("PLTE", Uint8Array.of(1, 2, 3, 40, 50, 60));
  const alpha = chunk("tRNS", Uint8Array.of(255, 128));
  const kind = { colorType: 3, depth: 1, interlaced: false, filter: 0 };
  const indexed = decodePng(encodePng(2, 1, kind, (x) => x, [...palette, ...alpha]));
  assert.deepEqual([...indexed.rgba], [1, 2, 3, 255, 40, 50, 60, 128]);
  const gray = { colorType: 0, depth: 8, interlaced: false, filter: 0 };
  const keyed = decodePng(
    encodePng(2, 1, gray, (x) => x === 0 ? 7 : 9, chunk("tRNS", Uint8Array.of(0, 9))),
  );
  assert.deepEqual([...keyed.rgba], [7, 7, 7, 255, 9, 9, 9, 0]);
  assert.throws(
    () => decodePng(encodePng(2, 1, { ...kind, depth: 2 }, () => 3, palette)),
    /color 3 of 2/,
  );
});

Deno.test("broken and hostile PNG files are refused with the reason", () => {
  const gray = { colorType: 0, depth: 8, interlaced: false, filter: 0 };
  const good = encodePng(4, 4, gray, () => 5);
  const changed = (at: number, value: number) => good.with(at, value) as Uint8Array;
  const cases: [Uint8Array, RegExp][] = [
    [good.subarray(0, 40), /ends within a chunk|passes the end/],
    [changed(20, 9), /CRC/],
    [encodePng(4, 4, { ...gray, filter: 0 }, () => 5, [], new Uint8Array(10)), /fewer pixels/],
    [encodePng(4, 4, gray, () => 5, [], new Uint8Array(1 << 22)), /do not inflate to the size/],
    [encodePng(4, 4, gray, () => 5, [], new Uint8Array(20).fill(5)), /unknown filter 5/],
    [encodePng(4, 4, gray, () => 5, chunk("ABCD", new Uint8Array(0))), /unknown chunk/],
    [encodePng(0, 4, gray, () => 5), /size of 0x4/],
    [encodePng(2 ** 31 - 1, 1, gray, () => 5, [], new Uint8Array(1)), /size of 2147483647x1/],
  ];
  for (const [bytes, reason] of cases) {
    assert.throws(() => decodePicture(bytes, "evil.png"), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, reason);
      return true;
    });
  }
});

Deno.test("a changed PNG decodes or fails with an InputError", () => {
  const good = encodePng(9, 9, { colorType: 2, depth: 8, interlaced: true, filter: 4 }, (x) => x);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.boolean(), (at, value, fixCrc) => {
      const bytes = good.slice();
      bytes[at] = value;
      if (fixCrc) {
        const view = new DataView(bytes.buffer);
        view.setUint32(29, crc32(bytes.subarray(12, 29)));
      }
      try {
        decodePicture(bytes, "x");
      } catch (error) {
        assert.ok(error instanceof InputError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a JPEG picture decodes to its color", () => {
  const bytes = Uint8Array.from(
    atob(
      "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoK" +
        "CgoKBggLDAsKDAkKCgr/2wBDAQICAgICAgUDAwUKBwYHCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoK" +
        "CgoKCgoKCgr/wAARCAAIABADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF" +
        "BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW" +
        "V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi" +
        "4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC" +
        "AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm" +
        "Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq" +
        "8vP09fb3+Pn6/9oADAMBAAIRAxEAPwD5Pooor4c/1MP/2Q==",
    ),
    (c) => c.charCodeAt(0),
  );
  const picture = decodePicture(bytes, "x.jpg");
  assert.deepEqual([picture.width, picture.height], [16, 8]);
  [200, 30, 60, 255].forEach((value, i) => assert.ok(Math.abs(picture.rgba[i]! - value) <= 3));
  assert.throws(() => decodePicture(bytes.subarray(0, 200), "x.jpg"), InputError);
  // Its scan again and again: a short file that takes long.
  const scan = bytes.subarray(bytes.lastIndexOf(0xda) - 1, bytes.length - 2);
  const again = Uint8Array.from([...bytes, ...Array(100).fill([...scan]).flat()]);
  assert.throws(
    () => decodePicture(again, "x.jpg"),
    /Cannot read picture "x.jpg": it has 101 scans, more than 100/,
  );
  // A scan of a component that no frame has.
  const foreign = bytes.slice();
  foreign[bytes.lastIndexOf(0xda) + 4] = 9;
  assert.throws(
    () => decodePicture(foreign, "x.jpg"),
    /its tables don't fit what refers to them/,
  );
  assert.throws(
    () => decodePicture(Uint8Array.of(71, 73, 70, 56), "x.gif"),
    /neither PNG nor JPEG/,
  );
});

Deno.test("normalizations, channels and transparency", () => {
  const picture = { width: 1, height: 1, rgba: Uint8Array.of(255, 0, 128, 255) };
  const close = (values: Float32Array, expected: number[]) =>
    expected.forEach((value, i) => assert.ok(Math.abs(values[i]! - value) < 1e-5, `${values}`));
  close(pictureValues(picture, 1, 1, 3, "symmetric"), [1, -1, 2 * 128 / 255 - 1]);
  close(pictureValues(picture, 1, 1, 3, "unit"), [1, 0, 128 / 255]);
  close(pictureValues(picture, 1, 1, 3, "imagenet"), [
    (1 - 0.485) / 0.229,
    -0.456 / 0.224,
    (128 / 255 - 0.406) / 0.225,
  ]);
  close(pictureValues(picture, 1, 1, 1, "unit"), [(0.299 * 255 + 0.114 * 128) / 255]);
  const clear = { width: 1, height: 1, rgba: Uint8Array.of(0, 0, 0, 0) };
  close(pictureValues(clear, 1, 1, 3, "unit"), [1, 1, 1]);
});

Deno.test("resizing interpolates between pixels and averages over them", () => {
  const rgba = (values: number[]) => Uint8Array.from(values.flatMap((v) => [v, v, v, 255]));
  const gray = (width: number, height: number, values: number[], w: number, h: number) =>
    [...pictureValues({ width, height, rgba: rgba(values) }, w, h, 1, "byte")]
      .map((value) => Math.round(value * 100) / 100);
  assert.deepEqual(gray(2, 1, [0, 100], 4, 1), [0, 25, 75, 100]);
  assert.deepEqual(gray(1, 2, [0, 100], 1, 4), [0, 25, 75, 100]);
  assert.deepEqual(gray(3, 1, [10, 20, 30], 3, 1), [10, 20, 30]);
  // A white pixel among 64 black ones is still seen after shrinking to 4.
  const shrunk = gray(64, 1, Array.from({ length: 64 }, (_, i) => i === 33 ? 255 : 0), 4, 1);
  assert.ok(shrunk.some((value) => value > 1), `${shrunk}`);
});
