/** Frames between the verification and the process that runs ONNX Runtime. */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Frame,
  frameParts,
  FrameReader,
  packTensors,
  type TensorHeader,
  unpackTensors,
} from "../../src/verify/frames.ts";
import type { HostTensor } from "../../src/verify/values.ts";

const bytes = (parts: Iterable<Uint8Array>) => {
  const joined: number[] = [];
  for (const part of parts) joined.push(...part);
  return Uint8Array.from(joined);
};

/** A reader of `stream`, which comes in pieces of the given sizes over and over. */
function readerOf(stream: Uint8Array, sizes: readonly number[]): FrameReader {
  let at = 0;
  let turn = 0;
  return new FrameReader(() => {
    if (at >= stream.length) return Promise.resolve(null);
    const piece = stream.subarray(at, at + sizes[turn++ % sizes.length]!);
    at += piece.length;
    return Promise.resolve(piece);
  });
}

const tensor: fc.Arbitrary<HostTensor> = fc.oneof(
  fc.float32Array().map((data) => ({ dtype: "float32" as const, dims: [data.length], data })),
  fc.uint8Array().map((data) => ({ dtype: "uint8" as const, dims: [data.length], data })),
  fc.uint16Array().map((data) => ({ dtype: "float16" as const, dims: [1, data.length], data })),
  fc.bigInt64Array().map((data) => ({ dtype: "int64" as const, dims: [data.length], data })),
  fc.array(fc.string({ unit: "grapheme" })).map((data) => ({
    dtype: "string" as const,
    dims: [data.length],
    data,
  })),
);
const tensors = fc.array(fc.tuple(fc.string(), tensor), { maxLength: 5 })
  .map((entries) => new Map(entries));

Deno.test("tensors of any type come out as they went in, whatever pieces the stream comes in", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(tensors, { maxLength: 3 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      async (messages, sizes) => {
        const stream = bytes(messages.flatMap((message) => {
          const { headers, parts } = packTensors(message);
          return [...frameParts({ kind: "ran", outputs: headers }, parts)];
        }));
        const reader = readerOf(stream, sizes);
        for (const message of messages) {
          const { header, body } = await reader.next() as Frame;
          const { outputs } = header as { outputs: TensorHeader[] };
          assert.deepEqual(unpackTensors(outputs, body), message);
        }
        assert.equal(await reader.next(), null);
      },
    ),
  ));

Deno.test("a stream that breaks off is its end, and what is no frame is refused", async () => {
  const { headers, parts } = packTensors(
    new Map([["x", { dtype: "float32", dims: [3], data: Float32Array.of(1, 2, 3) }]]),
  );
  const whole = bytes(frameParts({ kind: "ran", outputs: headers }, parts));
  for (let length = 0; length < whole.length; length++) {
    assert.equal(await readerOf(whole.subarray(0, length), [64]).next(), null, String(length));
  }
  const noise = new TextEncoder().encode("a line that a library wrote to standard output\n");
  await assert.rejects(readerOf(noise, [64]).next(), TypeError);
  const [header] = headers;
  assert.throws(() => unpackTensors([{ ...header!, dims: [4] }], new Uint8Array(16)), TypeError);
  assert.throws(
    () => unpackTensors([{ ...header!, dtype: "none" }], new Uint8Array(16)),
    TypeError,
  );
});
