/**
 * A whole model at 4 bits: the error of its output, and the time that its weights take, against
 * ONNX Runtime's quantizers in plain mode and by half-quadratic quantization (HQQ), which keeps
 * float zero points.
 */
import assert from "node:assert/strict";
import { modelTensors } from "../../src/onnx/layout.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes } from "../../src/onnx/tensor.ts";
import { ColumnImportance } from "../../src/quantization/importance.ts";
import { Scopes } from "../../src/quantization/scopes.ts";
import { findWeights, type Weight } from "../../src/quantization/weights.ts";
import { run } from "../../src/process.ts";
import { ROOT } from "../../tests/install.ts";
import { differenceRow, inTurns, type Part, type Row, timed } from "../harness.ts";
import { openEngine } from "./engine.ts";
import { COMPARED, startRival } from "./rival.ts";
import { miniLmPath } from "../../tests/real_models.ts";

const TURNS = 25;
/** Times that ours quantizes the model in its turn: once takes a fiftieth of the rival's. */
const REPEATS = 10;
/** Milliseconds between the rival's turn and the next. */
const REST = 100;
const BAR = 50;

/** MiniLM's MatMuls at 4 bits. */
export const model: Part = {
  name: "model",
  async run(): Promise<Row[]> {
    const source = miniLmPath();
    const folder = `${ROOT}/.cache/bench/model`;
    await Deno.mkdir(folder, { recursive: true });
    const engine = await openEngine("wasm");
    await using rival = startRival();
    try {
      const scopes = new Scopes(await readModel(source));
      const { weights } = findWeights(scopes);
      const products = weights.filter((weight) => weight.role === "matmul");
      const others = weights.filter((weight) => weight.role !== "matmul");
      const ours = `${folder}/ours.onnx`;
      const { code, stderr } = await run({
        program: "deno",
        args: [
          ...["run", "-q", "--no-prompt", "-P=convert", "main.ts", "convert", "--quiet"],
          ...["--source", source, "--output", ours, "--precision", "4bit", "--method", "mse"],
          ...["--asymmetric", "--block-size", "32", "--engine", "wasm"],
          ...others.flatMap((weight) => ["--exclude", weight.name]),
        ],
        cwd: ROOT,
        inheritEnv: ["HOME", "PATH", "DENO_DIR"],
        install: "",
      });
      assert.equal(code, 0, stderr);
      const [plain, hqq] = [`${folder}/plain.onnx`, `${folder}/hqq.onnx`];
      await rival.quantizeModel(source, "plain", plain);
      await rival.quantizeModel(source, "hqq", hqq);
      const [oursDb = NaN, plainDb = NaN, hqqDb = NaN] = await rival.compare(source, [
        ours,
        plain,
        hqq,
      ]);

      // As the rival has it, the model is in memory, the weights where the engine wants them.
      for (const { tensor } of modelTensors(scopes.model)) {
        tensor.data = { kind: "memory", bytes: await tensorBytes(tensor) };
      }
      const jobs: { weight: Weight; bytes: Uint8Array }[] = [];
      for (const weight of products) {
        const values = await tensorBytes(weight.tensor);
        const { bytes } = await engine.allocate(values.length);
        bytes.set(values);
        jobs.push({ weight, bytes });
      }
      const quantizeAll = async () => {
        // As in the conversion whose output is compared above.
        const columnImportance = new ColumnImportance(scopes);
        const importances: (Float32Array | null)[] = [];
        for (const { weight } of jobs) importances.push(await columnImportance.of(weight));
        await Promise.all(jobs.map(async ({ weight, bytes }, i) => {
          const { rows, columns, order } = weight.view;
          const importance = importances[i] ?? null;
          const result = await engine.quantize({
            weights: bytes,
            weightType: "float32",
            rows,
            columns,
            order,
            format: { bits: 4, symmetric: false, blockSize: 32, scaleType: "float16" },
            method: "mse",
            ...(importance === null ? {} : { importance }),
            measure: false,
          });
          result.release();
        }));
      };
      const oursRepeated = async () => {
        const seconds = await timed(async () => {
          for (let i = 0; i < REPEATS; i++) await quantizeAll();
        });
        return seconds / REPEATS;
      };
      const rivalAll = async () => {
        const seconds = await rival.quantizeModel(source, "hqq", null);
        // Its threads wait for more work by spinning, on the processors that the next turn needs.
        await new Promise((resolve) => setTimeout(resolve, REST));
        return seconds;
      };
      const pair = await inTurns(TURNS, oursRepeated, rivalAll);
      const name = "MiniLM, MatMuls at 4 bits, block 32, asymmetric mse";
      const inputs = `SQNR of the last hidden state over ${COMPARED.inputs} sequences of ` +
        `${COMPARED.length} tokens`;
      return [
        differenceRow(
          `${name}, against ONNX Runtime's plain mode`,
          { ours: oursDb, rival: plainDb, unit: "dB" },
          0.4,
          inputs,
        ),
        differenceRow(
          `${name}, against ONNX Runtime's HQQ`,
          { ours: oursDb, rival: hqqDb, unit: "dB" },
          -0.2,
          `${inputs}; HQQ keeps float zero points, ours are integers`,
        ),
        {
          name: `${name}, time against ONNX Runtime's HQQ`,
          ours: pair.ours * 1000,
          rival: pair.rival * 1000,
          unit: "ms",
          ratio: pair.ratio,
          bar: `at least ${BAR}x its speed`,
          pass: pair.ratio >= BAR,
          note: "both from weights in memory to codes in memory, the rival with its handling of " +
            `the model and torch's own number of threads; ${TURNS} turns, ours ${REPEATS} times in each`,
        },
      ];
    } finally {
      engine.dispose();
      await Deno.remove(folder, { recursive: true });
    }
  },
};
