/**
 * The engine on WebGPU. A job is cut into tiles; each is uploaded, computed and read back on its
 * own, as many at a time as the memory budget holds, so that transfers and kernels of different
 * tiles and jobs overlap.
 */
import { InputError, MissingToolError } from "../error.ts";
import { type Adapter, detectAdapter } from "../hardware.ts";
import { checkJob } from "./check_job.ts";
import type { Engine, ErrorSums, QuantizeJob, QuantizeResult } from "./engine.ts";
import { type ComputeDevice, openDevice } from "./webgpu_device.ts";
import { Kernels } from "./webgpu_kernels.ts";
import { HostMemory } from "./webgpu_memory.ts";
import { differenceOf } from "./webgpu_self_test.ts";
import type { Access } from "./webgpu_shaders.ts";
import { quantizeTile } from "./webgpu_tile.ts";
import { jobLayout, planTiles } from "./webgpu_tiles.ts";

/** Options of {@link createWebGpuEngine}. */
export interface WebGpuOptions {
  /** The adapter to use; the one that `detectAdapter` finds if absent. */
  readonly adapter?: Adapter;
  /** Whether to use an adapter that fails the self-test; false if absent. */
  readonly allowInexact?: boolean;
  /** Bytes of GPU memory for buffers; 512 MiB if absent. A larger single tile has it alone. */
  readonly memoryBytes?: number;
  /** Bytes of host memory that `allocate` hands out at a time; 256 MiB if absent. */
  readonly hostBytes?: number;
  /** Bytes of a tile's largest buffer; 64 MiB if absent, never more than a binding or 256 MiB. */
  readonly tileBytes?: number;
  /** How kernels read weights; `direct` on software adapters and else `staged` if absent. */
  readonly access?: Access;
}

/** The engine on WebGPU, and what it runs on. */
export interface WebGpuEngine extends Engine {
  readonly name: "webgpu";
  readonly adapter: Adapter;
  /** How the adapter's arithmetic differs, or null where it gives exactly the defined results. */
  readonly inexact: string | null;
}

const MIB = 2 ** 20;

/**
 * Opens a device, tests its arithmetic, and returns an engine. Throws a `MissingToolError` where
 * there is no adapter or it can't be opened, an `InputError` where it computes inexactly and that
 * is not allowed, and an `EngineFault` where it fails the test otherwise.
 */
export async function createWebGpuEngine(options: WebGpuOptions = {}): Promise<WebGpuEngine> {
  const adapter = options.adapter ?? await detectAdapter();
  if (adapter === null) {
    throw new MissingToolError(
      'Cannot open the engine "webgpu": this machine has no WebGPU adapter. ' +
        "Use another engine, or install a graphics driver.",
    );
  }
  const device = await openDevice({ adapter, memoryBytes: options.memoryBytes ?? 512 * MIB });
  try {
    const inexact = await differenceOf(device);
    if (inexact !== null && options.allowInexact !== true) {
      throw new InputError(
        `Cannot use the WebGPU adapter "${adapter.name}": its arithmetic differs (${inexact}). ` +
          "Use another engine, or allow inexact results.",
      );
    }
    return new DeviceEngine(device, adapter, inexact, options);
  } catch (error) {
    device.destroy();
    throw error;
  }
}

class DeviceEngine implements WebGpuEngine {
  readonly name = "webgpu";
  readonly #kernels: Kernels;
  readonly #memory: HostMemory;
  readonly #tileBytes: number;

  constructor(
    readonly device: ComputeDevice,
    readonly adapter: Adapter,
    readonly inexact: string | null,
    options: WebGpuOptions,
  ) {
    const access = options.access ?? (adapter.software ? "direct" : "staged");
    this.#kernels = new Kernels(device, access);
    this.#memory = new HostMemory(options.hostBytes ?? 256 * MIB);
    // Kernels count the bits of a tile's codes in 32 bits.
    const most = Math.min(device.limits.bindingBytes, 256 * MIB);
    this.#tileBytes = Math.min(options.tileBytes ?? 64 * MIB, most);
  }

  allocate(byteLength: number): Promise<{ readonly bytes: Uint8Array; release(): void }> {
    return this.#memory.allocate(byteLength);
  }

  async quantize(job: QuantizeJob): Promise<QuantizeResult> {
    checkJob(job);
    this.device.check();
    const layout = jobLayout(job);
    const blocks = job.rows * layout.blocks;
    const arrays = {
      codes: new Uint8Array(layout.codeBytes),
      scales: new Uint8Array(layout.scaleBytes),
      zeroPoints: job.format.symmetric ? null : new Uint8Array(blocks),
    };
    const error: ErrorSums = { signal: 0, noise: 0, dot: 0 };
    let nonFinite = 0;
    let saturated = 0;
    if (blocks > 0) {
      const kernels = await this.#kernels.prepare(job);
      const context = { device: this.device, kernels: this.#kernels, limit: this.#tileBytes };
      const tiles = planTiles(job, this.#tileBytes);
      // All of them, so that none reads the job's memory after its promise has settled.
      const outcomes = await Promise.allSettled(
        tiles.map((tile) => quantizeTile(context, kernels, job, tile, arrays)),
      );
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") throw outcome.reason;
        const { value } = outcome;
        nonFinite += value.nonFinite;
        saturated += value.saturated;
        error.signal += value.error.signal;
        error.noise += value.error.noise;
        error.dot += value.error.dot;
      }
    }
    return {
      ...arrays,
      nonFinite,
      saturated,
      ...(job.measure ? { error } : {}),
      release: () => {},
    };
  }

  dispose(): void {
    this.#memory.close();
    this.device.destroy();
  }
}
