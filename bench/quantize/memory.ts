/**
 * The memory that a conversion holds at most: a model of 8 GiB with external data, every process
 * counted, as the kernel counts it.
 */
import assert from "node:assert/strict";
import { run } from "../../src/process.ts";
import { pythonPath, ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { writeLargeModel } from "../large_model.ts";

const GIBIBYTES = 8;
const BAR_MEGABYTES = 700;
const NAME = `peak resident memory, ${GIBIBYTES} GiB model, wasm engine`;

/** Peak memory of the command line. */
export const memory: Part = {
  name: "memory",
  async run(): Promise<Row[]> {
    const bar = `at most ${BAR_MEGABYTES} MB`;
    if (Deno.build.os !== "linux") return [notMeasured(NAME, bar, "measured on Linux only")];
    const folder = `${ROOT}/.cache/bench/large-${GIBIBYTES}`;
    try {
      const large = await writeLargeModel(GIBIBYTES, folder);
      const { stdout, stderr, code } = await run({
        program: pythonPath(),
        args: [
          `${ROOT}/bench/python/peak_memory.py`,
          ...["deno", "run", "-q", "--no-prompt", "-P=convert", "main.ts", "convert"],
          ...["--source", large.model, "--output", `${folder}/out.onnx`, "--quiet"],
          ...["--precision", "4bit", "--method", "rtn", "--engine", "wasm"],
        ],
        cwd: ROOT,
        inheritEnv: ["HOME", "PATH", "DENO_DIR"],
        install: "",
      });
      assert.equal(code, 0, stderr);
      const result = JSON.parse(new TextDecoder().decode(stdout)) as {
        code: number;
        seconds: number;
        peakBytes: number;
        processes: number;
      };
      assert.equal(result.code, 0, stderr);
      const megabytes = result.peakBytes / 1e6;
      return [{
        name: NAME,
        ours: megabytes,
        rival: null,
        unit: "MB",
        ratio: megabytes,
        bar,
        pass: megabytes <= BAR_MEGABYTES,
        note: `sum of VmHWM over ${result.processes} process(es), 4-bit rtn, ` +
          `${(large.bytes / 1e9 / result.seconds).toFixed(2)} GB/s`,
      }];
    } finally {
      await Deno.remove(folder, { recursive: true }).catch(() => undefined);
    }
  },
};
