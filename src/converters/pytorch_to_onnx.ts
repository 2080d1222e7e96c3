/**
 * PyTorch to ONNX: `python/export.py` loads the checkpoint, exports it, and compares what PyTorch and
 * ONNX Runtime compute. It runs in the sandboxed Python child; this file asks, and checks the answer.
 */
import { join, resolve } from "node:path";
import { InputError } from "../error.ts";
import { renameDataFiles } from "../onnx/data_names.ts";
import { unreadable } from "../onnx/identify.ts";
import {
  type ConversionEvents,
  type ConversionStep,
  type ConverterRequest,
  ModelConverter,
  type StepOutcome,
  type WrittenModel,
} from "./converter.ts";
import { type OutputFile, UNVERIFIED } from "./conversion.ts";
import { askPython, prepareStep, takeFiles } from "./python_step.ts";
import { registerConverter } from "./registry.ts";

/** Largest |error| against PyTorch in float32 that passes. */
const TOLERANCE = 1e-4;

/** An input or an output of an exported model; symbolic dimensions have names. */
export interface ExportedValue {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly (number | string)[];
}

/** How an export compares with PyTorch. */
export interface ExportVerification {
  readonly passed: boolean;
  /** Largest |error| that passes. */
  readonly tolerance: number;
  readonly outputs: readonly {
    readonly file: string;
    readonly name: string;
    readonly shape: readonly number[];
    /** Null where there are values that are not numbers on one side only. */
    readonly maximumAbsoluteError: number | null;
    readonly relativeL2: number | null;
  }[];
  /** Why it did not pass, in sentences. */
  readonly failures: readonly string[];
}

/** What an export made. */
interface ExportFacts {
  /** PyTorch's exporter that did it: "dynamo" or "torchscript". */
  readonly exporter: string;
  readonly opset: number;
  readonly modelType: string | null;
  /** Name of the model's class. */
  readonly architecture: string;
  readonly task: string;
  /** Number of weights, shared ones once. */
  readonly parameters: number;
  readonly inputs: readonly ExportedValue[];
  readonly outputs: readonly ExportedValue[];
  /** Null where it was not asked for. */
  readonly verification: ExportVerification | null;
}

/** A file of an export; `of` is the model that the data belong to. */
interface ExportedFile {
  readonly name: string;
  readonly role: "model" | "encoder" | "decoder" | "data";
  readonly of: string;
}

/** What a step from PyTorch to ONNX did, as plain data. */
export interface ExportReport extends ExportFacts {
  readonly kind: "pytorch";
  readonly outputPath: string;
  readonly source: string;
  readonly files: readonly OutputFile[];
  /** From the start of the Python child to its end. */
  readonly seconds: number;
  /** What held the child, and what that means. */
  readonly sandbox: string;
  readonly held: string;
}

/** Float32 ONNX models of PyTorch checkpoints. */
@registerConverter({ sourceFormat: "pytorch", targetFormat: "onnx" })
export class PyTorchToOnnx extends ModelConverter {
  readonly sourceFormat = "pytorch";
  readonly targetFormat = "onnx";
  readonly supportedModelTypes = "any";
  override readonly failureAdvice = "Try the other --exporter, another --opset, or --static.";

  override async prepare(
    request: ConverterRequest,
    events: ConversionEvents,
    signal: AbortSignal,
  ): Promise<void> {
    checkSource(request.modelPath);
    if (request.config !== null) checkConfig(request.config);
    await prepareStep(request, events, signal);
  }

  override async executeConversion(step: ConversionStep): Promise<StepOutcome> {
    const started = performance.now();
    const source = resolve(step.modelPath);
    const config = step.config === null ? null : resolve(step.config);
    const { modelType, task, opset, dynamic, exporter, externalData, seed } = step;
    const { trustPickle, randomWeights, allowHub } = step;
    const answer = await askPython(
      step,
      "export.py",
      {
        command: "export",
        ...{ source, config, modelType, task, opset, dynamic, exporter, externalData, seed },
        ...{ trustPickle, randomWeights, allowHub },
        verify: step.verify ?? true,
        tolerance: TOLERANCE,
      },
      config === null ? [source] : [source, config],
    );
    const { files, ...told } = await parseAnswer(answer.value);
    const { verification } = told;
    const names = files.map(({ name }) => name);
    const models = writtenModels(files, verification?.failures ?? []);
    for (const { files: [own, ...data], failures } of models) {
      if (failures.length === 0 || data.length === 0) continue;
      // It must be loadable for whoever looks for the fault.
      await renameDataFiles(join(step.folder, own!), (name) => `${name}${UNVERIFIED}`);
    }
    return {
      models,
      report: {
        kind: "pytorch",
        outputPath: step.outputPath,
        source: step.sourceName,
        ...told,
        files: takeFiles(step, names, verification?.passed ?? true),
        seconds: (performance.now() - started) / 1000,
        sandbox: answer.sandbox,
        held: answer.held,
      },
    };
  }
}

/**
 * Checks what shows without Python: the source is there, a folder is a Hugging Face one, and nothing
 * that would be read is a pipe or a device, which may never end.
 */
function checkSource(path: string): void {
  let entries: Deno.DirEntry[];
  try {
    const info = Deno.statSync(path);
    if (!info.isDirectory && !info.isFile) throw endless(path);
    if (!info.isDirectory) return;
    entries = [...Deno.readDirSync(path)];
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw unreadable(path, cause);
  }
  const other = entries.find(({ isFile, isDirectory, isSymlink }) =>
    !isFile && !isDirectory && !isSymlink
  );
  if (other !== undefined) throw endless(join(path, other.name));
  if (entries.some(({ name }) => name === "config.json")) return;
  throw new InputError(
    `Cannot read "${path}": it is a directory without a config.json. Name a Hugging Face folder, ` +
      "or a file.",
  );
}

function checkConfig(path: string): void {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (info.isFile) return;
  if (!info.isDirectory) throw endless(path);
  throw new InputError(
    `Cannot read "${path}": it is a directory. Name the file config.json in it.`,
  );
}

function endless(path: string): InputError {
  return new InputError(
    `Cannot read "${path}": it is a pipe or a device. Save what it gives as a file first.`,
  );
}

/** Checks what `export.py` answered. */
async function parseAnswer(
  value: unknown,
): Promise<ExportFacts & { readonly files: readonly ExportedFile[] }> {
  const { z } = await import("zod");
  const fileName = z.string().regex(/^[^/\\\0]{1,255}$/);
  const ported = z.array(z.object({
    name: z.string(),
    dtype: z.string(),
    shape: z.array(z.union([z.number(), z.string()])),
  }));
  return z.object({
    files: z.array(z.object({
      name: fileName,
      role: z.enum(["model", "encoder", "decoder", "data"]),
      of: fileName,
    })).min(1),
    exporter: z.string(),
    opset: z.number(),
    modelType: z.string().nullable(),
    architecture: z.string(),
    task: z.string(),
    parameters: z.number(),
    inputs: ported,
    outputs: ported,
    verification: z.object({
      passed: z.boolean(),
      tolerance: z.number(),
      outputs: z.array(z.object({
        file: z.string(),
        name: z.string(),
        shape: z.array(z.number()),
        maximumAbsoluteError: z.number().nullable(),
        relativeL2: z.number().nullable(),
      })),
      failures: z.array(z.string()),
    }).nullable(),
  }).parse(value);
}

/** One model for each file that is not the data of another. */
function writtenModels(
  files: readonly ExportedFile[],
  failures: readonly string[],
): WrittenModel[] {
  const dataOf = (model: string) =>
    files.filter(({ role, of }) => role === "data" && of === model).map(({ name }) => name);
  return files.filter(({ role }) => role !== "data").map(({ name, role }) => ({
    suffix: role === "model" ? "" : `.${role}`,
    files: [name, ...dataOf(name)],
    failures,
  }));
}
