// @ts-check
/** The GPU buffers of a model: made with errors that say what was wanted, counted, and freed. */
import { ModelError } from "./model_error.js";

/** Every buffer of a model. */
export class GpuMemory {
  bytes = 0;
  /** @type {Set<GPUBuffer>} */
  #buffers = new Set();
  #device;

  /** @param {GPUDevice} device */
  constructor(device) {
    this.#device = device;
  }

  get count() {
    return this.#buffers.size;
  }

  /**
   * Buffers of the sizes that are wanted, all or none. Throws a ModelError where memory is short.
   * @param {readonly number[]} sizes in bytes
   * @param {GPUBufferUsageFlags} usage
   * @param {string} purpose for messages
   * @returns {Promise<GPUBuffer[]>}
   */
  async create(sizes, usage, purpose) {
    const device = this.#device;
    const sum = sizes.reduce((a, b) => a + b, 0);
    const cannot = `Cannot get ${(sum / 2 ** 20).toFixed(1)} MiB of GPU memory for ${purpose}`;
    const limit = device.limits.maxBufferSize;
    const large = sizes.find((size) => size > limit);
    if (large !== undefined) {
      throw new ModelError(
        "device",
        `${cannot}: a buffer of ${large} bytes is wanted, the device makes at most ${limit}. ` +
          "Use another GPU, or a device that was requested with its adapter's limits.",
      );
    }
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    const buffers = sizes.map((size) => this.#make(size, usage));
    const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
    const error = errors.find((entry) => entry !== null);
    if (!error) return buffers;
    buffers.forEach((buffer) => this.destroy(buffer));
    throw new ModelError("device", `${cannot}: ${error.message || "there is not enough"}.`);
  }

  /** @param {GPUBuffer} buffer */
  has(buffer) {
    return this.#buffers.has(buffer);
  }

  /** @param {GPUBuffer} buffer */
  destroy(buffer) {
    if (!this.#buffers.delete(buffer)) return;
    this.bytes -= buffer.size;
    buffer.destroy();
  }

  /** Frees every buffer. */
  destroyAll() {
    for (const buffer of [...this.#buffers]) this.destroy(buffer);
  }

  /**
   * @param {number} size
   * @param {GPUBufferUsageFlags} usage
   */
  #make(size, usage) {
    const buffer = this.#device.createBuffer({ size, usage });
    this.#buffers.add(buffer);
    this.bytes += size;
    return buffer;
  }
}

/**
 * Bytes rounded up, and at least one unit.
 * @param {number} bytes
 * @param {number} unit
 */
export function roundedBytes(bytes, unit) {
  return Math.max(1, Math.ceil(bytes / unit)) * unit;
}
