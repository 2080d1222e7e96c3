/**
 * Whole conversions through the public API: the same bytes whatever the engine and the folder, sizes
 * that are known beforehand, and files that hold what they should.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type Precision, PRECISIONS } from "../../mod.ts";
import { BLOCK_SIZES } from "../../src/formats.ts";
import type { Model } from "../../src/ir.ts";
import { modelTensors } from "../../src/onnx/layout.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { beginModel, planModel, writeModel } from "../../src/onnx/writer.ts";
import { DEFAULTS, type OutputOptions } from "../../src/converters/options.ts";
import { prepareTarget, workOf } from "../../src/converters/target.ts";
import { type Engine, EngineFault } from "../../src/quantization/engine.ts";
import { streamWeights } from "../../src/quantization/pipeline.ts";
import { createReferenceEngine } from "../../src/quantization/reference.ts";
import { convert, type OnnxOptions } from "../convert.ts";
import { matrices, mixedModel, writeChain } from "../convert_models.ts";
import { ENCODING_CASES } from "../encoding_models.ts";
import { NPM_MODELS } from "../real_models.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

const QUICK = { engine: "reference", method: "rtn" } as const;

/** Writes `model` as `source.onnx` of `folder`. */
async function write(folder: string, model: Model): Promise<string> {
  const path = join(folder, "source.onnx");
  await writeModel(model, path);
  return path;
}

/** Converts `source`, and gives the bytes of the file that is written for it. */
async function bytesOf(
  source: string,
  precision: Precision,
  options: Partial<OnnxOptions>,
): Promise<Uint8Array> {
  const output = join(source, "..", "result.onnx");
  const [report] = await convert({ source, output, precision, ...options });
  assert.equal(report!.files[0]!.path, output);
  return Deno.readFileSync(output);
}

/** Bytes of every tensor by name; of several with one name, all. */
async function tensorsOf(path: string): Promise<Map<string, Uint8Array[]>> {
  const found = new Map<string, Uint8Array[]>();
  for (const { tensor } of modelTensors(await readModel(path))) {
    if (tensor.dtype === "string") continue;
    found.set(tensor.name, [...found.get(tensor.name) ?? [], await tensorBytes(tensor)]);
  }
  return found;
}

function contains(bytes: Uint8Array, text: string): boolean {
  return new TextDecoder("latin1").decode(bytes).includes(text);
}

Deno.test("engines, worker counts, runs and folders make no difference", async () => {
  await withFolder(async (folder) => {
    await withFolder(async (other) => {
      const source = await write(folder, mixedModel());
      const moved = join(other, "another name.onnx");
      Deno.copyFileSync(source, moved);
      for (const precision of ["8bit", "4bit", "3bit", "2bit", "float16", "bfloat16"] as const) {
        for (const method of ["mse", "hqq"] as const) {
          const expected = await bytesOf(source, precision, { engine: "reference", method });
          for (const workers of [1, 2, 2]) {
            const found = await bytesOf(source, precision, { engine: "wasm", workers, method });
            assert.deepEqual(found, expected, `${precision} ${method}, ${workers} workers`);
          }
          const found = await bytesOf(moved, precision, { engine: "reference", method });
          assert.deepEqual(found, expected, `${precision} ${method} elsewhere`);
          assert.ok(!contains(expected, folder) && !contains(expected, "source.onnx"));
        }
      }
    });
  });
});

Deno.test("a trained model gives the same bytes on one worker and on two", async () => {
  await withFolder(async (folder) => {
    for (const { label, path } of NPM_MODELS.filter(({ label }) => label !== "detector")) {
      const source = join(folder, `${label}.onnx`);
      Deno.copyFileSync(path, source);
      for (const options of [{}, { symmetric: true, encoding: "qdq", method: "rtn" }] as const) {
        const engine = "wasm";
        const one = await bytesOf(source, "4bit", { ...options, engine, workers: 1 });
        const two = await bytesOf(source, "4bit", { ...options, engine, workers: 2 });
        assert.deepEqual(one, two, label);
      }
    }
  });
});

Deno.test("the metadata keeps the source's entries and adds version, hash and options", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const output = join(folder, "result.onnx");
    const sha256 = async (path: string) =>
      new Uint8Array(await crypto.subtle.digest("SHA-256", Deno.readFileSync(path))).toHex();
    const options = { precision: "4bit", exclude: ["batched"], ...QUICK } as const;
    const [report] = await convert({ source, output, sha256: true, ...options });
    assert.equal(report!.files[0]!.sha256, await sha256(output));
    const { metadata } = await readModel(output);
    assert.deepEqual(metadata.slice(0, 2), [["author", "nobody"], ["classes", "a,b"]]);
    const added = new Map(metadata.slice(2));
    assert.deepEqual([...added.keys()], [
      "modelcast.version",
      "modelcast.source_sha256",
      "modelcast.options",
    ]);
    assert.equal(added.get("modelcast.source_sha256"), await sha256(source));
    const stated = JSON.parse(added.get("modelcast.options")!);
    assert.equal(stated.precision, "4bit");
    assert.equal(stated.method, "rtn");
    assert.equal(stated.blockSize, 32);
    assert.deepEqual(stated.exclude, ["batched"]);
    // Converted once more, the entries are replaced, not doubled.
    await convert({ source: output, output: source, ...options, precision: "float16" });
    const keys = (await readModel(source)).metadata.map(([key]) => key);
    assert.deepEqual(keys, [...new Set(keys)]);
  });
});

Deno.test("--dry-run knows all sizes to the byte and writes nothing", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const output = join(folder, "result.onnx");
    for (const encoding of ["auto", "matmulnbits", "qdq"] as const) {
      for (const symmetric of [true, false]) {
        for (const blockSize of [...BLOCK_SIZES, "channel", "tensor"] as const) {
          for (const scales of ["float16", "float32"] as const) {
            const format = { encoding, symmetric, blockSize, scales };
            const options = { source, output, precision: PRECISIONS, ...format, ...QUICK };
            const label = JSON.stringify(format);
            const before = namesIn(folder);
            const planned = await convert({ ...options, dryRun: true });
            assert.deepEqual(namesIn(folder), before, label);
            const done = await convert(options);
            for (const [index, report] of done.entries()) {
              const sizes = report.files.map(({ path }) => [path, Deno.statSync(path).size]);
              const expected = planned[index]!.files.map((file) => [file.path, file.byteLength]);
              assert.deepEqual(sizes, expected, label);
              assert.deepEqual(
                report.weights.map(({ name, bytesAfter }) => [name, bytesAfter]),
                planned[index]!.weights.map(({ name, bytesAfter }) => [name, bytesAfter]),
              );
            }
            for (const { files } of done) for (const { path } of files) Deno.removeSync(path);
          }
        }
      }
    }
  });
});

Deno.test("every way to hold a weight: sizes are known, several precisions equal single ones", async () => {
  await withFolder(async (folder) => {
    const output = join(folder, "result.onnx");
    for (const { name, build } of ENCODING_CASES) {
      const source = await write(folder, build());
      for (const activations of ["float32", "float16"] as const) {
        const options = { source, output, activations, ...QUICK };
        // No operator takes bfloat16 weights with float16 activations.
        const precisions = PRECISIONS.filter((precision) =>
          activations === "float32" || precision !== "bfloat16"
        );
        const planned = await convert({ ...options, precision: precisions, dryRun: true });
        const together = await convert({ ...options, precision: precisions });
        for (const [index, precision] of precisions.entries()) {
          const label = `${name} at ${precision}, ${activations}`;
          const paths = together[index]!.files.map(({ path }) => path);
          assert.deepEqual(
            paths.map((path) => Deno.statSync(path).size),
            planned[index]!.files.map(({ byteLength }) => byteLength),
            label,
          );
          await convert({ ...options, precision });
          assert.deepEqual(Deno.readFileSync(output), Deno.readFileSync(paths[0]!), label);
        }
      }
    }
  });
});

Deno.test("nodes that are called as their outputs keep names of their own", async () => {
  await withFolder(async (folder) => {
    const model = mixedModel();
    for (const node of model.graph.nodes) node.name = node.outputs.at(-1)!;
    const output = join(folder, "result.onnx");
    for (const opset of [9, 17]) {
      model.opsets.set("", opset);
      const source = await write(folder, model);
      for (const precision of PRECISIONS.filter((name) => name !== "bfloat16")) {
        for (const ioFloat16 of [true, false]) {
          const options = { precision, ioFloat16, activations: "float16", ...QUICK } as const;
          await convert({ source, output, ...options });
          const { graph } = await readModel(output);
          const names = graph.nodes.map(({ name }) => name).filter((name) => name !== "");
          assert.deepEqual(names, [...new Set(names)], `${precision} from opset ${opset}`);
        }
      }
    }
  });
});

Deno.test("tied embeddings and shared weights are stored once", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const output = join(folder, "result.onnx");
    for (const precision of ["8bit", "4bit", "3bit", "2bit"] as const) {
      const [report] = await convert({ source, output, precision, ...QUICK });
      const tied = report!.weights.filter(({ name }) => name === "embedding");
      assert.equal(tied.length, 1);
      assert.deepEqual([...tied[0]!.ops].sort(), ["Gather", "MatMul"]);
      // What a second copy of its codes would take is more than everything but weights takes here.
      const weightBytes = report!.weights.reduce((sum, weight) => sum + weight.bytesAfter, 0);
      const kept = report!.skipped.reduce((sum, weight) => sum + weight.bytes, 0);
      const stored = [...(await tensorsOf(output)).values()].flat()
        .reduce((sum, bytes) => sum + bytes.length, 0);
      assert.ok(
        stored - weightBytes - kept < 0.9 * tied[0]!.bytesAfter,
        `${precision}: ${stored} bytes of tensors for ${weightBytes} of weights`,
      );
    }
  });
});

Deno.test("external data in several files at offsets gives what inline data gives", async () => {
  await withFolder(async (folder) => {
    const weights = matrices(["a", "b", "c", "d"]);
    const places = [
      { location: "one.bin", offset: 64 },
      { location: "two.bin", offset: 0 },
      null,
      { location: "one.bin", offset: 32768 },
    ];
    const outside = writeChain(folder, "outside.onnx", weights, (index) => places[index]!);
    const inside = writeChain(folder, "inside.onnx", weights);
    for (const precision of PRECISIONS) {
      for (const name of namesIn(folder)) {
        if (name.startsWith("result.")) Deno.removeSync(join(folder, name));
      }
      const output = join(folder, "result.outside.onnx");
      const options = { precision, ...QUICK };
      await convert({ source: inside, output: join(folder, "result.inside.onnx"), ...options });
      const [report] = await convert({ source: outside, output, ...options });
      assert.deepEqual(
        report!.files.map(({ path, byteLength }) => [path, byteLength]),
        namesIn(folder).filter((name) => name.startsWith("result.outside"))
          .map((name) => [join(folder, name), Deno.statSync(join(folder, name)).size]),
      );
      const bytesBefore = [outside, join(folder, "one.bin"), join(folder, "two.bin")]
        .reduce((sum, path) => sum + Deno.statSync(path).size, 0);
      assert.equal(report!.totals.fileBytesBefore, bytesBefore);
      assert.deepEqual(
        await tensorsOf(output),
        await tensorsOf(join(folder, "result.inside.onnx")),
        precision,
      );
    }
    // A change of the data beside the model changes what is stated of the source.
    const output = join(folder, "result.outside.onnx");
    const stated = async () => {
      await convert({ source: outside, output, precision: "8bit", ...QUICK });
      return (await readModel(output)).metadata;
    };
    const before = await stated();
    const data = Deno.readFileSync(join(folder, "two.bin"));
    data[5]! ^= 1;
    Deno.writeFileSync(join(folder, "two.bin"), data);
    assert.notDeepEqual(await stated(), before);
  });
});

Deno.test("tensors that overlap in an external file are each converted whole", async () => {
  await withFolder(async (folder) => {
    const [first] = matrices(["a"]);
    const half = { name: "b", dims: [64, 32], bytes: first!.bytes.subarray(0, 8192) } as const;
    const copy = { ...first!, name: "c" };
    const place = () => ({ location: "shared {.bin", offset: 0 });
    const source = writeChain(folder, "source.onnx", [half, first!, copy], place);
    const output = join(folder, "result.onnx");
    const together = await convert({ source, output, precision: PRECISIONS, ...QUICK });
    for (const [index, precision] of PRECISIONS.entries()) {
      const { files } = together[index]!;
      await convert({ source, output, precision, ...QUICK });
      // Only the tensors: the models hold the names of different data files.
      assert.deepEqual(await tensorsOf(files[0]!.path), await tensorsOf(output), precision);
    }
  });
});

Deno.test("weights larger than a tile give what they give in one piece", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const converted = async (
      tileBytes: number,
      options: Partial<OutputOptions>,
      bits: Precision,
    ) => {
      const path = join(folder, `${tileBytes}.onnx`);
      const model = await readModel(source);
      const target = await prepareTarget(model, bits, { ...DEFAULTS, ...options }, new Set());
      const writer = await beginModel(planModel(model, path));
      const { streams, floats } = workOf([{ target, writer }]);
      let tiles = 0;
      await streamWeights(streams, {
        engine: createReferenceEngine(),
        fallback: () => Promise.reject(new Error("no fallback")),
        onFallback: () => {},
        onProgress: () => void tiles++,
        signal: new AbortController().signal,
        tileBytes,
      });
      const { signal } = new AbortController();
      for (const { convert } of floats) await convert(() => {}, signal);
      await writer.commit();
      return { bytes: Deno.readFileSync(path), tiles, streams: streams.length };
    };
    for (const bits of ["8bit", "4bit", "3bit", "2bit"] as const) {
      for (const encoding of ["auto", "qdq"] as const) {
        for (const blockSize of [16, 32, "channel"] as const) {
          for (const symmetric of [true, false]) {
            const options = { ...QUICK, encoding, blockSize, symmetric };
            const label = `${bits} ${JSON.stringify(options)}`;
            const whole = await converted(2 ** 25, options, bits);
            for (const tileBytes of [1, 1000, 9000]) {
              const cut = await converted(tileBytes, options, bits);
              assert.ok(cut.tiles > whole.tiles, label);
              assert.deepEqual(cut.bytes, whole.bytes, `${label}, tiles of ${tileBytes} bytes`);
            }
          }
        }
      }
    }
  });
});

Deno.test("what an engine fails at is done on another, with one warning", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, mixedModel());
    const expected = await bytesOf(source, "4bit", QUICK);
    for (const faulty of ["allocate", "quantize"] as const) {
      for (const after of [0, 3]) {
        const path = join(folder, "fallback.onnx");
        const reference = createReferenceEngine();
        let calls = 0;
        const lost = (): boolean => calls++ >= after;
        const fault = () => Promise.reject(new EngineFault("lost"));
        const engine: Engine = {
          ...reference,
          ...(faulty === "allocate"
            ? { allocate: (bytes) => lost() ? fault() : reference.allocate(bytes) }
            : { quantize: (job) => lost() ? fault() : reference.quantize(job) }),
        };
        const model = await readModel(source);
        const options = { ...DEFAULTS, ...QUICK };
        const target = await prepareTarget(model, "4bit", options, new Set());
        model.metadata = (await readModel(join(folder, "result.onnx"))).metadata;
        const writer = await beginModel(planModel(model, path));
        const reasons: string[] = [];
        let opened = 0;
        await streamWeights(workOf([{ target, writer }]).streams, {
          engine,
          fallback: () => {
            opened++;
            return Promise.resolve(createReferenceEngine());
          },
          onFallback: (reason) => void reasons.push(reason),
          onProgress: () => {},
          signal: new AbortController().signal,
        });
        await writer.commit();
        assert.deepEqual(Deno.readFileSync(path), expected);
        assert.deepEqual([reasons, opened], [["lost"], 1], `${faulty} after ${after}`);
      }
    }
  });
});
