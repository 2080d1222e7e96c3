/** GPU memory for activations against the largest set of values alive at once. */
import { REAL_MODELS } from "../../tests/real_models.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { measureModel, swiftShader } from "./measures.ts";

const BAR = 1.25;

/** The arena of each model. */
export const arena: Part = {
  name: "arena",
  async run(): Promise<Row[]> {
    const environment = await swiftShader() ?? {};
    const rows: Row[] = [];
    for (const { label } of REAL_MODELS) {
      const name = `memory for the activations of ${label}`;
      const answered = await measureModel("arena", label, environment);
      if ("failure" in answered) {
        rows.push({ ...notMeasured(name, `at most ${BAR}x`, answered.failure), pass: false });
        continue;
      }
      const { arenaBytes, liveBytes } = answered.answer;
      const ratio = arenaBytes / liveBytes;
      rows.push({
        name,
        ours: arenaBytes / 1e6,
        rival: liveBytes / 1e6,
        unit: "MB",
        ratio,
        bar: `at most ${BAR}x`,
        pass: ratio <= BAR,
        note: "against the most bytes of values alive at once; the worst of its tests' inputs",
      });
    }
    return rows;
  },
};
