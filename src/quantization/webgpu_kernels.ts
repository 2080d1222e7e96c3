/**
 * The kernels of the WebGPU engine on the host's side: which pipelines a job needs, what each binds,
 * the parameters, and the order of the passes.
 */
import type { Method, QuantizeJob, WeightType } from "./engine.ts";
import {
  ASYMMETRIC_GRIDS,
  ASYMMETRIC_STAGES,
  lengthClass,
  MOST_COARSE,
  SYMMETRIC_GRIDS,
} from "./methods/grids.ts";
import { importanceOf, integerUnits, TYPICAL_SHARES } from "./methods/integers.ts";
import { SHRINKAGE } from "./methods/hqq.ts";
import { POWER_OF_EXPONENT, POWER_OF_FRACTION } from "./methods/power.ts";
import type { ComputeDevice } from "./webgpu_device.ts";
import { type Access, type BlockKind, kernelFiles, shaderOf } from "./webgpu_shaders.ts";
import { jobLayout, LONG_RUN } from "./webgpu_tiles.ts";

/** Weights that a workgroup holds in its memory, as in staged.wgsl. */
const STAGED = 4096;
/** Threads of a workgroup that doesn't. */
const DIRECT_THREADS = 64;

/** Bytes of what is known of a row of a long block. */
export const STATE_BYTES = 56;

/** Bytes of a parameter slot: the alignment of uniform bindings. */
export const PARAMETER_BYTES = 256;

/** What the kernels bind, by the number of the binding. */
const BINDINGS = [
  "zero",
  "parameters",
  "weights",
  "codes",
  "scales",
  "zeroPoints",
  "tally",
  "sums",
  "importance",
  "tables",
  "states",
  "partials",
] as const;

/** Name of a binding. */
export type BindingName = typeof BINDINGS[number];

/** A buffer range for each binding; `zero` and `tables` are the kernels' own. */
export type Bindings = Readonly<
  Partial<Record<Exclude<BindingName, "zero" | "tables">, GPUBufferBinding>>
>;

const UNIFORMS: ReadonlySet<BindingName> = new Set(["zero", "parameters", "tables"]);
const READ_ONLY: ReadonlySet<BindingName> = new Set(["weights", "importance"]);

/** What a dispatch covers: all weights of a part, a workgroup a row, or a thread a row. */
type Extent = "weights" | "rows" | "threads";

/** An entry point: what it covers and what it binds. */
interface Pass {
  readonly entry: string;
  readonly extent: Extent;
  readonly bindings: readonly BindingName[];
}

const pass = (entry: string, extent: Extent, bindings: readonly BindingName[]): Pass => ({
  entry,
  extent,
  bindings,
});

const RESULTS = ["weights", "codes", "scales", "zeroPoints", "tally", "sums"] as const;
const GATHER = ["zero", "parameters", "states", "partials"] as const;

const FIND_EXTREMES = pass("find_extremes", "weights", ["parameters", "weights", "partials"]);
const BEGIN_ROWS = pass("begin_rows", "rows", GATHER);
const END_ROWS = pass("end_rows", "threads", [
  "parameters",
  "scales",
  "zeroPoints",
  "tally",
  "states",
]);
const ENCODE = pass("encode", "weights", [
  "zero",
  "parameters",
  "weights",
  "codes",
  "tally",
  "sums",
  "states",
]);
const HQQ_ROUND = [
  pass("sum_norms", "weights", [...GATHER, "weights", "tables"]),
  pass("judge", "rows", [...GATHER, "tables"]),
  pass("sum_fits", "weights", [...GATHER, "weights", "tables"]),
  pass("refit", "rows", GATHER),
];
const MSE_SEARCH = [
  pass("try_candidates", "weights", [...GATHER, "weights", "importance"]),
  pass("pick_candidate", "rows", GATHER),
];

/** The passes of a job, in order. */
function passesOf(kind: BlockKind, method: Method, symmetric: boolean): Pass[] {
  if (kind === "short") {
    const own: Readonly<Record<Method, readonly BindingName[]>> = {
      rtn: [],
      mse: ["importance"],
      hqq: ["tables"],
    };
    return [pass("quantize", "weights", ["zero", "parameters", ...RESULTS, ...own[method]])];
  }
  const rounds = (SHRINKAGE.length + 1) * (symmetric ? 2 : 1);
  const search: Readonly<Record<Method, readonly Pass[]>> = {
    rtn: [],
    mse: MSE_SEARCH,
    hqq: Array.from({ length: rounds }, () => HQQ_ROUND).flat(),
  };
  return [FIND_EXTREMES, BEGIN_ROWS, ...search[method], END_ROWS, ENCODE];
}

/** A range of columns of the rows of a tile, with weights in a buffer of their own. */
export interface Part {
  readonly rows: number;
  readonly columns: number;
  /** Runs of this part in each row, and runs of the row before it. */
  readonly runs: number;
  readonly firstRun: number;
  /** Index in the bound codes of the first weight. */
  readonly firstCode: number;
}

/** The whole rows that parts are of. */
export interface Rows {
  readonly columns: number;
  readonly runs: number;
  /** Bytes of one plane of the 3-bit codes that are bound. */
  readonly planeBytes: number;
}

/** The kernels of one job. */
export interface JobKernels {
  readonly kind: BlockKind;
  /** Weights that a thread takes. */
  readonly run: number;
  readonly threads: number;
  readonly steps: readonly { readonly pass: Pass; readonly pipeline: GPUComputePipeline }[];
}

/** Makes pipelines once each, and records dispatches. */
export class Kernels {
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  readonly #zero: GPUBuffer;
  readonly #tables: GPUBuffer;

  constructor(readonly device: ComputeDevice, readonly access: Access) {
    const { gpu } = device;
    const usage = GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST;
    this.#zero = gpu.createBuffer({ label: "zero", size: 16, usage });
    const tables = new Float32Array([...POWER_OF_EXPONENT, ...POWER_OF_FRACTION, ...SHRINKAGE, 0]);
    this.#tables = gpu.createBuffer({ label: "tables", size: tables.byteLength, usage });
    gpu.queue.writeBuffer(this.#tables, 0, tables);
  }

  /** The kernels for `job`, compiled when first asked for. */
  async prepare(job: QuantizeJob): Promise<JobKernels> {
    const { format, method } = job;
    const kind = format.blockSize === 0 ? "long" : "short";
    const run = format.blockSize === 0 ? LONG_RUN : format.blockSize;
    const threads = this.access === "staged" ? STAGED / run : DIRECT_THREADS;
    const constants = this.access === "staged"
      ? { BITS: format.bits, RUN: run, SYMMETRIC: symmetryOf(job), THREADS: threads }
      : { THREADS: threads };
    const passes = passesOf(kind, method, format.symmetric);
    const steps = await this.device.waitFor(
      "compile kernels",
      Promise.all(passes.map(async (pass) => ({
        pass,
        pipeline: await this.#pipeline(kind, method, pass, constants),
      }))),
    );
    return { kind, run, threads, steps };
  }

  /** Workgroups of the last pass over a part: as many report that they have finished. */
  groupsOf(kernels: JobKernels, job: QuantizeJob, part: Part): number {
    return job.order === "columns"
      ? Math.ceil(part.rows / kernels.threads) * part.runs
      : Math.ceil((part.rows * part.runs) / kernels.threads);
  }

  /** The parameters of `part` as the uniform `Matrix` of matrix.wgsl. */
  parameters(
    kernels: JobKernels,
    job: QuantizeJob,
    part: Part,
    rows: Rows,
  ): Uint8Array<ArrayBuffer> {
    const { format } = job;
    const { blockLength } = jobLayout(job);
    const length = lengthClass(blockLength);
    const grids = format.symmetric
      ? SYMMETRIC_GRIDS[format.bits][length]
      : { lower: ASYMMETRIC_GRIDS[format.bits][length], upper: { first: 0 } };
    const { coarse, fine } = ASYMMETRIC_STAGES[format.bits][length];
    const staged = !format.symmetric && format.blockSize !== 0;
    const { span, requiredGain } = integerUnits(format.bits);
    const step = 2 ** 15 / span;
    const weighted = importanceOf(job) !== null;
    const gain = requiredGain * (weighted ? TYPICAL_SHARES : 1);
    const sumScale = 2 ** -Math.ceil(Math.log2(Math.ceil(blockLength / LONG_RUN)));
    const bytes = new Uint8Array(PARAMETER_BYTES);
    const view = new DataView(bytes.buffer);
    const words: readonly number[] = [
      part.rows,
      part.columns,
      part.runs,
      blockLength,
      rows.runs,
      part.firstRun,
      part.firstCode,
      rows.planeBytes,
      WEIGHT_TYPES[job.weightType],
      Number(job.order === "columns"),
      Number(format.scaleType === "float16"),
      Number(job.measure),
      this.groupsOf(kernels, job, part),
      rows.columns,
    ];
    coarse.forEach((steps, index) => view.setFloat32(index * 4, steps * step, true));
    words.forEach((word, index) => view.setUint32(MOST_COARSE * 4 + index * 4, word, true));
    const grid = (MOST_COARSE + words.length) * 4;
    view.setFloat32(grid, grids.lower.first * step, true);
    view.setFloat32(grid + 4, grids.upper.first * step, true);
    view.setFloat32(grid + 8, (staged ? fine : grids.lower.step) * step, true);
    view.setUint32(grid + 12, staged ? coarse.length : grids.lower.count, true);
    view.setUint32(grid + 16, format.bits, true);
    view.setUint32(grid + 20, kernels.run, true);
    view.setUint32(grid + 24, symmetryOf(job), true);
    view.setUint32(grid + 28, Number(weighted), true);
    view.setFloat32(grid + 32, sumScale, true);
    view.setFloat32(grid + 36, span, true);
    view.setFloat32(grid + 40, 1 / span, true);
    view.setFloat32(grid + 44, gain * blockLength * sumScale, true);
    return bytes;
  }

  /** Records all passes over `parts`, each with its bindings. */
  record(
    encoder: GPUComputePassEncoder,
    kernels: JobKernels,
    job: QuantizeJob,
    parts: readonly { readonly part: Part; readonly bindings: Bindings }[],
  ): void {
    for (const { pass, pipeline } of kernels.steps) {
      encoder.setPipeline(pipeline);
      // Passes over rows see all parts through the states and the partial results.
      for (const { part, bindings } of pass.extent === "weights" ? parts : parts.slice(0, 1)) {
        encoder.setBindGroup(0, this.#bindGroup(pass, bindings));
        this.#dispatch(encoder, this.#groups(kernels, job, pass.extent, part));
      }
    }
  }

  #groups(kernels: JobKernels, job: QuantizeJob, extent: Extent, part: Part): number {
    switch (extent) {
      case "weights":
        return this.groupsOf(kernels, job, part);
      case "rows":
        return part.rows;
      case "threads":
        return Math.ceil(part.rows / 64);
    }
  }

  #dispatch(encoder: GPUComputePassEncoder, groups: number): void {
    const most = this.device.limits.workgroupsPerDimension;
    const width = Math.min(groups, most);
    encoder.dispatchWorkgroups(width, Math.ceil(groups / width));
  }

  #bindGroup(pass: Pass, bindings: Bindings): GPUBindGroup {
    const resource = (name: BindingName): GPUBufferBinding => {
      if (name === "zero") return { buffer: this.#zero };
      if (name === "tables") return { buffer: this.#tables };
      const binding = bindings[name];
      if (binding === undefined) throw new Error(`The pass "${pass.entry}" lacks "${name}".`);
      return binding;
    };
    return this.device.gpu.createBindGroup({
      layout: this.#layout(pass),
      entries: pass.bindings.map((name) => ({
        binding: BINDINGS.indexOf(name),
        resource: resource(name),
      })),
    });
  }

  #layout({ entry, bindings }: Pass): GPUBindGroupLayout {
    const key = `${entry} ${bindings.join(" ")}`;
    let layout = this.#layouts.get(key);
    if (layout === undefined) {
      layout = this.device.gpu.createBindGroupLayout({
        label: entry,
        entries: bindings.map((name) => ({
          binding: BINDINGS.indexOf(name),
          visibility: GPUShaderStage.COMPUTE,
          buffer: {
            type: UNIFORMS.has(name)
              ? "uniform"
              : READ_ONLY.has(name)
              ? "read-only-storage"
              : "storage",
          },
        })),
      });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  #pipeline(
    kind: BlockKind,
    method: Method,
    pass: Pass,
    constants: Record<string, number>,
  ): Promise<GPUComputePipeline> {
    const { gpu } = this.device;
    const key = `${kind} ${method} ${pass.entry} ${Object.values(constants).join(" ")}`;
    let pipeline = this.#pipelines.get(key);
    if (pipeline === undefined) {
      const shader = `${kind} ${method}`;
      let module = this.#modules.get(shader);
      if (module === undefined) {
        module = gpu.createShaderModule({
          label: shader,
          code: shaderOf(kernelFiles(this.access, kind, method)),
        });
        this.#modules.set(shader, module);
      }
      pipeline = gpu.createComputePipelineAsync({
        label: key,
        layout: gpu.createPipelineLayout({ bindGroupLayouts: [this.#layout(pass)] }),
        compute: { module, entryPoint: pass.entry, constants },
      });
      this.#pipelines.set(key, pipeline);
    }
    return pipeline;
  }
}

/** IS_SYMMETRIC or IS_ASYMMETRIC of matrix.wgsl. */
function symmetryOf({ format }: QuantizeJob): number {
  return format.symmetric ? 1 : 2;
}

const WEIGHT_TYPES: Readonly<Record<WeightType, number>> = {
  float32: 0,
  float16: 1,
  bfloat16: 2,
  // Rounded to float32 on the way to the device.
  float64: 0,
};
