/**
 * The `.d.ts` of a module: names, dtypes and shapes of its inputs and outputs as literal types, so that
 * a misspelt name, data of another type or a wrong fixed dimension is an error in the editor. It needs
 * no other types, and uses WebGPU's where the program has them.
 */
import type { DType } from "../dtype.ts";
import { encodeJson } from "./encode.ts";

/** An input or an output, as the declarations see it. */
export interface DeclaredValue {
  readonly name: string;
  readonly dtype: DType;
  /** A number is fixed, a text is a symbol, null is known at run time only. */
  readonly dims: readonly (number | string | null)[];
}

/** An output, of which not even the rank may be known: its dims are null then. */
export interface DeclaredOutput extends Omit<DeclaredValue, "dims"> {
  readonly dims: DeclaredValue["dims"] | null;
}

/** Typed arrays that hold the elements of a dtype, one an element. */
const ARRAYS: Readonly<Partial<Record<DType, string>>> = {
  float64: "Float64Array",
  float32: "Float32Array",
  float16: "Uint16Array | HalfArray",
  bfloat16: "Uint16Array",
  int64: "BigInt64Array",
  uint64: "BigUint64Array",
  int32: "Int32Array",
  uint32: "Uint32Array",
  int16: "Int16Array",
  uint16: "Uint16Array",
  int8: "Int8Array",
  int4: "Int8Array",
  int2: "Int8Array",
};

/** What is the same in every module; `Inputs`, `Outputs`, `inputs` and `outputs` are the module's own. */
const COMMON = `
type Global<Name extends string, Otherwise> = typeof globalThis extends
  { readonly [Key in Name]: { readonly prototype: infer Instance } } ? Instance : Otherwise;

/** A buffer of WebGPU. */
export type Buffer = Global<"GPUBuffer", object>;
/** A device of WebGPU. */
export type Device = Global<"GPUDevice", object>;
type HalfArray = Global<"Float16Array", Uint16Array>;
type Nested = number | bigint | boolean | readonly Nested[];

/** Values of an input in the computer's memory. */
export interface HostInput<Data, Dims extends readonly number[]> {
  readonly data: Data | readonly Nested[];
  readonly dims: Dims;
}

/** Values of an input in the GPU's memory, 4 bytes an element, as \`gpuOutputs\` gives them. */
export interface GpuInput<Dims extends readonly number[]> {
  readonly buffer: Buffer;
  readonly dims: Dims;
}

/** An input: with its dims, or bare where they follow from it. */
export type Input<Data, Dims extends readonly number[]> =
  | HostInput<Data, Dims>
  | GpuInput<Dims>
  | Data
  | Nested;

/** An output in the computer's memory. */
export interface HostOutput<DType extends string, Data, Dims extends readonly number[]> {
  readonly dtype: DType;
  readonly dims: Dims;
  readonly data: Data;
}

/** An output in the GPU's memory, which lives until it is disposed of. */
export interface GpuOutput<DType extends string, Dims extends readonly number[]> {
  readonly dtype: DType;
  readonly dims: Dims;
  readonly buffer: Buffer;
  dispose(): void;
}

type InGpuMemory<Output> = Output extends HostOutput<infer DType, unknown, infer Dims>
  ? GpuOutput<DType, Dims>
  : never;

/** How far loading is: bytes of weights, or pipelines made. */
export interface LoadProgress {
  readonly stage: "device" | "weights" | "pipelines" | "ready";
  readonly loaded: number;
  readonly total: number;
}

/** What {@link load} may be given. */
export interface LoadOptions {
  /** The weights file or where it is; the one beside the module if absent. */
  readonly weights?:
    | string
    | URL
    | Response
    | Promise<Response>
    | Blob
    | ArrayBuffer
    | Uint8Array
    | ReadableStream<Uint8Array>;
  /** The device to run on; one of its own if absent. */
  readonly device?: Device;
  /** Keep the weights in Cache Storage for the next load: true, a name there, or a cache. */
  readonly cache?: boolean | string | Pick<Cache, "match" | "put" | "delete">;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
  /** Kernels for a GPU, or for a processor that plays one; what the adapter is if absent. */
  readonly adapter?: "hardware" | "software";
  /** Find the fastest kernels after the first run, and remember them; on a GPU if absent. */
  readonly tune?: boolean;
}

/** Counts, sizes and times of a model, and of its last run. */
export interface ModelStats {
  readonly runs: number;
  readonly dispatches: number;
  readonly pipelines: number;
  /** Recorded plans, one for each set of input dimensions. */
  readonly plans: number;
  /** GPU buffers that there are, and their bytes. */
  readonly buffers: number;
  readonly bytes: number;
  readonly weightBytes: number;
  /** Bytes of memory for activations, and the most that are needed at once. */
  readonly arenaBytes: number;
  readonly liveBytes: number;
  /** Choices between kernels that tuning has made. */
  readonly tuned: number;
  /** Milliseconds. */
  readonly times: {
    readonly plan: number;
    readonly encode: number;
    readonly wait: number;
    readonly total: number;
  };
}

/** What one dispatch took. */
export interface DispatchProfile {
  readonly pipeline: number;
  readonly label: string;
  readonly groups: number;
  readonly parameters: readonly number[];
  readonly microseconds: number;
}

/** What a run may be given. */
export interface RunOptions<Kept extends readonly (keyof Outputs)[]> {
  /** Outputs to leave in the GPU's memory. */
  readonly gpuOutputs?: Kept;
  readonly signal?: AbortSignal;
}

/** A model that is ready to run. */
export interface Model {
  readonly device: Device;
  readonly inputs: InputDescriptions;
  readonly outputs: OutputDescriptions;
  /** Runs the model; runs that overlap wait for each other. */
  run<const Kept extends readonly (keyof Outputs)[] = readonly []>(
    inputs: Inputs,
    options?: RunOptions<Kept>,
  ): Promise<
    {
      readonly [Name in keyof Outputs]: Name extends Kept[number] ? InGpuMemory<Outputs[Name]>
        : Outputs[Name];
    }
  >;
  /** Runs once and times each dispatch. */
  profile(inputs: Inputs): Promise<DispatchProfile[]>;
  stats(): ModelStats;
  /** Resolves when tuning has nothing left to do. */
  tuned(): Promise<void>;
  /** Frees everything that the model holds; it can't run any more. */
  dispose(): void;
}

/** Loads the model. */
export function load(options?: LoadOptions): Promise<Model>;
`;

/** The text of the declarations of a module with these inputs and outputs. */
export function declarations(
  inputs: readonly DeclaredValue[],
  outputs: readonly DeclaredOutput[],
): string {
  return [
    "/** A machine-learning model that runs on WebGPU: load it, run it, dispose of it. */",
    "",
    "/** What a run takes. */",
    "export interface Inputs {",
    ...inputs.map(({ name, dtype, dims }) =>
      `  readonly ${encodeJson(name)}: Input<${arrayOf(dtype)}, ${dimsOf(dims)}>;`
    ),
    "}",
    "",
    "/** What a run gives. */",
    "export interface Outputs {",
    ...outputs.map(({ name, dtype, dims }) =>
      `  readonly ${encodeJson(name)}: ` +
      `HostOutput<${encodeJson(dtype)}, ${arrayOf(dtype)}, ${dimsOf(dims)}>;`
    ),
    "}",
    "",
    "/** Names, dtypes and dims of the inputs in order; a text is a dimension that a run binds. */",
    `export type InputDescriptions = ${descriptions(inputs)};`,
    "",
    "/** The same of the outputs; null is a dimension, or are all of them, that the data decides. */",
    `export type OutputDescriptions = ${descriptions(outputs)};`,
    COMMON,
  ].join("\n");
}

function arrayOf(dtype: DType): string {
  return ARRAYS[dtype] ?? "Uint8Array";
}

/** The type of dims at run time. */
function dimsOf(dims: DeclaredOutput["dims"]): string {
  if (dims === null) return "readonly number[]";
  return `readonly [${
    dims.map((dim) => typeof dim === "number" ? String(dim) : "number").join(", ")
  }]`;
}

function descriptions(values: readonly DeclaredOutput[]): string {
  if (values.length === 0) return "readonly []";
  const entries = values.map(({ name, dtype, dims }) =>
    `  {\n    readonly name: ${encodeJson(name)};\n    readonly dtype: ${encodeJson(dtype)};\n` +
    `    readonly dims: ${
      dims === null ? "null" : `readonly [${dims.map(encodeJson).join(", ")}]`
    };\n  },`
  );
  return `readonly [\n${entries.join("\n")}\n]`;
}
