// @ts-check
/** Buffers that results are read through, kept for the next run. */

const KEPT_STAGING_BUFFERS = 3;

/** Gives out and takes back staging buffers. */
export class StagingBuffers {
  /** @type {GPUBuffer[]} smallest first */
  #idle = [];
  #memory;

  /** @param {import("./memory.js").GpuMemory} memory */
  constructor(memory) {
    this.#memory = memory;
  }

  /**
   * A buffer of at least `bytes` to map for reading, null for 0 bytes.
   * @param {number} bytes
   * @returns {Promise<GPUBuffer | null>}
   */
  async take(bytes) {
    if (bytes === 0) return null;
    const at = this.#idle.findIndex(({ size }) => size >= bytes);
    const idle = at < 0 ? undefined : this.#idle.splice(at, 1)[0];
    if (idle !== undefined) return idle;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const [made] = await this.#memory.create([bytes], usage, "results");
    return made ?? null;
  }

  /**
   * Takes an unmapped buffer back.
   * @param {GPUBuffer} buffer
   */
  give(buffer) {
    this.#idle.push(buffer);
    this.#idle.sort((a, b) => a.size - b.size);
    const smallest = this.#idle[0];
    if (this.#idle.length <= KEPT_STAGING_BUFFERS || !smallest) return;
    this.#idle.shift();
    this.#memory.destroy(smallest);
  }

  /**
   * Frees a buffer that is in no state to be used again.
   * @param {GPUBuffer} buffer
   */
  drop(buffer) {
    this.#memory.destroy(buffer);
  }
}
