// @ts-check
/** Loads a model: `loadModel` makes one out of a module's tables. */
import { recallChoices } from "./choices.js";
import { adapterInfo, isSoftware, openModelDevice } from "./device.js";
import { GpuMemory, roundedBytes } from "./memory.js";
import { LoadedModel, lostError } from "./model.js";
import { makePipelines } from "./pipelines.js";
import { KernelSelection } from "./selection.js";
import { fillWeights, openWeightCache } from "./weights.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("../module.ts").LoadOptions} LoadOptions
 * @typedef {import("../module.ts").WeightSource} WeightSource
 */

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
    const info = await adapterInfo(device);
    const software = options.adapter === undefined
      ? isSoftware(info)
      : options.adapter === "software";
    const workgroupBytes = device.limits.maxComputeWorkgroupStorageSize;
    const abilities = { software, features: device.features, workgroupBytes };
    const tune = options.tune ?? !software;
    const selection = new KernelSelection(tables.kernels, abilities, tune);
    const cache = await openWeightCache(options.cache ?? false);
    const progress = (/** @type {number} */ made, /** @type {number} */ of) =>
      report("pipelines", made, of);
    const work = Promise.all([
      makePipelines(device, tables, selection, software, progress),
      recallChoices(selection, tables, info, tune ? cache : null),
      fillWeights(tables.weights, {
        device,
        buffers: weights,
        source: options.weights ?? defaultWeights,
        cache,
        signal: stop.signal,
        onProgress: (loaded, total) => report("weights", loaded, total),
      }),
    ]);
    work.catch(abort);
    const lost = device.lost.then((info) => {
      throw lostError("load", info);
    });
    /** @type {Promise<never>} */
    const aborted = new Promise((_, reject) => {
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason));
    });
    const [made, save] = await Promise.race([work, lost, aborted]);
    signal?.throwIfAborted();
    const model = new LoadedModel(tables, device, own, memory, made, weights, selection, save);
    await model.reserve();
    signal?.throwIfAborted();
    report("ready", 1, 1);
    return model;
  } catch (error) {
    stop.abort(error);
    memory.destroyAll();
    if (own) device.destroy();
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
