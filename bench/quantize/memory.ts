/**
 * The memory that a conversion holds at most: a model of 8 GiB with external data, every process
 * counted, as the kernel counts it.
 */
import { ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { writeLargeModel } from "../large_model.ts";
import { measure } from "../measure.ts";

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
      const result = await measure("deno", [
        ...["run", "-q", "--no-prompt", "-P=convert", "main.ts", "convert"],
        ...["--source", large.model, "--output", `${folder}/out.onnx`, "--quiet"],
        ...["--precision", "4bit", "--method", "rtn", "--engine", "wasm"],
      ]);
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
