/**
 * A model whose dimensions are all fixed or limited has its memory made at load: no run within the
 * limits makes a buffer, whatever sizes come in whatever order.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { compileModel } from "../../src/codegen/mod.ts";
import type { LoadOptions, Model as LoadedModel } from "../../src/codegen/module.ts";
import { writeWeights } from "../../src/codegen/weights_file.ts";
import { int, ints, makeTensor, type Model } from "../../src/ir.ts";
import { noise } from "../encoding_models.ts";
import { floats, modelOf, node } from "./both_sides.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
let count = 0;

/** Attention over a sequence, and a table that is joined to it: tensors that grow unlike each other. */
function model(): Model {
  const weight = (name: string, dims: readonly number[]) => {
    const size = dims.reduce((a, b) => a * b, 1);
    const bytes = new Uint8Array(Float32Array.from(noise(size, size)).buffer);
    return makeTensor(name, "float32", dims, { kind: "memory", bytes });
  };
  return modelOf(
    [
      node("MatMul", ["x", "q"], ["queries"]),
      node("MatMul", ["x", "k"], ["keys"]),
      node("Transpose", ["keys"], ["turned"], [ints("perm", [0, 2, 1])]),
      node("MatMul", ["queries", "turned"], ["scores"]),
      node("Softmax", ["scores"], ["weights"]),
      node("MatMul", ["weights", "x"], ["mixed"]),
      node("Concat", ["mixed", "x", "queries"], ["joined"], [int("axis", 1)]),
      node("MatMul", ["joined", "k"], ["y"]),
      node("CumSum", ["scores", "axis"], ["z"]),
    ],
    { x: ["float32", ["batch", "seq", 24]] },
    { y: "float32", z: "float32" },
    [
      weight("q", [24, 24]),
      weight("k", [24, 24]),
      makeTensor("axis", "int64", [], { kind: "memory", bytes: new Uint8Array(8) }),
    ],
  );
}

/** The module, and how many buffers its device has made since. */
async function loaded(
  limits: ReadonlyMap<string, number>,
): Promise<{ readonly module: LoadedModel; readonly made: () => number }> {
  const compiled = await compileModel(model(), { limits });
  const name = `module${count++}`;
  const table = await writeWeights(join(folder, `${name}.safetensors`), compiled.weights);
  await Deno.writeTextFile(join(folder, `${name}.js`), compiled.javaScript(name, table));
  const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
  const { load }: { load(options: LoadOptions): Promise<LoadedModel> } = await import(
    pathToFileURL(join(folder, `${name}.js`)).href
  );
  const module = await load({
    device,
    weights: Deno.readFileSync(join(folder, `${name}.safetensors`)),
  });
  let buffers = 0;
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    buffers++;
    return create(descriptor);
  };
  return { module, made: () => buffers };
}

const SIZES = [[1, 5], [3, 40], [2, 64], [4, 64], [4, 1], [1, 64], [3, 63], [1, 5]] as const;

Deno.test("no run within the limits makes a buffer", async () => {
  const { module, made } = await loaded(new Map([["batch", 4], ["seq", 64]]));
  const free = await loaded(new Map([["batch", 4]]));
  assert.ok(module.stats().arenaBytes > 0);
  assert.equal(free.module.stats().arenaBytes, 0);
  const bytes = module.stats().bytes;
  for (const [batch, length] of SIZES) {
    const x = floats(batch, length, 24);
    const run = { x: { data: x.data, dims: x.dims } };
    const [found, wanted] = [await module.run(run), await free.module.run(run)];
    assert.deepEqual(found, wanted);
    assert.equal(made(), 0, `at ${batch} by ${length}`);
  }
  assert.equal(module.stats().bytes, bytes);
  assert.ok(free.made() > 0);
  await assert.rejects(
    module.run({ x: { data: new Float32Array(65 * 24), dims: [1, 65, 24] } }),
    /limited to 64/,
  );
  module.dispose();
  free.module.dispose();
});
