/**
 * The real models at every precision in every runtime. What is asked of them is a matter of passing
 * or failing, so it is a test; its count is the row.
 */
import { run } from "../../src/process.ts";
import { ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";

const TESTS = "tests/python/models_test.ts";

/** Five models, five precisions, four runtimes. */
export const models: Part = {
  name: "models",
  async run(): Promise<Row[]> {
    const { stdout, stderr } = await run({
      program: "deno",
      args: ["task", "--quiet", "test", TESTS],
      cwd: ROOT,
      inheritEnv: Object.keys(Deno.env.toObject()),
      install: "See https://deno.com",
    });
    const text = new TextDecoder().decode(stdout);
    const [, passed, failed] = /^(\d+) passed, (\d+) failed$/m.exec(text) ?? [];
    if (passed === undefined) throw new Error(`Cannot run ${TESTS}:\n${stderr}`);
    return [{
      ...notMeasured(
        "five models at 16, 8, 4, 3 and 2 bits: tests that fail",
        "none",
        `${passed} passed in ${TESTS}: load and run in ONNX Runtime 1.22, 1.24, 1.32 and OpenVINO ` +
          "2026.4 or are refused with the reason; at least 95 % of weight bytes; error falling " +
          "with bits; integer outputs",
      ),
      ours: Number(failed),
      unit: "tests",
      ratio: Number(failed),
      pass: failed === "0",
    }];
  },
};
