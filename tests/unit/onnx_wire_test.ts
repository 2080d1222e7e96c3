/** The wire format: what is built is read back, packed or not, and broken bytes are refused. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { join } from "node:path";
import { InputError } from "../../src/error.ts";
import { countTyped, TypedDecoder } from "../../src/onnx/typed.ts";
import { memoryRecords, Records, WireBuilder, WireFile } from "../../src/onnx/wire.ts";

/** Calls `use` with `bytes` as a file. */
function withFile<T>(bytes: Uint8Array, use: (file: WireFile) => T): T {
  const folder = Deno.makeTempDirSync();
  const path = join(folder, "bytes");
  Deno.writeFileSync(path, bytes);
  const file = Deno.openSync(path);
  try {
    return use(new WireFile(path, file, bytes.length));
  } finally {
    file.close();
    Deno.removeSync(folder, { recursive: true });
  }
}

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** A list of values in records: some packed, some alone. */
const chunked = <T>(value: fc.Arbitrary<T>) =>
  fc.array(fc.record({ packed: fc.boolean(), values: fc.array(value, { maxLength: 40 }) }), {
    maxLength: 8,
  });

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

Deno.test("varint fields of both kinds decode to their little-endian form", () => {
  fc.assert(fc.property(
    chunked(int64),
    fc.constantFrom(
      ["int64_data", "int64", 8] as const,
      ["uint64_data", "uint64", 8] as const,
      ["uint64_data", "uint32", 4] as const,
      ["int32_data", "int32", 4] as const,
      ["int32_data", "float16", 2] as const,
      ["int32_data", "int8", 1] as const,
      ["int32_data", "uint4", 1] as const,
    ),
    (chunks, [field, dtype, width]) => {
      const out = new WireBuilder();
      for (const { packed, values } of chunks) {
        if (packed) out.packedInts(7, values);
        else for (const value of values) out.int(7, value);
      }
      const values = chunks.flatMap((chunk) => chunk.values);
      const expected = values.flatMap((value) =>
        Array.from(
          { length: width },
          (_, index) => Number((BigInt.asUintN(64, value) >> BigInt(8 * index)) & 255n),
        )
      );
      withFile(out.finish(), (file) => {
        const ranges = [{ start: 0, end: file.size }];
        assert.equal(countTyped(file, field, ranges, null), values.length);
        const bytes = new Uint8Array(expected.length);
        new TypedDecoder(file, field, dtype, ranges).fill(bytes);
        assert.deepEqual([...bytes], expected);
      });
    },
  ));
});

Deno.test("float fields of both kinds decode to their bits", () => {
  fc.assert(fc.property(chunked(fc.float({ noNaN: true })), (chunks) => {
    const out = new WireBuilder();
    for (const { packed, values } of chunks) {
      if (packed) out.bytes(4, new Uint8Array(new Float32Array(values).buffer));
      else for (const value of values) out.float(4, value);
    }
    const values = new Float32Array(chunks.flatMap((chunk) => chunk.values));
    withFile(out.finish(), (file) => {
      const ranges = [{ start: 0, end: file.size }];
      assert.equal(countTyped(file, "float_data", ranges, null), values.length);
      const bytes = new Uint8Array(values.byteLength);
      new TypedDecoder(file, "float_data", "float32", ranges).fill(bytes);
      assert.deepEqual(bytes, new Uint8Array(values.buffer));
    });
  }));
});

Deno.test("a decoder gives the same bytes in pieces of any size, past its own blocks", () => {
  const values = Array.from({ length: 70_000 }, (_, index) => (index * 2654435761) % 300);
  const bytes = new WireBuilder().packedInts(5, values).finish();
  withFile(bytes, (file) => {
    const ranges = [{ start: 0, end: file.size }];
    const whole = new Uint8Array(140_000);
    new TypedDecoder(file, "int32_data", "int16", ranges).fill(whole);
    assert.deepEqual([...new Int16Array(whole.buffer)], values);
    const decoder = new TypedDecoder(file, "int32_data", "int16", ranges);
    const pieces = new Uint8Array(140_000);
    for (let at = 0, size = 1; at < pieces.length; size = size * 3 % 4099 + 1) {
      const end = Math.min(pieces.length, at + size);
      decoder.fill(pieces.subarray(at, end));
      at = end;
    }
    assert.deepEqual(pieces, whole);
  });
});

Deno.test("6-bit values pack four in three bytes", () => {
  const bytes = new WireBuilder().packedInts(5, [1, 2, 3, 63, 33]).finish();
  withFile(bytes, (file) => {
    const into = new Uint8Array(4);
    new TypedDecoder(file, "int32_data", "float6e2m3", [{ start: 0, end: file.size }]).fill(into);
    const stream = 1 | (2 << 6) | (3 << 12) | (63 << 18);
    assert.deepEqual([...into], [stream & 255, (stream >> 8) & 255, stream >>> 16, 33]);
  });
});

const record = fc.oneof(
  fc.record({
    kind: fc.constant("int"),
    number: fc.integer({ min: 1, max: 2 ** 29 - 1 }),
    value: uint64,
  }),
  fc.record({
    kind: fc.constant("bytes"),
    number: fc.integer({ min: 1, max: 2 ** 29 - 1 }),
    value: fc.uint8Array({ maxLength: 300 }),
  }),
  fc.record({
    kind: fc.constant("float"),
    number: fc.integer({ min: 1, max: 40 }),
    value: fc.float(),
  }),
);

Deno.test("records are walked in a file and in memory alike", () => {
  fc.assert(fc.property(fc.array(record, { maxLength: 30 }), (entries) => {
    const out = new WireBuilder();
    for (const { number, value } of entries) {
      if (typeof value === "bigint") {
        const head = varint(BigInt(number) * 8n);
        out.raw(new Uint8Array([...head, ...varint(value)]));
      } else if (typeof value === "number") out.float(number, value);
      else out.bytes(number, value);
    }
    const bytes = out.finish();
    const inMemory = [...memoryRecords(bytes)];
    assert.deepEqual(inMemory.map((entry) => entry.number), entries.map((entry) => entry.number));
    if (bytes.length === 0) return;
    withFile(bytes, (file) => {
      const records = new Records(file, 0, bytes.length, null);
      for (const { number, wireType, record, payload } of inMemory) {
        assert.ok(records.next());
        assert.equal(records.number, number);
        assert.equal(records.wireType, wireType);
        assert.equal(records.end - records.start, record.length);
        assert.equal(records.end - records.payload, payload.length);
      }
      assert.equal(records.next(), false);
    });
  }));
});

Deno.test("broken records are refused with their position", () => {
  const cases: [number[], RegExp][] = [
    [[0x08], /ends within field 1/],
    [[0x08, ...Array(10).fill(0x80), 0x01], /more than 10 bytes in field 1/],
    [[...Array(10).fill(0xff), 0x01], /more than 10 bytes in a tag/],
    [[0x0a, 5, 1, 2], /field 1 of 5 bytes, of which 2 are there/],
    [[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], /of which 0 are there/],
    [[0x0d, 1, 2, 3], /field 1 of 4 bytes, of which 3/],
    [[0x09, 1, 2, 3], /field 1 of 8 bytes, of which 3/],
    [[0x0b], /wire type 3/],
    [[0x0c], /wire type 4/],
    [[0x0e], /wire type 6/],
    [[0x0f], /wire type 7/],
    [[0x00, 0x00], /field number 0/],
    [[0xf8, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00], /field number/],
  ];
  for (const [bytes, message] of cases) {
    const padded = new Uint8Array([0x10, 0x01, ...bytes]);
    withFile(padded, (file) => {
      const records = new Records(file, 0, padded.length, null);
      assert.ok(records.next());
      assert.throws(() => records.next(), (error: Error) => {
        assert.ok(error instanceof InputError);
        assert.match(error.message, message);
        assert.match(error.message, /at byte 2 /);
        return true;
      });
    });
  }
});

Deno.test("a window over a file gives every byte, however far one jumps", () => {
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const large = new Uint8Array(300_000);
  for (let at = 0; at < large.length; at += bytes.length) large.set(bytes, at);
  withFile(large, (file) => {
    for (const offset of [0, 65_535, 65_536, 299_999, 3, 131_071, 65_534]) {
      assert.equal(file.byte(offset), large[offset]);
    }
    for (const [start, end] of [[10, 20], [65_000, 66_000], [0, 300_000], [299_000, 300_000]]) {
      const range = { start: start!, end: end! };
      assert.deepEqual(
        file.copy([range, range]).subarray(0, end! - start!),
        large.slice(start, end),
      );
      const chunks = [...file.chunks(start!, end!)].map((chunk) => chunk.length);
      assert.equal(chunks.reduce((sum, length) => sum + length, 0), end! - start!);
    }
  });
});
