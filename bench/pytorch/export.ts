/**
 * From PyTorch to ONNX: the whole command's time against a script that only loads and exports, and
 * the memory that a large checkpoint takes. Verification is off in both.
 */
import {
  ALL_MINILM,
  ensureAllMiniLm,
  ensurePython,
  pythonPath,
  ROOT,
} from "../../tests/install.ts";
import { inTurns, notMeasured, type Part, type Row } from "../harness.ts";
import { CONVERT, measure, type Taken } from "../measure.ts";

const TURNS = 3;
const TIME_BAR = 1.25;
const MEGABYTES = 800;
const MEMORY_BAR = 3.5;
const FOLDER = `${ROOT}/.cache/bench/pytorch`;

/** Time of an export. */
export const time: Part = {
  name: "time",
  async run(): Promise<Row[]> {
    await ensurePython("pytorch");
    await ensureAllMiniLm();
    await Deno.mkdir(FOLDER, { recursive: true });
    const ours = async () =>
      (await measure("deno", [
        ...CONVERT,
        ...["--source", ALL_MINILM, "--output", `${FOLDER}/ours.onnx`, "--no-verify", "--quiet"],
      ])).seconds;
    const bare = async () =>
      (await measure(pythonPath("pytorch"), [
        `${ROOT}/bench/python/bare_export.py`,
        ALL_MINILM,
        `${FOLDER}/bare.onnx`,
      ])).seconds;
    const pair = await inTurns(TURNS, ours, bare);
    const ratio = pair.ours / pair.rival;
    return [{
      name: "PyTorch to ONNX, all-MiniLM-L6-v2, against a bare torch.onnx.export",
      ours: pair.ours,
      rival: pair.rival,
      unit: "s",
      ratio,
      bar: `at most ${TIME_BAR}x`,
      pass: ratio <= TIME_BAR,
      note: `whole processes, dynamic batch and sequence, verification off; ${TURNS} turns`,
    }];
  },
};

/** Memory of the export of a large checkpoint. */
export const memory: Part = {
  name: "memory",
  async run(): Promise<Row[]> {
    const name = `peak memory, ${MEGABYTES} MB checkpoint, parent and child`;
    const bar = `at most ${MEMORY_BAR}x its size`;
    if (Deno.build.os !== "linux") return [notMeasured(name, bar, "measured on Linux only")];
    const folder = `${FOLDER}/large`;
    await ensurePython("pytorch");
    try {
      await measure(pythonPath("pytorch"), [
        `${ROOT}/bench/python/large_checkpoint.py`,
        folder,
        String(MEGABYTES),
      ]);
      const { size } = await Deno.stat(`${folder}/model.safetensors`);
      const command = (format: readonly string[]): Promise<Taken> =>
        measure("deno", [...CONVERT, "--source", folder, "--no-verify", "--quiet", ...format]);
      const taken = await command(["--output", `${FOLDER}/large.onnx`]);
      const ratio = taken.peakBytes / size;
      return [{
        name,
        ours: taken.peakBytes / 1e6,
        rival: size / 1e6,
        unit: "MB",
        ratio,
        bar,
        pass: ratio <= MEMORY_BAR,
        note: `sum of VmHWM over ${taken.processes} processes; ${taken.seconds.toFixed(0)} s`,
      }];
    } finally {
      await Deno.remove(FOLDER, { recursive: true }).catch(() => undefined);
    }
  },
};
