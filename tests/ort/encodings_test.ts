/**
 * Every way to hold a weight, in every form at every format: ONNX Runtime computes from the
 * converted model what it computes from the float model with the dequantized weights.
 */
import assert from "node:assert/strict";
import { loadRuntime, openSession } from "../../src/verify/runtime.ts";
import type { HostTensor } from "../../src/verify/values.ts";
import type { QuantizationOptions } from "../../src/quantization/planner.ts";
import { convertCase } from "../encoding_conversion.ts";
import { ENCODING_CASES, type EncodingCase, type Feed } from "../encoding_models.ts";

const ROUTES = [
  { encoding: "auto", runtimes: [] },
  { encoding: "auto", runtimes: ["onnxruntime-1.22"] },
  { encoding: "auto", runtimes: ["onnxruntime-1.30", "openvino-2026.4"] },
  { encoding: "qdq", runtimes: [] },
] as const;

const runtime = await loadRuntime();

for (const example of ENCODING_CASES) {
  Deno.test(`${example.name}: computes with the quantized weights in every form`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const seen = new Set<string>();
      for (const options of allOptions()) {
        const label = `${options.bits} bits, ${options.symmetric ? "symmetric" : "asymmetric"}, ` +
          `${options.blockSize}, ${options.scaleType}, ${options.encoding} for ${options.runtimes}`;
        const converted = await convertCase(example.build, options, folder, "case");
        // The tiny model itself may not shrink; but most formats have to.
        for (const weight of converted.weights) {
          seen.add(weight.name);
          assert.ok(weight.bytesAfter < weight.bytesBefore, label);
        }
        if (converted.weights.length === 0) continue;
        const wanted = await outputs(converted.expectedPath, example);
        const got = await outputs(converted.path, example).catch((error) => {
          throw new Error(`${label}: ${converted.weights[0]!.form}`, { cause: error });
        });
        compare(got, wanted, example.tolerance, label);
      }
      for (const name of example.weights) assert.ok(seen.has(name), `${name} was never quantized`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

function* allOptions(): Generator<QuantizationOptions> {
  for (const bits of [8, 4, 3, 2] as const) {
    for (const symmetric of [true, false]) {
      for (const blockSize of [16, 32, "channel", "tensor"] as const) {
        for (const route of ROUTES) {
          const scaleType = blockSize === 32 ? "float32" : "float16";
          yield { bits, symmetric, blockSize, scaleType, method: "rtn", exclude: [], ...route };
        }
      }
    }
  }
}

async function outputs(path: string, example: EncodingCase): Promise<HostTensor> {
  await using session = await openSession(runtime, path, "cpu", { calm: true });
  const feeds = new Map(example.feeds.map((feed) => [feed.name, hostTensor(feed)]));
  return (await session.run(feeds, ["y"])).get("y")!;
}

function compare(got: HostTensor, wanted: HostTensor, tolerance: number, label: string): void {
  assert.deepEqual(got.dims, wanted.dims, label);
  const [a, b] = [values(got), values(wanted)];
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  a.forEach((value, i) =>
    assert.ok(
      Math.abs(value - b[i]!) <= tolerance * largest,
      `${label}: element ${i} is ${value}, not ${b[i]}`,
    )
  );
}

function values(tensor: HostTensor): number[] {
  if (tensor.dtype === "float16") {
    return Array.from(new Float16Array((tensor.data as Uint16Array).slice().buffer));
  }
  return Array.from(tensor.data as ArrayLike<number>, Number);
}

/** A feed as a runtime takes it; float16 as its bits. */
function hostTensor({ dtype, dims, values }: Feed): HostTensor {
  switch (dtype) {
    case "float32":
      return { dtype, dims, data: Float32Array.from(values) };
    case "float64":
      return { dtype, dims, data: Float64Array.from(values) };
    case "float16":
      return { dtype, dims, data: new Uint16Array(Float16Array.from(values).buffer) };
    case "int64":
      return { dtype, dims, data: BigInt64Array.from(values, BigInt) };
    case "int32":
      return { dtype, dims, data: Int32Array.from(values) };
    case "bool":
      return { dtype, dims, data: Uint8Array.from(values) };
  }
}
