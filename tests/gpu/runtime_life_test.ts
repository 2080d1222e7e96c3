/**
 * The life of a loaded model: queued and aborted runs, errors of programs and of the GPU, lost
 * devices, memory over many runs and many loads.
 */
// deno-lint-ignore-file require-yield -- a program without sync points is a generator all the same
import assert from "node:assert/strict";
import { loadModel } from "../../src/codegen/runtime/load.js";
import type { ModuleTables, Program } from "../../src/codegen/module.ts";
import {
  doubling,
  elementwise,
  groupsOf,
  input,
  numbersOf,
  openDevice,
  output,
  tablesOf,
  weightsOf,
  withModel,
} from "./runtime_tables.ts";

/** Counts a device's live buffers and their bytes from now on. */
function countBuffers(device: GPUDevice): { live: Set<GPUBuffer>; made: number } {
  const counts = { live: new Set<GPUBuffer>(), made: 0 };
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      counts.live.delete(buffer);
      destroy();
    };
    counts.live.add(buffer);
    counts.made++;
    return buffer;
  };
  return counts;
}

/** Reads a value at a sync point between two steps: `y = 2 (2 x + 1) + 1`. */
function synced(onSync: () => void): ModuleTables {
  return {
    ...doubling(),
    *program(m) {
      const [n = 0] = m.dims(0);
      const [x, y] = [m.tensor(4 * n), m.tensor(4 * n)];
      m.dispatch(0, [m.input(0), x], [n, 0, 0, 0], groupsOf(n));
      yield { read: [{ tensor: x, storage: "f32", count: 1 }], live: [x] };
      onSync();
      m.dispatch(0, [x, y], [n, 0, 0, 0], groupsOf(n));
      m.output(0, y, [n]);
    },
  };
}

Deno.test("calls that overlap each get their own result", async () => {
  const once = (x: number) => 2 * x + 1;
  for (const steps of [1, 2]) {
    const tables = steps === 1 ? doubling() : synced(() => {});
    const step = steps === 1 ? once : (x: number) => once(once(x));
    await withModel(tables, async (model) => {
      const scratch = new Float32Array(64);
      const runs = Array.from({ length: 40 }, (_, i) => {
        const n = 1 + (i * 13) % 50;
        scratch.fill(i);
        const onGpu = i % 7 === 3;
        return model.run({ x: scratch.subarray(0, n) }, onGpu ? { gpuOutputs: ["y"] } : {})
          .then(async ({ y }) => {
            assert.deepEqual(y?.dims, [n]);
            if ("data" in y) return numbersOf(y);
            const { buffer, dims } = y;
            const again = numbersOf((await model.run({ x: { buffer, dims } })).y);
            y.dispose();
            return again;
          });
      });
      scratch.fill(NaN);
      const results = await Promise.all(runs);
      results.forEach((values, i) => {
        const value = i % 7 === 3 ? step(step(i)) : step(i);
        assert.deepEqual(values, new Array(1 + (i * 13) % 50).fill(value));
      });
      assert.ok(model.stats().buffers <= 16, `${model.stats().buffers} buffers`);
    });
  }
});

Deno.test("a signal ends a run before it starts, while it waits, and at a sync point", async () => {
  const controller = new AbortController();
  let stopAtSync = false;
  const tables = synced(() => {
    if (stopAtSync) controller.abort(new Error("enough"));
  });
  await withModel(tables, async (model) => {
    const x = [1, 2];
    await assert.rejects(
      model.run({ x }, { signal: AbortSignal.abort(new Error("never mind")) }),
      /never mind/,
    );
    const waiting = new AbortController();
    const first = model.run({ x });
    const second = model.run({ x }, { signal: waiting.signal });
    const third = model.run({ x });
    waiting.abort(new Error("not now"));
    await assert.rejects(second, /not now/);
    assert.deepEqual(numbersOf((await first).y), [7, 11]);
    assert.deepEqual(numbersOf((await third).y), [7, 11]);
    stopAtSync = true;
    await assert.rejects(model.run({ x }, { signal: controller.signal }), /enough/);
    stopAtSync = false;
    assert.deepEqual(numbersOf((await model.run({ x })).y), [7, 11]);
  });
});

Deno.test("a program that is wrong is stopped before it reaches the GPU", async () => {
  const programs: [Program, RegExp][] = [
    [function* (m) {
      const x = m.input(0);
      m.dispatch(0, [x, x], [1, 0, 0, 0], 1);
    }, /one tensor twice/],
    [function* (m) {
      m.dispatch(0, [m.input(0), m.tensor(4)], [2 ** 31, 0, 0, 0], 1);
    }, /counts to 2147483648, and GPUs count in 32 bits/],
    [function* (m) {
      m.dispatch(0, [m.input(0)], [1, 0, 0, 0], 1);
    }, /takes 2 tensors and 4 parameters, was given 1 and 4/],
    [function* (m) {
      m.dispatch(3, [m.input(0), m.tensor(4)], [1, 0, 0, 0], 1);
    }, /there is no pipeline 3/],
    [function* (m) {
      m.tensor(NaN);
    }, /a tensor has NaN bytes/],
    [function* (m) {
      m.input(0);
    }, /output 0 was not made/],
    [function* (m) {
      m.output(0, m.tensor(4), [2]);
    }, /output 0 of 8 bytes has a tensor of 4/],
    [function* (m) {
      m.fail("the axis 7 is out of range");
    }, /^Cannot run the model: the axis 7 is out of range$/],
    [function* (m) {
      const y = m.tensor(4);
      m.dispatch(0, [m.input(0), y], [1, 0, 0, 0], 1);
      yield { read: [], live: [] };
      m.output(0, y, [1]);
    }, /used past the sync point/],
    [function* (m) {
      m.output(0, m.tensor(2 ** 40), [2 ** 38]);
    }, /a tensor takes 1099511627776 bytes, this GPU binds at most/],
  ];
  const device = await openDevice();
  for (const [program, message] of programs) {
    await withModel({ ...doubling(), program }, async (model) => {
      await assert.rejects(model.run({ x: [1] }), { name: "ModelError", message });
    }, { device });
  }
  device.destroy();
});

Deno.test("a shader that does not compile is named by its label, with the place", async () => {
  const pipelines = [{ ...elementwise("a[i] + nothing", "aa"), label: "Add 17" }];
  await assert.rejects(loadModel({ ...doubling(), pipelines }), {
    name: "ModelError",
    message: /^Cannot make the pipeline "Add 17": .*nothing/s,
  });
});

Deno.test("a missing feature, and a machine without WebGPU or an adapter", async () => {
  const tables = { ...doubling(), features: ["no-such-feature"] };
  await assert.rejects(
    loadModel(tables),
    /this GPU lacks "no-such-feature", which its shaders need/,
  );
  const device = await openDevice();
  await assert.rejects(loadModel(tables, { device }), /the device that was given lacks "no-such-f/);
  device.destroy();

  const { gpu } = navigator;
  const put = (value: unknown) =>
    Object.defineProperty(navigator, "gpu", { value, configurable: true });
  try {
    put(undefined);
    await assert.rejects(loadModel(doubling()), {
      code: "device",
      message: /there is no WebGPU here/,
    });
    put({ requestAdapter: () => Promise.resolve(null) });
    await assert.rejects(loadModel(doubling()), { code: "device", message: /finds no adapter/ });
  } finally {
    put(gpu);
  }
});

Deno.test("a lost device is told of at the next run, and in those under way", async () => {
  const device = await openDevice();
  const model = await loadModel(doubling(), { device });
  await model.run({ x: [1] });
  const underWay = model.run({ x: new Float32Array(1000) });
  device.destroy();
  const lost = {
    name: "ModelError",
    code: "lost",
    message: /^Cannot run the model: its GPU device was lost \(destroyed.*Load the model again\.$/,
  };
  await assert.rejects(underWay, lost);
  await assert.rejects(model.run({ x: [1] }), lost);
  model.dispose();
  await assert.rejects(model.run({ x: [1] }), { code: "disposed" });
});

Deno.test("dispose ends runs that wait, and leaves a device that was given alone", async () => {
  const device = await openDevice();
  const counts = countBuffers(device);
  const model = await loadModel(doubling(), { device });
  const other = await loadModel(doubling(), { device });
  const { y } = await model.run({ x: [1] }, { gpuOutputs: ["y"] });
  const waiting = [model.run({ x: [1] }), model.run({ x: [2] }), model.run({ x: [3] })];
  model.dispose();
  model.dispose();
  for (const run of waiting) await assert.rejects(run, { code: "disposed" });
  assert.ok(y && "buffer" in y);
  y.dispose();
  assert.equal(model.stats().buffers, 0);
  assert.deepEqual(numbersOf((await other.run({ x: [4] })).y), [9]);
  other.dispose();
  assert.equal(counts.live.size, 0);
  device.destroy();
});

Deno.test("a thousand runs leave memory as it was after a hundred", async () => {
  const tables = tablesOf(
    [input("x", ["n"])],
    [output("y", ["n"])],
    [elementwise("a[i] + 1.0", "aa")],
    function* (m) {
      const [n = 0] = m.dims(0);
      let value = m.input(0);
      for (let step = 0; step < 4; step++) {
        const next = m.tensor(4 * n);
        m.dispatch(0, [value, next], [n, 0, 0, 0], groupsOf(n));
        value = next;
      }
      m.output(0, value, [n]);
    },
  );
  const device = await openDevice();
  const errors: string[] = [];
  device.addEventListener("uncapturederror", (event) => {
    errors.push((event as GPUUncapturedErrorEvent).error.message);
  });
  const counts = countBuffers(device);
  await withModel(tables, async (model) => {
    let after = { bytes: 0, made: 0 };
    for (let run = 1; run <= 1000; run++) {
      const n = 100 + run % 40;
      const options = run % 10 === 0 ? { gpuOutputs: ["y"] } : {};
      const { y } = await model.run({ x: new Float32Array(n) }, options);
      if (y && "buffer" in y) y.dispose();
      if (run === 100) after = { bytes: model.stats().bytes, made: counts.made };
    }
    assert.ok(model.stats().bytes <= 1.02 * after.bytes);
    assert.equal(counts.live.size, model.stats().buffers);
    assert.equal(counts.made, after.made);
  }, { device });
  assert.equal(counts.live.size, 0);
  assert.deepEqual(errors, []);
  device.destroy();
});

Deno.test("a hundred rounds of load and dispose leave no buffer", async () => {
  const device = await openDevice();
  const counts = countBuffers(device);
  const values = Float32Array.from({ length: 1000 }, (_, i) => i);
  const { tables: weights, file } = await weightsOf([values, values.slice(0, 7)], 1024);
  const tables = tablesOf(
    [input("x", [7])],
    [output("y", [7])],
    [elementwise("a[i] + b[i] * c[i]", "awwa")],
    function* (m) {
      const y = m.tensor(28);
      m.dispatch(0, [m.input(0), m.weight(0), m.weight(1), y], [7, 0, 0, 0], 1);
      m.output(0, y, [7]);
    },
    weights,
  );
  for (let round = 0; round < 100; round++) {
    await withModel(tables, async (model) => {
      // Two of weights; the arena, the parameters and the results are made at load as well.
      assert.equal(counts.live.size, 5);
      const { y } = await model.run({ x: [1, 1, 1, 1, 1, 1, 1] });
      assert.equal(counts.live.size, 5);
      assert.deepEqual(numbersOf(y), [1, 2, 5, 10, 17, 26, 37]);
    }, { device, weights: file });
    assert.equal(counts.live.size, 0);
    // A load that fails leaves none either.
    if (round % 10 === 0) {
      await assert.rejects(loadModel(tables, { device, weights: file.slice(1) }));
      assert.equal(counts.live.size, 0);
    }
  }
  device.destroy();
});
