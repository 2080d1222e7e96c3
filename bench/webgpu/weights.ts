/** The weights file at 4 bits, block 32, float16 scales, against what was quantized in float32. */
import { convert } from "../../mod.ts";
import { miniLmPath } from "../../tests/real_models.ts";
import { ROOT } from "../../tests/install.ts";
import { DTYPES } from "../../src/dtype.ts";
import { elementCount } from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { compileInto } from "./compiled.ts";

const MOST_PERCENT = 14.5;

/** MiniLM at 4 bits. */
export const weights: Part = {
  name: "weights",
  async run(): Promise<Row[]> {
    const folder = `${ROOT}/.cache/bench/webgpu-weights`;
    await Deno.mkdir(folder, { recursive: true });
    try {
      const path = `${folder}/model.onnx`;
      const { success, error } = await convert({
        modelPath: miniLmPath(),
        outputPath: path,
        precision: "4bit",
        blockSize: 32,
        engine: "wasm",
      });
      if (!success) throw error;
      const source = new Map(
        (await readModel(miniLmPath())).graph.initializers.map((tensor) => [tensor.name, tensor]),
      );
      // What stayed in float32 has its name and size still.
      let kept = 0;
      for (const tensor of (await readModel(path)).graph.initializers) {
        const before = source.get(tensor.name);
        if (before?.dtype !== tensor.dtype) continue;
        const bytes = elementCount(tensor.dims) * DTYPES[tensor.dtype].bits / 8;
        if (elementCount(before.dims) === elementCount(tensor.dims)) {
          kept += bytes;
          source.delete(tensor.name);
        }
      }
      let quantized = 0;
      for (const { dtype, dims } of source.values()) {
        if (dtype === "float32") quantized += 4 * elementCount(dims);
      }
      const written = await compileInto(path, folder);
      const file = (await Deno.stat(written.weights)).size;
      const percent = 100 * (file - kept) / quantized;
      return [{
        ...notMeasured(
          "MiniLM's weights file at 4 bits, of its quantized part in float32",
          `at most ${MOST_PERCENT} %`,
          `block 32, asymmetric, float16 scales; ${(kept / 1e6).toFixed(2)} MB that stay in ` +
            "float32 taken off the file",
        ),
        ours: (file - kept) / 1e6,
        rival: quantized / 1e6,
        unit: "MB",
        ratio: percent,
        pass: percent <= MOST_PERCENT,
      }];
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
};
