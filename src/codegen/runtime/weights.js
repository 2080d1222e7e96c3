// @ts-check
/**
 * Fills GPU buffers with weights, chunk by chunk: each is read from the source or from the cache,
 * checked by its SHA-256, and written. A few chunks are in memory at a time, never the file.
 */
import { messageOf, ModelError, quoted } from "./model_error.js";
import { openWeightSource } from "./weight_source.js";

/**
 * @typedef {import("../module.ts").WeightTables} WeightTables
 * @typedef {import("../module.ts").WeightChunk} WeightChunk
 * @typedef {Pick<Cache, "match" | "put" | "delete">} WeightCache
 *
 * @typedef {object} WeightOptions
 * @property {GPUDevice} device
 * @property {readonly GPUBuffer[]} buffers
 * @property {NonNullable<import("../module.ts").LoadOptions["weights"]>} source
 * @property {WeightCache | null} cache
 * @property {AbortSignal} signal
 * @property {(loaded: number, total: number) => void} onProgress
 */

/** Chunks that are checked and written while the next is read. */
const CHUNKS_IN_FLIGHT = 3;
/** Bytes after which the GPU is waited for: what is written is copied until it is taken. */
const BYTES_IN_FLIGHT = 64 * 2 ** 20;

/** Chunks in a cache, which is done without once it fails. */
class ChunkCache {
  #cache;
  #file;

  /**
   * @param {WeightCache | null} cache
   * @param {string} file for messages
   */
  constructor(cache, file) {
    this.#cache = cache;
    this.#file = file;
  }

  /**
   * The bytes of a chunk, checked; null where they are not there.
   * @param {WeightChunk} chunk
   * @returns {Promise<Uint8Array<ArrayBuffer> | null>}
   */
  async take(chunk) {
    try {
      const response = await this.#cache?.match(cacheKey(chunk));
      if (!response) return null;
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (await sha256Of(bytes) === chunk.sha256) return bytes;
      await this.#cache?.delete(cacheKey(chunk));
    } catch (error) {
      this.#forgo(error);
    }
    return null;
  }

  /**
   * @param {WeightChunk} chunk
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  async keep(chunk, bytes) {
    try {
      await this.#cache?.put(cacheKey(chunk), new Response(bytes));
    } catch (error) {
      this.#forgo(error);
    }
  }

  /** @param {unknown} error */
  #forgo(error) {
    if (this.#cache === null) return;
    this.#cache = null;
    console.warn(`${this.#file} is not cached: ${messageOf(error)}`);
  }
}

/** @param {WeightChunk} chunk */
function cacheKey(chunk) {
  return `https://modelcast.invalid/${chunk.sha256}`;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function sha256Of(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Writes bytes of any length, filled up to whole words.
 * @param {GPUQueue} queue
 * @param {GPUBuffer} buffer
 * @param {number} offset
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
function writeWords(queue, buffer, offset, bytes) {
  const whole = bytes.length - bytes.length % 4;
  queue.writeBuffer(buffer, offset, bytes, 0, whole);
  if (whole === bytes.length) return;
  const last = new Uint8Array(4);
  last.set(bytes.subarray(whole));
  queue.writeBuffer(buffer, offset + whole, last);
}

/**
 * Reads all chunks into the buffers.
 * @param {WeightTables} tables
 * @param {WeightOptions} options
 */
export async function fillWeights(tables, options) {
  const { device, buffers, signal, onProgress } = options;
  const { chunks, file } = tables;
  if (chunks.length === 0) return;
  if (!globalThis.crypto?.subtle) {
    throw new ModelError(
      "weights",
      `Cannot check ${quoted(file)}: crypto.subtle is missing. Serve the page over https or from ` +
        "localhost.",
    );
  }
  const total = chunks.reduce((sum, { bytes }) => sum + bytes, 0);
  const cache = new ChunkCache(options.cache, file);
  let finished = 0;
  let unsubmitted = 0;
  const source = openWeightSource(await options.source, tables, {
    signal,
    onRead: (bytes) => onProgress(Math.min(total, finished + bytes), total),
  });

  /**
   * @param {WeightChunk} chunk
   * @param {Uint8Array<ArrayBuffer>} bytes
   * @param {boolean} cached
   */
  const finish = async (chunk, bytes, cached) => {
    if (!cached && await sha256Of(bytes) !== chunk.sha256) {
      const again = await source.again(chunk.at, chunk.bytes);
      if (again === null || await sha256Of(again) !== chunk.sha256) {
        throw new ModelError(
          "weights",
          `Cannot use ${quoted(file)}: chunk ${chunks.indexOf(chunk)} (bytes ${chunk.at} to ` +
            `${chunk.at + chunk.bytes - 1}) is not what was written: its SHA-256 differs. Take ` +
            "the file that was made with this module.",
        );
      }
      bytes = again;
    }
    signal.throwIfAborted();
    const buffer = buffers[chunk.buffer];
    if (!buffer) throw new RangeError(`weight buffer ${chunk.buffer}`);
    writeWords(device.queue, buffer, chunk.offset, bytes);
    unsubmitted += bytes.length;
    if (!cached) await cache.keep(chunk, bytes);
    finished += chunk.bytes;
    onProgress(finished, total);
  };

  /** @type {Set<Promise<void>>} */
  const jobs = new Set();
  /** @type {{ error: unknown } | null} */
  let failure = null;
  const check = () => {
    signal.throwIfAborted();
    if (failure !== null) throw failure.error;
  };
  try {
    for (const chunk of chunks) {
      check();
      const cached = await cache.take(chunk);
      const bytes = cached ?? await source.read(chunk.at, chunk.bytes);
      const job = finish(chunk, bytes, cached !== null)
        .catch((error) => void (failure ??= { error }))
        .finally(() => jobs.delete(job));
      jobs.add(job);
      while (jobs.size >= CHUNKS_IN_FLIGHT) await Promise.race(jobs);
      if (unsubmitted < BYTES_IN_FLIGHT) continue;
      unsubmitted = 0;
      device.queue.submit([]);
      await device.queue.onSubmittedWorkDone();
    }
    await Promise.all(jobs);
    check();
    device.queue.submit([]);
  } finally {
    await Promise.allSettled(jobs);
    await source.close();
  }
}

/**
 * The cache that was asked for; null, with a warning, where there is none to be had.
 * @param {boolean | string | WeightCache} wanted
 * @returns {Promise<WeightCache | null>}
 */
export async function openWeightCache(wanted) {
  if (wanted === false) return null;
  if (typeof wanted === "object") return wanted;
  try {
    return await caches.open(typeof wanted === "string" ? wanted : "modelcast-weights");
  } catch (error) {
    console.warn(`Weights are not cached: there is no Cache Storage: ${messageOf(error)}`);
    return null;
  }
}
