/**
 * A real GPU, where one is at hand: the search kernel against a copy of the same bytes by the GPU's
 * own clock, the whole job against the wasm engine, and whether the bytes are the same. A software
 * adapter says nothing about speed; on one, nothing is measured.
 */
import { detectAdapter } from "../../src/hardware.ts";
import type { Engine, QuantizeJob } from "../../src/quantization/engine.ts";
import { createWebGpuEngine } from "../../src/quantization/webgpu.ts";
import { inTurns, median, notMeasured, type Options, type Part, type Row } from "../harness.ts";
import { timed } from "../harness.ts";
import { openEngine } from "./engine.ts";
import { type PassClock, timedAdapter } from "./timestamps.ts";
import { randomMatrix, SIZE } from "./matrix.ts";

const TURNS = 9;
const BYTES = 4 * SIZE * SIZE;
const NAMES = {
  kernel: "GPU: mse kernels against a copy kernel over the same bytes",
  whole: "GPU: mse end to end against the wasm engine",
  bytes: "GPU: bytes that differ from the wasm engine's",
} as const;

const COPY = `
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> target_: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let index = id.y * groups.x * 256u + id.x;
  if (index < arrayLength(&source)) { target_[index] = source[index]; }
}`;

/** Median nanoseconds of a kernel that copies `BYTES` from buffer to buffer. */
async function copyTime({ device, read }: PassClock): Promise<number> {
  const usage = GPUBufferUsage.STORAGE;
  const [source, target] = [0, 1].map(() => device.createBuffer({ size: BYTES, usage }));
  const module = device.createShaderModule({ code: COPY });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [source!, target!].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const times: number[] = [];
  await read();
  for (let turn = 0; turn <= TURNS; turn++) {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(256, Math.ceil(BYTES / 16 / 256 / 256));
    pass.end();
    device.queue.submit([encoder.finish()]);
    const time = await read();
    if (turn > 0) times.push(time);
  }
  for (const buffer of [source, target]) buffer?.destroy();
  return median(times);
}

/** A job over the matrix, 4 bits, block 32, asymmetric, by `mse`. */
async function jobFor(engine: Engine): Promise<QuantizeJob> {
  const { bytes } = await engine.allocate(BYTES);
  bytes.set(new Uint8Array(randomMatrix().buffer));
  return {
    weights: bytes,
    weightType: "float32",
    rows: SIZE,
    columns: SIZE,
    order: "columns",
    format: { bits: 4, symmetric: false, blockSize: 32, scaleType: "float16" },
    method: "mse",
    measure: false,
  };
}

/** Bytes of the two engines' results that are not the same. */
async function differences(ours: [Engine, QuantizeJob], rival: [Engine, QuantizeJob]) {
  let count = 0;
  for (const method of ["rtn", "mse", "hqq"] as const) {
    const a = await ours[0].quantize({ ...ours[1], method });
    const b = await rival[0].quantize({ ...rival[1], method });
    const pairs = [[a.codes, b.codes], [a.scales, b.scales], [a.zeroPoints, b.zeroPoints]] as const;
    for (const [x, y] of pairs) x?.forEach((byte, index) => byte === y?.[index] || count++);
    a.release();
    b.release();
  }
  return count;
}

/** A GPU's speed. */
export const gpu: Part = {
  name: "gpu",
  async run({ anyAdapter }: Options): Promise<Row[]> {
    const found = await detectAdapter();
    if (found === null || (found.software && !anyAdapter)) {
      const reason = found === null
        ? "not measured: no WebGPU adapter"
        : `not measured: "${found.name}" is no hardware`;
      return Object.values(NAMES).map((name) => notMeasured(name, "", reason));
    }
    const timing = timedAdapter(found);
    const engine = await createWebGpuEngine({ adapter: found });
    const wasm = await openEngine("wasm");
    try {
      const [job, wasmJob] = [await jobFor(engine), await jobFor(wasm)];
      const rows: Row[] = [];
      const note = `${found.name}; 4 bits, block 32, asymmetric, [${SIZE}, ${SIZE}] as [K, N]`;
      if (timing === null) rows.push(notMeasured(NAMES.kernel, "", `${note}; no timestamps`));
      else {
        const clock = await timing.clock;
        const times: number[] = [];
        await clock.read();
        for (let turn = 0; turn <= TURNS; turn++) {
          (await engine.quantize(job)).release();
          const time = await clock.read();
          if (turn > 0) times.push(time);
        }
        const [ours, rival] = [median(times) / 1e6, await copyTime(clock) / 1e6];
        rows.push({
          ...notMeasured(NAMES.kernel, "", note),
          ours,
          rival,
          unit: "ms",
          ratio: ours / rival,
        });
      }
      const whole = (on: Engine, work: QuantizeJob) => () =>
        timed(async () => (await on.quantize(work)).release());
      const pair = await inTurns(TURNS, whole(engine, job), whole(wasm, wasmJob));
      rows.push({
        ...notMeasured(NAMES.whole, "", note),
        ours: BYTES / pair.ours / 1e9,
        rival: BYTES / pair.rival / 1e9,
        unit: "GB/s",
        ratio: pair.ratio,
      });
      const count = await differences([engine, job], [wasm, wasmJob]);
      rows.push({
        ...notMeasured(NAMES.bytes, "none", `${note}; rtn, mse and hqq`),
        ours: count,
        unit: "bytes",
        ratio: count,
        pass: count === 0,
      });
      return rows;
    } finally {
      engine.dispose();
      wasm.dispose();
    }
  },
};
