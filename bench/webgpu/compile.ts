/** What compiling costs: time and peak memory of a whole process, for MiniLM's 69 MB. */
import { miniLmPath } from "../../tests/real_models.ts";
import { ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { measure, type Taken } from "../measure.ts";

const MOST = { seconds: 5, megabytes: 400 };
const TURNS = 3;
const NAMES = ["compiling MiniLM, time", "compiling MiniLM, peak resident memory"] as const;
const BARS = [`at most ${MOST.seconds} s`, `at most ${MOST.megabytes} MB`] as const;

/** Time and memory of a compilation. */
export const compile: Part = {
  name: "compile",
  async run(): Promise<Row[]> {
    if (Deno.build.os !== "linux") {
      return NAMES.map((name, i) => notMeasured(name, BARS[i]!, "measured on Linux only"));
    }
    const folder = `${ROOT}/.cache/bench/webgpu-compile`;
    await Deno.mkdir(folder, { recursive: true });
    try {
      const results: Taken[] = [];
      for (let turn = 0; turn < TURNS; turn++) {
        results.push(
          await measure("deno", [
            ...["run", "-q", "--no-prompt", "-P=bench"],
            ...[`${ROOT}/bench/webgpu/compile_child.ts`, miniLmPath(), `${folder}/${turn}`],
          ]),
        );
      }
      const seconds = Math.min(...results.map((result) => result.seconds));
      const megabytes = Math.max(...results.map((result) => result.peakBytes)) / 1e6;
      const row = (i: 0 | 1, value: number, unit: string, most: number, note: string): Row => ({
        ...notMeasured(NAMES[i], BARS[i], note),
        ours: value,
        unit,
        ratio: value,
        pass: value <= most,
      });
      return [
        row(0, seconds, "s", MOST.seconds, `a whole process; the fastest of ${TURNS}`),
        row(1, megabytes, "MB", MOST.megabytes, `VmHWM of the process; the most of ${TURNS}`),
      ];
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
};
