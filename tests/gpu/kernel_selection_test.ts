/**
 * The ways of computing a kernel, on the adapter at hand: whichever is taken, results are those of plain
 * JavaScript; which is taken follows the sizes of a run and the device; and tuning takes what is
 * fastest, remembers it, and leaves runs and memory as they were.
 */
import assert from "node:assert/strict";
import { compileModel } from "../../src/codegen/mod.ts";
import type { LoadOptions, Model, ModuleTables } from "../../src/codegen/module.ts";
import { KernelSelection } from "../../src/codegen/runtime/selection.js";
import { loadModel } from "../../src/codegen/runtime/load.js";
import { int, makeGraph, makeModel, makeNode, makeValueInfo } from "../../src/ir.ts";
import { NO_WEIGHTS, numbersOf, withModel } from "./runtime_tables.ts";

type Dims = readonly (number | string)[];

/** `relu(x w)` of operands that are both inputs; w lies along k where it is transposed. */
async function product(x: Dims, w: Dims, transposed: boolean): Promise<ModuleTables> {
  const nodes = transposed
    ? [makeNode("Gemm", "", ["x", "w"], ["a"], [int("transB", 1)])]
    : [makeNode("MatMul", "", ["x", "w"], ["a"])];
  const graph = makeGraph("product", {
    nodes: [...nodes, makeNode("Relu", "", ["a"], ["y"])],
    initializers: [],
    inputs: [makeValueInfo("x", "float32", x), makeValueInfo("w", "float32", w)],
    outputs: [makeValueInfo("y", "float32", null)],
  });
  const model = makeModel("product.onnx", 14, new Map([["", 28]]), graph);
  const { inputs, outputs, pipelines, kernels, program } = await compileModel(model);
  const make: ModuleTables["program"] = new Function(`${program}\nreturn program;`)();
  return { inputs, outputs, pipelines, kernels, weights: NO_WEIGHTS, features: [], program: make };
}

/** The same module, which takes one way of computing its kernel whatever the sizes. */
function only(tables: ModuleTables, candidate: number): ModuleTables {
  const kernels = tables.kernels.map((kernel) => {
    const first = kernel.candidates[candidate]!;
    const variant = { ...first.variant, adapter: "any" } as const;
    return { ...kernel, candidates: [{ ...first, variant, limits: [] }, ...kernel.candidates] };
  });
  return { ...tables, kernels };
}

interface Shape {
  readonly batch: number;
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
}

function operands({ batch, rows, depth, columns }: Shape, transposed: boolean) {
  const wave = (count: number, step: number) =>
    Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(i * step)));
  const x = wave(batch * rows * depth, 0.7);
  const w = wave(batch * depth * columns, 1.3);
  const y = new Float64Array(batch * rows * columns);
  for (let b = 0; b < batch; b++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        let sum = 0;
        for (let k = 0; k < depth; k++) {
          const at = transposed ? column * depth + k : (b * depth + k) * columns + column;
          sum += x[(b * rows + row) * depth + k]! * w[at]!;
        }
        y[(b * rows + row) * columns + column] = Math.max(0, sum);
      }
    }
  }
  return {
    inputs: {
      x: { data: x, dims: transposed ? [rows, depth] : [batch, rows, depth] },
      w: { data: w, dims: transposed ? [columns, depth] : [batch, depth, columns] },
    },
    wanted: y,
  };
}

async function check(model: Model, shape: Shape, transposed: boolean): Promise<void> {
  const { inputs, wanted } = operands(shape, transposed);
  const found = numbersOf((await model.run(inputs)).y);
  assert.equal(found.length, wanted.length);
  for (const [i, value] of wanted.entries()) {
    assert.ok(
      Math.abs(found[i]! - value) <= 1e-5 * shape.depth,
      `${JSON.stringify(shape)}: element ${i} is ${found[i]}, not ${value}`,
    );
  }
}

const using = (
  tables: ModuleTables,
  options: LoadOptions,
  use: (model: Model) => Promise<void>,
): Promise<void> => withModel(tables, use, options);

const ROWS = [1, 2, 8, 64, 130];
const features: ReadonlySet<string> = new Set((await navigator.gpu.requestAdapter())!.features);

for (const transposed of [false, true]) {
  const operand = transposed ? "along k" : "across k, in batches";
  Deno.test(`every way of multiplying matrices gives the same, ${operand}`, async () => {
    const tables = transposed
      ? await product(["rows", "depth"], ["columns", "depth"], true)
      : await product(["batch", "rows", "depth"], ["batch", "depth", "columns"], false);
    const names = tables.kernels[0]!.candidates.map(({ variant }) => variant.name);
    for (const name of ["lanes", "row", "split_sum", "tiled_16", "tiled_8", "registers"]) {
      assert.ok(names.some((entry) => entry.startsWith(`matmul_${name}`)), `${names} lack ${name}`);
    }
    for (const [i, { variant }] of tables.kernels[0]!.candidates.entries()) {
      if (!variant.features.every((feature) => features.has(feature))) continue;
      await using(only(tables, i), { adapter: "hardware", tune: false }, async (model) => {
        for (const rows of ROWS) {
          const batch = transposed ? 1 : 2;
          await check(model, { batch, rows, depth: 37, columns: 13 }, transposed);
        }
        await check(model, { batch: 1, rows: 3, depth: 1031, columns: 9 }, transposed);
        const { dispatches, pipelines, buffers } = model.stats();
        assert.equal(dispatches, variant.passes.length, variant.name);
        assert.equal(pipelines, variant.passes.length);
        await check(model, { batch: 1, rows: 0, depth: 5, columns: 3 }, transposed);
        assert.equal(model.stats().dispatches, 0);
        await check(model, { batch: 1, rows: 3, depth: 1031, columns: 9 }, transposed);
        assert.equal(model.stats().buffers, buffers);
      });
    }
  });
}

Deno.test("only pipelines that the device can use and a run can take are made", async () => {
  const dynamic = await product(["rows", 300], [300, 500], false);
  const fixed = await product([64, 300], [300, 500], false);
  const made = async (tables: ModuleTables, options: LoadOptions): Promise<number> => {
    let count = 0;
    await using(tables, options, (model) => {
      count = model.stats().pipelines;
      return Promise.resolve();
    });
    return count;
  };
  assert.equal(await made(fixed, { adapter: "software" }), 1);
  const { candidates } = dynamic.kernels[0]!;
  const own = candidates.filter(({ variant }) => variant.adapter !== "hardware");
  assert.ok(own.length > 1 && own.length < candidates.length);
  assert.equal(await made(dynamic, { adapter: "software" }), own.length);
  const forAll = await made(dynamic, { adapter: "hardware" });
  const untuned = await made(dynamic, { adapter: "hardware", tune: false });
  assert.ok(forAll > own.length && untuned < forAll, `${untuned} of ${forAll}`);
});

Deno.test("the size of a run decides which candidate is taken", async () => {
  const tables = await product(["rows", 300], [300, 500], false);
  await using(tables, { adapter: "software" }, async (model) => {
    const taken = async (rows: number): Promise<string> => {
      const { inputs } = operands({ batch: 1, rows, depth: 300, columns: 500 }, false);
      const profile = await model.profile({
        x: { ...inputs.x, dims: [rows, 300] },
        w: { ...inputs.w, dims: [300, 500] },
      });
      const [{ pipeline } = { pipeline: -1 }] = profile;
      const candidate = tables.kernels[0]!.candidates
        .find(({ pipelines }) => pipelines.includes(pipeline));
      return candidate!.variant.name;
    };
    assert.equal(await taken(1), "matmul_row");
    assert.equal(await taken(2), "matmul_row");
    assert.match(await taken(3), /^matmul_registers/);
    assert.match(await taken(130), /^matmul_registers/);
  });
});

/** A cache as a program may hand one over. */
class FakeCache {
  readonly entries = new Map<string, Response>();
  match(key: RequestInfo | URL): Promise<Response | undefined> {
    return Promise.resolve(this.entries.get(String(key))?.clone());
  }
  put(key: RequestInfo | URL, response: Response): Promise<void> {
    this.entries.set(String(key), response);
    return Promise.resolve();
  }
  delete(key: RequestInfo | URL): Promise<boolean> {
    return Promise.resolve(this.entries.delete(String(key)));
  }
}

const DYNAMIC: [Dims, Dims] = [["batch", "rows", 70], ["batch", 70, 90]];
const shapeOf = (rows: number): Shape => ({ batch: 1, rows, depth: 70, columns: 90 });

for (const timestamps of [true, false]) {
  const how = timestamps ? "by timestamps" : "by waiting";
  Deno.test(`tuning ${how} leaves results and memory alone, and is remembered`, async () => {
    const tables = await product(...DYNAMIC, false);
    const cache = new FakeCache();
    const adapter = await navigator.gpu.requestAdapter();
    const feature = "timestamp-query";
    assert.ok(adapter!.features.has(feature), "the tests' adapters have timestamps");
    const device = await adapter!.requestDevice({
      requiredFeatures: timestamps ? [feature] : [],
    });
    const errors: string[] = [];
    device.addEventListener("uncapturederror", (event) => {
      errors.push((event as GPUUncapturedErrorEvent).error.message);
    });
    let late = false;
    const { createComputePipelineAsync } = GPUDevice.prototype;
    device.createComputePipelineAsync = (descriptor) => {
      assert.ok(!late, "a pipeline is made after load");
      return createComputePipelineAsync.call(device, descriptor);
    };
    const options: LoadOptions = { device, cache, adapter: "hardware", tune: true };
    await using(tables, options, async (model) => {
      late = true;
      assert.equal(model.stats().tuned, 0);
      await check(model, shapeOf(5), false);
      const { buffers, bytes } = model.stats();
      // Runs in the middle of it go first, and give what they give.
      for (let i = 0; i < 5; i++) {
        await check(model, shapeOf(5), false);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await model.tuned();
      assert.equal(model.stats().tuned, 1);
      assert.equal(model.stats().buffers, buffers);
      assert.equal(model.stats().bytes, bytes);
      await check(model, shapeOf(5), false);
      await check(model, shapeOf(130), false);
      await model.tuned();
      assert.equal(model.stats().tuned, 2);
      // Of the same power of two: nothing is open.
      await check(model, shapeOf(200), false);
      await model.tuned();
      assert.equal(model.stats().tuned, 2);
      late = false;
    });
    assert.equal(cache.entries.size, 1);
    await using(tables, options, async (model) => {
      assert.equal(model.stats().tuned, 2);
      await check(model, shapeOf(5), false);
      await model.tuned();
      assert.equal(model.stats().tuned, 2);
    });
    // What another module or nonsense left behind is no choice.
    for (const key of cache.entries.keys()) cache.entries.set(key, new Response('[["a", 1], 3]'));
    await using(tables, options, async (model) => {
      await check(model, shapeOf(5), false);
      await model.tuned();
      assert.equal(model.stats().tuned, 2);
    });
    const other = await product(["rows", 70], [70, 90], false);
    await using(other, options, (model) => {
      assert.equal(model.stats().tuned, 0);
      return Promise.resolve();
    });
    await device.queue.onSubmittedWorkDone();
    assert.deepEqual(errors, []);
    device.destroy();
  });
}

Deno.test("a model may go in the middle of tuning, and a cache that fails is no matter", async () => {
  const tables = await product(...DYNAMIC, false);
  const broken = {
    match: () => Promise.reject(new Error("no cache")),
    put: () => Promise.reject(new Error("no room")),
    delete: () => Promise.resolve(false),
  };
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  const errors: string[] = [];
  device.addEventListener("uncapturederror", (event) => {
    errors.push((event as GPUUncapturedErrorEvent).error.message);
  });
  const options: LoadOptions = { device, cache: broken, adapter: "hardware", tune: true };
  for (const delay of [0, 1, 3, 10, 30]) {
    const model: Model = await loadModel(tables, options);
    await check(model, shapeOf(20), false);
    const over = model.tuned();
    await new Promise((resolve) => setTimeout(resolve, delay));
    model.dispose();
    await over;
    assert.equal(model.stats().buffers, 0);
  }
  await using(tables, options, async (model) => {
    await check(model, shapeOf(20), false);
    await model.tuned();
    assert.equal(model.stats().tuned, 1);
  });
  await device.queue.onSubmittedWorkDone();
  assert.deepEqual(errors, []);
  device.destroy();
});

Deno.test("tuning is off on a processor that plays a GPU, unless it is asked for", async () => {
  const tables = await product(...DYNAMIC, false);
  for (const [options, tuned] of [[{}, 0], [{ tune: true }, 1]] as const) {
    await using(tables, { adapter: "software", ...options }, async (model) => {
      await check(model, shapeOf(1), false);
      await model.tuned();
      assert.equal(model.stats().tuned, tuned);
    });
  }
});

Deno.test("what a device lacks is never a candidate, and one is always left", async () => {
  const { kernels } = await product(["rows", 300], [300, 500], false);
  for (const software of [true, false]) {
    for (const tune of [true, false]) {
      const abilities = { software, features: new Set<string>(), workgroupBytes: 0 };
      const selection = new KernelSelection(kernels, abilities, tune);
      for (const index of selection.candidates[0]!) {
        const { variant } = kernels[0]!.candidates[index]!;
        assert.equal(variant.workgroupBytes, 0);
        assert.deepEqual(variant.features, []);
      }
      for (const rows of ROWS) {
        const { index } = selection.choose(0, [1, rows, 500, 300]);
        assert.ok(index >= 0);
      }
    }
  }
});
