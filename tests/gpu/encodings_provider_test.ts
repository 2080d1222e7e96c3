/**
 * Products and lookups in the forms that are taken for ONNX Runtime's WebGPU provider, computed by it on
 * SwiftShader in a child process.
 */
import assert from "node:assert/strict";
import { convertCase, QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES } from "../encoding_models.ts";
import { compareOnProvider } from "./driver_child.ts";

Deno.test("the WebGPU provider computes with the quantized weights at all bits", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const pairs = [];
    for (const name of ["matmul", "embedding", "tied embedding"]) {
      const example = ENCODING_CASES.find((entry) => entry.name === name)!;
      for (const bits of [8, 4, 3, 2] as const) {
        const { weights, path, expectedPath } = await convertCase(
          example.build,
          {
            ...QUANTIZATION,
            bits,
            symmetric: bits === 4,
            runtimes: ["onnxruntime-1.30:webgpu"],
          },
          folder,
          `m${pairs.length}`,
        );
        const label = `${name}, ${bits} bits as ${weights[0]!.form}`;
        pairs.push({ label, model: path, expected: expectedPath, feeds: example.feeds });
      }
    }
    for (const { label, difference, misplaced } of await compareOnProvider(folder, pairs)) {
      assert.ok(difference < 3e-5, `${label}: ${difference}`);
      assert.ok(!misplaced.includes("MatMulNBits"), `${label} ran on the CPU`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
