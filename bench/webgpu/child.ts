/**
 * Measures one trained model in a process of its own, since a process has one Vulkan loader and that
 * one sees the adapters that its environment names. Prints a JSON line.
 *
 *   child.ts MEASURE LABEL FOLDER
 */
import { median } from "../harness.ts";
import { loadRuntime, openSession } from "../../src/verify/runtime.ts";
import { REAL_MODELS, type RealModel } from "../../tests/real_models.ts";
import { compileInto, loadWritten } from "./compiled.ts";
import { allInputs, measuredInputs, moduleInputs } from "./inputs.ts";
import { difference, numbersOf, numbersOfTensors } from "./difference.ts";
import type { Answers, Measure } from "./measures.ts";

/** Turns at most, and at least: no more are begun past as many milliseconds. */
const TURNS = { most: 7, least: 3, milliseconds: 30_000 };
const RUNS = 1000;
const SETTLED_RUNS = 100;
const ROUNDS = 100;

/** Our time and that of ONNX Runtime's provider, in turns. */
async function latency(real: RealModel, folder: string): Promise<Answers["latency"]> {
  const runtime = await loadRuntime();
  await using session = await openSession(runtime, real.path, "webgpu");
  await using cpu = await openSession(runtime, real.path, "cpu", { calm: true });
  const model = await loadWritten(await compileInto(real.path, folder));
  try {
    const feeds = await measuredInputs(real, session);
    const given = moduleInputs(feeds);
    const names = session.outputs.map(({ name }) => name);
    const expected = numbersOfTensors(await cpu.run(feeds, names));
    const errors = {
      ours: difference(numbersOf(await model.run(given)), expected),
      rival: difference(numbersOfTensors(await session.run(feeds, names)), expected),
    };
    const times: { ours: number; rival: number }[] = [];
    const timed = async (action: () => Promise<unknown>): Promise<number> => {
      const begin = performance.now();
      await action();
      return performance.now() - begin;
    };
    const ours = () => timed(() => model.run(given));
    const rival = () => timed(() => session.run(feeds, names));
    const begin = performance.now();
    for (let turn = 0; turn <= TURNS.most; turn++) {
      if (turn > TURNS.least && performance.now() - begin > TURNS.milliseconds) break;
      // Each leads every other turn; the first doesn't count.
      const first = await (turn % 2 === 0 ? ours() : rival());
      const second = await (turn % 2 === 0 ? rival() : ours());
      if (turn > 0) {
        const [ours, rival] = turn % 2 === 0 ? [first, second] : [second, first];
        times.push({ ours, rival });
      }
    }
    return {
      ours: median(times.map((time) => time.ours)),
      rival: median(times.map((time) => time.rival)),
      ratio: median(times.map((time) => time.ours / time.rival)),
      errors,
    };
  } finally {
    model.dispose();
  }
}

/** Memory for activations against the most that is alive at once, at worst over all inputs. */
async function arena(real: RealModel, folder: string): Promise<Answers["arena"]> {
  await using session = await openSession(await loadRuntime(), real.path, "cpu");
  const written = await compileInto(real.path, folder);
  let worst = { arenaBytes: 0, liveBytes: 0 };
  for (const feeds of await allInputs(real, session)) {
    // A model of its own for each: an arena never shrinks.
    const model = await loadWritten(written);
    try {
      await model.run(moduleInputs(feeds));
      const { arenaBytes, liveBytes } = model.stats();
      if (worst.liveBytes === 0 || arenaBytes / liveBytes > worst.arenaBytes / worst.liveBytes) {
        worst = { arenaBytes, liveBytes };
      }
    } finally {
      model.dispose();
    }
  }
  return worst;
}

/** Memory over many runs of one model, and what many loads leave behind. */
async function memory(real: RealModel, folder: string): Promise<Answers["memory"]> {
  const written = await compileInto(real.path, folder);
  let given: ReturnType<typeof moduleInputs>;
  {
    await using session = await openSession(await loadRuntime(), real.path, "cpu");
    given = moduleInputs(await measuredInputs(real, session));
  }
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter?.requestDevice();
  if (device === undefined) throw new Error("there is no WebGPU adapter");
  const complaints: string[] = [];
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    complaints.push((event as GPUUncapturedErrorEvent).error.message);
  });
  let live = 0;
  const { createBuffer } = GPUDevice.prototype;
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer.call(device, descriptor);
    const destroy = buffer.destroy.bind(buffer);
    let exists = true;
    live++;
    buffer.destroy = () => {
      if (exists) live--;
      exists = false;
      destroy();
    };
    return buffer;
  };
  const model = await loadWritten(written, device);
  const marks: { resident: number; gpu: number }[] = [];
  for (let run = 1; run <= RUNS; run++) {
    await model.run(given);
    if (run === SETTLED_RUNS || run === RUNS) {
      await collectGarbage();
      marks.push({ resident: Deno.memoryUsage().rss, gpu: model.stats().bytes });
    }
  }
  model.dispose();
  const afterRuns = live;
  for (let round = 0; round < ROUNDS; round++) (await loadWritten(written, device)).dispose();
  await device.queue.onSubmittedWorkDone();
  const [settled, last] = marks as [typeof marks[0], typeof marks[0]];
  device.destroy();
  return { settled, last, live: Math.max(live, afterRuns), complaints };
}

/** What no one holds any more counts as nobody's, whenever V8 would have come to it. */
async function collectGarbage(): Promise<void> {
  const collect: unknown = Reflect.get(globalThis, "gc");
  if (typeof collect !== "function") {
    throw new Error("there is no gc(): run with --v8-flags=--expose-gc");
  }
  collect();
  // V8 gives pages back a while later.
  await new Promise((resolve) => setTimeout(resolve, 2000));
  collect();
}

const MEASURES: { [M in Measure]: (real: RealModel, folder: string) => Promise<Answers[M]> } = {
  latency,
  arena,
  memory,
};

const [measure, label, folder] = Deno.args as [Measure, RealModel["label"], string];
const real = REAL_MODELS.find((entry) => entry.label === label);
if (real === undefined) throw new Error(`there is no model "${label}"`);
const answer = await MEASURES[measure](real, folder);
console.log(JSON.stringify(answer));
