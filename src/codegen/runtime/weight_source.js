// @ts-check
/**
 * Where weights come from: something in memory or on disk that is read at any place, a stream that
 * is read once, or an address whose broken downloads are resumed by range requests.
 */
import { messageOf, ModelError, quoted } from "./model_error.js";

/**
 * @typedef {import("../module.ts").WeightTables} WeightTables
 *
 * @typedef {object} OpenSource
 * @property {(at: number, bytes: number) => Promise<Uint8Array<ArrayBuffer>>} read in rising order
 * @property {(at: number, bytes: number) => Promise<Uint8Array<ArrayBuffer> | null>} again once
 *   more, past every cache; null where that can't be
 * @property {() => Promise<void>} close
 *
 * @typedef {object} SourceOptions
 * @property {AbortSignal} signal
 * @property {(bytes: number) => void} onRead bytes of the chunk being read that have arrived
 */

const DOWNLOAD_ATTEMPTS = 5;
const FIRST_DELAY_MS = 200;
/** A gap, in bytes, that is read over rather than jumped. */
const SKIPPED_GAP = 2 ** 20;

/**
 * @param {import("../module.ts").WeightSource} source
 * @param {WeightTables} tables
 * @param {SourceOptions} options
 * @returns {OpenSource}
 */
export function openWeightSource(source, tables, options) {
  const never = () => Promise.resolve(null);
  const done = () => Promise.resolve();
  if (typeof source === "string" || source instanceof URL) {
    return new DownloadSource(String(source), null, tables, options);
  }
  if (source instanceof Response) {
    return new DownloadSource(source.url, source, tables, options);
  }
  if (source instanceof Blob) {
    checkLength(tables, source.size);
    const read = async (/** @type {number} */ at, /** @type {number} */ bytes) =>
      new Uint8Array(await source.slice(at, at + bytes).arrayBuffer());
    return { read, again: never, close: done };
  }
  if (source instanceof ReadableStream) {
    const stream = new ByteStream(source, 0);
    const read = async (/** @type {number} */ at, /** @type {number} */ bytes) => {
      const result = new Uint8Array(bytes);
      await stream.skipTo(at);
      for (let filled = 0; filled < bytes;) {
        options.signal.throwIfAborted();
        filled += await stream.readInto(result, filled);
        options.onRead(filled);
      }
      return result;
    };
    const stop = () => stream.cancel();
    options.signal.addEventListener("abort", stop);
    const close = () => {
      options.signal.removeEventListener("abort", stop);
      return stream.cancel();
    };
    const named = async (/** @type {number} */ at, /** @type {number} */ bytes) => {
      try {
        return await read(at, bytes);
      } catch (cause) {
        options.signal.throwIfAborted();
        const message = `Cannot read ${quoted(tables.file)} from the stream: ${messageOf(cause)}`;
        throw new ModelError("weights", message, { cause });
      }
    };
    return { read: named, again: never, close };
  }
  const whole = ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : source instanceof ArrayBuffer
    ? new Uint8Array(source)
    : null;
  if (whole === null) {
    throw new ModelError(
      "weights",
      `Cannot read ${quoted(tables.file)}: weights must be a URL, Response, Blob, ArrayBuffer, ` +
        "Uint8Array or ReadableStream.",
    );
  }
  checkLength(tables, whole.length);
  const read = (/** @type {number} */ at, /** @type {number} */ bytes) => {
    const part = whole.subarray(at, at + bytes);
    // Memory that is shared can't be hashed.
    return Promise.resolve(part.buffer instanceof ArrayBuffer ? own(part) : new Uint8Array(part));
  };
  return { read, again: never, close: done };
}

/**
 * @param {Uint8Array} bytes not in shared memory
 * @returns {Uint8Array<ArrayBuffer>}
 */
function own(bytes) {
  return /** @type {Uint8Array<ArrayBuffer>} */ (bytes);
}

/**
 * @param {WeightTables} tables
 * @param {number} length
 */
function checkLength(tables, length) {
  if (length === tables.bytes) return;
  throw new ModelError(
    "weights",
    `Cannot use ${quoted(tables.file)}: it has ${length} bytes, not ${tables.bytes}. Take the ` +
      "file that was made with this module.",
  );
}

/** A stream of bytes that knows where it is. */
class ByteStream {
  /** @type {Uint8Array} */
  #rest = new Uint8Array(0);
  #reader;

  /**
   * @param {ReadableStream<Uint8Array>} stream
   * @param {number} position
   */
  constructor(stream, position) {
    this.#reader = stream.getReader();
    this.position = position;
  }

  /**
   * Copies what is at hand into `target` from `offset` on, waiting for at least a byte.
   * @param {Uint8Array} target
   * @param {number} offset
   * @returns {Promise<number>} bytes copied
   */
  async readInto(target, offset) {
    const part = await this.#take(target.length - offset);
    target.set(part, offset);
    return part.length;
  }

  /** @param {number} position */
  async skipTo(position) {
    while (this.position < position) await this.#take(position - this.position);
  }

  async cancel() {
    await this.#reader.cancel().catch(() => {});
  }

  /**
   * @param {number} most
   * @returns {Promise<Uint8Array>}
   */
  async #take(most) {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#reader.read();
      if (done) throw new Error(`it ended after ${this.position} bytes`);
      this.#rest = value;
    }
    const part = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(part.length);
    this.position += part.length;
    return part;
  }
}

/** A download that goes on where it broke off. */
class DownloadSource {
  /** @type {ByteStream | null} */
  #stream = null;
  /** @type {Response | null} */
  #response;
  #url;
  #tables;
  #options;

  /**
   * @param {string} url "" where there is none, which can't be resumed
   * @param {Response | null} response one that has begun
   * @param {WeightTables} tables
   * @param {SourceOptions} options
   */
  constructor(url, response, tables, options) {
    this.#url = url;
    this.#response = response;
    this.#tables = tables;
    this.#options = options;
  }

  /**
   * @param {number} at
   * @param {number} bytes
   * @param {RequestCache} [cache]
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async read(at, bytes, cache) {
    const { signal, onRead } = this.#options;
    const result = new Uint8Array(bytes);
    let filled = 0;
    for (let failures = 0;;) {
      try {
        const stream = await this.#streamAt(at + filled, cache);
        while (filled < bytes) {
          filled += await stream.readInto(result, filled);
          failures = 0;
          onRead(filled);
        }
        return result;
      } catch (cause) {
        await this.close();
        signal.throwIfAborted();
        if (cause instanceof ModelError) throw cause;
        if (++failures >= DOWNLOAD_ATTEMPTS || !this.#url) {
          const where = this.#url ? ` from ${quoted(this.#url)}` : "";
          throw new ModelError(
            "weights",
            `Cannot download ${quoted(this.#tables.file)}${where}: ${messageOf(cause)}. Try again.`,
            { cause },
          );
        }
        await abortableDelay(FIRST_DELAY_MS * 2 ** (failures - 1), signal);
      }
    }
  }

  /**
   * @param {number} at
   * @param {number} bytes
   * @returns {Promise<Uint8Array<ArrayBuffer> | null>}
   */
  async again(at, bytes) {
    if (!this.#url) return null;
    const once = new DownloadSource(this.#url, null, this.#tables, this.#options);
    try {
      return await once.read(at, bytes, "reload");
    } finally {
      await once.close();
    }
  }

  async close() {
    await this.#stream?.cancel();
    this.#stream = null;
  }

  /**
   * The stream, at the place that is wanted.
   * @param {number} at
   * @param {RequestCache} [cache]
   * @returns {Promise<ByteStream>}
   */
  async #streamAt(at, cache) {
    const stream = this.#stream;
    if (stream !== null) {
      const gap = at - stream.position;
      if (gap >= 0 && gap <= SKIPPED_GAP) {
        await stream.skipTo(at);
        return stream;
      }
      await this.close();
    }
    const given = this.#response;
    this.#response = null;
    const response = given ?? await fetch(this.#url, {
      signal: this.#options.signal,
      // A first request for all of it is one that caches on the way understand.
      headers: at > Number(this.#tables.chunks[0]?.at) ? { Range: `bytes=${at}-` } : {},
      ...(cache ? { cache } : {}),
    });
    const opened = this.#open(response, given === null ? at : 0);
    this.#stream = opened;
    // Where the server takes no ranges, the beginning is read over.
    await opened.skipTo(at);
    return opened;
  }

  /**
   * @param {Response} response
   * @param {number} at where it should begin, if it is a part
   * @returns {ByteStream}
   */
  #open(response, at) {
    const { status, headers, body } = response;
    const named = `${quoted(this.#tables.file)} from ${quoted(this.#url)}`;
    if (!response.ok || body === null) {
      body?.cancel().catch(() => {});
      const state = `the server answers ${status} ${response.statusText}`.trim();
      if (status === 408 || status === 429 || status >= 500) throw new Error(state);
      throw new ModelError("weights", `Cannot download ${named}: ${state}. Check the address.`);
    }
    if (status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "");
      if (range === null || Number(range[1]) !== at) {
        body.cancel().catch(() => {});
        throw new Error(`the server sent another range (${headers.get("content-range")})`);
      }
      if (range[2] !== "*") checkLength(this.#tables, Number(range[2]));
      return new ByteStream(body, at);
    }
    const length = headers.get("content-length");
    const encoding = headers.get("content-encoding") ?? "identity";
    if (length !== null && encoding === "identity") checkLength(this.#tables, Number(length));
    return new ByteStream(body, 0);
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function abortableDelay(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
