/**
 * ONNX to ONNX: plans each asked-for precision, lays its files out, streams the weights once for all
 * of them, and commits. Nothing is visible at a target before everything of it is written.
 */
import { resolve } from "node:path";
import { InputError, InterruptedError } from "../error.ts";
import { checkTarget } from "../onnx/files.ts";
import { readModel } from "../onnx/reader.ts";
import { contentKey } from "../onnx/tensor.ts";
import {
  beginModel,
  type ModelLayout,
  type ModelWriter,
  planModel,
  publishModels,
} from "../onnx/writer.ts";
import { type OpenedEngine, openEngine } from "../quantization/engines.ts";
import { streamWeights } from "../quantization/pipeline.ts";
import { NON_FINITE } from "../quantization/planner.ts";
import type { Weight } from "../quantization/weights.ts";
import { VERSION } from "../version.ts";
import type { Conversion } from "./conversion.ts";
import type { ConversionOptions, OutputOptions, Precision } from "./options.ts";
import { sha256OfFile, type SourceFacts, sourceFacts } from "./source.ts";
import { type PreparedTarget, prepareTarget, refuseNonFinite, workOf } from "./target.ts";
import { summarize } from "./totals.ts";

/** How a conversion tells what it does. */
export interface ConversionEvents {
  /** `done` of `total` bytes of weights are converted. */
  progress(done: number, total: number): void;
  warn(text: string): void;
  note(text: string): void;
}

/** One precision on its way. */
interface Output {
  readonly target: PreparedTarget;
  readonly layout: ModelLayout;
}

/**
 * Converts `options.source`; one conversion comes back for each precision. Throws an `InputError`
 * where the source, the options or the target can't be used, and an `InterruptedError` once `signal`
 * is aborted; the targets are then as they were.
 */
export async function convertOnnx(
  options: ConversionOptions,
  events: ConversionEvents,
  signal: AbortSignal,
): Promise<Conversion[]> {
  const started = performance.now();
  /** `contentKey` of the weights that turned out to hold NaN or infinity. */
  const nonFinite = new Set<string>();
  for (;;) {
    const source = await readModel(options.source);
    const facts = sourceFacts(source);
    const outputs: Output[] = [];
    for (const precision of options.precisions) {
      // Each target rewrites a model of its own; reading one again skips its weights.
      const model = precision === options.precisions[0] ? source : await readModel(options.source);
      const target = await prepareTarget(model, precision, options, nonFinite);
      describe(target, facts, options);
      outputs.push({ target, layout: planModel(model, outputPath(options, precision)) });
    }
    checkDistinct(outputs);
    const finish = ({ target, layout }: Output, engine: OpenedEngine | null): Conversion =>
      summarize({
        target,
        layout,
        source: { path: options.source, facts },
        options: describeOptions(target.precision, options),
        engine: engine === null || target.weights.length === 0
          ? null
          : { name: engine.engine.name, reason: engine.reason },
        hashes: options.dryRun || !options.sha256
          ? null
          : layout.files.map(({ path }) => sha256OfFile(path)),
        dryRun: options.dryRun,
        seconds: (performance.now() - started) / 1000,
      });
    if (options.dryRun) return outputs.map((output) => finish(output, null));
    for (const { layout } of outputs) {
      // Of all files of the source: a rewritten model may no longer name its external data.
      for (const { path } of layout.files) checkTarget(path, facts.files);
    }
    const opened = outputs.some(({ target }) => target.weights.length > 0)
      ? await openEngine(options, events)
      : null;
    let found: readonly Weight[];
    try {
      found = await write(outputs, opened, options, events, signal);
    } finally {
      opened?.engine.dispose();
    }
    if (found.length === 0) return outputs.map((output) => finish(output, opened));
    for (const { tensor } of found) nonFinite.add(contentKey(tensor));
    events.note(`starting again without ${found.length} weights that hold NaN or infinity`);
  }
}

/**
 * Writes all outputs. Returns the weights with NaN or infinity when `--nan keep` asks for
 * another round without them; nothing is committed then.
 */
async function write(
  outputs: readonly Output[],
  opened: OpenedEngine | null,
  options: ConversionOptions,
  events: ConversionEvents,
  signal: AbortSignal,
): Promise<readonly Weight[]> {
  const writers: ModelWriter[] = [];
  const abort = () => writers.forEach((writer) => writer.abort());
  const interrupt = () => {
    abort();
    // What is in flight need not be waited for.
    opened?.engine.dispose();
  };
  signal.addEventListener("abort", interrupt);
  try {
    for (const { layout } of outputs) writers.push(await beginModel(layout));
    const { streams, floats } = workOf(
      outputs.map(({ target }, index) => ({ target, writer: writers[index]! })),
    );
    const total = [...streams, ...floats].reduce((sum, { byteLength }) => sum + byteLength, 0);
    let done = 0;
    const onProgress = (bytes: number) => events.progress(done += bytes, total);
    if (opened !== null) {
      await streamWeights(streams, {
        engine: opened.engine,
        fallback: opened.fallback,
        onFallback: (reason) =>
          events.warn(
            `the ${opened.engine.name} engine failed (${reason}); another one goes on from there`,
          ),
        onProgress,
        signal,
      });
    }
    const found = nonFiniteWeights(outputs, options);
    if (found.length > 0) {
      abort();
      return found;
    }
    for (const { convert } of floats) await convert(onProgress, signal);
    for (const writer of writers) {
      throwIfAborted(signal);
      await writer.complete();
    }
    throwIfAborted(signal);
    // At one go: no signal comes between two files.
    publishModels(writers);
    return found;
  } catch (error) {
    abort();
    // What fails because the files were taken away is the interruption, not a fault.
    throwIfAborted(signal);
    throw error;
  } finally {
    signal.removeEventListener("abort", interrupt);
  }
}

/** The weights with NaN or infinity, each once. Throws where that is an error. */
function nonFiniteWeights(
  outputs: readonly Output[],
  options: ConversionOptions,
): readonly Weight[] {
  const weights = new Map<string, Weight>();
  for (const { target } of outputs) {
    for (const { nonFinite, planned: { weight } } of target.weights) {
      if (nonFinite > 0) weights.set(contentKey(weight.tensor), weight);
    }
  }
  const found = [...weights.values()];
  if (options.nan === "error") refuseNonFinite(options.source, found.map(({ name }) => name));
  return found;
}

/** The file that a precision is written to. */
function outputPath(options: ConversionOptions, precision: Precision): string {
  if (options.precisions.length === 1) return options.output;
  return `${options.output.replace(/\.onnx$/, "")}.${precision}.onnx`;
}

function checkDistinct(outputs: readonly Output[]): void {
  const paths = outputs.flatMap(({ layout }) => layout.files.map(({ path }) => resolve(path)));
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice === undefined) return;
  throw new InputError(
    `Cannot write "${twice}": two outputs have this name. Choose another --output.`,
  );
}

/** Puts version, source and options into the metadata; the source's own entries stay. */
function describe(target: PreparedTarget, facts: SourceFacts, options: OutputOptions): void {
  const { model, precision } = target;
  const kept = target.skipped.filter(({ reason }) => reason === NON_FINITE);
  const entries: [string, string][] = [
    ["modelcast.version", VERSION],
    ["modelcast.source_sha256", facts.sha256],
    ...(facts.dataSample === null
      ? []
      : [["modelcast.source_data_sample_sha256", facts.dataSample] as [string, string]]),
    ["modelcast.options", describeOptions(precision, options)],
    ...(kept.length === 0
      ? []
      : [["modelcast.kept_non_finite", JSON.stringify(kept.map(({ name }) => name))] as [
        string,
        string,
      ]]),
  ];
  model.metadata = [
    ...model.metadata.filter(([key]) => !key.startsWith("modelcast.")),
    ...entries,
  ];
}

/** The options that decide the output's bytes, as JSON: no paths, no engine, no times. */
function describeOptions(precision: Precision, options: OutputOptions): string {
  const { blockSize, symmetric, method, scales, activations, ioFloat16, encoding, runtimes } =
    options;
  const quantization = precision.endsWith("bit")
    ? { blockSize, symmetric, method, scales, encoding, runtimes }
    : {};
  return JSON.stringify({
    precision,
    ...quantization,
    activations,
    ioFloat16,
    exclude: options.exclude,
  });
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new InterruptedError("interrupted; the target is as it was");
}
