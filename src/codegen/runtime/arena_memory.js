// @ts-check
/** The GPU buffers of the arena, which grow as plans need them to. */

/**
 * @typedef {import("./recorded.js").RecordedTensor} RecordedTensor
 */

/** The arena's buffers. */
export class ArenaMemory {
  /** @type {GPUBuffer[]} */
  #buffers = [];
  /** Tensors that must be copied out of a buffer that was outgrown. */
  /** @type {{ tensor: RecordedTensor, from: GPUBuffer }[]} */
  #moves = [];
  /** @type {GPUBuffer[]} */
  #outgrown = [];
  #memory;

  /** @param {import("./memory.js").GpuMemory} memory */
  constructor(memory) {
    this.#memory = memory;
  }

  get bytes() {
    return this.#buffers.reduce((sum, { size }) => sum + size, 0);
  }

  /** @param {number} bin */
  buffer(bin) {
    return this.#buffers[bin];
  }

  /**
   * Makes the buffers large enough.
   * @param {readonly number[]} bins bytes of each
   * @param {readonly RecordedTensor[]} carried tensors whose values must stay
   * @param {number} capacity bytes that a buffer may have
   * @returns {Promise<boolean>} whether buffers changed
   */
  async reserve(bins, carried, capacity) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    let changed = false;
    for (let bin = 0; bin < bins.length; bin++) {
      let size = Number(bins[bin]);
      const old = this.#buffers[bin];
      if (old !== undefined && old.size >= size) continue;
      const staying = carried.filter((tensor) => tensor.place?.bin === bin);
      if (old !== undefined && staying.length > 0) {
        // A loop that grows step by step is not to move at every step.
        size = Math.max(size, Math.min(Math.ceil(old.size * 1.25 / 256) * 256, capacity));
        for (const tensor of staying) this.#moves.push({ tensor, from: old });
        this.#outgrown.push(old);
      } else if (old !== undefined) {
        this.#memory.destroy(old);
      }
      const [buffer] = await this.#memory.create([size], usage, "activations");
      if (buffer !== undefined) this.#buffers[bin] = buffer;
      changed = true;
    }
    return changed;
  }

  /**
   * Copies what must stay out of the buffers that were outgrown.
   * @param {GPUCommandEncoder} encoder
   */
  encodeMoves(encoder) {
    for (const { tensor, from } of this.#moves) {
      const to = tensor.place && this.#buffers[tensor.place.bin];
      if (!to || !tensor.place) continue;
      const { offset } = tensor.place;
      encoder.copyBufferToBuffer(from, offset, to, offset, Math.ceil(tensor.bytes / 4) * 4);
    }
    this.#moves = [];
  }

  /** Frees the buffers that were outgrown, once the copies are submitted. */
  freeOutgrown() {
    this.#outgrown.forEach((buffer) => this.#memory.destroy(buffer));
    this.#outgrown = [];
  }

  /** Frees every buffer. */
  destroy() {
    this.freeOutgrown();
    this.#buffers.forEach((buffer) => this.#memory.destroy(buffer));
    this.#buffers = [];
  }
}
