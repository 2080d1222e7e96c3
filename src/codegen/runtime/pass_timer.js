// @ts-check
/** Times compute passes: by timestamps where the device has them, else by waiting for the GPU. */

/** Times one pass after another on one device. */
export class PassTimer {
  /** @type {{ querySet: GPUQuerySet, resolved: GPUBuffer, staging: GPUBuffer } | null} */
  #queries = null;
  #device;

  /** @param {GPUDevice} device */
  constructor(device) {
    this.#device = device;
    if (!device.features.has("timestamp-query")) return;
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    this.#queries = {
      querySet: device.createQuerySet({ type: "timestamp", count: 2 }),
      resolved: device.createBuffer({ size: 16, usage: QUERY_RESOLVE | COPY_SRC }),
      staging: device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST }),
    };
  }

  /**
   * Microseconds that the commands of a pass take. The GPU should have nothing else to do; the work is
   * submitted before this returns.
   * @param {(pass: GPUComputePassEncoder) => void} encode
   * @returns {Promise<number>}
   */
  async time(encode) {
    const { queue } = this.#device;
    const encoder = this.#device.createCommandEncoder();
    if (this.#queries === null) {
      encodePass(encoder, {}, encode);
      const begin = performance.now();
      queue.submit([encoder.finish()]);
      await queue.onSubmittedWorkDone();
      return 1000 * (performance.now() - begin);
    }
    const { querySet, resolved, staging } = this.#queries;
    const timestampWrites = { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    encodePass(encoder, { timestampWrites }, encode);
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16);
    queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const [begin = 0n, end = 0n] = new BigUint64Array(staging.getMappedRange());
    staging.unmap();
    return Number(end - begin) / 1000;
  }

  destroy() {
    this.#queries?.resolved.destroy();
    this.#queries?.staging.destroy();
    this.#queries?.querySet.destroy();
    this.#queries = null;
  }
}

/**
 * @param {GPUCommandEncoder} encoder
 * @param {GPUComputePassDescriptor} descriptor
 * @param {(pass: GPUComputePassEncoder) => void} encode
 */
function encodePass(encoder, descriptor, encode) {
  const pass = encoder.beginComputePass(descriptor);
  encode(pass);
  pass.end();
}
