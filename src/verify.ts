/**
 * Verification: the original of a conversion runs in ONNX Runtime, the result there too or, a module for
 * WebGPU, by Deno, both on the same inputs, and their outputs are compared. What runs a model is a process
 * of its own, which may die over it. The report is plain data and says on which provider or adapter it
 * was, on which inputs, and what was not checked.
 */
import { InputError, VerificationError } from "./error.ts";
import { readModel } from "./onnx/reader.ts";
import { probabilityOutputs } from "./verify/bounds.ts";
import { checkInputFile } from "./verify/given.ts";
import {
  type InputExtents,
  type InputSource,
  type PreparedInputs,
  prepareInputs,
} from "./verify/inputs.ts";
import { judge, unchecked, warningsOf } from "./verify/judge.ts";
import { OutputComparator, type OutputComparison, ShapeMismatch } from "./verify/metrics.ts";
import type { ModuleRun } from "./verify/module.ts";
import { comparePerOp, fitFeeds, type PerOpReport, type PerOpRequest } from "./verify/per_op.ts";
import type { Placement } from "./verify/placement.ts";
import { type RuntimeProcess, startRuntime } from "./verify/runtime_process.ts";
import {
  checkpoint,
  checkProvider,
  modelFolder,
  RuntimeCrash,
  RuntimeFault,
  type Session,
} from "./verify/session.ts";
import type { ModelTimes, VerificationReport } from "./verify/report.ts";
import type { Tolerance } from "./verify/tolerance.ts";
import type { HostTensor } from "./verify/values.ts";

export { formatVerification } from "./verify/format.ts";
export type { InputDescription, InputExtents, InputSource } from "./verify/inputs.ts";
export type { BothCounts, FloatErrors, OutputComparison } from "./verify/metrics.ts";
export { findModuleAdapter, type ModuleAdapter, runModule } from "./verify/module.ts";
export type { PerOpReport, ValueComparison } from "./verify/per_op.ts";
export { type Normalization, NORMALIZATIONS } from "./verify/picture.ts";
export type { MisplacedNode, Placement } from "./verify/placement.ts";
export type { ModelTimes, VerificationReport } from "./verify/report.ts";
export { defaultTolerance, type Tolerance } from "./verify/tolerance.ts";
export type { HostTensor } from "./verify/values.ts";

/** What results are compared with, and on which inputs. */
export interface OriginalOptions {
  /** Path of the original model. */
  readonly original: string;
  /** Where inputs come from; seeded ones if absent. */
  readonly inputs?: InputSource;
  /**
   * Different inputs to compare on; 2 if absent, so that an output which no longer depends on the
   * input is seen. 1 where no input is random.
   */
  readonly samples?: number;
  /** Timed runs of each model, after those of the comparison; 5 if absent, 0 for none. */
  readonly runs?: number;
  /** Seed of the made-up inputs; 1 if absent. */
  readonly seed?: number;
  /** What the result fixes and limits of the original's symbolic extents; nothing if absent. */
  readonly extents?: InputExtents;
  /** Execution provider of ONNX Runtime, such as "cpu" or "webgpu"; "cpu" if absent. */
  readonly provider?: string;
  /** A folder that may be written, for ONNX Runtime's profile where the system's may not be. */
  readonly scratch: string;
  /** Stops when aborted, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What to compare, and how closely. */
export interface ResultOptions {
  /** Path of the converted model. */
  readonly result: string;
  /** Whether to find the first node where the two part. */
  readonly perOp?: boolean;
  /** Error past which a value inside the graph counts as parted; 0.1 if absent. */
  readonly perOpThreshold?: number;
  /** Limits for the outputs; without them only NaN, infinities and other extents are failures. */
  readonly tolerance?: Tolerance | null;
}

/** A module to compare with the original, and how closely. */
export interface ModuleOptions {
  /** What reports call it. */
  readonly result: string;
  readonly tolerance: Tolerance;
  /** Runs it on `samples`, and `runs` times more on the first of them. */
  readonly run: (samples: ModuleSamples, runs: number) => Promise<ModuleRun>;
  /** Runs it on `feeds` with the values `names` inside the graph as its outputs; null to leave that. */
  readonly fetchInside:
    | ((names: readonly string[], feeds: ModuleSamples[number]) => Promise<Map<string, HostTensor>>)
    | null;
}

/** Inputs by name, one map a sample. */
export type ModuleSamples = readonly ReadonlyMap<string, HostTensor>[];

/** What to verify, and how. */
export interface VerifyOptions extends Omit<OriginalOptions, "scratch">, ResultOptions {}

/** An original that has run: its outputs are kept, the model is not. */
export interface Original {
  /**
   * Runs a result on the original's inputs and compares what comes out.
   *
   * @throws VerificationError where the result does not load, does not run, or has other inputs.
   */
  compare(options: ResultOptions): Promise<VerificationReport>;
  /**
   * Runs a module for WebGPU on the original's inputs and compares what comes out.
   *
   * @throws VerificationError where the module does not load or run.
   * @throws MissingToolError where there is no adapter.
   */
  compareModule(options: ModuleOptions): Promise<VerificationReport>;
}

/**
 * Throws what {@link verifyModels} would throw for want of ONNX Runtime, of the provider, or of the
 * file `inputs`, before there is anything to verify.
 */
export async function checkVerification(provider: string, inputs: string | null): Promise<void> {
  await using runtime = await startRuntime();
  checkProvider(runtime, provider);
  if (inputs !== null) await checkInputFile(inputs);
}

/**
 * Runs `options.original` and `options.result` on the same inputs and compares what comes out: for
 * one result what {@link runOriginal} does for several.
 *
 * @throws InputError where the original or the inputs can't be used.
 * @throws VerificationError where the result does not load, does not run, or has other inputs.
 * @throws MissingToolError where ONNX Runtime or the provider is missing or not permitted.
 */
export async function verifyModels(options: VerifyOptions): Promise<VerificationReport> {
  const original = await runOriginal({ ...options, scratch: modelFolder(options.result) });
  return await original.compare(options);
}

/**
 * Runs `options.original` once, for any number of results to be compared with it.
 *
 * @throws InputError where the original or the inputs can't be used.
 * @throws MissingToolError where ONNX Runtime or the provider is missing or not permitted.
 */
export async function runOriginal(options: OriginalOptions): Promise<Original> {
  const { original, scratch, signal, provider = "cpu", seed = 1, runs = 5 } = options;
  const model = await readModel(original);
  await using runtime = await startRuntime(signal);
  const settings = { provider, runs, signal, scratch };
  const before = await runModel(
    { ...settings, runtime },
    original,
    async (session) => {
      const { inputs: source, extents } = options;
      const inputs = await prepareInputs(model, session, { source, extents, seed, signal });
      const samples = inputs.random.length > 0 ? Math.max(1, options.samples ?? 2) : 1;
      return { inputs, samples };
    },
    (fault) => {
      const state = fault instanceof RuntimeCrash
        ? `itself ${fault.message}. Give other inputs with --inputs, check the model with ` +
          "onnx.checker, or convert it without --verify."
        : `says: ${fault.message}.`;
      return new InputError(`Cannot run original "${original}": ONNX Runtime ${state}`);
    },
  );
  const { version } = runtime;
  const { inputs: prepared } = before;
  const probabilities = probabilityOutputs(model);
  /** The report of a result that has run. */
  const conclude = (
    { result, tolerance, adapter, perOp }:
      & Pick<VerificationReport, "result" | "tolerance" | "adapter">
      & { readonly perOp: PerOpReport | null },
    after: ModelRun,
  ): VerificationReport => {
    const failures: string[] = [];
    const outputs = compareOutputs(before, after, failures);
    for (const output of outputs) {
      judge(output, probabilities.has(output.name), tolerance, failures);
    }
    return {
      original,
      result,
      runtime: { name: "onnxruntime-node", version },
      provider,
      adapter,
      placement: { original: before.placement, result: after.placement },
      samples: before.samples.length,
      seed: prepared.random.length > 0 ? seed : null,
      inputs: prepared.descriptions,
      outputs,
      time: {
        runs: after.timed,
        original: before.times,
        result: after.times,
        ratio: before.times.run === null || after.times.run === null
          ? null
          : before.times.run / after.times.run,
      },
      tolerance,
      passed: failures.length === 0,
      failures,
      warnings: warningsOf(outputs, provider, before.placement, after.placement),
      notChecked: unchecked(
        model,
        { unfetched: before.unfetched, random: prepared.random },
        tolerance,
      ),
      perOp,
    };
  };
  const compareInside = async (
    threshold: number,
    result: Pick<PerOpRequest, "result" | "fetchResult">,
  ): Promise<PerOpReport> => {
    await using runtime = await startRuntime(signal);
    const feeds = prepared.sample(0);
    return await comparePerOp({
      ...{ runtime, original: model, provider, feeds, threshold, signal },
      ...result,
    });
  };
  return {
    async compare({ result, perOp = false, perOpThreshold = 0.1, tolerance = null }) {
      const after = await runResult(settings, result, before);
      const inside = perOp
        ? await compareInside(perOpThreshold, { result: await readModel(result) })
        : null;
      return conclude({ result, tolerance, adapter: null, perOp: inside }, after);
    },
    async compareModule({ result, tolerance, run, fetchInside }) {
      const ran = await run(before.samples.map((_, index) => prepared.sample(index)), runs);
      const after: ModelRun = {
        inputs: prepared,
        samples: ran.samples,
        unfetched: [],
        placement: { nodes: null, elsewhere: [], how: "a module runs on one adapter" },
        times: { load: ran.load, run: median(ran.times) },
        timed: ran.times.length,
      };
      const inside = fetchInside === null ? null : await compareInside(PARTED, {
        result: model,
        fetchResult: async (names) => await fetchInside(names, prepared.sample(0)),
      });
      return conclude({ result, tolerance, adapter: ran.adapter, perOp: inside }, after);
    },
  };
}

/** Relative error past which a value inside a module counts as parted: its weights are the same. */
const PARTED = 1e-3;

/** Runs the model at `path` on the inputs of the original's run. */
async function runResult(
  settings: Omit<RunSettings, "runtime">,
  path: string,
  before: ModelRun,
): Promise<ModelRun> {
  const { provider, signal } = settings;
  await using runtime = await startRuntime(signal);
  const known = before.inputs.descriptions.map(({ name }) => name);
  return await runModel(
    { ...settings, runtime },
    path,
    (session) => {
      const strange = session.inputs.find(({ name }) => !known.includes(name));
      if (strange === undefined) {
        return Promise.resolve({ inputs: before.inputs, samples: before.samples.length });
      }
      throw new VerificationError(
        `Cannot compare result "${path}": its input "${strange.name}" is none of the ` +
          `original's, which are ${known.map((name) => `"${name}"`).join(", ")}. ` +
          "Check that it was converted from that original.",
      );
    },
    (fault) => {
      const verb = fault instanceof RuntimeCrash ? "itself" : "says:";
      return new VerificationError(
        `Cannot run result "${path}": ONNX Runtime ${runtime.version} on "${provider}" ${verb} ` +
          `${fault.message}. The original ran there; convert with another --encoding or --precision.`,
      );
    },
  );
}

/** What running one model gave. */
interface ModelRun {
  readonly inputs: PreparedInputs;
  /** Outputs by name, one map a sample. */
  readonly samples: readonly Map<string, HostTensor>[];
  /** Outputs that can't be fetched. */
  readonly unfetched: readonly string[];
  readonly placement: Placement;
  readonly times: ModelTimes;
  /** Runs that were timed. */
  readonly timed: number;
}

/** How to run a model. */
interface RunSettings {
  readonly runtime: RuntimeProcess;
  readonly provider: string;
  readonly runs: number;
  readonly signal: AbortSignal | undefined;
  /** Folder for a profile where the system's may not be written. */
  readonly scratch: string;
}

/**
 * Loads the model at `path`, runs the samples that `prepare` gives, times runs of the first of them,
 * and unloads it: only one of the models is in memory at a time, and the idle threads of the one do
 * not slow the other.
 */
async function runModel(
  settings: RunSettings,
  path: string,
  prepare: (session: Session) => Promise<{ inputs: PreparedInputs; samples: number }>,
  refused: (fault: RuntimeFault) => Error,
): Promise<ModelRun> {
  const { runtime, provider, runs, signal, scratch } = settings;
  try {
    await checkpoint(signal);
    await using session = await runtime.open(path, provider, { scratch });
    const { inputs, samples: count } = await prepare(session);
    const fetches = session.outputs.filter((port) => port.dtype !== null).map(({ name }) => name);
    if (fetches.length === 0) throw new RuntimeFault("none of its outputs is a tensor");
    const samples: Map<string, HostTensor>[] = [];
    let placement: Placement | null = null;
    for (let index = 0; index < count; index++) {
      await checkpoint(signal);
      samples.push(await session.run(fitFeeds(inputs.sample(index), session.inputs), fetches));
      placement ??= await session.placement();
    }
    const feeds = fitFeeds(inputs.sample(0), session.inputs);
    const times = runs > 0 ? await session.time(feeds, fetches, runs) : [];
    return {
      inputs,
      samples,
      unfetched: session.outputs.filter((port) => port.dtype === null).map(({ name }) => name),
      placement: placement!,
      times: { load: session.loadTime, run: median(times) },
      timed: runs,
    };
  } catch (error) {
    if (!(error instanceof RuntimeFault)) throw error;
    const wrapped = refused(error);
    wrapped.cause = error;
    throw wrapped;
  }
}

/** Compares the outputs by name; what can't be compared is a failure. */
function compareOutputs(before: ModelRun, after: ModelRun, failures: string[]): OutputComparison[] {
  const comparisons: OutputComparison[] = [];
  for (const name of before.samples[0]!.keys()) {
    if (!after.samples[0]!.has(name)) {
      failures.push(`output "${name}" is missing from the result`);
      continue;
    }
    const comparator = new OutputComparator(name);
    try {
      before.samples.forEach((sample, index) =>
        comparator.add(sample.get(name)!, after.samples[index]!.get(name)!)
      );
      comparisons.push(comparator.finish());
    } catch (error) {
      if (!(error instanceof ShapeMismatch)) throw error;
      failures.push(`output "${name}": ${error.message}`);
    }
  }
  return comparisons;
}

function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
