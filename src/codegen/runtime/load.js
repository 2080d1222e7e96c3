// @ts-check
/** Loads a model: `loadModel` makes one out of a module's tables. */
import { adapterInfo, isSoftware, openModelDevice } from "./device.js";
import { roundedBytes } from "./execute.js";
import { GpuMemory } from "./memory.js";
import { LoadedModel, lostError } from "./model.js";
import { makePipelines } from "./pipelines.js";
import { KernelSelection } from "./selection.js";
import { fillWeights } from "./weights.js";

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
    const software = (options.adapter ?? kindOf(await adapterInfo(device))) === "software";
    const workgroupBytes = device.limits.maxComputeWorkgroupStorageSize;
    const abilities = { software, features: device.features, workgroupBytes };
    const selection = new KernelSelection(tables.kernels, abilities, false);
    const progress = (/** @type {number} */ made, /** @type {number} */ of) =>
      report("pipelines", made, of);
    const work = [
      makePipelines(device, tables, selection, software, progress),
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
    /** @type {Promise<never>} */
    const aborted = new Promise((_, reject) => {
      stop.signal.addEventListener("abort", () => reject(stop.signal.reason));
    });
    const [made] = await Promise.race([all, lost, aborted]);
    signal?.throwIfAborted();
    if (!made) throw new RangeError("no pipelines");
    report("ready", 1, 1);
    return new LoadedModel(tables, device, own, memory, made, weights, selection);
  } catch (error) {
    stop.abort(error);
    memory.destroyAll();
    if (own) device.destroy();
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** @param {GPUAdapterInfo | undefined} info */
function kindOf(info) {
  return isSoftware(info) ? "software" : "hardware";
}
