/**
 * ONNX to OpenVINO IR: `python/openvino_ir.py` converts the model, keeps the codes of weights that are
 * quantized, and compares what ONNX Runtime and OpenVINO compute. It runs in the sandboxed Python
 * child; this file asks, and checks the answer. Quantization is what a step before this one does.
 */
import { realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Model } from "../ir.ts";
import { readModel } from "../onnx/reader.ts";
import { probabilityOutputs } from "../verify/bounds.ts";
import { VERSION } from "../version.ts";
import {
  type ConversionEvents,
  type ConversionStep,
  type ConverterRequest,
  ModelConverter,
  type StepOutcome,
} from "./converter.ts";
import { computesInHalf, describeInputs } from "./openvino_inputs.ts";
import { convertOnnx } from "./onnx_to_onnx.ts";
import type { ConverterOptions, Precision } from "./options.ts";
import type { OpenVinoReport } from "./openvino_answer.ts";
import { askPython, prepareStep, takeFiles } from "./python_step.ts";
import { registerConverter } from "./registry.ts";
import { type SourceFacts, sourceFacts } from "./source.ts";

export type { OpenVinoReport, OpenVinoVerification } from "./openvino_answer.ts";

/**
 * Largest |error| against ONNX Runtime on the same weights, as a part of the output's largest
 * magnitude. Where weights are quantized OpenVINO scales inside of its kernels. Where the ONNX model
 * computes in float16, which OpenVINO does in float32 here, results are off by 2^-11 and more.
 */
const TOLERANCES = { float32: 1e-4, quantized: 1e-3, float16: 2e-2 } as const;

/** |error| that passes in an output that is a probability: of one near 0 much is still nothing. */
const PROBABILITY_TOLERANCES = { float32: 1e-6, float16: 1e-2 } as const;

/**
 * The same for weights that NNCF compresses: there is no ONNX model of the same weights, so the
 * comparison is with the original, and only what is broken fails.
 */
const NNCF_TOLERANCES = { 8: 0.3, 4: 1 } as const;

/** Different inputs to compare on. */
const SAMPLES = 3;

/** OpenVINO IR of ONNX models. */
@registerConverter({ sourceFormat: "onnx", targetFormat: "openvino" })
export class OnnxToOpenVino extends ModelConverter {
  readonly sourceFormat = "onnx";
  readonly targetFormat = "openvino";
  readonly supportedModelTypes = "any";
  override readonly failureAdvice =
    "Take a higher precision, or leave weights as they are with --exclude.";

  override get sourceRuntimes(): readonly string[] {
    return ["openvino-2026.4"];
  }

  override writesPrecision(options: ConverterOptions): boolean {
    const own: readonly Precision[] = options.nncf ? ["8bit", "4bit"] : ["float32", "float16"];
    return options.activations === "float32" &&
      options.precisions.every((precision) => own.includes(precision));
  }

  override async prepare(
    request: ConverterRequest,
    events: ConversionEvents,
    signal: AbortSignal,
  ): Promise<void> {
    await prepareStep(request, events, signal);
  }

  override async executeConversion(step: ConversionStep): Promise<StepOutcome> {
    const started = performance.now();
    const half = this.writesPrecision(step) && step.precisions[0] === "float16";
    const modelPath = half ? await storeInHalf(step) : step.modelPath;
    const model = await readModel(modelPath);
    const facts = sourceFacts(model);
    const rounding = computesInHalf(model) ? "float16" : "float32";
    const compress = nncfModeOf(step);
    const verify = step.verify ?? true;
    const answer = await askPython(
      step,
      "openvino_ir.py",
      {
        command: "convert",
        source: resolve(modelPath),
        sourceName: step.sourceName,
        compress,
        compile: step.compile,
        verify,
        tolerance: compress === null ? TOLERANCES[rounding] : NNCF_TOLERANCES[compress.bits],
        toleranceQuantized: TOLERANCES.quantized,
        probabilityTolerance: PROBABILITY_TOLERANCES[rounding],
        probabilities: [...probabilityOutputs(model)],
        seed: step.seed,
        samples: SAMPLES,
        ...(verify ? await describeInputs(model) : { inputs: [], unknowns: [] }),
        metadata: metadataOf(model, facts, modelPath !== step.sourceName, compress),
      },
      readableFiles(facts),
    );
    const { parseOpenVinoAnswer } = await import(
      "./openvino_answer" + ".ts"
    ) as typeof import("./openvino_answer.ts");
    const { files, ...told } = parseOpenVinoAnswer(answer.value);
    if (compress !== null) warnOfOtherBits(told.weights, compress.bits, step);
    const failures = told.verification?.failures ?? [];
    const names = files.map(({ name }) => name);
    return {
      models: [{ suffix: "", files: names, failures }],
      report: {
        kind: "openvino",
        outputPath: step.outputPath,
        source: { path: step.sourceName, sha256: facts.sha256 },
        ...told,
        files: takeFiles(step, names, failures.length === 0),
        seconds: (performance.now() - started) / 1000,
        sandbox: answer.sandbox,
        held: answer.held,
      },
    };
  }
}

/** Writes the model with its weights in float16 into the step's folder, and gives its path. */
async function storeInHalf(step: ConversionStep): Promise<string> {
  const [conversion] = await convertOnnx(
    {
      ...step,
      source: step.modelPath,
      output: join(step.folder, "float16.onnx"),
      storeFloats: true,
      dryRun: false,
      sha256: false,
    },
    step.events,
    step.signal,
  );
  for (const warning of conversion!.warnings) step.events.warn(warning);
  return conversion!.files[0]!.path;
}

/** How NNCF is to compress; null where it is not. */
function nncfModeOf(
  step: ConversionStep,
): { readonly mode: string; readonly groupSize: number; readonly bits: 8 | 4 } | null {
  if (!step.nncf || typeof step.blockSize !== "number") return null;
  const bits = step.precisions[0] === "8bit" ? 8 : 4;
  const mode = `INT${bits}_${step.symmetric ? "SYM" : "ASYM"}`;
  return { mode, groupSize: step.blockSize, bits };
}

/** NNCF takes fewer than 8 bits only for some weights, and says nothing of the others. */
function warnOfOtherBits(
  weights: OpenVinoReport["weights"],
  bits: number,
  { events }: ConversionStep,
): void {
  const others = weights.filter(({ element }) => Number(element.replace(/\D/g, "")) > bits);
  if (others.length === 0) return;
  events.warn(
    `NNCF left ${others.length} of ${weights.length} weights at more than ${bits} bits; without ` +
      "--method nncf all of them become smaller",
  );
}

/** The model's files, and those that symbolic links among them lead to. */
function readableFiles(facts: SourceFacts): string[] {
  const files = facts.files.map((file) => resolve(file));
  return [...new Set([...files, ...files.map((file) => realpathSync(file))])];
}

/**
 * What the IR says of its making: no paths, no times. What a step before this one said of the source
 * and of its own options is handed on.
 */
function metadataOf(
  model: Model,
  facts: SourceFacts,
  made: boolean,
  compress: { readonly mode: string; readonly groupSize: number } | null,
): Record<string, string> {
  const before = Object.fromEntries(model.metadata.filter(([key]) => key.startsWith("modelcast.")));
  const options = compress === null
    ? { weights: "as in the ONNX model" }
    : { weights: `NNCF ${compress.mode}`, blockSize: compress.groupSize };
  const sample = made ? before["modelcast.source_data_sample_sha256"] : facts.dataSample;
  return {
    version: VERSION,
    source_sha256: (made ? before["modelcast.source_sha256"] : undefined) ?? facts.sha256,
    ...(sample === undefined || sample === null ? {} : { source_data_sample_sha256: sample }),
    options: JSON.stringify(options),
    ...(before["modelcast.options"] === undefined
      ? {}
      : { onnx_options: before["modelcast.options"] }),
  };
}
