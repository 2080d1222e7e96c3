/** What the converters that Python does the work of have in common: the question, and the files. */
import { basename, dirname, join, resolve } from "node:path";
import { InputError } from "../error.ts";
import type { PythonAnswer, PythonJob } from "../python/child.ts";
import { type OutputFile, UNVERIFIED } from "./conversion.ts";
import type { ConversionEvents, ConversionStep, ConverterRequest } from "./converter.ts";
import { sha256OfFile } from "./source.ts";

/** Sees to it that Python can be run; a `MissingToolError` says what it wants. */
export async function prepareStep(
  { python }: ConverterRequest,
  events: ConversionEvents,
  signal: AbortSignal,
): Promise<void> {
  const { preparePython } = await loadPython();
  await preparePython(python, events, signal);
}

/** Asks `program` for what `step` wants; it may read `readable`, absolute paths. */
export async function askPython(
  step: ConversionStep,
  program: PythonJob["program"],
  request: PythonJob["request"],
  readable: readonly string[],
): Promise<PythonAnswer> {
  const { events, signal } = step;
  const folder = resolve(step.folder);
  const { runPython } = await loadPython();
  return await runPython(
    {
      program,
      request: { ...request, outputFolder: folder, outputName: basename(step.outputPath) },
      readable,
      writable: folder,
      settings: {
        python: step.python,
        allowHub: step.allowHub,
        timeoutSeconds: step.timeout,
        maxMemoryBytes: step.maxMemory,
      },
    },
    {
      progress: (stage, fraction) => events.stage(stage, fraction),
      warn: (text) => events.warn(text),
      note: (text) => events.note(text),
    },
    signal,
  );
}

/**
 * The files that the child says it wrote, under the paths that they will have; `verified` says whether
 * they are what they should be.
 *
 * @throws InputError where one is not a regular file: the child is not trusted with names.
 */
export function takeFiles(
  step: ConversionStep,
  names: readonly string[],
  verified: boolean,
): OutputFile[] {
  return names.map((name) => {
    const written = join(step.folder, name);
    const info = Deno.lstatSync(written);
    if (!info.isFile) {
      throw new InputError(`Cannot take "${name}" from Python: it is not a regular file.`);
    }
    return {
      path: join(dirname(step.outputPath), `${name}${verified ? "" : UNVERIFIED}`),
      byteLength: info.size,
      sha256: step.sha256 ? sha256OfFile(written) : null,
    };
  });
}

async function loadPython(): Promise<typeof import("../python/child.ts")> {
  return await import("../python/child" + ".ts") as typeof import("../python/child.ts");
}
