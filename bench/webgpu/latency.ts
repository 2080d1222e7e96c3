/**
 * The time of a run against onnxruntime-node's WebGPU provider in the same process on the same
 * adapter: on SwiftShader, and on a GPU where one is at hand.
 */
import { detectAdapter } from "../../src/hardware.ts";
import { REAL_MODELS } from "../../tests/real_models.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { measureModel, swiftShader } from "./measures.ts";

/** Relative L2 error from which on a result is wrong. */
const MOST_ERROR = 1e-4;

async function rowsOn(
  adapter: string,
  environment: Readonly<Record<string, string>>,
  most: number,
): Promise<Row[]> {
  const rows: Row[] = [];
  const logarithms: number[] = [];
  for (const { label } of REAL_MODELS) {
    const name = `${adapter}: a run of ${label}, against ONNX Runtime's WebGPU provider`;
    const answered = await measureModel("latency", label, environment);
    if ("failure" in answered) {
      rows.push({ ...notMeasured(name, "", answered.failure), pass: false });
      continue;
    }
    const { ours, rival, ratio, errors } = answered.answer;
    const isRight = errors.ours <= MOST_ERROR;
    if (isRight) logarithms.push(Math.log(ratio));
    const note = `relative L2 error to its CPU provider ${errors.ours.toExponential(1)}, ` +
      `the rival's ${errors.rival.toExponential(1)}`;
    rows.push({
      ...notMeasured(name, "", note),
      ours,
      rival,
      unit: "ms",
      ratio,
      // What is wrong has no speed.
      ...(isRight ? {} : { pass: false }),
    });
  }
  const mean = logarithms.length === REAL_MODELS.length
    ? Math.exp(logarithms.reduce((sum, value) => sum + value, 0) / logarithms.length)
    : null;
  rows.push({
    ...notMeasured(
      `${adapter}: time of a run over the rival's, geometric mean of the real models`,
      `at most ${most}`,
      "same process, same adapter, in turns; medians of 3 to 7 turns",
    ),
    ours: mean,
    ratio: mean,
    pass: mean !== null && mean <= most,
  });
  return rows;
}

/** Latency of the five models. */
export const latency: Part = {
  name: "latency",
  async run(): Promise<Row[]> {
    const environment = await swiftShader();
    const software = environment === null
      ? [notMeasured("SwiftShader: time of a run", "at most 0.5", "SwiftShader isn't here")]
      : await rowsOn("SwiftShader", environment, 0.5);
    const found = await detectAdapter();
    if (found === null || found.software) {
      const reason = found === null ? "no WebGPU adapter" : `"${found.name}" is no hardware`;
      return [
        ...software,
        notMeasured("a GPU: time of a run", "at most 1", `not measured: ${reason}`),
      ];
    }
    return [...software, ...await rowsOn(found.name, {}, 1)];
  },
};
