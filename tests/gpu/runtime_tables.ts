/** Hand-written tables for the tests of the embedded runtime: no compiler is involved. */
// deno-lint-ignore-file require-yield -- a program without sync points is a generator all the same
import { loadModel } from "../../src/codegen/runtime/load.js";
import type {
  HostOutput,
  InputTable,
  LoadOptions,
  Model,
  ModuleTables,
  OutputTable,
  PipelineTable,
  Program,
  Storage,
  WeightTables,
} from "../../src/codegen/module.ts";
import type { DType } from "../../src/dtype.ts";

const WGSL_TYPES: Readonly<Record<Storage, string>> = { f32: "f32", i32: "i32", u32: "u32" };

/** No weights at all. */
export const NO_WEIGHTS: WeightTables = {
  file: "model.safetensors",
  bytes: 0,
  buffers: [],
  chunks: [],
  tensors: [],
};

/**
 * A pipeline of one thread an element, 64 a group: the last tensor `[i]` becomes `expression`, which
 * reads `a[i]`, `b[i]` (the tensors before it) and the parameters `p.x` (the count), `p.y` to `p.w`.
 */
export function elementwise(
  expression: string,
  bindings: string,
  storage: Storage = "f32",
): PipelineTable {
  const type = WGSL_TYPES[storage];
  const names = [..."abcdefg"].slice(0, bindings.length - 1).concat("result");
  const declarations = names.map((name, i) =>
    `@group(0) @binding(${i + 1}) var<storage, ${bindings[i] === "w" ? "read" : "read_write"}> ` +
    `${name}: array<${type}>;`
  );
  return {
    label: `Elementwise ${bindings}`,
    bindings,
    parameters: 4,
    code: `@group(0) @binding(0) var<uniform> p: vec4i;
${declarations.join("\n")}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let i = i32((group.x + group.y * groups.x) * 64u + lane);
  if (i < p.x) { result[i] = ${expression}; }
}`,
  };
}

/** A pipeline of a single thread that runs `body`; tensors are a, b, ... of the types given. */
export function single(body: string, types: readonly Storage[]): PipelineTable {
  const declarations = types.map((type, i) =>
    `@group(0) @binding(${i + 1}) var<storage, read_write> ${"abcdefg"[i]}: array<${type}>;`
  );
  return {
    label: "Single 0",
    bindings: "a".repeat(types.length),
    parameters: 1,
    code: `@group(0) @binding(0) var<uniform> p: vec4i;
${declarations.join("\n")}
@compute @workgroup_size(1) fn main() { ${body} }`,
  };
}

/** Groups of 64 for `count` elements. */
export function groupsOf(count: number): number {
  return Math.ceil(count / 64);
}

export function input(
  name: string,
  dims: readonly (number | string)[],
  storage: Storage = "f32",
  dtype: DType = storage === "f32" ? "float32" : storage === "i32" ? "int32" : "uint32",
): InputTable {
  return { name, dims, storage, dtype };
}

export function output(
  name: string,
  dims: readonly (number | string | null)[],
  storage: Storage = "f32",
  dtype: DType = storage === "f32" ? "float32" : storage === "i32" ? "int32" : "uint32",
): OutputTable {
  return { name, dims, storage, dtype };
}

/** Tables without weights and features. */
export function tablesOf(
  inputs: readonly InputTable[],
  outputs: readonly OutputTable[],
  pipelines: readonly PipelineTable[],
  program: Program,
  weights: WeightTables = NO_WEIGHTS,
): ModuleTables {
  return { inputs, outputs, pipelines, kernels: [], weights, features: [], program };
}

/** `y = 2 x + 1` over one symbolic dimension. */
export function doubling(): ModuleTables {
  return tablesOf(
    [input("x", ["n"])],
    [output("y", ["n"])],
    [elementwise("2.0 * a[i] + 1.0", "aa")],
    function* (m) {
      const [n = 0] = m.dims(0);
      const y = m.tensor(4 * n);
      m.dispatch(0, [m.input(0), y], [n, 0, 0, 0], groupsOf(n));
      m.output(0, y, [n]);
    },
  );
}

/** Loads a model, hands it to `use`, and disposes of it. */
export async function withModel(
  tables: ModuleTables,
  use: (model: Model) => Promise<void>,
  options: LoadOptions = {},
): Promise<void> {
  const model: Model = await loadModel(tables, options);
  try {
    await use(model);
  } finally {
    model.dispose();
  }
}

/** The plain numbers of a host output. */
export function numbersOf(value: unknown): number[] {
  return Array.from((value as HostOutput).data as Float32Array, Number);
}

/** A device with the adapter's limits. */
export async function openDevice(): Promise<GPUDevice> {
  const adapter = await navigator.gpu.requestAdapter();
  if (adapter === null) throw new Error("no WebGPU adapter");
  return await adapter.requestDevice({
    requiredLimits: {
      maxBufferSize: adapter.limits.maxBufferSize,
      maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize,
    },
  });
}

/** Bytes of `values` in a new weights table, in chunks of `chunkBytes`, one buffer a tensor. */
export async function weightsOf(
  values: readonly Float32Array<ArrayBuffer>[],
  chunkBytes: number,
): Promise<{ tables: WeightTables; file: Uint8Array<ArrayBuffer> }> {
  const header = 64;
  const bytes = header + values.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const file = new Uint8Array(bytes);
  file.fill(7, 0, header);
  const chunks: WeightTables["chunks"][number][] = [];
  let at = header;
  for (const [buffer, tensor] of values.entries()) {
    file.set(new Uint8Array(tensor.buffer, tensor.byteOffset, tensor.byteLength), at);
    for (let offset = 0; offset < tensor.byteLength; offset += chunkBytes) {
      const length = Math.min(chunkBytes, tensor.byteLength - offset);
      const digest = await crypto.subtle.digest("SHA-256", file.subarray(at, at + length));
      const sha256 = new Uint8Array(digest).toHex();
      chunks.push({ buffer, offset, at, bytes: length, sha256 });
      at += length;
    }
  }
  return {
    file,
    tables: {
      file: "model.safetensors",
      bytes,
      buffers: values.map(({ byteLength }) => byteLength),
      chunks,
      tensors: values.map(({ byteLength }, i) => [i, 0, byteLength]),
    },
  };
}
