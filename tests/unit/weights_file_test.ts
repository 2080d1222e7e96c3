/** The weights file: a valid safetensors file whose table says where everything is. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import fc from "fast-check";
import { ALIGNMENT, type WeightSource, writeWeights } from "../../src/codegen/weights_file.ts";
import { InputError, InterruptedError } from "../../src/error.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

const BUFFER_BYTES = 8 * ALIGNMENT;
const CHUNK_BYTES = 1000;

/** A weight of `bytes` that differ by `seed`, read in pieces of `piece` bytes. */
function weight(bytes: number, seed: number, piece = 100): WeightSource & { content: Uint8Array } {
  const content = Uint8Array.from({ length: bytes }, (_, i) => (seed * 97 + i * 13) % 251 + 1);
  return {
    name: `weight ${seed}`,
    bytes,
    content,
    async *read() {
      for (let at = 0; at < bytes; at += piece) yield await content.subarray(at, at + piece);
    },
  };
}

/** A source that gives `pieces` whatever it said. */
function pieces(bytes: number, ...given: Uint8Array[]): WeightSource {
  return {
    name: "odd",
    bytes,
    async *read() {
      for (const piece of given) yield await piece;
    },
  };
}

Deno.test("weights come back from where the table says, and all chunks are right", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "model.safetensors");
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 0, max: BUFFER_BYTES }), fc.integer({ min: 1 })), {
          maxLength: 12,
        }),
        async (sizes) => {
          const weights = sizes.map(([bytes, piece], seed) => weight(bytes, seed, piece));
          const progress: number[] = [];
          const table = await writeWeights(path, weights, {
            bufferBytes: BUFFER_BYTES,
            chunkBytes: CHUNK_BYTES,
            progress: (done) => progress.push(done),
          });
          const file = Deno.readFileSync(path);
          assert.equal(table.file, "model.safetensors");
          assert.equal(table.bytes, file.length);

          const length = Number(new DataView(file.buffer).getBigUint64(0, true));
          const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
          assert.deepEqual(Object.keys(header), table.buffers.map((_, index) => String(index)));
          const data = file.subarray(8 + length);
          let end = 0;
          const buffers = table.buffers.map((bytes, index) => {
            assert.ok(bytes <= BUFFER_BYTES && bytes % ALIGNMENT === 0);
            const { dtype, shape, data_offsets: [from, to] } = header[index];
            assert.deepEqual([dtype, shape, from, to], ["U8", [bytes], end, end + bytes]);
            return data.subarray(from, end = to);
          });
          assert.equal(end, data.length);
          assert.equal((8 + length) % ALIGNMENT, 0);

          const loaded = table.buffers.map((bytes) => new Uint8Array(bytes).fill(255));
          let at = 8 + length;
          for (const chunk of table.chunks) {
            const bytes = file.subarray(chunk.at, chunk.at + chunk.bytes);
            assert.equal(chunk.at, at);
            assert.ok(chunk.bytes > 0 && chunk.bytes <= CHUNK_BYTES && chunk.bytes % 4 === 0);
            assert.equal(createHash("sha256").update(bytes).digest("hex"), chunk.sha256);
            loaded[chunk.buffer]!.set(bytes, chunk.offset);
            at += chunk.bytes;
          }
          assert.equal(at, file.length);
          assert.deepEqual(loaded, buffers.map((buffer) => new Uint8Array(buffer)));

          for (const [index, [buffer, offset, bytes]] of table.tensors.entries()) {
            const { content } = weights[index]!;
            assert.equal(offset % ALIGNMENT, 0);
            assert.ok(bytes >= 4 && bytes % 4 === 0 && bytes - content.length < 8);
            const found = loaded[buffer]!.subarray(offset, offset + bytes);
            assert.deepEqual(found.subarray(0, content.length), content);
            assert.ok(found.subarray(content.length).every((byte) => byte === 0));
          }
          assert.deepEqual(progress.toSorted((a, b) => a - b), progress);
        },
      ),
      { numRuns: 60 },
    );
  });
});

Deno.test("weights fill buffers in order of use", async () => {
  await withFolder(async (folder) => {
    const sizes = [4 * ALIGNMENT, 4 * ALIGNMENT - 3, 1, 8 * ALIGNMENT, 5];
    const weights = sizes.map((bytes, seed) => weight(bytes, seed));
    const { buffers, tensors } = await writeWeights(join(folder, "a.safetensors"), weights, {
      bufferBytes: BUFFER_BYTES,
    });
    assert.deepEqual(buffers, [8, 1, 8, 1].map((count) => count * ALIGNMENT));
    assert.deepEqual(tensors, [
      [0, 0, 1024],
      [0, 1024, 1024],
      [1, 0, 4],
      [2, 0, 2048],
      [3, 0, 8],
    ]);
  });
});

Deno.test("what goes wrong leaves the old file, and no litter", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "model.safetensors");
    await Deno.writeTextFile(path, "old");
    const controller = new AbortController();
    const aborting = pieces(8, new Uint8Array(4), new Uint8Array(4));
    const failing: [WeightSource, RegExp | typeof InputError | typeof InterruptedError][] = [
      [weight(BUFFER_BYTES + 1, 0), InputError],
      [pieces(8, new Uint8Array(4)), /"odd" has 4 bytes, not 8/],
      [pieces(8, new Uint8Array(12)), /"odd" has 12 bytes, not 8/],
      [aborting, InterruptedError],
    ];
    for (const [source, error] of failing) {
      if (source === aborting) controller.abort();
      await assert.rejects(
        writeWeights(path, [weight(10, 1), source], {
          bufferBytes: BUFFER_BYTES,
          signal: controller.signal,
        }),
        error,
      );
      assert.equal(await Deno.readTextFile(path), "old");
      assert.deepEqual(namesIn(folder), ["model.safetensors"]);
    }
    await assert.rejects(writeWeights(join(folder, "no", "a.safetensors"), []), InputError);
  });
});
