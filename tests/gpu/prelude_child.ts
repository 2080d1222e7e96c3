/**
 * Runs the functions of the prelude on the adapter at hand, each in a shader with nothing but what it
 * calls, and prints how they compare with those in JavaScript; an argument chooses names.
 */
import {
  floatOf,
  pointsOf,
  type PreludeFunction,
  preludeFunctions,
  referenceOf,
  toleranceOf,
  type Type,
} from "./prelude_cases.ts";

/** How one function did. */
export interface Outcome {
  readonly name: string;
  readonly points: number;
  /** The largest relative error of a finite result that is not subnormal, and where it is. */
  readonly worst: number;
  readonly at: readonly number[];
  /** The first few results past the tolerance, and how many there are. */
  readonly failed: number;
  readonly failures: readonly string[];
}

/** The line of JSON that this prints. */
export interface Answer {
  readonly adapter: string;
  readonly outcomes: readonly Outcome[];
}

const SMALLEST_NORMAL = 2 ** -126;
const isSubnormal = (value: number): boolean => Math.abs(value) < SMALLEST_NORMAL && value !== 0;

/** A value of 32 bits. */
function decode(type: Type, bits: number): number | boolean {
  if (type === "f32") return floatOf(bits);
  return type === "i32" ? bits | 0 : type === "bool" ? bits !== 0 : bits;
}

/** The shader that calls the function for every point. */
export function shaderOf({ name, parameters, result, text }: PreludeFunction): string {
  const bindings = parameters.map((_, i) =>
    `@group(0) @binding(${i + 1}) var<storage, read> a${i}: array<u32>;`
  );
  const args = parameters.map((type, i) =>
    type === "bool"
      ? `a${i}[id.x] != 0u`
      : type === "u32"
      ? `a${i}[id.x]`
      : `bitcast<${type}>(a${i}[id.x])`
  );
  const call = `${name}(${args.join(", ")})`;
  const stored = result === "bool" ? `select(0u, 1u, ${call})` : `bitcast<u32>(${call})`;
  return `${text}
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
${bindings.join("\n")}
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&y)) { y[id.x] = ${stored}; }
}`;
}

/** Computes the shader's results, in a browser too: it uses nothing of this file. */
export async function compute(
  device: GPUDevice,
  code: string,
  points: readonly Iterable<number>[],
): Promise<Uint32Array> {
  const given = points.map((values) => Uint32Array.from(values));
  const count = given[0]?.length ?? 1;
  const { STORAGE, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
  const buffer = (usage: number) => device.createBuffer({ size: 4 * count, usage });
  const result = buffer(STORAGE | COPY_SRC);
  const staging = buffer(MAP_READ | COPY_DST);
  const buffers = given.map((values) => {
    const made = buffer(STORAGE | COPY_DST);
    device.queue.writeBuffer(made, 0, values);
    return made;
  });
  const pipeline = await device.createComputePipelineAsync({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }) },
  });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [result, ...buffers].map((made, binding) => ({ binding, resource: { buffer: made } })),
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(Math.ceil(count / 64));
  pass.end();
  encoder.copyBufferToBuffer(result, 0, staging, 0, 4 * count);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const bits = new Uint32Array(staging.getMappedRange().slice(0));
  for (const made of [result, staging, ...buffers]) made.destroy();
  return bits;
}

/** The results that are right for `args`: with subnormals taken for zero, too, where that may be. */
function expectations(one: PreludeFunction, args: readonly (number | boolean)[]): number[] {
  const reference = referenceOf(one.name);
  // JavaScript's integers don't wrap around.
  const value = (given: readonly (number | boolean)[]): number =>
    one.result === "i32" ? Number(reference(...given)) | 0 : Number(reference(...given));
  const expected = value(args);
  const { flushes } = toleranceOf(one.name, expected, args.map(Number));
  const given = args.map((arg) =>
    typeof arg === "number" && isSubnormal(arg) ? (arg < 0 ? -0 : 0) : arg
  );
  return flushes ? [expected, value(given)] : [expected];
}

function isRight(one: PreludeFunction, args: readonly number[], got: number, expected: number) {
  if (Number.isNaN(expected)) return Number.isNaN(got);
  if (Object.is(got, expected)) return true;
  const { relative, absolute, flushes } = toleranceOf(one.name, expected, args);
  // Elsewhere zeros of both signs are different.
  if (Math.abs(expected) < SMALLEST_NORMAL) {
    return flushes && Math.abs(got) <= SMALLEST_NORMAL + absolute;
  }
  if (!Number.isFinite(expected)) return false;
  const bound = relative * Math.abs(expected) + absolute;
  if (!Number.isFinite(got)) {
    return Math.abs(expected) + bound > 3.4028234e38 && Math.sign(got) === Math.sign(expected);
  }
  return Math.abs(got - expected) <= bound;
}

/** Compares results, bits of one for each point, with JavaScript's. */
export function compare(
  one: PreludeFunction,
  points: readonly Uint32Array[],
  results: Uint32Array,
): Outcome {
  const failures: string[] = [];
  let [failed, worst, at]: [number, number, readonly number[]] = [0, 0, []];
  for (const [i, bits] of results.entries()) {
    const args = one.parameters.map((type, at) => decode(type, points[at]![i]!));
    const got = Number(decode(one.result, bits));
    const numbers = args.map(Number);
    const all = expectations(one, args);
    const [expected] = all as [number];
    if (!all.some((value) => isRight(one, numbers, got, value))) {
      if (failed++ < 6) failures.push(`${one.name}(${args.join(", ")}) is ${got}, not ${expected}`);
    }
    const error = Math.abs(got - expected) / Math.abs(expected);
    if (Number.isFinite(error) && error > worst && !isSubnormal(expected)) {
      [worst, at] = [error, numbers];
    }
  }
  return { name: one.name, points: results.length, worst, at, failed, failures };
}

if (import.meta.main) {
  const only = new RegExp(Deno.args[0] ?? "");
  const adapter = await navigator.gpu.requestAdapter();
  if (adapter === null) throw new Error("there is no WebGPU adapter");
  const device = await adapter.requestDevice();
  const outcomes: Outcome[] = [];
  for (const one of preludeFunctions().filter(({ name }) => only.test(name))) {
    try {
      const points = pointsOf(one);
      outcomes.push(compare(one, points, await compute(device, shaderOf(one), points)));
    } catch (error) {
      const failures = [`${one.name}: ${error instanceof Error ? error.message : error}`];
      outcomes.push({ name: one.name, points: 0, worst: 0, at: [], failed: 1, failures });
    }
  }
  const { info } = adapter;
  const answer: Answer = { adapter: `${info.vendor} ${info.device} ${info.description}`, outcomes };
  console.log(JSON.stringify(answer));
}
