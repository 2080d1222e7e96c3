/** The options of `convert` as a person may type them, and which of them go together. */
import { DEFAULTS, type ModelFormat, type Precision, type Task } from "../converters/options.ts";
import { InputError } from "../error.ts";
import type { BlockSize, ScaleType } from "../formats.ts";
import type { Dtype } from "../layout/dtypes.ts";
import type { EngineName, Method } from "../quantization/engine.ts";

/** What commander hands to the action of `convert`. */
export interface ConvertOptions {
  source: string;
  output?: string;
  sourceFormat?: ModelFormat;
  targetFormat?: ModelFormat;
  layout?: "transformers.js";
  dtypes?: readonly Dtype[];
  precision?: Precision;
  allPrecisions?: true;
  blockSize?: BlockSize;
  symmetric?: true;
  asymmetric?: true;
  method: Method | "nncf";
  scales: ScaleType;
  activations: "float32" | "float16";
  ioF16?: true;
  encoding: "auto" | "matmulnbits" | "qdq";
  runtime?: readonly string[];
  exclude?: readonly string[];
  nan: "error" | "keep";
  engine: "auto" | EngineName;
  workers?: number;
  allowInexact?: true;
  modelType?: string;
  config?: string;
  task: Task;
  opset?: number;
  static?: true;
  exporter: "auto" | "dynamo" | "torchscript";
  externalData: "auto" | "always" | "never";
  trustPickle?: true;
  randomWeights?: true;
  python?: string;
  allowHub?: true;
  timeout: number;
  maxMemory?: number;
  compile?: string;
  dim?: Readonly<Record<string, number>>;
  maxDim?: Readonly<Record<string, number>>;
  verify?: boolean;
  inputs?: string;
  provider: string;
  seed: number;
  perOp?: true;
  maxError?: number;
  dryRun?: true;
  sha256?: true;
  listWeights?: true;
  json?: true;
  quiet?: true;
}

/** Checks what commander can't: options that exclude or need each other. Throws an `InputError`. */
export function checkTogether(options: ConvertOptions): void {
  if (options.symmetric && options.asymmetric) {
    throw new InputError(
      "Cannot read the command line: --symmetric and --asymmetric exclude each other. Give one.",
    );
  }
  if (options.precision !== undefined && options.allPrecisions) {
    throw new InputError(
      "Cannot read the command line: --precision and --all-precisions exclude each other. Give one.",
    );
  }
  for (const key of NAMES) {
    if (options[key] !== "") continue;
    throw new InputError(
      `Cannot read the command line: ${flagOf(key)} is empty. Give it a name, or leave it out.`,
    );
  }
  if (options.output === undefined && !options.dryRun) {
    throw new InputError(
      "Cannot read the command line: no output is given. Add --output FILE, or --dry-run to see " +
        "the sizes only.",
    );
  }
  if (options.layout !== undefined) checkLayoutOptions(options);
  else if (options.dtypes !== undefined) {
    throw new InputError(
      "Cannot read the command line: --dtypes belongs to --layout. Give --precision instead.",
    );
  }
}

/** Options whose value is a name or a path. */
const NAMES = [
  "source",
  "output",
  "config",
  "modelType",
  "python",
  "compile",
  "inputs",
  "provider",
] as const;

/** Options that a layout has no use for, with the value that each has unasked. */
const NOT_OF_LAYOUTS: Partial<Record<keyof ConvertOptions, unknown>> = {
  ioF16: undefined,
  encoding: DEFAULTS.encoding,
  static: undefined,
  externalData: DEFAULTS.externalData,
  compile: undefined,
  inputs: undefined,
  perOp: undefined,
  maxError: undefined,
  dryRun: undefined,
  sha256: undefined,
  listWeights: undefined,
};

/** Refuses what a layout would leave undone. */
function checkLayoutOptions(options: ConvertOptions): void {
  const useless = (Object.keys(NOT_OF_LAYOUTS) as (keyof ConvertOptions)[])
    .filter((key) => options[key] !== NOT_OF_LAYOUTS[key]).map(flagOf);
  if (options.runtime !== undefined) useless.push("--runtime");
  if (options.dim !== undefined) useless.push("--dim");
  if (options.maxDim !== undefined) useless.push("--max-dim");
  if (options.method === "nncf") useless.push("--method nncf");
  if ((options.sourceFormat ?? "pytorch") !== "pytorch") useless.push("--source-format");
  if ((options.targetFormat ?? "onnx") !== "onnx") useless.push("--target-format");
  const { dtypes: named, precision, allPrecisions, activations } = options;
  if (named !== undefined && (precision !== undefined || allPrecisions)) {
    useless.push(
      allPrecisions ? "--all-precisions beside --dtypes" : "--precision beside --dtypes",
    );
  }
  const unread = named !== undefined || (precision === undefined && !allPrecisions);
  if (unread && activations !== DEFAULTS.activations) useless.push("--activations");
  if (useless.length === 0) return;
  throw new InputError(
    `Cannot use ${useless[0]} here: a layout for transformers.js settles that by its dtypes and ` +
      "its own rules. Leave it out.",
  );
}

/** The option as a person writes it. */
function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
