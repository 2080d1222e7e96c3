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
}

/** A conversion of an ONNX model to ONNX. */
export interface ConversionOptions extends OutputOptions {
  readonly source: string;
  readonly output: string;
  /** One precision is written to `output`, several to `OUTPUT.PRECISION.onnx` each. */
  readonly precisions: readonly Precision[];
  readonly engine: "auto" | EngineName;
  /** Threads of the wasm engine; null for one a core. */
  readonly workers: number | null;
  readonly allowInexact: boolean;
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
  dryRun: false,
  sha256: false,
} as const satisfies Omit<ConversionOptions, "source" | "output" | "precisions">;
