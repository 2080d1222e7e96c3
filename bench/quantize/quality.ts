/**
 * What the search for the least squared error gains over rounding to nearest, on the weights of a
 * trained model, tensor by tensor.
 */
import { readModel } from "../../src/onnx/reader.ts";
import { Scopes } from "../../src/quantization/scopes.ts";
import { findWeights } from "../../src/quantization/weights.ts";
import { miniLmPath } from "../../tests/real_models.ts";
import { differenceRow, type Part, type Row } from "../harness.ts";
import { openEngine } from "./engine.ts";
import { leastNoise, type LoadedWeight, loadWeight, noiseOf, signalOf } from "./exact.ts";

/** dB that `mse` must gain over `rtn`. */
const CASES = [
  { bits: 4, symmetric: true, bar: 0.4 },
  { bits: 3, symmetric: true, bar: 0.6 },
  { bits: 2, symmetric: true, bar: 0.8 },
  { bits: 4, symmetric: false, bar: 0.4 },
  { bits: 3, symmetric: false, bar: 0.6 },
  { bits: 2, symmetric: false, bar: 1.7 },
] as const;

/** What `a` is above `b`, both squared, in dB. */
function decibels(a: number, b: number): number {
  return 10 * Math.log10(a / b);
}

/** `mse` against `rtn`. */
export const quality: Part = {
  name: "quality",
  async run(): Promise<Row[]> {
    const { weights } = findWeights(new Scopes(await readModel(miniLmPath())));
    const loaded: (LoadedWeight & { readonly name: string; readonly signal: number })[] = [];
    for (const weight of weights) {
      const one = await loadWeight(weight);
      loaded.push({ ...one, name: weight.name, signal: signalOf(one) });
    }
    const signal = loaded.reduce((sum, weight) => sum + weight.signal, 0);
    const bytes = loaded.reduce((sum, { values }) => sum + values.byteLength, 0);
    const engine = await openEngine("wasm");
    try {
      const rows: Row[] = [];
      for (const { bits, symmetric, bar } of CASES) {
        const format = { bits, symmetric, blockSize: 32, scaleType: "float16" } as const;
        const noise = { mse: 0, rtn: 0 };
        const mean = { mse: 0, rtn: 0 };
        let worst = { name: "", gain: Infinity };
        for (const weight of loaded) {
          const mse = await noiseOf(engine, weight, format, "mse");
          const rtn = await noiseOf(engine, weight, format, "rtn");
          noise.mse += mse;
          noise.rtn += rtn;
          mean.mse += decibels(weight.signal, mse) / loaded.length;
          mean.rtn += decibels(weight.signal, rtn) / loaded.length;
          const gain = decibels(rtn, mse);
          if (gain < worst.gain) worst = { name: weight.name, gain };
        }
        const kind = symmetric ? "symmetric" : "asymmetric";
        const name = `mse against rtn, ${kind}, ${bits} bits, block 32, MiniLM's weights`;
        rows.push(differenceRow(
          name,
          { ours: mean.mse, rival: mean.rtn, unit: "dB" },
          bar,
          `the mean of the SQNR of ${weights.length} tensors, ${(bytes / 1e6).toFixed(1)} MB, ` +
            "float16 scales",
        ));
        const together = (ours: number) => ({
          ...differenceRow(
            "",
            { ours: decibels(signal, ours), rival: decibels(signal, noise.rtn), unit: "dB" },
            bar,
            "",
          ),
          bar: "",
          pass: null,
        });
        rows.push({ ...together(noise.mse), name: `${name}, as if they were one tensor` });
        if (bits === 2 && symmetric) {
          const least = loaded.reduce((sum, weight) => sum + leastNoise(weight, bits, 32), 0);
          rows.push({
            ...together(least),
            name: "the least error of any scales against rtn, symmetric, 2 bits, as if one tensor",
            note: "every scale tried, in binary64: no method gains more",
          });
        }
        rows.push(differenceRow(
          `${name}, the tensor that gains least`,
          { ours: worst.gain, rival: 0, unit: "dB" },
          0,
          worst.name,
        ));
      }
      return rows;
    } finally {
      engine.dispose();
    }
  },
};
