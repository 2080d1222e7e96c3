/**
 * Products and lookups in the forms that are taken for ONNX Runtime's WebGPU provider, computed by it on
 * SwiftShader in a child process.
 */
import assert from "node:assert/strict";
import { convertCase, ENCODING_CASES } from "../encoding_models.ts";
import { ROOT } from "../install.ts";
import { driverEnvironment, drivers } from "./adapters.ts";

Deno.test("the WebGPU provider computes with the quantized weights at all bits", async () => {
  const { found } = await drivers();
  const driver = found.find(({ name }) => name === "swiftshader");
  assert.ok(driver !== undefined, "SwiftShader is needed");
  const folder = await Deno.makeTempDir();
  try {
    const pairs = [];
    for (const name of ["matmul", "embedding", "tied embedding"]) {
      const example = ENCODING_CASES.find((entry) => entry.name === name)!;
      for (const bits of [8, 4, 3, 2] as const) {
        const { weights, path, expectedPath } = await convertCase(
          example.build,
          {
            bits,
            symmetric: bits === 4,
            blockSize: 32,
            scaleType: "float16",
            method: "rtn",
            encoding: "auto",
            runtimes: ["onnxruntime-1.30:webgpu"],
            exclude: [],
          },
          folder,
          `m${pairs.length}`,
        );
        const label = `${name}, ${bits} bits as ${weights[0]!.form}`;
        pairs.push({ label, model: path, expected: expectedPath, feeds: example.feeds });
      }
    }
    await Deno.writeTextFile(`${folder}/pairs.json`, JSON.stringify(pairs));
    const { stdout, stderr } = await new Deno.Command("deno", {
      args: [
        "run",
        "--no-prompt",
        "--config",
        `${ROOT}/deno.json`,
        `--allow-read=${ROOT},${folder}`,
        `--allow-write=${folder}`,
        `--allow-ffi=${ROOT}/node_modules`,
        "--allow-env=ORT_DISABLE_TELEMETRY",
        `${ROOT}/tests/gpu/encodings_child.ts`,
        `${folder}/pairs.json`,
        folder,
      ],
      env: { ...driverEnvironment(driver), TMPDIR: folder },
    }).output();
    const answers: { difference: number; misplaced: string[]; error: string | null }[] = JSON.parse(
      new TextDecoder().decode(stdout) ||
        `[{"error":${JSON.stringify(new TextDecoder().decode(stderr))}}]`,
    );
    pairs.forEach(({ label }, i) => {
      const answer = answers[i]!;
      assert.equal(answer.error, null, `${label}: ${answer.error}`);
      assert.ok(answer.difference < 3e-5, `${label}: ${answer.difference}`);
      assert.ok(!answer.misplaced.includes("MatMulNBits"), `${label} ran on the CPU`);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
