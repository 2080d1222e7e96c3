/**
 * From results to tensors: every packing, over random shapes, formats and tiles, holds the codes,
 * scales and zero points where its description says.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type BlockFormat, blockLayout, symmetricZeroPoint } from "../../src/formats.ts";
import { elementCount, makeTensor } from "../../src/ir.ts";
import type { Target } from "../../src/quantization/encodings/encoding.ts";
import { makeFill, type Packing } from "../../src/quantization/encodings/packing.ts";
import type { QuantizeResult } from "../../src/quantization/engine.ts";
import { codesOf } from "../encoding_conversion.ts";
import { decode, noise } from "../encoding_models.ts";

/** A matrix of random codes. */
interface Sample {
  readonly format: BlockFormat;
  readonly batch: number;
  readonly rows: number;
  readonly columns: number;
  readonly tileRows: number;
  readonly seed: number;
}

const samples: fc.Arbitrary<Sample> = fc.record({
  format: fc.record({
    bits: fc.constantFrom(8, 4, 3, 2),
    symmetric: fc.boolean(),
    blockSize: fc.constantFrom(0, 16, 32, 64),
    scaleType: fc.constantFrom("float16", "float32"),
  }) as fc.Arbitrary<BlockFormat>,
  batch: fc.integer({ min: 1, max: 2 }),
  rows: fc.integer({ min: 1, max: 37 }),
  columns: fc.integer({ min: 1, max: 150 }),
  tileRows: fc.constantFrom(16, 32, 48),
  seed: fc.integer(),
});

/** A result of random bytes for `rows` rows; codes of padding are the zero point. */
function randomResult(sample: Sample, rows: number, seed: number): QuantizeResult {
  const { format, columns } = sample;
  const layout = blockLayout(format, rows, columns);
  const bytes = (count: number, salt: number) =>
    Uint8Array.from(noise(seed + salt, count), (value) => Math.floor((value + 1) * 127.9));
  const mask = (1 << format.bits) - 1;
  return {
    codes: bytes(layout.codeBytes, 1),
    scales: bytes(layout.scaleBytes, 2),
    zeroPoints: format.symmetric ? null : bytes(rows * layout.blocks, 3).map((b) => b & mask),
    nonFinite: 0,
    saturated: 0,
    release() {},
  };
}

/** What tiles of a sample hold, row by row over all matrices. */
interface Contents {
  readonly codes: number[][];
  readonly scales: number[][];
  readonly zeroPoints: number[][];
  /** The tensor as it was put together. */
  readonly bytes: Uint8Array;
}

/** Fills a tensor of `length` bytes by `packing`, tile by tile, each byte written once. */
function fill(sample: Sample, packing: Packing, length: number): Contents {
  const { format, batch, rows, columns, tileRows } = sample;
  const view = { batch, rows, columns, order: "rows", weightType: "float32" } as const;
  const tensor = makeTensor("t", "uint8", [length], { kind: "pending", length });
  // Packing looks at the format and the view alone.
  const target = { format, view } as Target;
  const made = makeFill(tensor, target, packing);
  const bytes = new Uint8Array(length);
  const written = new Uint8Array(length);
  const contents: Contents = { codes: [], scales: [], zeroPoints: [], bytes };
  const { blocks } = blockLayout(format, rows, columns);
  for (let matrix = 0; matrix < batch; matrix++) {
    for (let firstRow = 0; firstRow < rows; firstRow += tileRows) {
      const count = Math.min(tileRows, rows - firstRow);
      const result = randomResult(sample, count, sample.seed + matrix * 100 + firstRow);
      const codes = codesOf(result, format, count, columns);
      const scales = decode(format.scaleType, result.scales);
      for (let row = 0; row < count; row++) {
        const width = codes.length / count;
        contents.codes.push(codes.slice(row * width, (row + 1) * width));
        contents.scales.push(scales.slice(row * blocks, (row + 1) * blocks));
        const points = [...(result.zeroPoints ?? [])].slice(row * blocks, (row + 1) * blocks);
        contents.zeroPoints.push(points);
      }
      const piece = made.pack(result, { batch: matrix, firstRow, rows: count });
      if (piece === null) continue;
      bytes.set(piece.bytes, piece.offset);
      piece.bytes.forEach((_, i) => written[piece.offset + i]!++);
    }
  }
  assert.ok(written.every((times) => times === 1), "bytes not written exactly once");
  return contents;
}

/** Element `index` of values of `bits`, least significant first. */
function element(bytes: Uint8Array, bits: number, index: number): number {
  const at = index * bits;
  // Codes of 3 bits may lie in two bytes.
  const both = bytes[at >> 3]! | ((bytes[(at >> 3) + 1] ?? 0) << 8);
  return (both >> (at & 7)) & ((1 << bits) - 1);
}

function check(property: (sample: Sample) => void): void {
  fc.assert(fc.property(samples, property), { numRuns: 150 });
}

Deno.test("codes and scales go over as the engine lays them out", () => {
  check((sample) => {
    const { format, batch, rows, columns } = sample;
    const { codeBytes, scaleBytes, blocks, blockLength } = blockLayout(format, rows, columns);
    const scales = fill(sample, { part: "scales" }, batch * scaleBytes);
    assert.deepEqual(decode(format.scaleType, scales.bytes), scales.scales.flat());
    if (format.bits === 3) {
      for (const plane of [0, 1, 2] as const) {
        const made = fill(sample, { part: "codes", plane }, batch * codeBytes / 3);
        made.codes.forEach((row, r) =>
          row.forEach((code, k) => {
            const [block, i] = [Math.floor(k / blockLength), k % blockLength];
            const quarter = blockLength / 4;
            const [s, rest] = [Math.floor(i / quarter), i % quarter];
            const byte = made.bytes[((r * blocks + block) * blockLength) / 8 + (rest >> 1)]!;
            if (plane === 2) assert.equal((byte >> (4 * (rest & 1) + s)) & 1, code >> 2);
            else if (plane === s >> 1) {
              assert.equal((byte >> (4 * (rest & 1) + 2 * (s & 1))) & 3, code & 3);
            }
          })
        );
      }
    }
    const part = format.bits === 3 ? "threes" : "codes";
    const made = fill(sample, { part }, batch * codeBytes);
    made.codes.flat().forEach((code, i) => assert.equal(element(made.bytes, format.bits, i), code));
  });
});

Deno.test("dense and transposed codes keep a row's own weights", () => {
  check((sample) => {
    const { format, batch, rows, columns } = sample;
    const widths = format.bits === 3 ? [3, 8] as const : [format.bits];
    const parts = (["dense", "transposed"] as const).flatMap((part) =>
      [true, false].flatMap((signed) => widths.map((bits) => ({ part, signed, bits })))
    );
    for (const { part, signed, bits } of parts) {
      const length = Math.ceil(batch * rows * columns * bits / 8);
      const made = fill(sample, { part, keep: columns, signed, bits }, length);
      made.codes.forEach((row, global) => {
        const [matrix, r] = [Math.floor(global / rows), global % rows];
        for (let k = 0; k < columns; k++) {
          const at = matrix * rows * columns + (part === "dense" ? r * columns + k : k * rows + r);
          const stored = element(made.bytes, bits, at);
          const middle = symmetricZeroPoint(format.bits);
          assert.equal(stored, signed ? row[k]! ^ middle : row[k]!);
        }
      });
    }
  });
});

Deno.test("signed codes are the code minus 2^(bits-1) in two's complement", () => {
  for (const bits of [8, 4, 2] as const) {
    const sample: Sample = {
      format: { bits, symmetric: true, blockSize: 16, scaleType: "float16" },
      batch: 1,
      rows: 3,
      columns: 16,
      tileRows: 16,
      seed: 5,
    };
    const made = fill(sample, { part: "dense", keep: 16, signed: true, bits }, 6 * bits);
    made.codes.flat().forEach((code, i) => {
      const stored = element(made.bytes, bits, i);
      const signed = stored >= 1 << (bits - 1) ? stored - (1 << bits) : stored;
      assert.equal(signed, code - (1 << (bits - 1)));
    });
  }
});

Deno.test("codes are cut anew into an operator's blocks, padded with the zero point", () => {
  check((sample) => {
    const whole = { ...sample, format: { ...sample.format, blockSize: 0 } } as Sample;
    const { format, batch, rows, columns } = whole;
    if (format.bits === 3) return;
    const blockLength = 32;
    const padded = Math.ceil(columns / blockLength) * blockLength;
    const all = batch * rows;
    const packing = { part: "blocks", rows: all, columns, blockLength, transposed: false } as const;
    const made = fill(whole, packing, all * padded * format.bits / 8);
    made.codes.forEach((row, r) => {
      for (let k = 0; k < padded; k++) {
        const zero = made.zeroPoints[r]![0] ?? symmetricZeroPoint(format.bits);
        const wanted = k < columns ? row[k]! : zero;
        assert.equal(element(made.bytes, format.bits, r * padded + k), wanted);
      }
    });
  });
});

Deno.test("a tensor in one row is cut into the rows of the weight's matrix", () => {
  for (const bits of [8, 4, 2] as const) {
    for (const transposed of [true, false]) {
      const [rows, columns, blockLength] = [5, 40, 32];
      const sample: Sample = {
        format: { bits, symmetric: true, blockSize: 0, scaleType: "float16" },
        batch: 1,
        rows: 1,
        columns: rows * columns,
        tileRows: 16,
        seed: 9,
      };
      const packing = { part: "blocks", rows, columns, blockLength, transposed } as const;
      const made = fill(sample, packing, rows * 64 * bits / 8);
      for (let r = 0; r < rows; r++) {
        for (let k = 0; k < columns; k++) {
          const wanted = made.codes[0]![transposed ? k * rows + r : r * columns + k];
          assert.equal(element(made.bytes, bits, r * 64 + k), wanted);
        }
      }
    }
  }
});

Deno.test("zero points are packed by row, densely, transposed and repeated", () => {
  check((sample) => {
    const { rows, columns, batch } = sample;
    const format = { ...sample.format, symmetric: false };
    const asymmetric = { ...sample, format };
    const { blocks } = blockLayout(format, rows, columns);
    const bits = format.bits === 3 ? 4 : format.bits;
    const all = batch * rows;
    const rowBytes = Math.ceil(blocks * bits / 8);
    const byRow = fill(
      asymmetric,
      { part: "zero points", bits, rowAligned: true },
      all * rowBytes,
    );
    byRow.zeroPoints.forEach((row, r) =>
      row.forEach((point, b) =>
        assert.equal(element(byRow.bytes.subarray(r * rowBytes), bits, b), point)
      )
    );
    const denseBytes = Math.ceil(all * blocks * bits / 8);
    const dense = fill(asymmetric, { part: "zero points", bits, rowAligned: false }, denseBytes);
    dense.zeroPoints.flat().forEach((point, i) =>
      assert.equal(element(dense.bytes, bits, i), point)
    );
    const turned = fill(asymmetric, { part: "transposed zero points", bits }, denseBytes);
    turned.zeroPoints.forEach((row, global) =>
      row.forEach((point, b) => {
        const [matrix, r] = [Math.floor(global / rows), global % rows];
        assert.equal(element(turned.bytes, bits, (matrix * blocks + b) * rows + r), point);
      })
    );
    const channel = { ...asymmetric, format: { ...format, blockSize: 0 as const } };
    const repeated = fill(channel, { part: "repeated zero points", bits }, all);
    repeated.zeroPoints.flat().forEach((point, r) => {
      for (let i = 0; i < 8 / bits; i++) {
        assert.equal(element(repeated.bytes.subarray(r), bits, i), point);
      }
    });
  });
});

Deno.test("transposed scales lie block by block", () => {
  check((sample) => {
    const { format, batch, rows, columns } = sample;
    const { blocks, scaleBytes } = blockLayout(format, rows, columns);
    const made = fill(sample, { part: "transposed scales" }, batch * scaleBytes);
    const stored = decode(format.scaleType, made.bytes);
    made.scales.forEach((row, global) =>
      row.forEach((scale, b) => {
        const [matrix, r] = [Math.floor(global / rows), global % rows];
        assert.deepEqual(stored[(matrix * blocks + b) * rows + r], scale);
      })
    );
    assert.equal(stored.length, elementCount([batch, blocks, rows]));
  });
});
