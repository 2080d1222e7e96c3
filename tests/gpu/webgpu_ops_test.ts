/**
 * Modules compiled of calls of com.microsoft's operators and of whole layers, and of models whose weights are quantized in
 * every form at 8, 4, 3 and 2 bits, give the numbers that ONNX Runtime gives for the same models.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compare } from "../../conformance/compare.ts";
import { compileInto } from "../../conformance/compile.ts";
import { openOnnx } from "../../conformance/onnx.ts";
import type { Value } from "../../conformance/values.ts";
import { openWebGpu } from "../../conformance/webgpu.ts";
import type { Model } from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import type { QuantizationOptions } from "../../src/quantization/planner.ts";
import { ATTENTION_CASES } from "../attention_models.ts";
import { convertCase, QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES, type Feed } from "../encoding_models.ts";
import { LAYER_CASES } from "../layer_ops.ts";
import { MICROSOFT_CASES } from "../microsoft_ops.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const onnx = await openOnnx();
const webgpu = await openWebGpu(compileInto(folder));

/** The outputs of the model in `path` by ONNX Runtime and by its module. */
async function both(
  path: string,
  inputs: ReadonlyMap<string, Value>,
): Promise<{ wanted: ReadonlyMap<string, Value>; got: ReadonlyMap<string, Value> }> {
  await using session = await onnx.prepare(await readModel(path));
  await using module = await webgpu.prepare(await readModel(path));
  return { wanted: await session.run(inputs), got: await module.run(inputs) };
}

async function written(model: Model, name: string): Promise<string> {
  const path = join(folder, `${name}.onnx`);
  await writeModel(model, path);
  return path;
}

/** True where integers differ by one at most. */
function isNear(a: Value, b: Value): boolean {
  return a.dtype === b.dtype && a.data.length === b.data.length &&
    b.data.every((value, i) => Math.abs(Number(value) - Number(a.data[i])) <= 1);
}

for (const [i, example] of [...MICROSOFT_CASES, ...LAYER_CASES, ...ATTENTION_CASES].entries()) {
  Deno.test(`${example.name} gives what ONNX Runtime gives`, async () => {
    const path = await written(example.build("call.onnx"), `call${i}`);
    const { wanted, got } = await both(path, example.inputs);
    assert.ok(wanted.size > 0);
    for (const [name, expected] of wanted) {
      const value = got.get(name);
      assert.ok(value !== undefined, `there is no output "${name}"`);
      // A code next to a half of the scale may be rounded to either side.
      if (expected.dtype.endsWith("int8") && isNear(value, expected)) continue;
      const { difference } = compare(name, value, expected, { rtol: 1e-3, atol: 1e-4 });
      assert.equal(difference, null);
    }
  });
}

function* formats(): Generator<QuantizationOptions> {
  for (const bits of [8, 4, 3, 2] as const) {
    for (const symmetric of [true, false]) {
      for (const encoding of ["auto", "qdq"] as const) {
        yield { ...QUANTIZATION, bits, symmetric, encoding };
      }
    }
  }
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  bool: Uint8Array,
};

function valueOf({ dtype, dims, values }: Feed): Value {
  if (dtype === "int64") return { dtype, dims, data: BigInt64Array.from(values, BigInt) };
  if (dtype === "float16") {
    return { dtype, dims, data: new Uint16Array(Float16Array.from(values).buffer) };
  }
  return { dtype, dims, data: ARRAYS[dtype].from(values) };
}

const NAMES = ["matmul", "embedding", "tied embedding", "convolution", "float16 matmul"];

for (const example of ENCODING_CASES.filter(({ name }) => NAMES.includes(name))) {
  Deno.test(`${example.name}: a module reads quantized weights in every form`, async () => {
    const inputs = new Map(example.feeds.map((feed) => [feed.name, valueOf(feed)]));
    let weights = 0;
    for (const options of formats()) {
      const converted = await convertCase(example.build, options, folder, `${example.name}`);
      weights += converted.weights.length;
      const { wanted, got } = await both(converted.path, inputs);
      const wide = example.name.startsWith("float16");
      const { difference } = compare("y", got.get("y")!, wanted.get("y")!, {
        relativeL2: wide ? 1e-2 : 1e-4,
      });
      assert.equal(difference, null, `${options.bits} bits, ${converted.weights[0]?.form}`);
    }
    assert.ok(weights > 0);
  });
}
