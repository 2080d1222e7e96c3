// @ts-check
/** A loaded model: `loadModel` makes one out of a module's tables. */
import { openModelDevice } from "./device.js";
import { roundedBytes, SegmentExecutor } from "./execute.js";
import { checkInputs } from "./inputs.js";
import { GpuMemory } from "./memory.js";
import { ModelError, nameHint, quoted } from "./model_error.js";
import { makePipelines } from "./pipelines.js";
import { profileSegment } from "./profile.js";
import { ProgramRecorder } from "./recorder.js";
import { fromStorage, toNumbers, toStorage } from "./values.js";
import { fillWeights } from "./weights.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("../module.ts").LoadOptions} LoadOptions
 * @typedef {import("../module.ts").RunOptions} RunOptions
 * @typedef {import("../module.ts").InputValue} InputValue
 * @typedef {import("../module.ts").HostOutput} HostOutput
 * @typedef {import("../module.ts").GpuOutput} GpuOutput
 * @typedef {import("../module.ts").StorageArray} StorageArray
 * @typedef {import("../module.ts").DispatchProfile} DispatchProfile
 * @typedef {import("../module.ts").WeightSource} WeightSource
 * @typedef {import("./execute.js").PreparedSegment} PreparedSegment
 * @typedef {import("./recorder.js").RecordedTensor} RecordedTensor
 *
 * @typedef {object} BoundInput
 * @property {number[]} dims
 * @property {"host" | "bound" | "copied"} mode
 * @property {StorageArray | null} values
 * @property {GPUBuffer | null} buffer
 * @property {ArrayLike<number> | null} numbers values on the host, where the program wants them
 *
 * @typedef {object} Plan a recorded run that can be repeated
 * @property {PreparedSegment} prepared
 * @property {{ tensor: RecordedTensor, dims: number[] }[]} outputs
 */

/** Plans that are kept, the least recently used go first. */
const KEPT_PLANS = 32;
/** Host values that may be part of a plan's key. */
const KEYED_HOST_VALUES = 256;
const KEPT_GPU_OUTPUTS = 8;

/**
 * Loads a model. Frees everything again where that fails.
 * @param {ModuleTables} tables
 * @param {LoadOptions} [options]
 * @param {WeightSource} [defaultWeights]
 * @returns {Promise<LoadedModel>}
 */
export async function loadModel(tables, options = {}, defaultWeights = tables.weights.file) {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const report = (
    /** @type {import("../module.ts").LoadProgress["stage"]} */ stage,
    /** @type {number} */ loaded,
    /** @type {number} */ total,
  ) => onProgress?.({ stage, loaded, total });
  report("device", 0, 1);
  const { device, own } = await openModelDevice(options.device, tables.features);
  report("device", 1, 1);
  const memory = new GpuMemory(device);
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  try {
    signal?.throwIfAborted();
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const sizes = tables.weights.buffers.map((bytes) => roundedBytes(bytes, 16));
    const weights = await memory.create(sizes, usage, "weights");
    const count = tables.pipelines.length;
    const work = [
      makePipelines(device, tables, (made) => report("pipelines", made, count)),
      fillWeights(tables.weights, {
        device,
        buffers: weights,
        source: options.weights ?? defaultWeights,
        cache: options.cache ?? false,
        signal: stop.signal,
        onProgress: (loaded, total) => report("weights", loaded, total),
      }),
    ];
    const lost = device.lost.then((info) => {
      throw lostError("load", info);
    });
    const all = Promise.all(work);
    all.catch(abort);
    const [made] = await Promise.race([all, lost]);
    signal?.throwIfAborted();
    if (!made) throw new RangeError("no pipelines");
    report("ready", 1, 1);
    return new LoadedModel(tables, device, own, memory, made, weights);
  } catch (error) {
    stop.abort(error);
    memory.destroyAll();
    if (own) device.destroy();
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/**
 * @param {string} act
 * @param {GPUDeviceLostInfo} info
 */
function lostError(act, info) {
  return new ModelError(
    "lost",
    `Cannot ${act} the model: its GPU device was lost (${info.reason || "unknown"}` +
      `${info.message ? `: ${info.message}` : ""}). Load the model again.`,
  );
}

/** Implements `Model` of module.ts. */
export class LoadedModel {
  #tables;
  #own;
  #memory;
  #executor;
  #made;
  /** @type {ModelError | null} */
  #ended = null;
  /** @type {string | null} */
  #uncaptured = null;
  /** @type {Map<string, Plan>} */
  #plans = new Map();
  /** @type {GPUBuffer[]} */
  #idleOutputs = [];
  #weightBytes = 0;
  #runs = 0;
  #waiting = 0;
  #dispatches = 0;
  #liveBytes = 0;
  #times = { plan: 0, encode: 0, wait: 0, total: 0 };
  /** @type {Promise<unknown>} the last run has submitted all its work */
  #submitted = Promise.resolve();
  /** @type {Promise<unknown>} the run before the last has ended */
  #earlier = Promise.resolve();
  /** @type {Promise<unknown>} the last run has ended */
  #latest = Promise.resolve();

  /**
   * @param {ModuleTables} tables
   * @param {GPUDevice} device
   * @param {boolean} own whether the device is the model's own
   * @param {GpuMemory} memory
   * @param {import("./pipelines.js").MadePipelines} made
   * @param {readonly GPUBuffer[]} weights
   */
  constructor(tables, device, own, memory, made, weights) {
    this.#tables = tables;
    this.device = device;
    this.#own = own;
    this.#memory = memory;
    this.#made = made;
    this.#weightBytes = memory.bytes;
    this.#executor = new SegmentExecutor(device, tables, memory, made, weights);
    this.inputs = tables.inputs.map(({ name, dtype, dims }) => ({ name, dtype, dims }));
    this.outputs = tables.outputs.map(({ name, dtype, dims }) => ({ name, dtype, dims }));
    device.lost.then((info) => this.#ended ??= lostError("run", info));
    if (own) {
      device.addEventListener("uncapturederror", (event) => {
        this.#uncaptured ??= /** @type {GPUUncapturedErrorEvent} */ (event).error.message;
      });
    }
  }

  /**
   * Runs the model. Runs are queued: as many calls as one likes may wait.
   * @param {Readonly<Record<string, InputValue>>} inputs
   * @param {RunOptions} [options]
   * @returns {Promise<Record<string, HostOutput | GpuOutput>>}
   */
  async run(inputs, options = {}) {
    const { signal } = options;
    const gpuOutputs = options.gpuOutputs ?? [];
    const names = this.outputs.map(({ name }) => name);
    const unknown = gpuOutputs.find((name) => !names.includes(name));
    if (unknown !== undefined) {
      const hint = nameHint(unknown, names);
      throw new ModelError("input", `Cannot give output ${quoted(unknown)}: there is none.${hint}`);
    }
    const onGpu = names.map((name) => gpuOutputs.includes(name));
    return await this.#queued(
      inputs,
      signal,
      (bound, submitted) => this.#execute(bound, onGpu, signal, submitted),
    );
  }

  /**
   * Runs the model once and times every dispatch.
   * @param {Readonly<Record<string, InputValue>>} inputs
   * @returns {Promise<DispatchProfile[]>}
   */
  async profile(inputs) {
    /** @type {DispatchProfile[]} */
    const rows = [];
    const onGpu = this.outputs.map(() => false);
    await this.#queued(
      inputs,
      undefined,
      (bound, submitted) => this.#execute(bound, onGpu, undefined, submitted, rows),
    );
    return rows;
  }

  /** @returns {import("../module.ts").ModelStats} */
  stats() {
    return {
      runs: this.#runs,
      dispatches: this.#dispatches,
      pipelines: this.#made.pipelines.length,
      plans: this.#plans.size,
      buffers: this.#memory.count,
      bytes: this.#memory.bytes,
      weightBytes: this.#weightBytes,
      arenaBytes: this.#executor.arenaBytes,
      liveBytes: this.#liveBytes,
      times: { ...this.#times },
    };
  }

  /** Frees every buffer, GPU outputs included, and the device where it is the model's own. */
  dispose() {
    if (this.#ended?.code === "disposed") return;
    this.#ended = new ModelError(
      "disposed",
      "Cannot run the model: it was disposed of. Load it again.",
    );
    this.#plans.clear();
    this.#memory.destroyAll();
    if (this.#own) this.device.destroy();
  }

  /**
   * Waits for the runs before and calls `work`. One run may be submitted while the GPU is still
   * busy with the one before.
   * @template T
   * @param {Readonly<Record<string, InputValue>>} inputs
   * @param {AbortSignal | undefined} signal
   * @param {(bound: BoundInput[], submitted: () => void) => Promise<T>} work
   * @returns {Promise<T>}
   */
  async #queued(inputs, signal, work) {
    this.#check();
    signal?.throwIfAborted();
    const bound = this.#bind(inputs);
    const before = Promise.all([this.#submitted, this.#earlier]);
    /** @type {() => void} */
    let submitted = () => {};
    this.#submitted = new Promise((resolve) => submitted = () => resolve(undefined));
    this.#waiting++;
    const running = before.then(async () => {
      try {
        this.#check();
        signal?.throwIfAborted();
        return await work(bound, submitted);
      } catch (error) {
        // A lost device breaks calls first and is told of afterwards.
        if (!signal?.aborted) await new Promise((resolve) => setTimeout(resolve, 0));
        throw this.#ended ?? error;
      } finally {
        this.#waiting--;
        submitted();
      }
    });
    this.#earlier = this.#latest;
    this.#latest = running.catch(() => {});
    if (!signal) return await running;
    /** @type {() => void} */
    let abort = () => {};
    const aborted = new Promise((_, reject) => {
      abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort);
    });
    try {
      return await /** @type {Promise<T>} */ (Promise.race([running, aborted]));
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  #check() {
    if (this.#ended !== null) throw this.#ended;
    if (this.#uncaptured === null) return;
    const message = this.#uncaptured;
    this.#uncaptured = null;
    throw new ModelError("internal", `Cannot run the model: the GPU reported: ${message}`);
  }

  /**
   * @param {Readonly<Record<string, InputValue>>} inputs
   * @returns {BoundInput[]}
   */
  #bind(inputs) {
    const { tables, used } = { tables: this.#tables.inputs, used: new Set() };
    return checkInputs(tables, inputs).map(({ dims, data, buffer }, i) => {
      const { dtype, storage, name, host } = tables[i] ?? {};
      const act = `Cannot take input ${quoted(String(name))}`;
      if (!dtype || !storage) throw new RangeError(`input ${i}`);
      if (buffer !== null) {
        const bytes = 4 * dims.reduce((a, b) => a * b, 1);
        const usable = buffer.usage & GPUBufferUsage.STORAGE && !used.has(buffer) &&
          buffer.size >= roundedBytes(bytes, 16);
        used.add(buffer);
        if ((!usable || host) && !(buffer.usage & GPUBufferUsage.COPY_SRC)) {
          const why = host ? "it is read on the host" : "it is copied";
          throw new ModelError("input", `${act}: its buffer has no usage COPY_SRC, and ${why}.`);
        }
        return { dims, mode: usable ? "bound" : "copied", values: null, buffer, numbers: null };
      }
      const list = data ?? [];
      let values = toStorage(dtype, storage, list, act);
      // A caller may change its array once `run` has returned.
      if (ArrayBuffer.isView(list) && values.buffer === list.buffer && this.#waiting > 0) {
        values = values.slice();
      }
      const numbers = host ? toNumbers(dtype, list, act) : null;
      return { dims, mode: "host", values, buffer: null, numbers };
    });
  }

  /**
   * @param {BoundInput[]} bound
   * @param {readonly boolean[]} onGpu outputs that stay on the GPU
   * @param {AbortSignal | undefined} signal
   * @param {() => void} submitted
   * @param {DispatchProfile[]} [profile]
   * @returns {Promise<Record<string, HostOutput | GpuOutput>>}
   */
  async #execute(bound, onGpu, signal, submitted, profile) {
    const begin = performance.now();
    const times = { plan: 0, encode: 0, wait: 0, total: 0 };
    let at = begin;
    const lap = (/** @type {"plan" | "encode" | "wait"} */ part) => {
      const now = performance.now();
      times[part] += now - at;
      at = now;
    };
    await this.#readHostInputs(bound);
    this.#check();
    const inputs = bound.map(({ values, buffer }) => values ?? buffer);
    /** @type {(GPUBuffer | null)[]} */
    const externals = bound.map(({ mode, buffer }) => mode === "bound" ? buffer : null);
    const timed = profile
      ? async (/** @type {PreparedSegment} */ prepared) => {
        const rows = await profileSegment(this.device, this.#executor, prepared);
        prepared.segment.commands.forEach(({ pipeline, groups, parameters }, i) => {
          const label = this.#tables.pipelines[pipeline]?.label ?? "";
          profile.push({ pipeline, label, groups, parameters, microseconds: Number(rows[i]) });
        });
      }
      : null;
    let dispatches = 0;
    let live = 0;
    /**
     * @template T
     * @param {PreparedSegment} prepared
     * @param {import("./execute.js").SegmentRun["reads"]} reads
     * @param {import("./execute.js").SegmentRun["copies"]} copies
     * @param {(values: StorageArray, index: number) => T} take
     */
    const submit = async (prepared, reads, copies, take) => {
      await this.#executor.reserve(prepared);
      lap("plan");
      const run = { externals, inputs, reads, copies };
      const submission = await this.#executor.submit(prepared, run, take, timed);
      lap("encode");
      dispatches += prepared.segment.commands.length;
      live = Math.max(live, prepared.bound);
      return submission;
    };

    const key = planKey(bound, onGpu);
    let plan = key === null ? undefined : this.#plans.get(key);
    if (key !== null && plan !== undefined) {
      this.#plans.delete(key);
      this.#plans.set(key, plan);
    } else {
      const recorder = new ProgramRecorder(this.#tables, {
        dims: bound.map(({ dims }) => dims),
        host: (input) => this.#hostValues(bound[input], input),
        external: bound.map(({ mode }) => mode === "bound"),
        maxBinding: this.device.limits.maxStorageBufferBindingSize,
      });
      const program = this.#tables.program(recorder);
      let step = program.next();
      let synced = false;
      while (!step.done) {
        synced = true;
        const segment = recorder.cut(step.value);
        const prepared = this.#executor.prepare(segment);
        const { results } = await submit(prepared, segment.reads, [], (values) => values.slice());
        const arrays = await results;
        lap("wait");
        this.#check();
        signal?.throwIfAborted();
        recorder.carry();
        step = program.next(arrays);
      }
      const segment = recorder.cut(null);
      const outputs = recorder.outputs.flatMap((output) => output ?? []);
      outputs.forEach(({ tensor }, i) => {
        if (!onGpu[i] || tensor.kind !== "activation" || tensor.external >= 0) return;
        if (!tensor.place) tensor.external = bound.length + i;
      });
      plan = { prepared: this.#executor.prepare(segment), outputs };
      if (key !== null && !synced && !recorder.readsHost) {
        this.#plans.set(key, plan);
        const [oldest] = this.#plans.keys();
        if (this.#plans.size > KEPT_PLANS && oldest !== undefined) this.#plans.delete(oldest);
      }
    }

    /** @type {import("./execute.js").SegmentRun["copies"][number][]} */
    const copies = [];
    /** @type {Map<number, GPUBuffer>} */
    const made = new Map();
    /** @type {{ tensor: RecordedTensor, storage: "f32" | "i32" | "u32", count: number }[]} */
    const reads = [];
    for (let i = 0; i < plan.outputs.length; i++) {
      const { tensor, dims } = plan.outputs[i] ?? {};
      const table = this.#tables.outputs[i];
      if (!tensor || !dims || !table) continue;
      if (!onGpu[i]) {
        reads.push({ tensor, storage: table.storage, count: dims.reduce((a, b) => a * b, 1) });
        continue;
      }
      const buffer = await this.#outputBuffer(tensor.bytes);
      made.set(i, buffer);
      if (tensor.external === bound.length + i) externals[tensor.external] = buffer;
      else copies.push({ tensor, buffer });
    }
    const dtypes = this.#tables.outputs.filter((_, i) => !onGpu[i]).map(({ dtype }) => dtype);
    /** @type {import("../module.ts").TensorArray[]} */
    let data;
    try {
      const { results } = await submit(
        plan.prepared,
        reads,
        copies,
        (values, i) => fromStorage(String(dtypes[i]), values),
      );
      submitted();
      data = await results;
      lap("wait");
      this.#check();
      signal?.throwIfAborted();
    } catch (error) {
      for (const buffer of made.values()) this.#memory.destroy(buffer);
      throw error;
    }
    this.#runs++;
    this.#dispatches = dispatches;
    this.#liveBytes = live;
    this.#times = { ...times, total: performance.now() - begin };
    let next = 0;
    return Object.fromEntries(this.#tables.outputs.map(({ name, dtype }, i) => {
      const dims = [...(plan.outputs[i]?.dims ?? [])];
      const buffer = made.get(i);
      if (buffer !== undefined) {
        return [name, { dtype, dims, buffer, dispose: () => this.#releaseOutput(buffer) }];
      }
      const values = data[next++];
      if (values === undefined) throw new RangeError(`output ${i}`);
      return [name, { dtype, dims, data: values }];
    }));
  }

  /**
   * Reads GPU inputs whose values the program wants.
   * @param {BoundInput[]} bound
   */
  async #readHostInputs(bound) {
    for (let i = 0; i < bound.length; i++) {
      const input = bound[i];
      const table = this.#tables.inputs[i];
      if (!input || !table?.host || input.numbers !== null || input.buffer === null) continue;
      const bytes = 4 * input.dims.reduce((a, b) => a * b, 1);
      const values = bytes === 0
        ? new Float32Array(0)
        : await this.#executor.readBuffer(input.buffer, table.storage, bytes);
      input.numbers = values;
    }
  }

  /**
   * @param {BoundInput | undefined} input
   * @param {number} index
   * @returns {ArrayLike<number>}
   */
  #hostValues(input, index) {
    if (input?.numbers) return input.numbers;
    const { dtype, name } = this.#tables.inputs[index] ?? {};
    if (!input?.values || !dtype) {
      throw new ModelError(
        "internal",
        `Cannot read input ${quoted(String(name))} on the host: it is a GPUBuffer.`,
      );
    }
    return input.values;
  }

  /** @param {number} bytes */
  async #outputBuffer(bytes) {
    const size = roundedBytes(bytes, 16);
    const at = this.#idleOutputs.findIndex((buffer) => buffer.size === size);
    const idle = at < 0 ? undefined : this.#idleOutputs.splice(at, 1)[0];
    if (idle !== undefined) return idle;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const [made] = await this.#memory.create([size], usage, "an output");
    if (made === undefined) throw new RangeError("no buffer");
    return made;
  }

  /** @param {GPUBuffer} buffer */
  #releaseOutput(buffer) {
    if (this.#ended !== null || this.#idleOutputs.includes(buffer)) return;
    this.#idleOutputs.push(buffer);
    const oldest = this.#idleOutputs[0];
    if (this.#idleOutputs.length > KEPT_GPU_OUTPUTS && oldest) {
      this.#idleOutputs.shift();
      this.#memory.destroy(oldest);
    }
  }
}

/**
 * What a recorded plan depends on; null where host values make it too long.
 * @param {readonly BoundInput[]} bound
 * @param {readonly boolean[]} onGpu
 * @returns {string | null}
 */
function planKey(bound, onGpu) {
  const values = bound.reduce((sum, { numbers }) => sum + (numbers?.length ?? 0), 0);
  if (values > KEYED_HOST_VALUES) return null;
  const parts = bound.map(({ dims, mode, numbers }) =>
    `${mode[0]}${dims.join()}${numbers ? `=${Array.from(numbers).join()}` : ""}`
  );
  return `${parts.join(";")}|${onGpu.map(Number).join("")}`;
}
