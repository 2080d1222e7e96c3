/**
 * Times what a WebGPU device computes, by its own clock: every compute pass of every encoder gets a
 * pair of timestamps, without the code that encodes it knowing.
 */
import type { Adapter } from "../../src/hardware.ts";

/** Passes that can be timed between two readings. */
const PASSES = 2048;

/** A device's clock. */
export interface PassClock {
  readonly device: GPUDevice;
  /** Nanoseconds that the passes took since the last reading, one pass at a time. */
  read(): Promise<number>;
}

/**
 * An adapter whose next device is timed, and that device's clock, which is known once something has
 * opened the device. Null where the adapter has no timestamps.
 */
export function timedAdapter(
  adapter: Adapter,
): { adapter: Adapter; clock: Promise<PassClock> } | null {
  if (!adapter.features.has("timestamp-query")) return null;
  const { gpu } = adapter;
  const requestDevice = gpu.requestDevice.bind(gpu);
  let announce: (clock: PassClock) => void;
  const clock = new Promise<PassClock>((resolve) => announce = resolve);
  gpu.requestDevice = async (descriptor = {}) => {
    const features = [...(descriptor.requiredFeatures ?? []), "timestamp-query"] as const;
    const requiredFeatures = [...new Set<GPUFeatureName>(features)];
    const device = await requestDevice({ ...descriptor, requiredFeatures });
    announce(timePasses(device));
    return device;
  };
  return { adapter, clock };
}

function timePasses(device: GPUDevice): PassClock {
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 * PASSES });
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  let passes = 0;
  device.createCommandEncoder = (descriptor) => {
    const encoder = createCommandEncoder(descriptor);
    const beginComputePass = encoder.beginComputePass.bind(encoder);
    encoder.beginComputePass = (pass = {}) => {
      if (passes === PASSES) throw new RangeError(`more than ${PASSES} passes were not read`);
      const index = 2 * passes++;
      return beginComputePass({
        ...pass,
        timestampWrites: {
          querySet,
          beginningOfPassWriteIndex: index,
          endOfPassWriteIndex: index + 1,
        },
      });
    };
    return encoder;
  };
  return {
    device,
    async read() {
      const count = 2 * passes;
      passes = 0;
      if (count === 0) return 0;
      const size = 8 * count;
      const resolved = device.createBuffer({
        size,
        usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      });
      const staging = device.createBuffer({
        size,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
      const encoder = createCommandEncoder();
      encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      const times = new BigUint64Array(staging.getMappedRange());
      let total = 0n;
      for (let i = 0; i < count; i += 2) total += times[i + 1]! - times[i]!;
      staging.unmap();
      resolved.destroy();
      staging.destroy();
      return Number(total);
    },
  };
}
