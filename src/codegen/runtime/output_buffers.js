// @ts-check
/** The buffers of outputs that stay on the GPU, kept for reuse once they are disposed of. */
import { roundedBytes } from "./memory.js";

const KEPT_GPU_OUTPUTS = 8;

/** Gives out and takes back the buffers of GPU outputs. */
export class OutputBuffers {
  /** @type {GPUBuffer[]} */
  #idle = [];
  #memory;

  /** @param {import("./memory.js").GpuMemory} memory */
  constructor(memory) {
    this.#memory = memory;
  }

  /**
   * A buffer of `bytes`, rounded up.
   * @param {number} bytes
   * @returns {Promise<GPUBuffer>}
   */
  async take(bytes) {
    const size = roundedBytes(bytes, 16);
    const at = this.#idle.findIndex((buffer) => buffer.size === size);
    const idle = at < 0 ? undefined : this.#idle.splice(at, 1)[0];
    if (idle !== undefined) return idle;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const [made] = await this.#memory.create([size], usage, "an output");
    if (made === undefined) throw new RangeError("no buffer");
    return made;
  }

  /**
   * Takes a buffer back; a second time does nothing.
   * @param {GPUBuffer} buffer
   */
  release(buffer) {
    if (!this.#memory.has(buffer) || this.#idle.includes(buffer)) return;
    this.#idle.push(buffer);
    const oldest = this.#idle[0];
    if (this.#idle.length > KEPT_GPU_OUTPUTS && oldest) {
      this.#idle.shift();
      this.#memory.destroy(oldest);
    }
  }
}
