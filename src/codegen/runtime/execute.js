// @ts-check
/**
 * Runs recorded segments on the GPU: gives tensors their places in the arena, writes all parameters at once, encodes one compute pass, and reads results through staging
 * buffers that are kept for the next run.
 */
import { ArenaMemory } from "./arena_memory.js";
import { BindGroups } from "./bind_groups.js";
import { layOut } from "./layout.js";
import { roundedBytes } from "./memory.js";
import { ModelError } from "./model_error.js";
import { Reservation } from "./reservation.js";
import { StagingBuffers } from "./staging.js";
import { arrayOfStorage } from "./values.js";

/**
 * @typedef {import("../module.ts").ModuleTables} ModuleTables
 * @typedef {import("../module.ts").Storage} Storage
 * @typedef {import("../module.ts").StorageArray} StorageArray
 * @typedef {import("./recorded.js").RecordedTensor} RecordedTensor
 * @typedef {import("./recorded.js").RecordedSegment} RecordedSegment
 * @typedef {import("./memory.js").GpuMemory} GpuMemory
 *
 * @typedef {object} PreparedSegment a segment that can be submitted any number of times
 * @property {RecordedSegment} segment
 * @property {number[]} bins bytes of the arena's buffers
 * @property {number} bound most bytes alive at once
 * @property {RecordedTensor[]} fills tensors that are written before the first command
 * @property {Int32Array} parameters
 * @property {Uint32Array} slots dynamic offset of each command's parameters
 * @property {Uint32Array} grids x and y of each command
 * @property {GPUBindGroup[]} groups
 * @property {number[]} external commands that touch external buffers
 * @property {number} generation of the buffers that `groups` were made with
 *
 * @typedef {object} SegmentRun what one submission adds
 * @property {readonly (GPUBuffer | null)[]} externals
 * @property {readonly (StorageArray | GPUBuffer | null)[]} inputs
 * @property {readonly { tensor: RecordedTensor, storage: Storage, count: number }[]} reads
 * @property {readonly { tensor: RecordedTensor, buffer: GPUBuffer }[]} copies
 *
 * @typedef {{ buffer: GPUBuffer, offset: number }} Location
 */

/** Runs segments on one device. */
export class SegmentExecutor {
  /** @type {GPUBuffer | null} */
  #parameters = null;
  /** Whose parameters the parameter buffer holds. @type {PreparedSegment | null} */
  #written = null;
  #reservation = new Reservation();
  #device;
  #tables;
  #memory;
  #made;
  #weights;
  #arena;
  #staging;
  #groups;

  /**
   * @param {GPUDevice} device
   * @param {ModuleTables} tables
   * @param {GpuMemory} memory
   * @param {import("./pipelines.js").MadePipelines} made
   * @param {readonly GPUBuffer[]} weights
   */
  constructor(device, tables, memory, made, weights) {
    this.#device = device;
    this.#tables = tables;
    this.#memory = memory;
    this.#made = made;
    this.#weights = weights;
    this.#arena = new ArenaMemory(memory);
    this.#staging = new StagingBuffers(memory);
    this.#groups = new BindGroups(device, tables, made, (tensor, run) => this.#locate(tensor, run));
  }

  /** Bytes of the arena. */
  get arenaBytes() {
    return this.#arena.bytes;
  }

  /**
   * Plans memory and parameters of a segment. Tensors get their places.
   * @param {RecordedSegment} segment
   * @returns {PreparedSegment}
   */
  prepare(segment) {
    const { limits } = this.#device;
    const tensors = segment.tensors.filter((tensor) => tensor.external < 0);
    const fills = tensors.filter((tensor) => tensor.kind !== "activation" && !tensor.place);
    const alignment = Math.max(16, limits.minStorageBufferOffsetAlignment);
    const capacity = Math.floor(limits.maxBufferSize / alignment) * alignment;
    const { places, bins, bound } = this.#reservation.plan(tensors, alignment, capacity);
    tensors.forEach((tensor, i) => tensor.place = places[i] ?? null);

    return {
      segment,
      bins,
      bound,
      fills,
      ...layOut(segment.commands, limits),
      groups: [],
      generation: -1,
    };
  }

  /**
   * Makes all memory for a segment that no run goes beyond.
   * @param {RecordedSegment} segment
   * @param {number} resultBytes what is read of it
   */
  async reserveLargest(segment, resultBytes) {
    const prepared = this.prepare(segment);
    await this.reserve(prepared);
    const staging = await this.#staging.take(resultBytes);
    if (staging !== null) this.#staging.give(staging);
    this.#reservation.keep(segment.tensors, prepared.bins);
  }

  /**
   * Makes the arena and the parameter buffer large enough.
   * @param {PreparedSegment} prepared
   */
  async reserve(prepared) {
    const { bins, parameters, segment, fills } = prepared;
    const carried = segment.tensors.filter((tensor) => tensor.first < 0 && !fills.includes(tensor));
    const { maxBufferSize } = this.#device.limits;
    if (await this.#arena.reserve(bins, carried, maxBufferSize)) this.#groups.forget();
    if (parameters.byteLength > (this.#parameters?.size ?? 0)) {
      if (this.#parameters !== null) this.#memory.destroy(this.#parameters);
      const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
      const [made] = await this.#memory.create([parameters.byteLength], usage, "parameters");
      this.#parameters = made ?? null;
      this.#written = null;
      this.#groups.forget();
    }
  }

  /**
   * Submits a segment that memory has been reserved for. What it reads is given to `take` while it
   * is mapped, in order.
   * @template T
   * @param {PreparedSegment} prepared
   * @param {SegmentRun} run
   * @param {(values: StorageArray, index: number) => T} take
   * @param {((prepared: PreparedSegment) => Promise<void>) | null} profile runs the commands itself
   * @returns {Promise<{ results: Promise<T[]> }>} resolves when the work is submitted
   */
  async submit(prepared, run, take, profile) {
    const bytes = run.reads.reduce(
      (sum, { count }) => sum + (count && roundedBytes(4 * count, 16)),
      0,
    );
    const staging = await this.#staging.take(bytes);
    const device = this.#device;
    if (profile !== null) {
      this.#groups.resolve(prepared, run, this.#parameters);
      const fills = device.createCommandEncoder();
      this.encodeFills(fills, prepared, run);
      device.queue.submit([fills.finish()]);
      this.#arena.freeOutgrown();
      await profile(prepared);
      const copies = device.createCommandEncoder();
      this.encodeCopies(copies, run, staging);
      device.queue.submit([copies.finish()]);
      return { results: this.finish(run, staging, take, Promise.resolve(null)) };
    }
    device.pushErrorScope("validation");
    this.#groups.resolve(prepared, run, this.#parameters);
    const encoder = device.createCommandEncoder();
    this.encodeFills(encoder, prepared, run);
    const pass = encoder.beginComputePass();
    for (let i = 0; i < prepared.groups.length; i++) this.encode(pass, prepared, i);
    pass.end();
    this.encodeCopies(encoder, run, staging);
    device.queue.submit([encoder.finish()]);
    this.#arena.freeOutgrown();
    return { results: this.finish(run, staging, take, device.popErrorScope()) };
  }

  /**
   * Makes a segment that takes nothing from outside ready to be encoded any number of times.
   * @param {PreparedSegment} prepared
   */
  ready(prepared) {
    const run = { externals: [], inputs: [], reads: [], copies: [] };
    this.#groups.resolve(prepared, run, this.#parameters);
    const encoder = this.#device.createCommandEncoder();
    this.encodeFills(encoder, prepared, run);
    this.#device.queue.submit([encoder.finish()]);
  }

  /** Frees the arena and the parameter buffer. */
  destroy() {
    this.#arena.destroy();
    if (this.#parameters !== null) this.#memory.destroy(this.#parameters);
    this.#parameters = null;
    this.#groups.forget();
  }

  /**
   * Writes inputs, uploads and parameters, and moves what is carried over into a grown arena.
   * @param {GPUCommandEncoder} encoder
   * @param {PreparedSegment} prepared
   * @param {SegmentRun} run
   */
  encodeFills(encoder, prepared, run) {
    const { queue } = this.#device;
    this.#arena.encodeMoves(encoder);
    for (const tensor of prepared.fills) {
      const values = tensor.kind === "input" ? run.inputs[tensor.index] : tensor.values;
      if (!values || tensor.bytes === 0) continue;
      const { buffer, offset } = this.#locate(tensor, run);
      if (ArrayBuffer.isView(values)) queue.writeBuffer(buffer, offset, asSource(values));
      else encoder.copyBufferToBuffer(values, 0, buffer, offset, tensor.bytes);
    }
    if (this.#written !== prepared && this.#parameters !== null) {
      if (prepared.parameters.length > 0) {
        queue.writeBuffer(this.#parameters, 0, asSource(prepared.parameters));
      }
      this.#written = prepared;
    }
  }

  /**
   * @param {GPUComputePassEncoder} pass
   * @param {PreparedSegment} prepared
   * @param {number} i which command
   */
  encode(pass, prepared, i) {
    const command = prepared.segment.commands[i];
    const group = prepared.groups[i];
    const pipeline = command && this.#made.pipelines[command.pipeline];
    if (!pipeline || !group) return;
    pass.setPipeline(pipeline);
    if (command.parameters.length > 0) pass.setBindGroup(0, group, prepared.slots, i, 1);
    else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(Number(prepared.grids[2 * i]), prepared.grids[2 * i + 1]);
  }

  /**
   * @param {GPUCommandEncoder} encoder
   * @param {SegmentRun} run
   * @param {GPUBuffer | null} staging
   */
  encodeCopies(encoder, run, staging) {
    for (const { tensor, buffer } of run.copies) {
      const from = this.#locate(tensor, run);
      const bytes = Math.min(roundedBytes(tensor.bytes, 4), buffer.size);
      encoder.copyBufferToBuffer(from.buffer, from.offset, buffer, 0, bytes);
    }
    let offset = 0;
    for (const { tensor, count } of run.reads) {
      if (count === 0 || staging === null) continue;
      const from = this.#locate(tensor, run);
      encoder.copyBufferToBuffer(from.buffer, from.offset, staging, offset, 4 * count);
      offset += roundedBytes(4 * count, 16);
    }
  }

  /**
   * Waits for the GPU and hands over what was read.
   * @template T
   * @param {SegmentRun} run
   * @param {GPUBuffer | null} staging
   * @param {(values: StorageArray, index: number) => T} take
   * @param {Promise<GPUError | null>} checked
   * @returns {Promise<T[]>}
   */
  async finish(run, staging, take, checked) {
    try {
      const [error] = await Promise.all([checked, staging?.mapAsync(GPUMapMode.READ)]);
      if (error !== null) {
        throw new ModelError("internal", `Cannot run the model: ${error.message}`);
      }
      const mapped = staging?.getMappedRange() ?? new ArrayBuffer(0);
      let offset = 0;
      const results = run.reads.map(({ storage, count }, i) => {
        const values = new (arrayOfStorage(storage))(mapped, count === 0 ? 0 : offset, count);
        if (count > 0) offset += roundedBytes(4 * count, 16);
        return take(values, i);
      });
      staging?.unmap();
      if (staging !== null) this.#staging.give(staging);
      return results;
    } catch (error) {
      if (staging !== null) this.#staging.drop(staging);
      throw error;
    }
  }

  /**
   * Reads the beginning of a buffer that is not the model's own.
   * @param {GPUBuffer} buffer
   * @param {Storage} storage
   * @param {number} bytes a multiple of 4
   * @returns {Promise<StorageArray>}
   */
  async readBuffer(buffer, storage, bytes) {
    const staging = await this.#staging.take(bytes);
    if (staging === null) return new (arrayOfStorage(storage))(0);
    try {
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
      this.#device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      return new (arrayOfStorage(storage))(staging.getMappedRange(0, bytes).slice(0));
    } finally {
      this.#staging.drop(staging);
    }
  }

  /**
   * @param {RecordedTensor} tensor
   * @param {SegmentRun} run
   * @returns {Location}
   */
  #locate(tensor, run) {
    if (tensor.kind === "weight") {
      const [index, offset] = this.#tables.weights.tensors[tensor.index] ?? [-1, 0];
      const buffer = this.#weights[index];
      if (buffer) return { buffer, offset };
    } else if (tensor.external >= 0) {
      const buffer = run.externals[tensor.external];
      if (buffer) return { buffer, offset: 0 };
    } else if (tensor.place) {
      const buffer = this.#arena.buffer(tensor.place.bin);
      if (buffer) return { buffer, offset: tensor.place.offset };
    }
    throw new RangeError("a tensor has no place");
  }
}

/**
 * Shared memory may be written from, which the types don't know.
 * @param {ArrayBufferView} view
 * @returns {ArrayBufferView<ArrayBuffer>}
 */
function asSource(view) {
  return /** @type {ArrayBufferView<ArrayBuffer>} */ (view);
}
