/**
 * The real models in half precision, run by onnxruntime-node on pictures of text and on seeded
 * inputs: as whole graphs, with half-precision inputs and outputs, back in float32, and with half
 * precision beside quantized weights.
 */
import assert from "node:assert/strict";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { beginModel, planModel } from "../../src/onnx/writer.ts";
import { convertFloats, fillFloats } from "../../src/quantization/float16.ts";
import {
  applyPlan,
  planQuantization,
  type QuantizationOptions,
} from "../../src/quantization/planner.ts";
import { quantizeMatrix } from "../../src/quantization/reference.ts";
import { type InputSource, type VerificationReport, verifyModels } from "../../src/verify.ts";
import { QUANTIZATION } from "../encoding_conversion.ts";
import { convertFile } from "../float_models.ts";
import { ROOT } from "../install.ts";
import { NPM_MODELS, type RealModel } from "../real_models.ts";

const picture = (name: string): InputSource => ({
  kind: "file",
  path: `${ROOT}/fixtures/${name}.png`,
});

/** What a model is run on: pictures that show what it was trained on, else seeded values. */
const INPUTS: Partial<Record<RealModel["label"], InputSource>> = {
  classifier: picture("line"),
  detector: picture("receipt"),
  recognizer: picture("line"),
};

function compare(
  original: string,
  result: string,
  label: RealModel["label"],
): Promise<VerificationReport> {
  const inputs = INPUTS[label];
  return verifyModels({ original, result, runs: 0, ...(inputs === undefined ? {} : { inputs }) });
}

/** The float outputs are finite where they were, and as near as that. */
function assertNear(report: VerificationReport, most: number): void {
  for (const { name, float, equalShare } of report.outputs) {
    if (float === null) {
      assert.equal(equalShare, 1, name);
      continue;
    }
    assert.equal(float.nonFiniteMismatches, 0, name);
    assert.ok(float.relativeL2! < most, `${name}: relative L2 ${float.relativeL2}`);
  }
}

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const { label, path } of NPM_MODELS) {
  Deno.test(`${label} as float16 and back`, () =>
    inFolder(async (folder) => {
      const half = `${folder}/half.onnx`;
      await convertFile(path, half, { to: "float16", form: "compute" });
      const report = await compare(path, half, label);
      assertNear(report, 1e-2);
      for (const { dtype } of report.outputs) assert.equal(dtype.result, dtype.original);

      const whole = `${folder}/whole.onnx`;
      await convertFile(path, whole, { to: "float16", form: "compute", io: true });
      const model = await readModel(whole);
      for (const { name, dtype } of [...model.graph.inputs, ...model.graph.outputs]) {
        assert.equal(dtype, name === "sr" ? "int64" : "float16", name);
      }
      assertNear(await compare(path, whole, label), 1e-2);

      const back = `${folder}/back.onnx`;
      await convertFile(whole, back, { to: "float32", form: "compute", io: true });
      assertNear(await compare(path, back, label), 1e-2);
      assert.ok(!JSON.stringify(typesOf(await readModel(back))).includes("float16"));
    }));
}

/** Types of a model's constants and borders. */
function typesOf(model: Awaited<ReturnType<typeof readModel>>): (string | null)[] {
  const { graph } = model;
  return [...graph.inputs, ...graph.outputs, ...graph.initializers].map(({ dtype }) => dtype);
}

const QUANTIZED: readonly Partial<QuantizationOptions>[] = [
  { bits: 4 },
  { bits: 4, symmetric: false, encoding: "qdq" },
  { bits: 8, blockSize: "channel" },
  { bits: 3 },
  { bits: 2 },
];

for (const { label, path } of NPM_MODELS.filter((model) => model.label !== "detector")) {
  Deno.test(`${label} with quantized weights and float16 activations`, () =>
    inFolder(async (folder) => {
      for (const options of QUANTIZED) {
        const plain = `${folder}/plain.onnx`;
        const half = `${folder}/half.onnx`;
        await quantize(path, plain, options, false);
        await quantize(path, half, options, true);
        assert.ok((await Deno.stat(half)).size < (await Deno.stat(plain)).size);
        // Few bits leave the outputs near to ties, which half precision then decides.
        assertNear(await compare(plain, half, label), 5e-2);
      }
    }));
}

async function quantize(
  source: string,
  target: string,
  options: Partial<QuantizationOptions>,
  half: boolean,
): Promise<void> {
  const model = await readModel(source);
  const plan = planQuantization(model, {
    ...QUANTIZATION,
    symmetric: true,
    ...options,
  });
  const weights = applyPlan(model, plan);
  const fills = half ? (await convertFloats(model, { to: "float16", form: "compute" })).fills : [];
  const writer = await beginModel(planModel(model, target));
  for (const fill of fills) {
    await fillFloats(fill, (offset, bytes) => writer.write(fill.tensor, offset, bytes));
  }
  for (const { weight, view, format, method, fills } of weights) {
    const bytes = await tensorBytes(weight.tensor);
    const length = bytes.length / view.batch;
    for (let batch = 0; batch < view.batch; batch++) {
      const result = quantizeMatrix({
        weights: bytes.subarray(batch * length, (batch + 1) * length),
        weightType: view.weightType,
        rows: view.rows,
        columns: view.columns,
        order: view.order,
        format,
        method,
        measure: false,
      });
      for (const { tensor, pack } of fills) {
        const piece = pack(result, { batch, firstRow: 0, rows: view.rows });
        if (piece !== null) await writer.write(tensor, piece.offset, piece.bytes);
      }
    }
  }
  await writer.commit();
}
