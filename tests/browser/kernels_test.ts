/**
 * The kernel files that need a feature of the GPU which Deno's software adapters lack, in a browser
 * that has it: each gives what plain JavaScript gives.
 */
import assert from "node:assert/strict";
import { kernelCases } from "../gpu/kernel_cases.ts";
import { groupCount, type KernelCase } from "../gpu/kernel_runner.ts";
import { fault } from "../gpu/kernels_child.ts";
import { deviceIn, withBrowser } from "./browser.ts";

/** A case as it travels to the page. */
interface Job {
  readonly text: string;
  readonly constants: Record<string, number>;
  readonly parameters: readonly number[];
  readonly inputs: readonly (readonly number[])[];
  readonly outputs: readonly number[];
  readonly count: number;
}

function jobOf(given: KernelCase): Job {
  return {
    text: given.text,
    constants: { ...given.overrides },
    parameters: Object.values(given.parameters),
    inputs: given.inputs.map((values) => [...values]),
    outputs: given.outputs,
    count: groupCount(given.groups, (name) => given.parameters[name]!),
  };
}

/** Runs a job in the page; a pipeline of a text is made once. */
async function runJob(
  device: GPUDevice & { made?: Map<string, GPUComputePipeline> },
  { text, constants, parameters, inputs, outputs, count }: Job,
): Promise<number[][]> {
  device.made ??= new Map();
  const key = JSON.stringify([text, constants]);
  let pipeline = device.made.get(key);
  if (pipeline === undefined) {
    pipeline = await device.createComputePipelineAsync({
      layout: "auto",
      compute: { module: device.createShaderModule({ code: text }), constants },
    });
    device.made.set(key, pipeline);
  }
  const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
  const filled = (data: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>, usage: number) => {
    const size = Math.max(16, 16 * Math.ceil(data.byteLength / 16));
    const buffer = device.createBuffer({ size, usage: usage | COPY_DST });
    device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  const results = outputs.map((length) => filled(new Float32Array(length), STORAGE | COPY_SRC));
  const buffers = [
    filled(Int32Array.from(parameters), UNIFORM),
    ...inputs.map((values) => filled(Float32Array.from(values), STORAGE)),
    ...results,
  ];
  const encoder = device.createCommandEncoder();
  if (count > 0) {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    const layout = pipeline.getBindGroupLayout(0);
    pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
    pass.dispatchWorkgroups(Math.ceil(count / 2), count > 1 ? 2 : 1);
    pass.end();
  }
  const staged = results.map((buffer) => {
    const staging = device.createBuffer({ size: buffer.size, usage: MAP_READ | COPY_DST });
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
    return staging;
  });
  device.queue.submit([encoder.finish()]);
  const found: number[][] = [];
  for (const [i, staging] of staged.entries()) {
    await staging.mapAsync(GPUMapMode.READ);
    found.push([...new Float32Array(staging.getMappedRange()).subarray(0, outputs[i])]);
  }
  for (const buffer of [...buffers, ...staged]) buffer.destroy();
  return found;
}

Deno.test("kernel files for subgroups give the reference's results in a browser", async () => {
  await withBrowser(async (browser) => {
    const device = await deviceIn(browser, ["subgroups"]);
    let cases = 0;
    for (const given of kernelCases()) {
      if (!given.features?.includes("subgroups")) continue;
      cases++;
      const results = await device.evaluate(
        async (device, [source, job]) => {
          const run = new Function(`return ${source}`)() as typeof runJob;
          return await run(device, job);
        },
        [String(runJob), jobOf(given)] as [string, Job],
      );
      assert.equal(fault(given, results.map((values) => Float32Array.from(values))), null);
    }
    assert.ok(cases > 10);
  });
});
