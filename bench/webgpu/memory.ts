/** What a model holds after many runs, and what is left after many loads. */
import { notMeasured, type Part, type Row } from "../harness.ts";
import { measureModel, swiftShader } from "./measures.ts";

const LABEL = "silero";
const MOST_GROWTH = 1.02;

/** 1,000 runs; 100 rounds of load and dispose. */
export const memory: Part = {
  name: "memory",
  async run(): Promise<Row[]> {
    const names = [
      `resident memory after run 1,000 of ${LABEL}, against that after run 100`,
      "GPU buffers after run 1,000, against after run 100",
      "GPU buffers left after 100 rounds of load and dispose",
      "validation errors in all of that",
    ] as const;
    const answered = await measureModel("memory", LABEL, await swiftShader() ?? {});
    if ("failure" in answered) {
      return names.map((name) => ({ ...notMeasured(name, "", answered.failure), pass: false }));
    }
    const { settled, last, live, complaints } = answered.answer;
    const growth = (name: string, ours: number, rival: number, note: string): Row => ({
      name,
      ours: ours / 1e6,
      rival: rival / 1e6,
      unit: "MB",
      ratio: ours / rival,
      bar: `at most ${MOST_GROWTH}x`,
      pass: ours / rival <= MOST_GROWTH,
      note,
    });
    const none = (name: string, count: number, note: string): Row => ({
      ...notMeasured(name, "none", note),
      ours: count,
      ratio: count,
      pass: count === 0,
    });
    return [
      growth(names[0], last.resident, settled.resident, "garbage is collected before each"),
      growth(names[1], last.gpu, settled.gpu, ""),
      none(names[2], live, "each createBuffer and destroy counted"),
      none(names[3], complaints.length, complaints[0] ?? ""),
    ];
  },
};
