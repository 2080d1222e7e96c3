// @ts-check
/**
 * A process that runs one module for WebGPU: a frame on standard input says which and on what inputs, a
 * frame on standard output answers. It is started with the permission to read the module's own folder
 * and no other, since a module is generated code (`module.ts` starts it, and says what frames are).
 */

/**
 * @typedef {{ dtype: string, dims: number[], bytes: number }} TensorHeader
 * @typedef {{ dtype: string, dims: readonly number[], data: ArrayBufferView }} Output
 */

/** Elements of the types that have an array of their own; the others come and go as bytes. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float16: Uint16Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
};

/** Milliseconds after which no further run is timed: software GPUs may take seconds for one. */
const MOST_TIMING = 3000;

/** What the GPU complained of though nobody asked. @type {string[]} */
const complaints = [];
/** The device that the module asked for. @type {{ info: GPUAdapterInfo, device: GPUDevice } | null} */
let opened = null;

const { requestDevice } = GPUAdapter.prototype;
/**
 * @this {GPUAdapter}
 * @param {GPUDeviceDescriptor} [descriptor]
 */
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    complaints.push(/** @type {GPUUncapturedErrorEvent} */ (event).error.message);
  });
  opened = { info: this.info, device };
  return device;
};
/** @param {GPUAdapterInfo} info */
function describe({ vendor, device, description, isFallbackAdapter }) {
  return { vendor, device, description, isFallbackAdapter };
}

/** @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function readInput() {
  return new Uint8Array(await new Response(Deno.stdin.readable).arrayBuffer());
}

/** @param {number} bytes */
const padded = (bytes) => Math.ceil(bytes / 8) * 8;

/**
 * @param {object} header
 * @param {readonly Uint8Array[]} tensors
 */
function answer(header, tensors = []) {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(padded(8 + json.length)).fill(0x20);
  new DataView(head.buffer).setFloat64(0, head.length - 8, true);
  head.set(json, 8);
  for (const bytes of [head, ...tensors]) {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    const rest = padded(bytes.length) - bytes.length;
    for (let at = 0; at < rest;) at += Deno.stdout.writeSync(new Uint8Array(rest - at));
  }
}

/** @param {unknown} error */
function messageOf(error) {
  if (!(error instanceof Error)) return String(error);
  return error.name === "ModelError" ? error.message : `${error.name}: ${error.message}`;
}

/** Throws what the GPU complained of, once all that was submitted is done. */
async function settle() {
  await opened?.device.queue.onSubmittedWorkDone();
  const [first] = complaints;
  if (first !== undefined) throw new Error(`the GPU complains: ${first}`);
}

/**
 * @param {TensorHeader} header
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
function tensorOf({ dtype, dims }, bytes) {
  if (!Object.hasOwn(ARRAYS, dtype)) return { data: bytes, dims };
  const constructor = ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)];
  const count = bytes.length / constructor.BYTES_PER_ELEMENT;
  return { data: new constructor(bytes.buffer, bytes.byteOffset, count), dims };
}

/** @param {Uint8Array<ArrayBuffer>} input */
async function runModule(input) {
  const length = new DataView(input.buffer).getFloat64(0, true);
  /** @type {{ module: string, runs: number, samples: ({ name: string } & TensorHeader)[][] }} */
  const job = JSON.parse(new TextDecoder().decode(input.subarray(8, 8 + length)));
  let at = 8 + length;
  const samples = job.samples.map((sample) =>
    Object.fromEntries(sample.map((header) => {
      const bytes = input.subarray(at, at + header.bytes);
      at += padded(header.bytes);
      return [header.name, tensorOf(header, bytes)];
    }))
  );
  const module = await import(job.module);
  let started = performance.now();
  const model = await module.load();
  const load = performance.now() - started;
  await settle();
  /** @type {Uint8Array[]} */
  const data = [];
  const outputs = [];
  for (const sample of samples) {
    /** @type {Record<string, Output>} */
    const results = await model.run(sample);
    await settle();
    outputs.push(
      Object.entries(results).map(([name, { dtype, dims, data: elements }]) => {
        const { buffer, byteOffset, byteLength } = elements;
        data.push(new Uint8Array(buffer, byteOffset, byteLength));
        return { name, dtype, dims, bytes: byteLength };
      }),
    );
  }
  const times = [];
  const begun = performance.now();
  while (times.length < job.runs && performance.now() - begun < MOST_TIMING) {
    started = performance.now();
    await model.run(samples[0]);
    times.push(performance.now() - started);
  }
  await settle();
  model.dispose();
  if (opened === null) throw new Error("it asked for no device");
  answer({ kind: "ran", adapter: describe(opened.info), load, times, outputs }, data);
}

// Standard output is for the answer.
console.log = console.info = console.debug = console.error;
const input = await readInput();
try {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) answer({ kind: "no adapter" });
  else if (input.length === 0) answer({ kind: "adapter", adapter: describe(adapter.info) });
  else await runModule(input);
} catch (error) {
  const adapter = opened === null
    ? null
    : describe(/** @type {{ info: GPUAdapterInfo }} */ (opened).info);
  answer({ kind: "failed", adapter, message: messageOf(error) });
}
