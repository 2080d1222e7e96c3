/**
 * Compares engines with the reference engine, byte by byte, on random matrices and, with `--edges=N`,
 * on one in N of the shared cases:
 *
 *   deno run --allow-read --allow-env tests/gpu/identical.ts --count=10000 --engines=webgpu,wasm
 *
 * Vulkan's `VK_DRIVER_FILES` chooses the driver, `--access` how kernels read weights. The last line
 * is `{ adapter, access, seed, count, engines, counts, seconds }` with the differing jobs counted;
 * the exit code is 1 where there are any.
 */
import { parseArgs } from "node:util";
import type { Engine, QuantizeResult } from "../../src/quantization/engine.ts";
import { createReferenceEngine } from "../../src/quantization/reference.ts";
import { createWasmEngine } from "../../src/quantization/wasm.ts";
import { createWebGpuEngine } from "../../src/quantization/webgpu.ts";
import { edgeJobs } from "./edge_jobs.ts";
import { type RandomJob, randomJobs } from "./random_jobs.ts";

/** How a comparison went. */
export interface Comparison {
  readonly count: number;
  /** Jobs in which each engine differs from the reference, described. */
  readonly mismatches: Readonly<Record<string, readonly string[]>>;
}

/** Jobs in flight at a time. */
const BATCH = 48;

/** Runs `jobs` on `engines` and compares every result with the reference engine's. */
export async function compareEngines(
  engines: readonly Engine[],
  jobs: Iterable<RandomJob>,
): Promise<Comparison> {
  const reference = createReferenceEngine();
  const mismatches: Record<string, string[]> = {};
  for (const engine of engines) mismatches[engine.name] = [];
  let count = 0;
  for (const batch of batches(jobs, BATCH)) {
    const running = engines.map((engine) =>
      Promise.all(batch.map(({ job }) => engine.quantize(job)))
    );
    const expected = await Promise.all(batch.map(({ job }) => reference.quantize(job)));
    for (const [which, results] of (await Promise.all(running)).entries()) {
      for (const [index, result] of results.entries()) {
        const difference = differenceBetween(result, expected[index]!);
        if (difference !== null) {
          mismatches[engines[which]!.name]!.push(`${batch[index]!.text}: ${difference}`);
        }
        result.release();
      }
    }
    count += batch.length;
  }
  return { count, mismatches };
}

/** The first respect in which two results differ, or null. */
export function differenceBetween(actual: QuantizeResult, expected: QuantizeResult): string | null {
  for (const name of ["codes", "scales", "zeroPoints"] as const) {
    const [a, b] = [actual[name], expected[name]];
    if (a === null || b === null) {
      if (a !== b) return `${name} are ${a === null ? "absent" : "present"}`;
      continue;
    }
    if (a.length !== b.length) return `${name} have ${a.length} bytes, not ${b.length}`;
    const index = a.findIndex((byte, i) => byte !== b[i]);
    if (index >= 0) return `byte ${index} of ${name} is ${a[index]}, not ${b[index]}`;
  }
  for (const name of ["nonFinite", "saturated"] as const) {
    if (actual[name] !== expected[name]) {
      return `${name} is ${actual[name]}, not ${expected[name]}`;
    }
  }
  if (expected.error !== undefined) {
    if (actual.error === undefined) return "error is absent";
    // Sums in binary32 over each run: 64 additions to a partial sum, each off by 2^-24 at most.
    const tolerance = 64 * 2 ** -24 * expected.error.signal + 2 ** -180;
    for (const name of ["signal", "noise", "dot"] as const) {
      const difference = Math.abs(actual.error[name] - expected.error[name]);
      if (!(difference <= tolerance)) {
        return `the sum "${name}" is ${actual.error[name]}, not ${expected.error[name]}`;
      }
    }
  }
  return null;
}

function* batches<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let batch: T[] = [];
  for (const item of items) {
    batch.push(item);
    if (batch.length === size) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      count: { type: "string", default: "1000" },
      seed: { type: "string", default: "1" },
      engines: { type: "string", default: "webgpu" },
      access: { type: "string" },
      edges: { type: "string" },
    },
  });
  const access = values.access === "staged" || values.access === "direct" ? values.access : null;
  const engines: Engine[] = [];
  let adapter: string | null = null;
  for (const name of values.engines.split(",")) {
    if (name === "webgpu") {
      const engine = await createWebGpuEngine(access === null ? {} : { access });
      adapter = engine.adapter.name;
      engines.push(engine);
    } else if (name === "wasm") engines.push(await createWasmEngine());
    else throw new Error(`Cannot compare the engine "${name}": use webgpu or wasm.`);
  }
  const started = performance.now();
  const seed = Number(values.seed);
  const { count, mismatches } = await compareEngines(
    engines,
    (function* () {
      if (values.edges !== undefined) yield* edgeJobs(Number(values.edges));
      yield* randomJobs(seed, Number(values.count));
    })(),
  );
  for (const texts of Object.values(mismatches)) {
    for (const text of texts.slice(0, 10)) console.error(text);
  }
  const counts = Object.fromEntries(
    Object.entries(mismatches).map(([name, texts]) => [name, texts.length]),
  );
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  console.log(
    JSON.stringify({ adapter, access, seed, count, engines: values.engines, counts, seconds }),
  );
  for (const engine of engines) engine.dispose();
  if (Object.values(counts).some((entry) => entry > 0)) Deno.exitCode = 1;
}

if (import.meta.main) await main();
