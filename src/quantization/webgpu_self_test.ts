/**
 * Checks in a few milliseconds that an adapter computes as docs/arithmetic.md asks: every operation
 * that the kernels rely on, over pseudo-random and chosen operands, bit by bit against JavaScript.
 */
import type { ComputeDevice } from "./webgpu_device.ts";
import { SELF_TEST_FILES, shaderOf } from "./webgpu_shaders.ts";

/** Operands of one case, as bits of binary32. */
type Operands = readonly [a: number, b: number, c: number];

/** One operation: its name, and its result's bits or null where they are not defined. */
interface Operation {
  readonly name: string;
  /** True where subnormal operands are not flushed: it works on integers or does not use them. */
  readonly integer?: true;
  expect(
    a: number,
    b: number,
    c: number,
    bits: Operands,
    cases: readonly Operands[],
    index: number,
  ): number | null;
}

const CASES = 1024;

/** Bits of binary32 values at the edges of what the kernels meet. */
const EDGES: readonly Operands[] = [
  [0x3f800000, 0x40400000, 0x7f800000], // 1, 3, infinity
  [0x00000001, 0x3f800000, 0x7fc00000], // the least subnormal, 1, NaN
  [0x00800000, 0x40000000, 0xff800000], // the least normal, 2, -infinity
  [0x7f7fffff, 0x3f7fffff, 0x7f800001], // the greatest, just below 1, a signalling NaN
  [0x3f7fffff, 0x3f800001, 0x477fe000], // 65504 as float16
  [0x40200000, 0x40600000, 0x477fefff], // 2.5, 3.5, just below the tie to infinity
  [0xbf000000, 0x3f000000, 0x477ff000], // -0.5, 0.5, the tie to infinity
  [0x3fc00000, 0xbfc00000, 0x33000000], // 1.5, -1.5, the tie to the least subnormal float16
  [0x00000400, 0x447a2000, 0x33000001], // just above it
  [0x000003ff, 0xc47a2000, 0x387fe000], // the tie to the least normal float16
  [0x80000000, 0x34000000, 0x387fdfff], // -0
];

/** Terms of the sum in a loop, as in self_test.wgsl. */
const TERMS = 16;

/** In the order of the kernel's results. */
const OPERATIONS: readonly Operation[] = [
  { name: "division", integer: true, expect: (a, b) => b === 0 ? null : bitsOf(a / b) },
  { name: "a product added to", expect: (a, b, c) => sum(product(a, b), c) },
  { name: "a difference of products", expect: (a, b, c) => sum(product(a, b), -product(b, c)) },
  { name: "addition", expect: (a, b) => sum(a, b) },
  { name: "multiplication", expect: (a, b) => defined(product(a, b)) },
  { name: "the order of additions", expect: (a, b) => sum(Math.fround(a + b), -a) },
  { name: "rounding to an integer", expect: (a) => defined(roundToEven(a)) },
  {
    name: "conversion to an integer",
    expect: (_, b) => Math.min(1000, Math.max(-1000, roundToEven(b))) >>> 0,
  },
  {
    name: "rounding to float16",
    integer: true,
    expect: (_a, _b, _c, bits) => halfBits(bits[2]),
  },
  {
    name: "widening of float16",
    integer: true,
    expect: (_a, _b, _c, bits) => widenedHalf(bits[0] & 0xffff),
  },
  {
    name: "widening of bfloat16",
    integer: true,
    expect: (_a, _b, _c, bits) => (bits[0] & 0xffff0000) >>> 0,
  },
  {
    name: "comparison",
    expect: (a, b, c, bits) =>
      Number(a < b) | (Number(b < c) << 1) | (Number(notFinite(bits[2])) << 2),
  },
  {
    name: "the order of products",
    expect: (a, b, c) => subnormal(product(a, b)) ? null : defined(product(product(a, b), c)),
  },
  {
    name: "the order of a sum",
    integer: true,
    expect: (_a, _b, _c, _bits, cases, index) => bitsOf(sumOfMantissas(cases, index)),
  },
];

/**
 * The first operation in which `device` differs, in words with the operands, or null where it
 * computes exactly. Throws an `EngineFault` where the device fails.
 */
export async function differenceOf(device: ComputeDevice): Promise<string | null> {
  const cases = makeCases();
  const results = await runCases(device, cases);
  for (const [index, bits] of cases.entries()) {
    const [a, b, c] = bits.map(valueOf) as [number, number, number];
    const flushable = [a, b, c].some(subnormal);
    for (const [place, operation] of OPERATIONS.entries()) {
      if (flushable && operation.integer === undefined) continue;
      const expected = operation.expect(a, b, c, bits, cases, index);
      if (expected === null) continue;
      const actual = results[index * OPERATIONS.length + place]!;
      if (actual !== expected) {
        return `${operation.name} of ${a}, ${b}, ${c} gives ${hex(actual)}, not ${hex(expected)}`;
      }
    }
  }
  return null;
}

/** Runs the kernel over `cases`; a word per operation of each case. */
async function runCases(device: ComputeDevice, cases: readonly Operands[]): Promise<Uint32Array> {
  const { gpu } = device;
  const act = "test the adapter's arithmetic";
  const pipeline = await device.waitFor(
    act,
    gpu.createComputePipelineAsync({
      layout: "auto",
      compute: { module: gpu.createShaderModule({ code: shaderOf(SELF_TEST_FILES) }) },
    }),
  );
  const operands = new Uint32Array(cases.length * 4);
  for (const [index, bits] of cases.entries()) operands.set(bits, index * 4);
  const resultBytes = cases.length * OPERATIONS.length * 4;
  const buffers = await device.take([
    { size: 4, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST },
    { size: operands.byteLength, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST },
    { size: resultBytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC },
    { size: resultBytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST },
  ]);
  const [zero, input, output, staging] = buffers as [GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer];
  await device.guard(act, () => {
    gpu.queue.writeBuffer(zero, 0, new Uint32Array(1));
    gpu.queue.writeBuffer(input, 0, operands);
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(
      0,
      gpu.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          { binding: 0, resource: { buffer: zero, size: 4 } },
          { binding: 1, resource: { buffer: input, size: operands.byteLength } },
          { binding: 2, resource: { buffer: output, size: resultBytes } },
        ],
      }),
    );
    pass.dispatchWorkgroups(Math.ceil(cases.length / 64));
    pass.end();
    encoder.copyBufferToBuffer(output, 0, staging, 0, resultBytes);
    gpu.queue.submit([encoder.finish()]);
  });
  await device.waitFor(act, staging.mapAsync(GPUMapMode.READ, 0, resultBytes));
  const results = new Uint32Array(staging.getMappedRange(0, resultBytes).slice(0));
  staging.unmap();
  device.giveBack(buffers);
  return results;
}

/** The edges, and operands by a fixed generator: half near 1, half of any magnitude. */
function makeCases(): Operands[] {
  let state = 0x9e3779b9;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const operand = (near: boolean) => {
    const bits = next();
    const exponent = near ? 115 + (next() % 24) : next() % 255;
    return ((bits & 0x807fffff) | (exponent << 23)) >>> 0;
  };
  const cases = [...EDGES];
  while (cases.length < CASES) {
    const near = cases.length % 2 === 0;
    cases.push([operand(near), operand(near), operand(near)]);
  }
  return cases;
}

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);

function valueOf(bits: number): number {
  words[0] = bits;
  return floats[0]!;
}

function bitsOf(value: number): number {
  floats[0] = value;
  return words[0]!;
}

function product(a: number, b: number): number {
  return Math.fround(a * b);
}

/** The sum of the products of the mantissas of a and b from case `first` on, in order. */
function sumOfMantissas(cases: readonly Operands[], first: number): number {
  const mantissa = (bits: number) => valueOf((bits & 0x7fffff) | 0x3f800000);
  let sum = 0;
  for (let i = 0; i < TERMS; i++) {
    const [a, b] = cases[(first + i) % cases.length]!;
    sum = Math.fround(sum + product(mantissa(a), mantissa(b)));
  }
  return sum;
}

/** Bits of the sum of two binary32 values, null where an adapter may flush. */
function sum(a: number, b: number): number | null {
  return subnormal(a) || subnormal(b) ? null : defined(Math.fround(a + b));
}

/** Bits of a result, null where adapters may differ: subnormals, infinities and NaN. */
function defined(value: number): number | null {
  return subnormal(value) || !Number.isFinite(value) ? null : bitsOf(value);
}

function subnormal(value: number): boolean {
  return value !== 0 && Math.abs(value) < 1.1754943508222875e-38;
}

function notFinite(bits: number): boolean {
  return (bits & 0x7fffffff) >= 0x7f800000;
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0);
  const rounded = up ? floor + 1 : floor;
  // Keeps the sign of a zero.
  return rounded === 0 ? value * 0 : rounded;
}

/** Bits of the binary16 nearest to the binary32 with `bits`; null for NaN. */
function halfBits(bits: number): number | null {
  const value = valueOf(bits);
  if (Number.isNaN(value)) return null;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  // A binary16 has steps of 2^-24 below 2^-14, and 2^10 steps in each binade above.
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)));
  const steps = roundToEven(magnitude * 2 ** (10 - exponent));
  return sign | (magnitude === 0 ? 0 : ((exponent + 14) << 10) + steps);
}

/** Bits of the value of the binary16 with `bits`; null for NaN. */
function widenedHalf(bits: number): number | null {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa === 0 ? bitsOf(sign * Infinity) : null;
  return exponent === 0
    ? bitsOf(sign * mantissa * 2 ** -24)
    : bitsOf(sign * (1024 + mantissa) * 2 ** (exponent - 25));
}

function hex(bits: number): string {
  return `0x${bits.toString(16).padStart(8, "0")}`;
}
