/** Runs a kernel file of `kernels/ops` below its header, with the tensors of that. */
import assert from "node:assert/strict";
import type { Groups } from "../../src/codegen/kernel_family.ts";

/** A kernel to run. */
export interface KernelCase {
  readonly label: string;
  /** WGSL: parameters in binding 0, `inputs` and then `outputs` in the bindings after it. */
  readonly text: string;
  /** What the device must have. */
  readonly features?: readonly string[];
  readonly overrides: Readonly<Record<string, number>>;
  /** The members of the parameter block in its order. */
  readonly parameters: Readonly<Record<string, number>>;
  readonly groups: Groups;
  readonly inputs: readonly (Float32Array | Int32Array | Uint32Array)[];
  /** Elements of each output. */
  readonly outputs: readonly number[];
  /** The outputs are i32, f32 where absent. */
  readonly integers?: boolean;
}

/** The number of workgroups. 0 where a size is 0. */
export function groupCount({ tiles, share }: Groups, size: (name: string) => number): number {
  return Math.ceil(tiles.reduce((n, [name, tile]) => n * Math.ceil(size(name) / tile), 1) / share);
}

/** What a store must leave alone, beyond the end of an output. */
const GUARD = 12345.5;
const GUARDS = 8;

/** A device of the adapter at hand, which reports every error. */
export class KernelRunner {
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #errors: string[] = [];

  private constructor(readonly device: GPUDevice, readonly adapter: string) {
    device.addEventListener("uncapturederror", (event) => {
      this.#errors.push((event as GPUUncapturedErrorEvent).error.message);
    });
  }

  static async open(): Promise<KernelRunner> {
    const adapter = await navigator.gpu.requestAdapter();
    assert.ok(adapter !== null, "these tests need a WebGPU adapter");
    const requiredFeatures = (["shader-f16"] as const).filter((name) => adapter.features.has(name));
    const device = await adapter.requestDevice({ requiredFeatures });
    return new KernelRunner(device, adapter.info.description);
  }

  /** The pipeline of a text; fails with the compiler's message. */
  pipeline(text: string, overrides: Readonly<Record<string, number>>): Promise<GPUComputePipeline> {
    const key = JSON.stringify([text, overrides]);
    const found = this.#pipelines.get(key);
    if (found !== undefined) return found;
    const made = this.#compile(text, overrides);
    this.#pipelines.set(key, made);
    return made;
  }

  async #compile(text: string, constants: Readonly<Record<string, number>>) {
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ code: text });
    const error = await this.device.popErrorScope();
    if (error !== null) throw new Error(error.message);
    return await this.device.createComputePipelineAsync({
      layout: "auto",
      compute: { module, entryPoint: "main", constants: { ...constants } },
    });
  }

  /** The outputs, after a check that nothing was written past their ends. */
  async run(given: KernelCase): Promise<Float32Array[]> {
    const { device } = this;
    const pipeline = await this.pipeline(given.text, given.overrides);
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
    const made: GPUBuffer[] = [];
    const buffer = (bytes: number, usage: number): GPUBuffer => {
      const one = device.createBuffer({ size: Math.max(16, bytes), usage });
      made.push(one);
      return one;
    };
    const entries: GPUBindGroupEntry[] = [];
    const bind = (one: GPUBuffer) => {
      entries.push({ binding: entries.length, resource: { buffer: one } });
    };
    const numbers = Int32Array.from(Object.values(given.parameters));
    const parameters = buffer(16 * Math.ceil(numbers.length / 4), UNIFORM | COPY_DST);
    device.queue.writeBuffer(parameters, 0, numbers);
    bind(parameters);
    for (const input of given.inputs) {
      const one = buffer(input.byteLength, STORAGE | COPY_DST);
      // Deno ends with a panic where nothing is to be written.
      if (input.length > 0) device.queue.writeBuffer(one, 0, input as BufferSource);
      bind(one);
    }
    const outputs = given.outputs.map((length) => {
      const one = buffer(4 * (length + GUARDS), STORAGE | COPY_DST | COPY_SRC);
      device.queue.writeBuffer(one, 0, new Float32Array(length + GUARDS).fill(GUARD));
      bind(one);
      return { one, length, staging: buffer(4 * (length + GUARDS), MAP_READ | COPY_DST) };
    });
    const encoder = device.createCommandEncoder();
    const count = groupCount(given.groups, (name) => {
      const size = given.parameters[name];
      assert.ok(size !== undefined, `${given.label} has no size ${name}`);
      return size;
    });
    if (count > 0) {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(
        0,
        device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }),
      );
      // Two dimensions wherever they can be, so that a core that forgets the second one fails.
      const width = count < 3 ? count : Math.ceil(count / 2);
      pass.dispatchWorkgroups(width, Math.ceil(count / width));
      pass.end();
    }
    for (const { one, staging } of outputs) {
      encoder.copyBufferToBuffer(one, 0, staging, 0, staging.size);
    }
    device.queue.submit([encoder.finish()]);
    try {
      const results: Float32Array[] = [];
      for (const { staging, length } of outputs) {
        await staging.mapAsync(GPUMapMode.READ);
        const all = new Float32Array(staging.getMappedRange().slice(0));
        const guards = all.subarray(length, length + GUARDS);
        assert.ok(guards.every((value) => value === GUARD), `${given.label} wrote past its end`);
        const own = all.slice(0, length);
        results.push(given.integers ? Float32Array.from(new Int32Array(own.buffer)) : own);
      }
      assert.deepEqual(this.#errors, []);
      return results;
    } finally {
      for (const one of made) one.destroy();
    }
  }
}
