/**
 * A WebGPU device as the engine needs it: its limits, its memory within a budget, and its failures
 * (a lost device, no memory, an invalid call) turned into `EngineFault`s.
 */
import { MissingToolError } from "../error.ts";
import type { Adapter } from "../hardware.ts";
import { EngineFault } from "./engine.ts";

/** Options of {@link openDevice}. */
export interface DeviceOptions {
  readonly adapter: Adapter;
  /** Bytes of GPU memory for buffers, those kept for reuse included. */
  readonly memoryBytes: number;
}

/** What a kernel launch has to keep to. */
export interface DeviceLimits {
  /** Bytes of one storage binding at most. */
  readonly bindingBytes: number;
  readonly workgroupsPerDimension: number;
}

/** A buffer that is wanted. */
export interface BufferRequest {
  /** Bytes, at least; the buffer may be larger. */
  readonly size: number;
  readonly usage: GPUBufferUsageFlags;
}

/** Limits that are raised from WebGPU's defaults to what the adapter has. */
const RAISED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
] as const;

/** Opens a device on `options.adapter`. Throws a `MissingToolError` where the adapter refuses. */
export async function openDevice(options: DeviceOptions): Promise<ComputeDevice> {
  const { adapter } = options;
  const requiredLimits: Record<string, number> = {};
  for (const name of RAISED_LIMITS) requiredLimits[name] = adapter.limits[name];
  try {
    const gpu = await adapter.gpu.requestDevice({ requiredLimits });
    return new ComputeDevice(gpu, options);
  } catch (cause) {
    throw new MissingToolError(
      `Cannot open a WebGPU device on "${adapter.name}": ${messageOf(cause)}. Use another engine.`,
      { cause },
    );
  }
}

/** An open device. */
export class ComputeDevice {
  readonly limits: DeviceLimits;
  /** Rejects with the fault once the device is lost; never resolves. */
  readonly lost: Promise<never>;
  readonly #pool: BufferPool;
  #fault: EngineFault | null = null;

  constructor(readonly gpu: GPUDevice, options: DeviceOptions) {
    const { limits } = gpu;
    this.limits = {
      bindingBytes: Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize),
      workgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    };
    this.#pool = new BufferPool(gpu, options.memoryBytes);
    const name = options.adapter.name;
    this.lost = gpu.lost.then((info) => {
      throw this.#fail(
        `Cannot go on with the WebGPU device "${name}": it was lost (${
          info.message || info.reason
        }). Use another engine.`,
      );
    });
    // Whoever waits for the device also waits for `lost`; nobody may be waiting.
    this.lost.catch(() => {});
    gpu.addEventListener("uncapturederror", (event: Event) => {
      const reason = event instanceof GPUUncapturedErrorEvent ? event.error : event.type;
      this.#fail(
        `Cannot go on with the WebGPU device "${name}": ${messageOf(reason)}. Use another engine.`,
      );
    });
  }

  /** Throws the fault of a device that has failed. */
  check(): void {
    if (this.#fault !== null) throw this.#fault;
  }

  /** `promise`, but for a rejection by anything but a fault, or the loss of the device first. */
  async waitFor<T>(act: string, promise: Promise<T>): Promise<T> {
    try {
      return await Promise.race([promise, this.lost]);
    } catch (cause) {
      if (cause instanceof EngineFault) throw cause;
      // The loss of the device is announced a moment after what it broke.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.check();
      throw new EngineFault(`Cannot ${act} on WebGPU: ${messageOf(cause)}. Use another engine.`, {
        cause,
      });
    }
  }

  /** Runs `body`, which may not wait, and turns every error that the device reports into a fault. */
  async guard<T>(act: string, body: () => T): Promise<T> {
    this.check();
    for (const filter of ERROR_FILTERS) this.gpu.pushErrorScope(filter);
    let value: T | undefined;
    let thrown: unknown = null;
    try {
      value = body();
    } catch (error) {
      thrown = error;
    }
    const scopes = ERROR_FILTERS.map(() => this.gpu.popErrorScope());
    const errors = await this.waitFor(act, Promise.all(scopes));
    const ofDevice = thrown instanceof DOMException || thrown instanceof RangeError;
    if (thrown !== null && !ofDevice) throw thrown;
    const error = thrown ?? errors.find((entry) => entry !== null) ?? null;
    if (error !== null) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.check();
      throw new EngineFault(`Cannot ${act} on WebGPU: ${messageOf(error)}. Use another engine.`, {
        cause: error,
      });
    }
    return value as T;
  }

  /** Buffers for all of `requests`, once the budget has room for them together. */
  async take(requests: readonly BufferRequest[]): Promise<GPUBuffer[]> {
    await this.waitFor("reserve memory", this.#pool.reserve(requests));
    const buffers: GPUBuffer[] = [];
    try {
      await this.guard("allocate buffers", () => {
        for (const request of requests) buffers.push(this.#pool.take(request));
      });
      return buffers;
    } catch (error) {
      for (const buffer of buffers) buffer.destroy();
      this.#pool.cancel(requests);
      throw error;
    }
  }

  /** Gives buffers back. They must be unmapped, and nothing more may be submitted that uses them. */
  giveBack(buffers: readonly GPUBuffer[]): void {
    this.#pool.giveBack(buffers);
  }

  /** Destroys buffers whose state is not known. */
  discard(buffers: readonly GPUBuffer[]): void {
    this.#pool.discard(buffers);
  }

  /** Frees the device and all its memory. Work in flight rejects with a fault. */
  destroy(): void {
    this.#pool.clear();
    this.gpu.destroy();
  }

  #fail(message: string): EngineFault {
    this.#fault ??= new EngineFault(message);
    return this.#fault;
  }
}

const ERROR_FILTERS = ["validation", "out-of-memory", "internal"] as const;

/** Buffers kept for reuse, and the memory budget over them and those in use. */
class BufferPool {
  readonly #idle: GPUBuffer[] = [];
  readonly #waiting: { readonly bytes: number; readonly go: () => void }[] = [];
  /** Bytes reserved for buffers in use. */
  #used = 0;

  constructor(readonly gpu: GPUDevice, readonly budget: number) {}

  /** Waits, first come first served, until `requests` fit beside what is in use. */
  reserve(requests: readonly BufferRequest[]): Promise<void> {
    const bytes = this.#bytesOf(requests);
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, go: resolve });
      this.#admit();
    });
  }

  /** A buffer for a request that was reserved. */
  take({ size, usage }: BufferRequest): GPUBuffer {
    const bytes = this.#sizeClass(size);
    const index = this.#idle.findLastIndex((idle) => idle.size === bytes && idle.usage === usage);
    if (index >= 0) return this.#idle.splice(index, 1)[0]!;
    this.#evict();
    return this.gpu.createBuffer({ size: bytes, usage });
  }

  /** Takes a reservation back. */
  cancel(requests: readonly BufferRequest[]): void {
    this.#used -= this.#bytesOf(requests);
    this.#admit();
  }

  giveBack(buffers: readonly GPUBuffer[]): void {
    for (const buffer of buffers) {
      this.#used -= buffer.size;
      this.#idle.push(buffer);
    }
    this.#evict();
    this.#admit();
  }

  discard(buffers: readonly GPUBuffer[]): void {
    for (const buffer of buffers) {
      this.#used -= buffer.size;
      buffer.destroy();
    }
    this.#admit();
  }

  clear(): void {
    for (const buffer of this.#idle.splice(0)) buffer.destroy();
  }

  #bytesOf(requests: readonly BufferRequest[]): number {
    return requests.reduce((sum, { size }) => sum + this.#sizeClass(size), 0);
  }

  /** `size` rounded up so that few sizes exist and at most a fifth is lost: 4, 5, 6, 7 times 2^n. */
  #sizeClass(size: number): number {
    if (size <= 4096) return 4096;
    const step = 2 ** (Math.floor(Math.log2(size)) - 2);
    return Math.max(size, Math.min(Math.ceil(size / step) * step, this.gpu.limits.maxBufferSize));
  }

  /** Lets those in who fit; one that is larger than the whole budget has it to itself. */
  #admit(): void {
    while (this.#waiting.length > 0) {
      const { bytes, go } = this.#waiting[0]!;
      if (this.#used > 0 && this.#used + bytes > this.budget) return;
      this.#waiting.shift();
      this.#used += bytes;
      go();
    }
  }

  /** Destroys the buffers idle for longest until all memory is within the budget. */
  #evict(): void {
    let held = this.#idle.reduce((sum, buffer) => sum + buffer.size, this.#used);
    while (held > this.budget && this.#idle.length > 0) {
      const oldest = this.#idle.shift()!;
      held -= oldest.size;
      oldest.destroy();
    }
  }
}

function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message;
  if (typeof error === "object" && error !== null && "message" in error) {
    return String(error.message);
  }
  return String(error);
}
