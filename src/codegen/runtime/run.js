// @ts-check
/** Executes runs: records the program or finds its plan, submits segments, gathers outputs. */
import { planKey } from "./bound_inputs.js";
import { roundedBytes } from "./memory.js";
import { ModelError, quoted } from "./model_error.js";
import { OutputBuffers } from "./output_buffers.js";
import { profileSegment } from "./profile.js";
import { ProgramRecorder } from "./recorder.js";
import { fromStorage } from "./values.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("../module.ts").HostOutput} HostOutput
 * @typedef {import("../module.ts").GpuOutput} GpuOutput
 * @typedef {import("../module.ts").StorageArray} StorageArray
 * @typedef {import("./bound_inputs.js").BoundInput} BoundInput
 * @typedef {import("./execute.js").PreparedSegment} PreparedSegment
 * @typedef {import("./execute.js").SegmentRun} SegmentRun
 * @typedef {import("./recorded.js").RecordedTensor} RecordedTensor
 *
 * @typedef {object} Plan a recorded run that can be repeated
 * @property {PreparedSegment} prepared
 * @property {{ tensor: RecordedTensor, dims: number[] }[]} outputs
 *
 * @typedef {object} RunRequest
 * @property {BoundInput[]} bound
 * @property {readonly boolean[]} onGpu outputs that stay on the GPU
 * @property {() => void} check throws where the run is not to go on
 * @property {() => void} submitted
 * @property {import("../module.ts").DispatchProfile[] | null} profile
 */

/** Plans that are kept; the least recently used go first. */
const KEPT_PLANS = 32;

/** Executes the runs of one model, one after the other. */
export class ModelRunner {
  runs = 0;
  dispatches = 0;
  liveBytes = 0;
  times = { plan: 0, encode: 0, wait: 0, total: 0 };
  /** @type {Map<string, Plan>} */
  plans = new Map();
  /** Choices of kernels that runs have left open since they were taken. */
  /** @type {Map<string, import("./recorder.js").OpenChoice>} */
  open = new Map();
  #device;
  #tables;
  #memory;
  #executor;
  #selection;
  #outputBuffers;

  /**
   * @param {GPUDevice} device
   * @param {ModuleTables} tables
   * @param {import("./memory.js").GpuMemory} memory
   * @param {import("./execute.js").SegmentExecutor} executor
   * @param {import("./selection.js").KernelSelection} selection
   */
  constructor(device, tables, memory, executor, selection) {
    this.#selection = selection;
    this.#device = device;
    this.#tables = tables;
    this.#memory = memory;
    this.#executor = executor;
    this.#outputBuffers = new OutputBuffers(memory);
  }

  /**
   * @param {RunRequest} request
   * @returns {Promise<Record<string, HostOutput | GpuOutput>>}
   */
  async execute(request) {
    const { bound, onGpu, check } = request;
    const run = new RunInProgress(this.#device, this.#tables, this.#executor, request);
    await this.#readHostInputs(bound);
    check();
    const plan = await this.#plan(run, request);

    /** @type {SegmentRun["copies"][number][]} */
    const copies = [];
    /** @type {SegmentRun["reads"][number][]} */
    const reads = [];
    /** @type {Map<number, GPUBuffer>} */
    const made = new Map();
    try {
      for (let i = 0; i < plan.outputs.length; i++) {
        const { tensor, dims } = plan.outputs[i] ?? {};
        const table = this.#tables.outputs[i];
        if (!tensor || !dims || !table) continue;
        if (!onGpu[i]) {
          reads.push({ tensor, storage: table.storage, count: dims.reduce((a, b) => a * b, 1) });
          continue;
        }
        const buffer = await this.#outputBuffers.take(tensor.bytes);
        made.set(i, buffer);
        if (tensor.external === bound.length + i) run.externals[tensor.external] = buffer;
        else copies.push({ tensor, buffer });
      }
      const dtypes = this.#tables.outputs.filter((_, i) => !onGpu[i]).map(({ dtype }) => dtype);
      const { results } = await run.submit(
        plan.prepared,
        reads,
        copies,
        (values, i) => fromStorage(String(dtypes[i]), values),
      );
      request.submitted();
      const data = await results;
      run.lap("wait");
      check();
      this.runs++;
      this.dispatches = run.dispatches;
      this.liveBytes = run.liveBytes;
      this.times = { ...run.times, total: performance.now() - run.begin };
      let next = 0;
      return Object.fromEntries(this.#tables.outputs.map(({ name, dtype }, i) => {
        const dims = [...(plan.outputs[i]?.dims ?? [])];
        const buffer = made.get(i);
        if (buffer !== undefined) {
          const dispose = () => this.#outputBuffers.release(buffer);
          return [name, { dtype, dims, buffer, dispose }];
        }
        const values = data[next++];
        if (values === undefined) throw new RangeError(`output ${i}`);
        return [name, { dtype, dims, data: values }];
      }));
    } catch (error) {
      for (const buffer of made.values()) this.#memory.destroy(buffer);
      throw error;
    }
  }

  /**
   * The plan of the last segment, found or recorded. What lies before it has been run.
   * @param {RunInProgress} run
   * @param {RunRequest} request
   * @returns {Promise<Plan>}
   */
  async #plan(run, { bound, onGpu, check }) {
    const key = planKey(bound, onGpu);
    const known = key === null ? undefined : this.plans.get(key);
    if (key !== null && known !== undefined) {
      this.plans.delete(key);
      this.plans.set(key, known);
      return known;
    }
    const recorder = new ProgramRecorder(this.#tables, {
      dims: bound.map(({ dims }) => dims),
      host: (input) => this.#hostValues(bound[input], input),
      external: bound.map(({ mode }) => mode === "bound"),
      refusals: bound.map(({ refusal }) => refusal),
      maxBinding: this.#device.limits.maxStorageBufferBindingSize,
      selection: this.#selection,
    });
    const program = this.#tables.program(recorder);
    let step = program.next();
    let synced = false;
    while (!step.done) {
      synced = true;
      const segment = recorder.cut(step.value);
      const prepared = this.#executor.prepare(segment);
      const { results } = await run.submit(
        prepared,
        segment.reads,
        [],
        (values) => values.slice(),
      );
      const arrays = await results;
      run.lap("wait");
      check();
      recorder.carry();
      step = program.next(arrays);
    }
    for (const [key, choice] of recorder.open) this.open.set(key, choice);
    const segment = recorder.cut(null);
    const outputs = recorder.outputs.flatMap((output) => output ?? []);
    outputs.forEach(({ tensor }, i) => {
      if (!onGpu[i] || tensor.kind !== "activation" || tensor.external >= 0) return;
      if (tensor.place === null) tensor.external = bound.length + i;
    });
    const plan = { prepared: this.#executor.prepare(segment), outputs };
    if (key !== null && !synced && !recorder.readsHost) {
      this.plans.set(key, plan);
      const [oldest] = this.plans.keys();
      if (this.plans.size > KEPT_PLANS && oldest !== undefined) this.plans.delete(oldest);
    }
    return plan;
  }

  /**
   * Makes the memory of the largest run, where every dimension is fixed or limited and a run depends
   * on nothing else: then no run makes buffers. Where this GPU has not so much, runs take what they need.
   */
  async reserve() {
    const { inputs, outputs } = this.#tables;
    const dims = inputs.flatMap((table) => {
      const largest = largestDims(table);
      return largest === null || table.host ? [] : [largest];
    });
    if (dims.length < inputs.length) return;
    const recorder = new ProgramRecorder(this.#tables, {
      dims,
      host: () => [],
      external: inputs.map(() => false),
      maxBinding: this.#device.limits.maxStorageBufferBindingSize,
      selection: this.#selection,
    });
    try {
      const { done } = this.#tables.program(recorder).next();
      if (!done || recorder.readsHost) return;
      const segment = recorder.cut(null);
      const bytes = outputs.map((_, i) =>
        4 * (recorder.outputs[i]?.dims ?? [0]).reduce((a, b) => a * b, 1)
      );
      const resultBytes = bytes.reduce((sum, own) => sum + (own && roundedBytes(own, 16)), 0);
      await this.#executor.reserveLargest(segment, resultBytes);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
    }
  }

  /**
   * Reads GPU inputs whose values the program wants.
   * @param {BoundInput[]} bound
   */
  async #readHostInputs(bound) {
    for (let i = 0; i < bound.length; i++) {
      const input = bound[i];
      const table = this.#tables.inputs[i];
      if (!input?.buffer || !table?.host) continue;
      const bytes = 4 * input.dims.reduce((a, b) => a * b, 1);
      input.numbers = await this.#executor.readBuffer(input.buffer, table.storage, bytes);
    }
  }

  /**
   * @param {BoundInput | undefined} input
   * @param {number} index
   * @returns {ArrayLike<number>}
   */
  #hostValues(input, index) {
    const values = input?.numbers ?? input?.values;
    if (values) return values;
    const name = quoted(String(this.#tables.inputs[index]?.name));
    throw new ModelError("internal", `Cannot read input ${name} on the host: it is a GPUBuffer.`);
  }
}

/**
 * The largest dims that an input may have; null where there is no telling.
 * @param {import("../module.ts").InputTable} table
 * @returns {number[] | null}
 */
function largestDims({ dims, limits }) {
  const largest = dims.flatMap((dim, axis) =>
    typeof dim === "number" ? [dim] : limits?.[axis] ?? []
  );
  return largest.length === dims.length ? largest : null;
}

/** What one run has submitted so far, and how long it took. */
class RunInProgress {
  begin = performance.now();
  dispatches = 0;
  liveBytes = 0;
  times = { plan: 0, encode: 0, wait: 0 };
  /** @type {(GPUBuffer | null)[]} buffers that are bound where they are: inputs, then outputs */
  externals;
  #last = this.begin;
  #device;
  #tables;
  #executor;
  #inputs;
  #profile;

  /**
   * @param {GPUDevice} device
   * @param {ModuleTables} tables
   * @param {import("./execute.js").SegmentExecutor} executor
   * @param {RunRequest} request
   */
  constructor(device, tables, executor, { bound, profile }) {
    this.#device = device;
    this.#tables = tables;
    this.#executor = executor;
    this.#inputs = bound.map(({ values, buffer }) => values ?? buffer);
    this.#profile = profile;
    this.externals = bound.map(({ mode, buffer }) => mode === "bound" ? buffer : null);
  }

  /**
   * Adds the time since the last call to a part.
   * @param {"plan" | "encode" | "wait"} part
   */
  lap(part) {
    const now = performance.now();
    this.times[part] += now - this.#last;
    this.#last = now;
  }

  /**
   * @template T
   * @param {PreparedSegment} prepared
   * @param {SegmentRun["reads"]} reads
   * @param {SegmentRun["copies"]} copies
   * @param {(values: StorageArray, index: number) => T} take
   * @returns {Promise<{ results: Promise<T[]> }>}
   */
  async submit(prepared, reads, copies, take) {
    await this.#executor.reserve(prepared);
    this.lap("plan");
    const run = { externals: this.externals, inputs: this.#inputs, reads, copies };
    const profile = this.#profile && (() => this.#timeEach(prepared, this.#profile ?? []));
    const submission = await this.#executor.submit(prepared, run, take, profile);
    this.lap("encode");
    this.dispatches += prepared.segment.commands.length;
    this.liveBytes = Math.max(this.liveBytes, prepared.bound);
    return submission;
  }

  /**
   * @param {PreparedSegment} prepared
   * @param {import("../module.ts").DispatchProfile[]} rows
   */
  async #timeEach(prepared, rows) {
    const times = await profileSegment(this.#device, this.#executor, prepared);
    prepared.segment.commands.forEach(({ pipeline, groups, parameters }, i) => {
      const label = this.#tables.pipelines[pipeline]?.label ?? "";
      rows.push({ pipeline, label, groups, parameters, microseconds: Number(times[i]) });
    });
  }
}
