/**
 * The WebGPU target of the conformance tests on modules written by hand: what it takes for an output,
 * and that it overhears errors nobody asked for, pipelines made too late, and a lost device.
 */
import assert from "node:assert/strict";
import { type Compiled, openWebGpu } from "../../conformance/webgpu.ts";
import { Unsupported } from "../../conformance/target.ts";
import { makeGraph, makeModel } from "../../src/ir.ts";

const MODEL = makeModel("model.onnx", 8, new Map([["", 13]]), makeGraph("empty", {}));

const PIPELINE = `await device.createComputePipelineAsync({ layout: "auto", compute: {
  module: device.createShaderModule({ code: "@compute @workgroup_size(1) fn main() {}" }) } });`;

/** A module that does `load` when it is loaded, and `run` when it is run. */
const moduleText = (load: string, run: string): string => `
  export async function load({ device, weights }) {
    ${load}
    return { async run({ x }) { ${run} }, dispose() {} };
  }`;

const ANSWER =
  `return { y: { dtype: "float32", dims: x.dims, data: x.data.map((v) => v + Number(weights)) } };`;
const INPUTS = new Map([
  ["x", { dtype: "float32", dims: [2], data: Float32Array.of(1, 2) } as const],
]);

const compiled = (javaScript: string): Compiled => ({
  url: `data:text/javascript,${encodeURIComponent(javaScript)}`,
  weights: "40",
  hostNodes: ["Shape"],
  release: () => Promise.resolve(),
});

async function runText(javaScript: string): Promise<unknown> {
  const target = await openWebGpu(() => Promise.resolve(compiled(javaScript)));
  await using candidate = await target.prepare(MODEL);
  assert.deepEqual(candidate.hostNodes, ["Shape"]);
  return Object.fromEntries(await candidate.run(INPUTS));
}

Deno.test("a module's text is imported, loaded and run", async () => {
  assert.deepEqual(await runText(moduleText(PIPELINE, ANSWER)), {
    y: { dtype: "float32", dims: [2], data: Float32Array.of(41, 42) },
  });
  const half = await runText(
    moduleText("", `return { y: { dtype: "float16", dims: [1], data: Float16Array.of(1) } };`),
  );
  assert.deepEqual(half, { y: { dtype: "float16", dims: [1], data: Uint16Array.of(0x3c00) } });
});

Deno.test("an error that nobody asked for fails the run", async () => {
  await assert.rejects(
    runText(moduleText("", `device.createBuffer({ size: 16, usage: 0 }); ${ANSWER}`)),
    /the GPU complains: .*usage/i,
  );
});

Deno.test("a pipeline made after load fails the run", async () => {
  await assert.rejects(
    runText(moduleText(PIPELINE, `${PIPELINE} ${ANSWER}`)),
    /1 pipelines were made after load/,
  );
});

Deno.test("a refusal to compile passes through, a lost device is heard of", async () => {
  const refusing = await openWebGpu(() => Promise.reject(new Unsupported("no such operator")));
  await assert.rejects(refusing.prepare(MODEL), Unsupported);
  const target = await openWebGpu(() =>
    Promise.resolve(compiled(moduleText("", `device.destroy(); ${ANSWER}`)))
  );
  await using candidate = await target.prepare(MODEL);
  await candidate.run(INPUTS).catch(() => undefined);
  assert.match(await target.lost, /lost|destroy/);
});
