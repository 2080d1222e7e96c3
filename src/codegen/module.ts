/**
 * What a WebGPU module is made of: the tables and the program that the emitter writes
 * ({@link ModuleTables}), what the program calls ({@link Recorder}), and what the embedded runtime
 * (`src/codegen/runtime`) makes of them for the person who loads the module ({@link Model}).
 */
import type { DType } from "../dtype.ts";

/**
 * How an activation lies in GPU memory, 4 bytes an element: bool and unsigned integers as u32,
 * signed integers as i32 (int64 by a check at the boundary), every float type as f32.
 */
export type Storage = "f32" | "i32" | "u32";

/** The arrays that GPU results are read into. */
export type StorageArray = Float32Array | Int32Array | Uint32Array;

/** The arrays that tensors on the host are made of, one element each, sub-byte types too. */
export type TensorArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Float16Array;

/** An input of the model. */
export interface InputTable {
  readonly name: string;
  readonly dtype: DType;
  readonly storage: Storage;
  /** A string is a symbolic dimension: equal strings must be equal numbers in a run. */
  readonly dims: readonly (number | string)[];
  /** The program reads the values on the host: a GPUBuffer is read back before it starts. */
  readonly host?: boolean;
  /** The largest extents that a run may give, one a dimension; null for no limit. */
  readonly limits?: readonly (number | null)[];
}

/** An output of the model. */
export interface OutputTable {
  readonly name: string;
  readonly dtype: DType;
  readonly storage: Storage;
  /** null: known only at run time, and no symbol of the inputs; instead of all, not even the rank. */
  readonly dims: readonly (number | string | null)[] | null;
}

/** A compute pipeline: one shader text with one set of constants. The entry point is `main`. */
export interface PipelineTable {
  /** Op and node number, never a name from the model. */
  readonly label: string;
  readonly code: string;
  /**
   * A letter for each tensor, in order of binding: "a" an activation (`var<storage, read_write>`),
   * "w" a weight (`var<storage, read>`). Tensors are bindings 1, 2, ... of group 0. A dispatch binds
   * a tensor at most once. A binding covers its tensor rounded up to 16 bytes. "." is a number that
   * is left out: pipelines of one kernel number their tensors alike.
   */
  readonly bindings: string;
  /**
   * Numbers in the uniform parameter block, binding 0 (i32, 4 bytes each, e.g.
   * `array<vec4i, (parameters + 3) / 4>`); at 0 there is no binding 0.
   */
  readonly parameters: number;
  /** Values of the shader's `override` constants. A software adapter takes 1 for LANES. */
  readonly constants?: Readonly<Record<string, number>>;
  /** GPU features that it enables: it is made only where a device has them. */
  readonly features?: readonly string[];
}

/** A product of ceil(size / tile), each size by its index in a kernel's `sizes`. */
export type Tiles = readonly (readonly [size: number, tile: number])[];

/** A way of computing, as several kernels of a module may have it: see `kernel_family.ts`. */
export interface VariantTable {
  /** Name of the row in the table of kernel files. */
  readonly name: string;
  /** The adapters that it is for. */
  readonly adapter: "any" | "software" | "hardware";
  /** GPU features that it needs. */
  readonly features: readonly string[];
  /** Bytes of workgroup memory. */
  readonly workgroupBytes: number;
  /** One dispatch, or two in a row: how many workgroups each has, ceil(tiles / share). */
  readonly passes: readonly { readonly tiles: Tiles; readonly share: number }[];
  /** Where there are two: elements of the f32 tensor that the first stores and the second loads. */
  readonly between?: Tiles;
}

/** Bounds of a size, both included. */
export interface SizeLimit {
  readonly size: number;
  readonly least?: number;
  readonly most?: number;
}

/** One of the ways in which a kernel may be computed. */
export interface CandidateTable {
  readonly variant: VariantTable;
  /** What must hold in a run for it to be taken, as far as that was not proved at conversion. */
  readonly limits: readonly SizeLimit[];
  /** Of each pass. The second of two binds the tensor between after all others, as the first does. */
  readonly pipelines: readonly number[];
}

/**
 * A dispatch that can be computed in several ways, all with the same tensors and parameters. Of the
 * candidates that the device can use and whose limits hold in a run, the first is taken until tuning
 * knows better. At least one needs nothing: no features, no limits, no more memory than all have.
 */
export interface KernelTable {
  /** Op and node number. */
  readonly label: string;
  /** A letter for each tensor, as pipelines have them. */
  readonly bindings: string;
  readonly parameters: number;
  /** What candidates depend on: a number, or the index of a parameter. */
  readonly sizes: readonly (number | readonly [parameter: number])[];
  /** In order of preference. */
  readonly candidates: readonly CandidateTable[];
}

/** A piece of the weights file, the unit of download, check and cache; best 1 to 8 MiB. */
export interface WeightChunk {
  /** Index of the GPU buffer that it fills. */
  readonly buffer: number;
  /** Byte offset in that buffer, a multiple of 4. */
  readonly offset: number;
  /** Byte offset in the file. Chunks are listed in the order of the file. */
  readonly at: number;
  readonly bytes: number;
  /** SHA-256 of the bytes, 64 lowercase hexadecimal digits. */
  readonly sha256: string;
}

/** The weights file and the GPU buffers that it fills. */
export interface WeightTables {
  /** Name of the `.safetensors` file, for messages; its tensors "0", "1", ... are the buffers. */
  readonly file: string;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Byte length of each GPU buffer, a multiple of 256. */
  readonly buffers: readonly number[];
  /** Pieces of buffers, in order of the file, together all of them. */
  readonly chunks: readonly WeightChunk[];
  /** Of each weight its buffer, the byte offset in it (a multiple of 256) and its bytes (of 4). */
  readonly tensors: readonly (readonly [buffer: number, offset: number, bytes: number])[];
}

/** Everything in a module that depends on the model. */
export interface ModuleTables {
  readonly inputs: readonly InputTable[];
  readonly outputs: readonly OutputTable[];
  readonly pipelines: readonly PipelineTable[];
  readonly kernels: readonly KernelTable[];
  readonly weights: WeightTables;
  /** GPU features that the module can't do without. */
  readonly features: readonly string[];
  readonly program: Program;
}

/**
 * The generated program: records what one run does. Without sync points it is called once for each
 * set of input dimensions (and values, of inputs that are `host`), and its commands are replayed.
 */
export type Program = (m: Recorder) => Generator<SyncPoint, void, StorageArray[]>;

/** A tensor in GPU memory, as the program hands it around. */
export interface Tensor {
  /** Bytes of its elements; may be 0. */
  readonly bytes: number;
}

/** A place where the host waits for the GPU: all that was recorded is submitted, then read. */
export interface SyncPoint {
  /** What the `yield` gives back, an array each: the first `count` elements. */
  readonly read: readonly {
    readonly tensor: Tensor;
    readonly storage: Storage;
    readonly count: number;
  }[];
  /** Activations that are still needed; the others are gone. Inputs, weights and outputs stay. */
  readonly live: readonly Tensor[];
}

/** What the program calls, `m`. */
export interface Recorder {
  /** Dimensions of an input, already checked. */
  dims(input: number): number[];
  /**
   * Values of an input whose table says `host`. Integers are numbers: an int64 past the safe integers
   * is the last of them.
   */
  host(input: number): ArrayLike<number>;
  input(input: number): Tensor;
  weight(index: number): Tensor;
  /** A new activation. Its memory is planned, not allocated; what it holds first is undefined. */
  tensor(bytes: number, label?: string): Tensor;
  /** `value`, where it is an extent; the run ends where what `label` names has none such. */
  extent(value: number, label: string): number;
  /** A new activation that holds `values`. */
  upload(values: ArrayLike<number>, storage: Storage): Tensor;
  /**
   * Runs `groups` workgroups; none is a dispatch that is left out. The shader takes
   * `workgroup_id.x + workgroup_id.y * num_workgroups.x` as its group: past the device's limit a
   * grid has two dimensions and may hold groups past the last, which must do nothing.
   */
  dispatch(pipeline: number, tensors: Tensor[], parameters: number[], groups: number): void;
  /**
   * Runs a kernel by the candidate that fits the sizes and the device best. Tensors and parameters
   * are as for {@link dispatch}; workgroups follow from the sizes.
   */
  kernel(kernel: number, tensors: Tensor[], parameters: number[]): void;
  /** Makes `tensor`, which may be an input or a weight, an output of the run. */
  output(index: number, tensor: Tensor, dims: number[]): void;
  /** Forgets what was recorded since the last sync point: another program begins. */
  restart(): void;
  /** Ends the run with an error. */
  fail(message: string): never;
}

/** Nested plain arrays of a tensor's elements. */
export type NestedArray = readonly (number | bigint | boolean | NestedArray)[];

/** Values of an input, in row-major order; dimensions are found where they follow. */
export type InputValue =
  | { readonly data: TensorArray | NestedArray; readonly dims: readonly number[] }
  | GpuInputValue
  | TensorArray
  | NestedArray
  | number
  | bigint
  | boolean;

/**
 * An input that is on the GPU already: a buffer of the model's device with the elements in its
 * {@link Storage} from offset 0, of usage STORAGE (bound as it is) or COPY_SRC (copied).
 */
export interface GpuInputValue {
  readonly buffer: GPUBuffer;
  readonly dims: readonly number[];
}

/** An output on the host. `data` is an array of the dtype: see `OUTPUT_ARRAYS` in `values.js`. */
export interface HostOutput {
  readonly dtype: DType;
  readonly dims: number[];
  readonly data: TensorArray;
}

/** An output that stays on the GPU until `dispose` is called, elements in their {@link Storage}. */
export interface GpuOutput {
  readonly dtype: DType;
  readonly dims: number[];
  readonly buffer: GPUBuffer;
  dispose(): void;
}

/** What `onProgress` is told: bytes of weights, or pipelines made. */
export interface LoadProgress {
  readonly stage: "device" | "weights" | "pipelines" | "ready";
  readonly loaded: number;
  readonly total: number;
}

/** Where weights may come from. */
export type WeightSource =
  | string
  | URL
  | Response
  | Blob
  | ArrayBuffer
  | Uint8Array
  | ReadableStream<Uint8Array>;

/** Options of `load`. */
export interface LoadOptions {
  /** By default the file beside the module. */
  readonly weights?: WeightSource | Promise<Response>;
  /** By default a device of its own with the adapter's limits. */
  readonly device?: GPUDevice;
  /** Keeps weights in Cache Storage: true, the name of a cache there, or a cache. */
  readonly cache?: boolean | string | Pick<Cache, "match" | "put" | "delete">;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
  /**
   * Which kernels are fit: those for a GPU, or those for a processor that plays one. By default what
   * the adapter says of itself.
   */
  readonly adapter?: "hardware" | "software";
  /**
   * Times the candidates of each kernel after the first run with sizes that are new, while no run
   * waits, and takes the fastest from then on; with `cache`, in later loads on the same adapter too.
   * Results change by rounding. By default on a GPU, and not on a processor that plays one.
   */
  readonly tune?: boolean;
}

/** Options of `run`. */
export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Names of outputs that are to stay on the GPU. */
  readonly gpuOutputs?: readonly string[];
}

/** Counts and sizes of a loaded model. */
export interface ModelStats {
  readonly runs: number;
  /** Dispatches of the last run. */
  readonly dispatches: number;
  /** Pipelines made, all of them at load: those that this device can use. */
  readonly pipelines: number;
  /** Recorded plans that are kept, one for each set of input dimensions. */
  readonly plans: number;
  /** GPU buffers that exist now, and their bytes; GPU outputs not yet disposed of included. */
  readonly buffers: number;
  readonly bytes: number;
  readonly weightBytes: number;
  /** Bytes of memory for activations, and the most that was needed at once in the last run. */
  readonly arenaBytes: number;
  readonly liveBytes: number;
  /** Choices between candidates that tuning has made, or that are remembered from an earlier load. */
  readonly tuned: number;
  /** Milliseconds of the last run: recording and planning, encoding, waiting for the GPU, in all. */
  readonly times: {
    readonly plan: number;
    readonly encode: number;
    readonly wait: number;
    readonly total: number;
  };
}

/** What one dispatch took. */
export interface DispatchProfile {
  /** Index in the table of pipelines. */
  readonly pipeline: number;
  readonly label: string;
  readonly groups: number;
  readonly parameters: readonly number[];
  readonly microseconds: number;
}

/** A loaded model. */
export interface Model {
  readonly device: GPUDevice;
  readonly inputs: readonly Pick<InputTable, "name" | "dtype" | "dims">[];
  readonly outputs: readonly Pick<OutputTable, "name" | "dtype" | "dims">[];
  run(
    inputs: Readonly<Record<string, InputValue>>,
    options?: RunOptions,
  ): Promise<Record<string, HostOutput | GpuOutput>>;
  /** Runs once and times each dispatch, by timestamps where the device has them. */
  profile(inputs: Readonly<Record<string, InputValue>>): Promise<DispatchProfile[]>;
  stats(): ModelStats;
  /** Resolves when tuning has nothing left to do; at once where it is off. */
  tuned(): Promise<void>;
  /** Frees every buffer, and the device where it is the model's own. */
  dispose(): void;
}
