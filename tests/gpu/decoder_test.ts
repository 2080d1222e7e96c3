/**
 * A decoder as ONNX Runtime's tools write them generates token by token, its cache staying on the GPU,
 * with ONNX Runtime's logits at every step.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { compileInto } from "../../conformance/compile.ts";
import type { GpuOutput, HostOutput, LoadOptions, Model } from "../../src/codegen/module.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { DECODER, decoderModel } from "../decoder_model.ts";
import { withFolder } from "../unit/onnx_models.ts";

const NAMES = Array.from(
  { length: DECODER.layers },
  (_, layer) => ["key", "value"].map((part) => `${layer}.${part}`),
).flat();
const PRESENT = NAMES.map((name) => `present.${name}`);
const BATCH = 2;

const int64 = (values: readonly number[]): BigInt64Array => BigInt64Array.from(values, BigInt);

/** The place of the greatest logit of the last position of each sample. */
function likeliest(logits: ArrayLike<number>, length: number): number[] {
  const { vocabulary } = DECODER;
  return Array.from({ length: BATCH }, (_, sample) => {
    const start = ((sample + 1) * length - 1) * vocabulary;
    let best = 0;
    for (let i = 1; i < vocabulary; i++) if (logits[start + i]! > logits[start + best]!) best = i;
    return best;
  });
}

function distance(found: ArrayLike<number>, wanted: ArrayLike<number>): number {
  assert.equal(found.length, wanted.length);
  let [error, norm] = [0, 0];
  for (let i = 0; i < wanted.length; i++) {
    error += (found[i]! - wanted[i]!) ** 2;
    norm += wanted[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}

/** A decoder that keeps its own cache. */
interface Decoder {
  /** The logits of `tokens`, `length` of each sample, which follow what it was given before. */
  step(tokens: readonly number[], length: number): Promise<ArrayLike<number>>;
  /** The elements of the cache, tensor by tensor. */
  cache(): Promise<readonly ArrayLike<number>[]>;
}

function runtimeDecoder(session: InferenceSession): Decoder {
  let total = 0;
  const dims = [BATCH, DECODER.groups, 0, DECODER.size];
  let caches = NAMES.map(() => new Tensor("float32", new Float32Array(0), dims));
  return {
    async step(tokens, length) {
      total += length;
      const mask = int64(Array<number>(BATCH * total).fill(1));
      const outputs = await session.run({
        input_ids: new Tensor("int64", int64(tokens), [BATCH, length]),
        attention_mask: new Tensor("int64", mask, [BATCH, total]),
        ...Object.fromEntries(NAMES.map((name, i) => [`past.${name}`, caches[i]!])),
      });
      caches = PRESENT.map((name) => outputs[name] as typeof caches[number]);
      return outputs.logits!.data as Float32Array;
    },
    cache: () => Promise.resolve(caches.map(({ data }) => data)),
  };
}

function moduleDecoder(model: Model): Decoder & Disposable {
  let total = 0;
  let caches: GpuOutput[] = [];
  return {
    async step(tokens, length) {
      total += length;
      const empty = { data: new Float32Array(0), dims: [BATCH, DECODER.groups, 0, DECODER.size] };
      const outputs = await model.run({
        input_ids: { data: int64(tokens), dims: [BATCH, length] },
        attention_mask: {
          data: int64(Array<number>(BATCH * total).fill(1)),
          dims: [BATCH, total],
        },
        ...Object.fromEntries(NAMES.map((name, i) => {
          const held = caches[i];
          return [`past.${name}`, held ? { buffer: held.buffer, dims: held.dims } : empty];
        })),
      }, { gpuOutputs: PRESENT });
      for (const cache of caches) cache.dispose();
      caches = PRESENT.map((name) => outputs[name] as GpuOutput);
      for (const { dims } of caches) {
        assert.deepEqual(dims, [BATCH, DECODER.groups, total, DECODER.size]);
      }
      return (outputs.logits as HostOutput).data as Float32Array;
    },
    async cache() {
      const { device } = model;
      return await Promise.all(caches.map(async ({ buffer, dims }) => {
        const size = 4 * dims.reduce((a, b) => a * b, 1);
        const staging = device.createBuffer({
          size,
          usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
        });
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
        device.queue.submit([encoder.finish()]);
        await staging.mapAsync(GPUMapMode.READ);
        const elements = new Float32Array(staging.getMappedRange().slice(0));
        staging.destroy();
        return elements;
      }));
    },
    [Symbol.dispose]() {
      for (const cache of caches) cache.dispose();
    },
  };
}

Deno.test("a decoder generates with its cache on the GPU as ONNX Runtime does", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "decoder.onnx");
    await writeModel(decoderModel("model.onnx"), path);
    const session = await InferenceSession.create(path);
    const { url, weights, hostNodes } = await compileInto(folder)(await readModel(path));
    assert.deepEqual(hostNodes, []);
    const module: { load(options: LoadOptions): Promise<Model> } = await import(url);
    const model = await module.load({ weights });
    {
      using found = moduleDecoder(model);
      const wanted = runtimeDecoder(session);
      let tokens = [3, 14, 15, 9, 26, 5, 35, 8, 9, 7];
      for (let step = 0; step < 7; step++) {
        const length = tokens.length / BATCH;
        const [ours, theirs] = [
          await found.step(tokens, length),
          await wanted.step(tokens, length),
        ];
        const error = distance(ours, theirs);
        assert.ok(error < 1e-4, `step ${step}: ${error}`);
        tokens = likeliest(theirs, length);
        assert.deepEqual(likeliest(ours, length), tokens);
      }
      const [ours, theirs] = [await found.cache(), await wanted.cache()];
      for (const [i, name] of NAMES.entries()) {
        const error = distance(ours[i]!, theirs[i]!);
        assert.ok(error < 1e-4, `${name}: ${error}`);
      }
    }
    model.dispose();
    await session.release();
  });
});
