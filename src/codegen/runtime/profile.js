// @ts-check
/** Times each dispatch of a segment: by timestamps, or by waiting for the GPU after each. */

/** Timestamps of a query set, the most that WebGPU allows. */
const QUERIES = 4096;

/**
 * Runs the commands of a segment one by one.
 * @param {GPUDevice} device
 * @param {import("./execute.js").SegmentExecutor} executor
 * @param {import("./execute.js").PreparedSegment} prepared
 * @returns {Promise<number[]>} microseconds of each command
 */
export async function profileSegment(device, executor, prepared) {
  const count = prepared.groups.length;
  /** @type {number[]} */
  const times = [];
  if (!device.features.has("timestamp-query")) {
    await device.queue.onSubmittedWorkDone();
    for (let i = 0; i < count; i++) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      executor.encode(pass, prepared, i);
      pass.end();
      const begin = performance.now();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      times.push(1000 * (performance.now() - begin));
    }
    return times;
  }
  for (let start = 0; start < count; start += QUERIES / 2) {
    const queries = 2 * Math.min(QUERIES / 2, count - start);
    const querySet = device.createQuerySet({ type: "timestamp", count: queries });
    const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
    const resolved = device.createBuffer({ size: 8 * queries, usage });
    const read = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = device.createBuffer({ size: 8 * queries, usage: read });
    try {
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < queries; i += 2) {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: i, endOfPassWriteIndex: i + 1 },
        });
        executor.encode(pass, prepared, start + i / 2);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, queries, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, 8 * queries);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      const stamps = new BigUint64Array(staging.getMappedRange());
      for (let i = 0; i < queries; i += 2) {
        times.push(Number((stamps[i + 1] ?? 0n) - (stamps[i] ?? 0n)) / 1000);
      }
    } finally {
      resolved.destroy();
      staging.destroy();
      querySet.destroy();
    }
  }
  return times;
}
