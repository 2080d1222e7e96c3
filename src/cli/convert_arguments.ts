/**
 * The grammar of `modelcast convert`. Nothing here touches the file system; values are checked for
 * form, and a wrong one is answered with the nearest right one.
 */
import type { Command } from "commander";
import { InputError } from "../error.ts";
import type { ConverterRequest } from "../converters/converter.ts";
import {
  DEFAULTS,
  formatOfPath,
  MODEL_FORMATS,
  type ModelFormat,
  type Precision,
  PRECISIONS,
  TASKS,
} from "../converters/options.ts";
import { type Dtype, DTYPE_NAMES, dtypesOfPrecisions } from "../layout/dtypes.ts";
import { checkTogether, type ConvertOptions } from "./convert_options.ts";
import {
  blockSize,
  choice,
  collect,
  collectExtent,
  dtypes,
  errorLimit,
  memorySize,
  positiveInteger,
  precision,
  workers,
} from "./option_values.ts";

/** `modelcast convert`, checked for form. */
export interface ConvertArguments {
  readonly kind: "convert";
  /** Null where the source itself tells. */
  readonly sourceFormat: ModelFormat | null;
  /** Null where the output's name tells. */
  readonly targetFormat: ModelFormat | null;
  readonly request: ConverterRequest;
  /** Whether every weight is to have a row in the report, however many there are. */
  readonly listWeights: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** `modelcast convert --layout transformers.js`, checked for form. */
export interface LayoutArguments {
  readonly kind: "layout";
  /** The source folder, the folder to write, and how to export and quantize. */
  readonly request: ConverterRequest;
  readonly dtypes: readonly Dtype[];
  readonly json: boolean;
  readonly quiet: boolean;
}

/** What a layout for transformers.js holds unasked. */
const USUAL_DTYPES: readonly Dtype[] = ["fp32", "fp16", "q8", "q4", "q4f16"];

/** Gives `command` the options of `convert`; `done` gets its parsed arguments. */
export function addConvertOptions(
  command: Command,
  done: (command: ConvertArguments | LayoutArguments) => void,
): void {
  const formats = Object.keys(MODEL_FORMATS);
  command
    .requiredOption("--source <path>", "the model to read: a file, or a Hugging Face folder")
    .addOption(choice("--source-format <name>", "format of the source, if it can't tell", formats))
    .addOption(
      choice(
        "--target-format <name>",
        "format to write, if the output's name doesn't tell",
        formats.filter((name) => name !== "pytorch"),
      ),
    )
    .option("--output <path>", "the file to write; replaced when the conversion has succeeded")
    .addOption(
      choice("--layout <name>", "write a folder as a library loads it", ["transformers.js"]),
    )
    .option("--dtypes <names>", `files of the layout: ${DTYPE_NAMES.join(", ")}`, dtypes)
    .option("--precision <name>", `precision of the weights: ${PRECISIONS.join(", ")}`, precision)
    .option(
      "--all-precisions",
      "write every precision, as OUTPUT.PRECISION.onnx or .webgpu.js, from one read",
    )
    .option("--block-size <n>", "weights that share a scale: 16 to 256, channel, tensor", blockSize)
    .option("--symmetric", "no zero points: codes around the middle of their range")
    .option("--asymmetric", "a zero point for each block (the default)")
    .addOption(
      choice("--method <name>", "how scales are chosen (nncf: for OpenVINO, by NNCF)", [
        "rtn",
        "mse",
        "hqq",
        "nncf",
      ]).default(DEFAULTS.method),
    )
    .addOption(
      choice("--scales <type>", "type of the stored scales", ["float16", "float32"])
        .default("float16"),
    )
    .addOption(
      choice("--activations <type>", "type that the model computes in", ["float32", "float16"])
        .default("float32"),
    )
    .option("--io-f16", "make float inputs and outputs float16 too")
    .addOption(
      choice("--encoding <name>", "ONNX form of quantized weights", ["auto", "matmulnbits", "qdq"])
        .default("auto"),
    )
    .option(
      "--runtime <name>",
      "a runtime that must load the result, such as onnxruntime-1.24:webgpu; repeatable",
      collect,
    )
    .option(
      "--exclude <pattern>",
      "leave weights alone whose tensor or node name matches; repeatable",
      collect,
    )
    .addOption(
      choice("--nan <what>", "a weight that holds NaN or infinity", ["error", "keep"])
        .default("error"),
    )
    .option("--dry-run", "print what would be written, to the byte, and write nothing")
    .option("--sha256", "print the SHA-256 of what was written")
    .option("--list-weights", "print a row for each weight, however many there are")
    .option("--json", "print the report as JSON")
    .option("--quiet", "print nothing but errors")
    .action((options: ConvertOptions) => done(checkConvert(options)));
  addEngine(command);
  addPyTorch(command);
  addPython(command);
  addDims(command);
  addVerification(command);
}

/** How weights are quantized. */
function addEngine(command: Command): void {
  command.optionsGroup("Engine:")
    .addOption(
      choice("--engine <name>", "what does the work", ["auto", "webgpu", "wasm", "reference"])
        .default("auto"),
    )
    .option("--workers <n>", "threads of the wasm engine (default: one a core)", workers)
    .option("--allow-inexact", "use a GPU whose arithmetic fails the self-test");
}

/** What a PyTorch source needs, and how it is exported. */
function addPyTorch(command: Command): void {
  command.optionsGroup("PyTorch sources:")
    .option("--model-type <name>", "architecture of weights that lie without a config.json")
    .option("--config <file>", "a config.json for weights that lie without one")
    .addOption(choice("--task <name>", "what the model is for", TASKS).default("auto"))
    .option("--opset <n>", "opset of the ONNX model", positiveInteger)
    .option("--static", "fixed batch and sequence length instead of symbolic ones")
    .addOption(
      choice("--exporter <name>", "PyTorch's exporter", ["auto", "dynamo", "torchscript"])
        .default("auto"),
    )
    .addOption(
      choice("--external-data <when>", "weights beside the ONNX file", ["auto", "always", "never"])
        .default("auto"),
    )
    .option("--trust-pickle", "load a pickle that names any class: it can run any code")
    .option("--random-weights", "make up weights where there are none, from --seed");
}

/** How Python runs. */
function addPython(command: Command): void {
  command.optionsGroup("Python (PyTorch sources, OpenVINO):")
    .option("--python <path>", "this interpreter instead of the environment that uv makes")
    .option("--allow-hub", "let it use the network")
    .option(
      "--timeout <seconds>",
      "the longest that it, or a module that is verified, may take",
      positiveInteger,
      DEFAULTS.timeout,
    )
    .option("--max-memory <size>", "the most memory it may take, such as 8GB", memorySize)
    .option("--compile <device>", "also write the compiled blob for an OpenVINO device");
}

/** What a module for WebGPU is made for. */
function addDims(command: Command): void {
  command.optionsGroup("WebGPU modules:")
    .option(
      "--dim <name=n>",
      "fix a symbolic dimension of the inputs; repeatable",
      collectExtent,
    )
    .option(
      "--max-dim <name=n>",
      "the most that a run may give to a symbolic dimension; repeatable",
      collectExtent,
    );
}

/** How results are compared with what they were made from. */
function addVerification(command: Command): void {
  command.optionsGroup("Verification:")
    .option("--verify", "compare the result with its source (the default where Python is used)")
    .option("--no-verify", "don't")
    .option("--inputs <file>", "verify on these inputs: .npz, .npy or a picture")
    .option("--provider <name>", "ONNX Runtime's execution provider to verify on", "cpu")
    .option("--seed <n>", "seed of the generated inputs", positiveInteger, 1)
    .option(
      "--max-error <number>",
      "fail with exit code 3 past this relative L2 error of any output, such as 0.1",
      errorLimit,
    )
    .option("--per-op", "find the first node where the original and the result part");
}

/** Makes a command of the options. */
function checkConvert(options: ConvertOptions): ConvertArguments | LayoutArguments {
  checkTogether(options);
  const json = options.json ?? false;
  const quiet = options.quiet ?? false;
  if (options.layout !== undefined) {
    const request = requestOf(options, ["float32"]);
    return { kind: "layout", request, dtypes: dtypesOf(options), json, quiet };
  }
  return {
    kind: "convert",
    sourceFormat: options.sourceFormat ?? null,
    targetFormat: options.targetFormat ?? null,
    listWeights: options.listWeights ?? false,
    json,
    quiet,
    request: requestOf(options, precisionsOf(options)),
  };
}

/** The dtypes of a layout: those that are named, those of the precisions, or the usual ones. */
function dtypesOf(options: ConvertOptions): readonly Dtype[] {
  if (options.dtypes !== undefined) return options.dtypes;
  if (options.precision === undefined && !options.allPrecisions) return USUAL_DTYPES;
  return dtypesOfPrecisions(precisionsOf(options), options.activations);
}

/** The request of a command line. */
function requestOf(options: ConvertOptions, precisions: readonly Precision[]): ConverterRequest {
  return {
    modelPath: options.source,
    outputPath: options.output ?? unnamedOutput(options),
    modelType: options.modelType ?? null,
    precisions,
    blockSize: options.blockSize ?? DEFAULTS.blockSize,
    symmetric: options.symmetric ?? false,
    method: options.method === "nncf" ? DEFAULTS.method : options.method,
    nncf: options.method === "nncf",
    scales: options.scales,
    activations: options.activations,
    ioFloat16: options.ioF16 ?? false,
    encoding: options.encoding,
    runtimes: options.runtime ?? DEFAULTS.runtimes,
    exclude: options.exclude ?? DEFAULTS.exclude,
    nan: options.nan,
    engine: options.engine,
    workers: options.workers ?? null,
    allowInexact: options.allowInexact ?? false,
    task: options.task,
    config: options.config ?? null,
    opset: options.opset ?? null,
    dynamic: !(options.static ?? false),
    exporter: options.exporter,
    externalData: options.externalData,
    trustPickle: options.trustPickle ?? false,
    randomWeights: options.randomWeights ?? false,
    python: options.python ?? null,
    allowHub: options.allowHub ?? false,
    timeout: options.timeout,
    maxMemory: options.maxMemory ?? null,
    compile: options.compile ?? null,
    dims: options.dim ?? DEFAULTS.dims,
    maxDims: options.maxDim ?? DEFAULTS.maxDims,
    verify: options.verify ?? (asksToCompare(options) ? true : null),
    inputs: options.inputs ?? null,
    provider: options.provider,
    seed: options.seed,
    perOp: options.perOp ?? false,
    maxError: options.maxError ?? null,
    dryRun: options.dryRun ?? false,
    sha256: options.sha256 ?? false,
  };
}

/** Who names inputs, limits the error, or asks for the node where two models part, asks for a comparison. */
function asksToCompare({ inputs, maxError, perOp }: ConvertOptions): boolean {
  return inputs !== undefined || maxError !== undefined || perOp === true;
}

/** What a dry run calls an output that has no name. */
function unnamedOutput({ source, targetFormat = "onnx" }: ConvertOptions): string {
  const [extension] = MODEL_FORMATS[targetFormat].extensions;
  return `${source.replace(/\.onnx$/, "")}.converted${extension}`;
}

/** The precisions asked for; float32 is what a conversion to another format gives unasked. */
function precisionsOf(options: ConvertOptions): readonly Precision[] {
  if (options.allPrecisions) {
    return PRECISIONS.filter((name) =>
      name !== "float32" && (name !== "bfloat16" || options.activations === "float32")
    );
  }
  if (options.precision !== undefined) return [options.precision];
  const source = options.sourceFormat ?? formatOfPath(options.source);
  const target = options.targetFormat ?? formatOfPath(options.output ?? "out.onnx");
  if (source !== "onnx" || target !== "onnx") return ["float32"];
  throw new InputError(
    `Cannot read the command line: no precision is given. Add --precision with one of ` +
      `${PRECISIONS.join(", ")}, or --all-precisions.`,
  );
}
