/**
 * The target "webgpu": the module that modelcast writes for a model, imported from its own files and
 * run on Deno's WebGPU. All tests of a process share a device. Whatever the GPU complains of that
 * nobody asked for fails the test, and so does a pipeline that is made once the module has loaded.
 */
import { MissingToolError } from "../src/error.ts";
import type { Model } from "../src/ir.ts";
import type { HostOutput, LoadOptions, Model as LoadedModel } from "../src/codegen/module.ts";
import type { Candidate, Target } from "./target.ts";
import type { Elements, Value } from "./values.ts";

/** What a compiler makes of a model, as far as running it goes. */
export interface Compiled {
  /** Where the module is. */
  readonly url: string;
  /** The weights file. */
  readonly weights: NonNullable<LoadOptions["weights"]>;
  /** What computes tensor values on the host, a name each. */
  readonly hostNodes: readonly string[];
  /** Removes the files. */
  release(): Promise<void>;
}

/** Compiles `model`; a deliberate refusal is a `ModelcastError`. */
export type Compile = (model: Model) => Promise<Compiled>;

/** What a module exports. */
interface Module {
  load(options: LoadOptions): Promise<LoadedModel>;
}

/** WebGPU with the adapter that the environment names. */
export async function openWebGpu(compile: Compile): Promise<Target> {
  const watched = await openDevice();
  return {
    lost: watched.device.lost.then(({ message, reason }) => message || reason),
    async prepare(model): Promise<Candidate> {
      const { url, weights, hostNodes, release } = await compile(model);
      let loaded: LoadedModel;
      try {
        const module: Module = await import(url);
        watched.check();
        loaded = await module.load({ device: watched.device, weights });
      } finally {
        await release();
      }
      const pipelines = watched.pipelines();
      return {
        hostNodes,
        async run(inputs) {
          const outputs = await loaded.run(
            Object.fromEntries([...inputs].map(([name, { dims, data }]) => [name, { dims, data }])),
          );
          await watched.settle();
          watched.check();
          const late = watched.pipelines() - pipelines;
          if (late > 0) throw new Error(`${late} pipelines were made after load`);
          return new Map(
            Object.entries(outputs).map(([name, output]) => [name, valueOf(name, output)]),
          );
        },
        async [Symbol.asyncDispose]() {
          loaded.dispose();
          await watched.settle();
        },
      };
    },
  };
}

/** A device that tells what went wrong on it, and how many pipelines were made. */
interface WatchedDevice {
  readonly device: GPUDevice;
  pipelines(): number;
  /** Waits for what has been submitted. */
  settle(): Promise<unknown>;
  /** Throws where the GPU complained since the last call. */
  check(): void;
}

async function openDevice(): Promise<WatchedDevice> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) {
    throw new MissingToolError(
      "there is no WebGPU adapter. Install a driver for Vulkan (Debian: mesa-vulkan-drivers)",
    );
  }
  const limits: Record<string, number> = {};
  for (const name in adapter.limits) {
    const value: unknown = adapter.limits[name as keyof GPUSupportedLimits];
    if (typeof value === "number") limits[name] = value;
  }
  const device = await adapter.requestDevice({
    requiredFeatures: [...adapter.features] as GPUFeatureName[],
    requiredLimits: limits,
  });
  const complaints: string[] = [];
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    complaints.push((event as GPUUncapturedErrorEvent).error.message);
  });
  let made = 0;
  const { createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype;
  device.createComputePipeline = (descriptor) => {
    made++;
    return createComputePipeline.call(device, descriptor);
  };
  device.createComputePipelineAsync = (descriptor) => {
    made++;
    return createComputePipelineAsync.call(device, descriptor);
  };
  return {
    device,
    pipelines: () => made,
    settle: () => device.queue.onSubmittedWorkDone(),
    check() {
      const [first] = complaints.splice(0);
      if (first !== undefined) throw new Error(`the GPU complains: ${first}`);
    },
  };
}

function valueOf(name: string, output: object): Value {
  if (!("data" in output)) throw new Error(`output "${name}" stayed on the GPU`);
  const { dtype, dims, data } = output as HostOutput;
  return { dtype, dims, data: elementsOf(data) };
}

function elementsOf(data: HostOutput["data"]): Elements {
  if (data instanceof Float16Array) {
    return new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
  }
  if (data instanceof Uint8ClampedArray) return Uint8Array.from(data);
  return data;
}
