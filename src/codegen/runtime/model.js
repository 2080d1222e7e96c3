// @ts-check
/** A loaded model, as its module's caller has it. */
import { bindInputs } from "./bound_inputs.js";
import { SegmentExecutor } from "./execute.js";
import { ModelError, nameHint, quoted } from "./model_error.js";
import { RunQueue } from "./queue.js";
import { ModelRunner } from "./run.js";
import { KernelTuner } from "./tuning.js";

/**
 * @typedef {import("../module.ts").InputValue} InputValue
 * @typedef {import("../module.ts").HostOutput} HostOutput
 * @typedef {import("../module.ts").GpuOutput} GpuOutput
 * @typedef {import("../module.ts").DispatchProfile} DispatchProfile
 */

/**
 * What is told of a lost device.
 * @param {string} act
 * @param {GPUDeviceLostInfo} info
 */
export function lostError(act, info) {
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
  #runner;
  #queue = new RunQueue();
  /** @type {ModelError | null} */
  #ended = null;
  /** @type {string | null} */
  #uncaptured = null;
  #pipelines;
  #weightBytes;
  #selection;
  #tuner;

  /**
   * @param {import("../module.ts").ModuleTables} tables
   * @param {GPUDevice} device
   * @param {boolean} own whether the device is the model's own
   * @param {import("./memory.js").GpuMemory} memory
   * @param {import("./pipelines.js").MadePipelines} made
   * @param {readonly GPUBuffer[]} weights
   * @param {import("./selection.js").KernelSelection} selection
   * @param {() => Promise<void>} save keeps the choices that tuning has made
   */
  constructor(tables, device, own, memory, made, weights, selection, save) {
    this.#tables = tables;
    this.device = device;
    this.#own = own;
    this.#memory = memory;
    this.#pipelines = made.count;
    this.#weightBytes = memory.bytes;
    this.#executor = new SegmentExecutor(device, tables, memory, made, weights);
    this.#runner = new ModelRunner(device, tables, memory, this.#executor, selection);
    this.#selection = selection;
    this.#tuner = new KernelTuner({
      device,
      tables,
      memory,
      made,
      weights,
      selection,
      queue: this.#queue,
      // Plans are recorded anew, with what was found to be the fastest.
      onChanged: () => this.#runner.plans.clear(),
      save,
    });
    this.inputs = tables.inputs.map(({ name, dtype, dims }) => ({ name, dtype, dims }));
    this.outputs = tables.outputs.map(({ name, dtype, dims }) => ({ name, dtype, dims }));
    device.lost.then((info) => this.#ended ??= lostError("run", info));
    if (own) {
      device.addEventListener("uncapturederror", (event) => {
        this.#uncaptured ??= /** @type {GPUUncapturedErrorEvent} */ (event).error.message;
      });
    }
  }

  /** Makes the memory of the largest run, where that is known. */
  async reserve() {
    await this.#runner.reserve();
  }

  /**
   * Runs the model. Runs are queued: as many calls as one likes may wait.
   * @param {Readonly<Record<string, InputValue>>} inputs
   * @param {import("../module.ts").RunOptions} [options]
   * @returns {Promise<Record<string, HostOutput | GpuOutput>>}
   */
  async run(inputs, options = {}) {
    const gpuOutputs = options.gpuOutputs ?? [];
    const names = this.outputs.map(({ name }) => name);
    const unknown = gpuOutputs.find((name) => !names.includes(name));
    if (unknown !== undefined) {
      const hint = nameHint(unknown, names);
      throw new ModelError("input", `Cannot give output ${quoted(unknown)}: there is none.${hint}`);
    }
    return await this.#enqueue(
      inputs,
      names.map((name) => gpuOutputs.includes(name)),
      options.signal,
      null,
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
    await this.#enqueue(inputs, this.outputs.map(() => false), undefined, rows);
    return rows;
  }

  /** @returns {import("../module.ts").ModelStats} */
  stats() {
    const { runs, dispatches, plans, liveBytes, times } = this.#runner;
    return {
      runs,
      dispatches,
      pipelines: this.#pipelines,
      plans: plans.size,
      buffers: this.#memory.count,
      bytes: this.#memory.bytes,
      weightBytes: this.#weightBytes,
      arenaBytes: this.#executor.arenaBytes,
      liveBytes,
      tuned: this.#selection.decided.size,
      times: { ...times },
    };
  }

  /** Resolves when the kernels of the runs so far are tuned. */
  async tuned() {
    await this.#queue.idle();
    await this.#tuner.settled();
  }

  /** Frees every buffer, GPU outputs included, and the device where it is the model's own. */
  dispose() {
    if (this.#ended?.code === "disposed") return;
    this.#ended = new ModelError(
      "disposed",
      "Cannot run the model: it was disposed of. Load it again.",
    );
    this.#tuner.stop();
    this.#runner.plans.clear();
    this.#memory.destroyAll();
    if (this.#own) this.device.destroy();
  }

  /**
   * @param {Readonly<Record<string, InputValue>>} inputs
   * @param {readonly boolean[]} onGpu
   * @param {AbortSignal | undefined} signal
   * @param {DispatchProfile[] | null} profile
   */
  async #enqueue(inputs, onGpu, signal, profile) {
    const check = () => {
      this.#check();
      signal?.throwIfAborted();
    };
    check();
    const bound = bindInputs(this.#tables.inputs, inputs);
    return await this.#queue.enqueue(async (submitted) => {
      try {
        check();
        const outputs = await this.#runner.execute({ bound, onGpu, check, submitted, profile });
        this.#tuner.add(this.#runner.open);
        this.#runner.open.clear();
        return outputs;
      } catch (error) {
        // A lost device breaks calls first and is told of afterwards.
        if (!signal?.aborted) await new Promise((resolve) => setTimeout(resolve, 0));
        throw this.#ended ?? error;
      }
    }, signal);
  }

  /** Throws where the model has ended, or the GPU has reported an error since the last call. */
  #check() {
    if (this.#ended !== null) throw this.#ended;
    if (this.#uncaptured === null) return;
    const message = this.#uncaptured;
    this.#uncaptured = null;
    throw new ModelError("internal", `Cannot run the model: the GPU reported: ${message}`);
  }
}
