/**
 * How the WebGPU engine behaves around its kernels: tiles, parts of rows, memory budgets, two-
 * dimensional dispatches, adapters that compute otherwise, lost devices and exhausted memory.
 */
import assert from "node:assert/strict";
import { InputError } from "../../src/error.ts";
import { type Adapter, detectAdapter, detectProcessor, hardwareKey } from "../../src/hardware.ts";
import { type Engine, EngineFault, type QuantizeJob } from "../../src/quantization/engine.ts";
import { createReferenceEngine } from "../../src/quantization/reference.ts";
import { createWebGpuEngine, type WebGpuOptions } from "../../src/quantization/webgpu.ts";
import { kernelFiles, SELF_TEST_FILES, shaderOf } from "../../src/quantization/webgpu_shaders.ts";
import { compareEngines, differenceBetween } from "./identical.ts";
import { randomFrom, type RandomJob, randomJobs } from "./random_jobs.ts";

async function adapterAtHand(): Promise<Adapter> {
  const adapter = await detectAdapter();
  assert.ok(adapter !== null, "these tests need a WebGPU adapter");
  return adapter;
}

/** An adapter whose next device goes through `change` before the engine gets it. */
async function adapterWith(change: (device: GPUDevice) => void): Promise<Adapter> {
  const adapter = await adapterAtHand();
  const requestDevice = adapter.gpu.requestDevice.bind(adapter.gpu);
  adapter.gpu.requestDevice = async (descriptor) => {
    const device = await requestDevice(descriptor);
    change(device);
    return device;
  };
  return adapter;
}

/** A change that makes one of a device's limits smaller to those who read it. */
function limited(name: keyof GPUSupportedLimits, value: number): (device: GPUDevice) => void {
  return (device) => {
    const limits = new Proxy(device.limits, {
      get: (target, key) => key === name ? value : Reflect.get(target, key, target),
    });
    Object.defineProperty(device, "limits", { value: limits });
  };
}

/** Fails unless an engine with `options` gives the reference's results for `jobs`. */
async function assertSame(options: WebGpuOptions, jobs: Iterable<RandomJob>): Promise<void> {
  const engine = await createWebGpuEngine(options);
  try {
    const { count, mismatches } = await compareEngines([engine], jobs);
    assert.ok(count > 0);
    assert.deepEqual(mismatches["webgpu"], []);
  } finally {
    engine.dispose();
  }
}

/** A matrix of numbers within -1 .. 1, 4 bits unless `change` says otherwise. */
function jobOf(rows: number, columns: number, change: Partial<QuantizeJob> = {}): QuantizeJob {
  const random = randomFrom(rows * 7919 + columns);
  const values = Float32Array.from({ length: rows * columns }, () => 2 * random() - 1);
  return {
    weights: new Uint8Array(values.buffer),
    weightType: "float32",
    rows,
    columns,
    order: "rows",
    format: { bits: 4, symmetric: false, blockSize: 32, scaleType: "float16" },
    method: "rtn",
    measure: true,
    ...change,
  };
}

/** Every bit width, symmetry, order and method over a matrix of its own shape. */
function* jobsOver(
  blockSize: QuantizeJob["format"]["blockSize"],
  rows: number,
  columns: number,
): Generator<RandomJob> {
  for (const bits of [8, 4, 3, 2] as const) {
    for (const symmetric of [true, false]) {
      for (const order of ["rows", "columns"] as const) {
        for (const method of ["rtn", "mse", "hqq"] as const) {
          const format = { bits, symmetric, blockSize, scaleType: "float16" } as const;
          const job = jobOf(rows, columns, { format, order, method });
          yield { job, text: `${method} ${JSON.stringify(format)} by ${order}` };
        }
      }
    }
  }
}

/** The lists of files that kernels are made of. */
function* modules(): Generator<readonly string[]> {
  yield SELF_TEST_FILES;
  for (const access of ["staged", "direct"] as const) {
    for (const kind of ["short", "long"] as const) {
      for (const method of ["rtn", "mse", "hqq"] as const) yield kernelFiles(access, kind, method);
    }
  }
}

Deno.test("every kernel file is valid WGSL after those that it builds on", async () => {
  const device = await (await adapterAtHand()).gpu.requestDevice();
  const used = new Set<string>();
  const seen = new Set<string>();
  for (const files of modules()) {
    for (const [index, file] of files.entries()) {
      used.add(file);
      const code = shaderOf(files.slice(0, index + 1));
      if (seen.has(code)) continue;
      seen.add(code);
      const title = file.slice(0, 60);
      device.pushErrorScope("validation");
      const module = device.createShaderModule({ code });
      const { messages } = await module.getCompilationInfo();
      assert.deepEqual(messages.map(({ message }) => message), [], title);
      assert.equal(await device.popErrorScope(), null, title);
    }
  }
  const folder = new URL("../../kernels/quantize/", import.meta.url);
  for (const { name } of Deno.readDirSync(folder)) {
    assert.ok(used.has(Deno.readTextFileSync(new URL(name, folder))), `no kernel uses ${name}`);
  }
  device.destroy();
});

Deno.test("tiles give the results of the whole: blocks of a fixed size", async () => {
  // 1 KiB is 8 blocks: less than a row here, and less than a column of blocks.
  await assertSame({ tileBytes: 1024 }, jobsOver(32, 21, 300));
});

Deno.test("tiles give the results of the whole: rows as blocks", async () => {
  await assertSame({ tileBytes: 4096 }, jobsOver(0, 13, 700));
});

Deno.test("a row that exceeds a binding is quantized in parts", async () => {
  await assertSame({ tileBytes: 20_000 }, jobsOver(0, 1, 13_001));
});

Deno.test("tiles keep what is random: types, shapes and importance", async () => {
  await assertSame({ tileBytes: 600 }, randomJobs(77, 200));
});

Deno.test("jobs wait for each other where memory holds few", async () => {
  await assertSame({ memoryBytes: 64 * 1024, tileBytes: 2048 }, randomJobs(78, 150));
});

Deno.test("more workgroups than a dimension holds are dispatched in two", async () => {
  const adapter = await adapterWith(limited("maxComputeWorkgroupsPerDimension", 3));
  await assertSame({ adapter }, jobsOver(16, 50, 130));
});

Deno.test("a row whose codes exceed a binding is an EngineFault, others are not", async () => {
  const adapter = await adapterWith(limited("maxStorageBufferBindingSize", 65_536));
  const engine = await createWebGpuEngine({ adapter });
  const format = { bits: 8, symmetric: true, blockSize: 0, scaleType: "float32" } as const;
  // 8-bit codes are bound part by part; the planes of 3-bit codes are one binding.
  const job = jobOf(1, 200_000, { format });
  const expected = await createReferenceEngine().quantize(job);
  assert.equal(differenceBetween(await engine.quantize(job), expected), null);
  await assert.rejects(
    engine.quantize({ ...job, format: { ...format, bits: 3 } }),
    (error) => error instanceof EngineFault && /200000 weights.*65536 bytes/.test(error.message),
  );
  engine.dispose();
});

Deno.test("weights in shared memory and at odd addresses are read as they are", async () => {
  const engine = await createWebGpuEngine();
  const plain = jobOf(9, 77);
  const expected = await createReferenceEngine().quantize(plain);
  const shared = new Uint8Array(new SharedArrayBuffer(plain.weights.length + 3), 3);
  shared.set(plain.weights);
  assert.equal(
    differenceBetween(await engine.quantize({ ...plain, weights: shared }), expected),
    null,
  );
  const doubles = Float64Array.from(new Float32Array(plain.weights.buffer));
  const odd = new Uint8Array(doubles.byteLength + 1).subarray(1);
  odd.set(new Uint8Array(doubles.buffer));
  const job = { ...plain, weightType: "float64", weights: odd } as const;
  assert.equal(differenceBetween(await engine.quantize(job), expected), null);
  engine.dispose();
});

Deno.test("a matrix without weights has an empty result", async () => {
  const engine = await createWebGpuEngine();
  for (const [rows, columns] of [[0, 5], [5, 0], [0, 0]] as const) {
    const job = jobOf(rows, columns);
    const expected = await createReferenceEngine().quantize(job);
    assert.equal(differenceBetween(await engine.quantize(job), expected), null);
  }
  engine.dispose();
});

Deno.test("a job whose arrays don't fit its shape is refused", async () => {
  const engine = await createWebGpuEngine();
  await assert.rejects(engine.quantize({ ...jobOf(4, 32), rows: 5 }), RangeError);
  engine.dispose();
});

Deno.test("an adapter whose division is off is refused, unless that is allowed", async () => {
  const change = (device: GPUDevice) => {
    const createShaderModule = device.createShaderModule.bind(device);
    device.createShaderModule = (descriptor) =>
      createShaderModule({
        ...descriptor,
        code: descriptor.code.replace("let twice = 2 * remainder;", "let twice = remainder;"),
      });
  };
  await assert.rejects(
    createWebGpuEngine({ adapter: await adapterWith(change) }),
    (error) => error instanceof InputError && /division of .* gives 0x/.test(error.message),
  );
  const engine = await createWebGpuEngine({
    adapter: await adapterWith(change),
    allowInexact: true,
  });
  assert.match(engine.inexact ?? "", /division/);
  engine.dispose();
});

Deno.test("an adapter that fuses a product with a sum is refused", async () => {
  const adapter = await adapterWith((device) => {
    const createShaderModule = device.createShaderModule.bind(device);
    device.createShaderModule = (descriptor) =>
      createShaderModule({
        ...descriptor,
        // A sum that keeps the product's low bits, as one rounding for both would.
        code: descriptor.code.replace(
          "bitcast<u32>(opaque(a * b) + c)",
          "bitcast<u32>(fma(a, b, c)) ^ u32(abs(a * b) > abs(c))",
        ),
      });
  });
  await assert.rejects(createWebGpuEngine({ adapter }), /a product added to/);
});

Deno.test("a device lost in the middle of jobs is an EngineFault, then and after", async () => {
  let left = Infinity;
  const adapter = await adapterWith((device) => {
    const submit = device.queue.submit.bind(device.queue);
    device.queue.submit = (buffers) => {
      submit(buffers);
      if (--left === 0) device.destroy();
    };
  });
  const engine = await createWebGpuEngine({ adapter });
  const job = jobOf(512, 512, { method: "mse" });
  (await engine.quantize(job)).release();
  left = 3;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 8 }, () => engine.quantize(job)),
  );
  const faults = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.ok(faults.length >= 5, "the device goes with the third job");
  for (const { reason } of faults) {
    assert.ok(reason instanceof EngineFault, String(reason));
    assert.match(reason.message, /^Cannot .*lost.*Use another engine\.$/);
  }
  await assert.rejects(engine.quantize(job), EngineFault);
  engine.dispose();
});

Deno.test("exhausted GPU memory is an EngineFault, and later jobs go on", async () => {
  let exhausted = false;
  const adapter = await adapterWith((device) => {
    const popErrorScope = device.popErrorScope.bind(device);
    let scopes = 0;
    device.popErrorScope = async () => {
      const error = await popErrorScope();
      // Three scopes a call of the engine; the second to close is that for memory.
      const memory = scopes++ % 3 === 1;
      return exhausted && memory ? new GPUOutOfMemoryError("no memory is left") : error;
    };
  });
  const engine = await createWebGpuEngine({ adapter });
  const job = jobOf(64, 64);
  exhausted = true;
  await assert.rejects(
    engine.quantize(job),
    (error) => error instanceof EngineFault && /no memory is left/.test(error.message),
  );
  exhausted = false;
  const expected = await createReferenceEngine().quantize(job);
  assert.equal(differenceBetween(await engine.quantize(job), expected), null);
  engine.dispose();
});

Deno.test("workgroups that never ran are noticed", async () => {
  let broken = false;
  const adapter = await adapterWith((device) => {
    const createCommandEncoder = device.createCommandEncoder.bind(device);
    device.createCommandEncoder = (descriptor) => {
      const encoder = createCommandEncoder(descriptor);
      const beginComputePass = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (pass) => {
        const compute = beginComputePass(pass);
        if (broken) compute.dispatchWorkgroups = () => {};
        return compute;
      };
      return encoder;
    };
  });
  const engine = await createWebGpuEngine({ adapter });
  broken = true;
  await assert.rejects(
    engine.quantize(jobOf(64, 64)),
    (error) => error instanceof EngineFault && /0 of 2 workgroups finished/.test(error.message),
  );
  engine.dispose();
});

Deno.test("memory for weights is handed out within its budget, in order", async () => {
  const engine: Engine = await createWebGpuEngine({ hostBytes: 1000 });
  const order: string[] = [];
  const first = await engine.allocate(700);
  assert.equal(first.bytes.byteLength, 700);
  const second = engine.allocate(600).then((memory) => (order.push("second"), memory));
  const third = engine.allocate(100).then((memory) => (order.push("third"), memory));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(order, []);
  first.release();
  first.release();
  (await second).release();
  (await third).release();
  assert.deepEqual(order, ["second", "third"]);
  const larger = await engine.allocate(5000);
  assert.equal(larger.bytes.byteLength, 5000);
  const waiting = engine.allocate(1);
  engine.dispose();
  await assert.rejects(waiting, EngineFault);
});

Deno.test("the hardware key tells machines apart and stays the same", async () => {
  const adapter = await adapterAtHand();
  const processor = detectProcessor();
  assert.ok(processor.cores >= 1);
  const key = hardwareKey(adapter, processor);
  assert.equal(hardwareKey(await adapterAtHand(), detectProcessor()), key);
  assert.notEqual(hardwareKey(null, processor), key);
  assert.notEqual(hardwareKey(adapter, { ...processor, cores: processor.cores + 1 }), key);
  assert.equal(adapter.software, /llvmpipe|SwiftShader/.test(adapter.name));
});
