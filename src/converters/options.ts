/**
 * What a conversion can be asked for. Only names and types, so that the command line's help costs
 * nothing more.
 */
import type { Bits, BlockSize, ScaleType } from "../formats.ts";
import type { EngineName, Method } from "../quantization/engine.ts";

/** Precisions of weights, from the most bits to the fewest. */
export const PRECISIONS = [
  "float32",
  "bfloat16",
  "float16",
  "8bit",
  "4bit",
  "3bit",
  "2bit",
] as const;

/** Name of a precision. */
export type Precision = typeof PRECISIONS[number];

/** Bits a weight of each precision takes, without scales and zero points. */
export const PRECISION_BITS: Readonly<Record<Precision, number>> = {
  float32: 32,
  bfloat16: 16,
  float16: 16,
  "8bit": 8,
  "4bit": 4,
  "3bit": 3,
  "2bit": 2,
};

/** Bits of a quantized precision; null for a float one. */
export function quantizedBits(precision: Precision): Bits | null {
  const bits = PRECISION_BITS[precision];
  return bits === 8 || bits === 4 || bits === 3 || bits === 2 ? bits : null;
}

/**
 * Formats of models: how their files end, the first being what is written, and how files end that
 * always go beside them under the same name.
 */
export const MODEL_FORMATS = {
  pytorch: { extensions: [".pt", ".pth", ".pt2", ".bin", ".safetensors"], beside: [] },
  onnx: { extensions: [".onnx"], beside: [] },
  openvino: { extensions: [".xml"], beside: [".bin"] },
  webgpu: {
    extensions: [".webgpu.js"],
    beside: [".d.ts", ".safetensors", ".html", ".report.json"],
  },
} as const;

/** Name of a model format. */
export type ModelFormat = keyof typeof MODEL_FORMATS;

/** The format that the name of a file tells; null where it tells none. */
export function formatOfPath(path: string): ModelFormat | null {
  const formats = Object.keys(MODEL_FORMATS) as ModelFormat[];
  const name = path.toLowerCase();
  return formats.find((format) =>
    MODEL_FORMATS[format].extensions.some((extension) => name.endsWith(extension))
  ) ?? null;
}

/** What a PyTorch model is exported for; "auto" takes what its configuration says. */
export const TASKS = [
  "auto",
  "base",
  "causal-lm",
  "causal-lm-with-past",
  "seq2seq",
  "classification",
  "ctc",
  "feature-extraction",
] as const;

/** Name of a task. */
export type Task = typeof TASKS[number];

/** What to convert a model to. All of it changes the output's bytes and stands in its metadata. */
export interface OutputOptions {
  readonly blockSize: BlockSize;
  readonly symmetric: boolean;
  readonly method: Method;
  readonly scales: ScaleType;
  readonly activations: "float32" | "float16";
  readonly ioFloat16: boolean;
  readonly encoding: "auto" | "matmulnbits" | "qdq";
  readonly runtimes: readonly string[];
  readonly exclude: readonly string[];
  readonly nan: "error" | "keep";
  /** Whether float16 weights are only stored in float16 and computed with in float32. */
  readonly storeFloats?: boolean;
}

/** Threads that may be asked for: each takes 8 MB, and a process has room for so many only. */
export const MOST_WORKERS = 256;

/** How the weights are quantized; none of it changes the output's bytes. */
export interface EngineOptions {
  readonly engine: "auto" | EngineName;
  /** Threads of the wasm engine; null for one a core. */
  readonly workers: number | null;
  readonly allowInexact: boolean;
}

/** How a PyTorch model becomes an ONNX model. */
export interface ExportOptions {
  readonly task: Task;
  /** Path of a config.json, for weights that lie without one. */
  readonly config: string | null;
  /** Opset of the ONNX model; null for the exporter's choice. */
  readonly opset: number | null;
  /** Whether batch and sequence stay symbolic. */
  readonly dynamic: boolean;
  /** "auto" takes torch.export's, and TorchScript's where that fails. */
  readonly exporter: "auto" | "dynamo" | "torchscript";
  /** Where the weights lie: in the file while it is below 2 GiB, beside it, or in it. */
  readonly externalData: "auto" | "always" | "never";
  /** Whether a pickle may name any class, which lets it run any code. */
  readonly trustPickle: boolean;
  /** Whether to make up weights where there are none. */
  readonly randomWeights: boolean;
}

/** How the Python child runs. */
export interface PythonOptions {
  /** Path of an interpreter to take instead of the environment that uv makes; null for that. */
  readonly python: string | null;
  /** Whether the child may use the network. */
  readonly allowHub: boolean;
  /** Seconds that the child may take. */
  readonly timeout: number;
  /** Bytes of memory that the child may take; null for no limit. */
  readonly maxMemory: number | null;
}

/** Whether and how results are compared with what they were made from. */
export interface VerificationOptions {
  /** Null for the default: on where Python is involved in any step, else off. */
  readonly verify: boolean | null;
  /** Path of a `.npz`, `.npy` or picture to verify an ONNX result on; null for seeded inputs. */
  readonly inputs: string | null;
  /** Execution provider of ONNX Runtime. */
  readonly provider: string;
  readonly seed: number;
  /** Whether to find the first node where original and result part. */
  readonly perOp: boolean;
  /** The largest relative L2 error of an output that passes; null for the limit of the precision. */
  readonly maxError: number | null;
}

/** Symbolic dimensions of a module for WebGPU, by name. */
export interface DimOptions {
  /** Extents that dimensions are fixed at. */
  readonly dims: Readonly<Record<string, number>>;
  /** The largest extents that a run may give to dimensions. */
  readonly maxDims: Readonly<Record<string, number>>;
}

/** Everything that a conversion between any two formats can be asked for. */
export interface ConverterOptions
  extends
    OutputOptions,
    EngineOptions,
    ExportOptions,
    PythonOptions,
    VerificationOptions,
    DimOptions {
  /** One precision is written to the output, several to `OUTPUT.PRECISION.onnx` each. */
  readonly precisions: readonly Precision[];
  /** Whether NNCF compresses the weights of an OpenVINO result, in place of modelcast. */
  readonly nncf: boolean;
  /** OpenVINO device to compile for beside writing the IR, such as "CPU"; null for none. */
  readonly compile: string | null;
  readonly dryRun: boolean;
  /** Whether to hash what was written, which means reading it once more. */
  readonly sha256: boolean;
}

/** Options that a person who names none gets. */
export const DEFAULTS = {
  blockSize: 32,
  symmetric: false,
  method: "mse",
  scales: "float16",
  activations: "float32",
  ioFloat16: false,
  encoding: "auto",
  runtimes: [],
  exclude: [],
  nan: "error",
  engine: "auto",
  workers: null,
  allowInexact: false,
  task: "auto",
  config: null,
  opset: null,
  dynamic: true,
  exporter: "auto",
  externalData: "auto",
  trustPickle: false,
  randomWeights: false,
  python: null,
  allowHub: false,
  timeout: 1800,
  maxMemory: null,
  verify: null,
  inputs: null,
  provider: "cpu",
  seed: 1,
  perOp: false,
  maxError: null,
  nncf: false,
  compile: null,
  dims: {},
  maxDims: {},
  dryRun: false,
  sha256: false,
} as const satisfies Omit<ConverterOptions, "precisions">;
