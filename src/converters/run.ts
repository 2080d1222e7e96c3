/**
 * Runs a request through a chain of converters. Every step writes into a staging folder beside the
 * output; what the last one wrote is published at one go when all of it is there, and nothing is
 * touched before that. A model that failed its verification is kept aside as `NAME.unverified`, until
 * its target is written again.
 */
import { basename, dirname, extname, join, resolve, sep } from "node:path";
import { InputError, InterruptedError, ModelcastError, VerificationError } from "../error.ts";
import { StagingFolder } from "../onnx/staging.ts";
import { removeLitter } from "../onnx/temporary.ts";
import { checkOptions, limitedStep, usesPython } from "./check_options.ts";
import { UNVERIFIED } from "./conversion.ts";
import type {
  ConversionEvents,
  ConversionResult,
  ConverterRequest,
  ModelConverter,
  PlainReport,
  StepReport,
  WrittenModel,
} from "./converter.ts";
import { keptAside, type Place } from "./kept_aside.ts";
import { MODEL_FORMATS } from "./options.ts";
import { checkOutput, checkTargets, extensionOf } from "./outputs.ts";

/** A model on its way through the chain. */
interface Passing {
  readonly path: string;
  /** What stands between the output's name and its extension. */
  readonly suffix: string;
}

/** A file to give its final name. */
interface Publication {
  /** Below the staging folder. */
  readonly path: string;
  readonly target: string;
  /** Whether it is a model's own file, which names those that go with it. */
  readonly head: boolean;
}

/**
 * Converts `request.modelPath` by `path`, which leads from its format to the one asked for. Deliberate
 * errors are in the result; anything thrown is a bug.
 */
export async function runConverters(
  path: readonly ModelConverter[],
  request: ConverterRequest,
  events: Partial<ConversionEvents> = {},
  signal: AbortSignal = new AbortController().signal,
): Promise<ConversionResult> {
  const steps: StepReport[] = [];
  const published: string[] = [];
  const { outputPath } = request;
  const all: ConversionEvents = { ...SILENT, ...events };
  let staging: StagingFolder | null = null;
  let begun = false;
  try {
    checkOptions(request, path, all.warn);
    const { targetFormat } = path.at(-1)!;
    if (!request.dryRun) {
      // What a killed process was about to replace gets its name back.
      removeLitter(outputPath);
      checkOutput(request, targetFormat);
    }
    // A dry run writes what leads to its last step, whose sizes depend on it, and keeps nothing.
    if (!request.dryRun || path.length > 1) staging = new StagingFolder(outputPath);
    for (const converter of path) {
      await converter.prepare(requestOf(converter, path, request), all, signal);
    }
    begun = true;
    const failures = await run(path, request, all, signal, staging, {
      steps,
      published,
    });
    if (failures.length > 0) throw new VerificationError(failures.join("\n"));
    return { success: true, outputPath, error: null, files: published, steps };
  } catch (error) {
    if (signal.aborted) {
      const interrupted = new InterruptedError("interrupted; the target is as it was");
      return { success: false, outputPath, error: interrupted, files: published, steps };
    }
    if (!(error instanceof ModelcastError)) throw error;
    if (staging !== null) error.message = withFinalPaths(error.message, staging.path, outputPath);
    // What a step on the way made has a name that no file has in the end.
    if (begun && path.length > 1 && !error.message.includes(request.modelPath)) {
      error.message += ` It was on the way from "${request.modelPath}".`;
    }
    return { success: false, outputPath, error, files: published, steps };
  } finally {
    staging?.discard();
  }
}

const SILENT: ConversionEvents = {
  progress: () => {},
  stage: () => {},
  warn: () => {},
  note: () => {},
};

/** What is asked of one of the converters of `path`: where one is checked unasked, each is that can be. */
function requestOf(
  converter: ModelConverter,
  path: readonly ModelConverter[],
  request: ConverterRequest,
): ConverterRequest {
  const unasked = converter.verifiedUnasked && usesPython(path) ? true : null;
  const verify = request.verify ?? unasked;
  const maxError = converter === limitedStep(path) ? request.maxError : null;
  return converter === path.at(-1) || !request.dryRun
    ? { ...request, verify, maxError }
    : { ...request, dryRun: false, verify: false, sha256: false };
}

/** `message` with files that lie in `folder` for the time being named as they will be. */
function withFinalPaths(message: string, folder: string, outputPath: string): string {
  const [before, ...parts] = message.replaceAll(resolve(folder), folder).split(`${folder}${sep}`);
  const place = `${dirname(outputPath)}${sep}`;
  return [before, ...parts.map((part) => part.replace(/^\d+-\d+[/\\]/, ""))].join(place);
}

/** Runs the steps and publishes; adds to `done`, and returns what failed in verification. */
async function run(
  path: readonly ModelConverter[],
  request: ConverterRequest,
  events: ConversionEvents,
  signal: AbortSignal,
  staging: StagingFolder | null,
  done: { readonly steps: StepReport[]; readonly published: string[] },
): Promise<string[]> {
  let models: Passing[] = [{ path: request.modelPath, suffix: "" }];
  const failed: string[] = [];
  const good: Place[] = [];
  for (const [index, converter] of path.entries()) {
    const last = index === path.length - 1;
    const next: Passing[] = [];
    const publications: Publication[] = [];
    const failures: string[] = [];
    const bad: Place[] = [];
    for (const [number, model] of models.entries()) {
      const target = last
        ? named(request.outputPath, model.suffix, extensionOf(request.outputPath))
        : named(
          request.outputPath,
          model.suffix,
          MODEL_FORMATS[converter.targetFormat].extensions[0],
        );
      const folder = staging === null ? dirname(target) : join(staging.path, `${index}-${number}`);
      if (staging !== null) Deno.mkdirSync(folder);
      const outcome = await converter.executeConversion({
        ...requestOf(converter, path, request),
        modelPath: model.path,
        sourceName: index === 0
          ? request.modelPath
          : named(request.outputPath, model.suffix, extname(model.path)),
        outputPath: target,
        originPath: request.modelPath,
        // What is asked of the runtimes holds for what they load, and for what is made of it.
        runtimes: [
          ...request.runtimes,
          ...path.slice(index + 1).flatMap((later) => later.sourceRuntimes),
        ],
        folder,
        events,
        signal,
      });
      done.steps.push(outcome.report ?? plainReport(converter, outcome.models, target, folder));
      for (const written of outcome.models) {
        const place = join(dirname(target), written.files[0]!);
        failures.push(
          ...written.failures.map((failure) =>
            `Cannot vouch for "${place}": ${failure}. It is kept as "${place}${UNVERIFIED}"` +
            `${written.files.length > 1 ? `, its data under that ending too` : ""}. ` +
            converter.failureAdvice
          ),
        );
        if (last && request.dryRun) continue;
        const publishing = publicationsOf(written, folder, dirname(target));
        if (staging !== null && (last || written.failures.length > 0)) {
          checkTargets(publishing.map((file) => file.target), request, converter.targetFormat);
        }
        publications.push(...publishing);
        (written.failures.length > 0 ? bad : good).push({
          paths: written.files.map((name) => join(dirname(target), name)),
          format: converter.targetFormat,
        });
        if (written.failures.length > 0) continue;
        next.push({
          path: join(folder, written.files[0]!),
          suffix: `${model.suffix}${written.suffix}`,
        });
      }
    }
    if (signal.aborted) throw new InterruptedError("interrupted; the target is as it was");
    if (last || failures.length > 0) {
      // Of a step on the way only what failed is of use; and precisions stand for themselves, while the
      // parts of a model belong together.
      const all = last && (failures.length === 0 || request.precisions.length > 1);
      const wanted = all
        ? publications
        : publications.filter(({ target }) => target.endsWith(UNVERIFIED));
      if (staging !== null && !request.dryRun) {
        // What is kept aside now takes the place of what was before.
        const replaced = all ? [...good, ...bad] : bad;
        const aside = await keptAside(replaced, request, path[0]!.sourceFormat);
        for (const name of staging.publish(wanted, aside)) {
          events.note(`removed "${name}", which failed its verification before`);
        }
        done.published.push(...wanted.map(({ target }) => target));
      }
    }
    failed.push(...failures);
    // Precisions stand for themselves: those that passed go on.
    const goesOn = request.precisions.length > 1 && next.length > 0;
    if (failures.length > 0 && !goesOn) return failed;
    models = next;
  }
  return failed;
}

function plainReport(
  { sourceFormat, targetFormat }: ModelConverter,
  models: readonly WrittenModel[],
  outputPath: string,
  folder: string,
): PlainReport {
  const files = models.flatMap((model) => publicationsOf(model, folder, dirname(outputPath)))
    .map(({ path, target }) => ({ path: target, byteLength: sizeOf(path), sha256: null }));
  return { kind: "plain", outputPath, sourceFormat, targetFormat, files };
}

function sizeOf(path: string): number {
  try {
    return Deno.statSync(path).size;
  } catch (cause) {
    throw new InputError(`Cannot take "${path}": its converter did not write it.`, { cause });
  }
}

function publicationsOf(model: WrittenModel, from: string, to: string): Publication[] {
  const end = model.failures.length > 0 ? UNVERIFIED : "";
  return model.files.map((name, index) => ({
    path: join(from, name),
    target: join(to, `${name}${end}`),
    head: index === 0 && model.files.length > 1,
  }));
}

/** `output` with `suffix` before its extension, which becomes `extension`. */
function named(output: string, suffix: string, extension: string): string {
  const name = basename(output, output.endsWith(extension) ? extension : extname(output));
  return join(dirname(output), `${name}${suffix}${extension}`);
}
