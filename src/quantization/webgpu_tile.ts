/**
 * One tile on its way through the GPU: its buffers, the upload of its weights, the recording of its
 * passes, and the results read back.
 */
import { blockLayout } from "../formats.ts";
import { EngineFault, type ErrorSums, type QuantizeJob } from "./engine.ts";
import { importanceOf, sharesOf } from "./methods/integers.ts";
import { ASYMMETRIC_GRIDS, lengthClass, SYMMETRIC_GRIDS } from "./methods/grids.ts";
import type { BufferRequest, ComputeDevice } from "./webgpu_device.ts";
import {
  type Bindings,
  type JobKernels,
  type Kernels,
  PARAMETER_BYTES,
  type Part,
  type Rows,
  STATE_BYTES,
} from "./webgpu_kernels.ts";
import {
  LONG_RUN,
  packWeights,
  placeResults,
  type ResultArrays,
  SUMS_BYTES,
  type Tile,
  UPLOADED_BYTES,
} from "./webgpu_tiles.ts";

/** What tiles share. */
export interface TileContext {
  readonly device: ComputeDevice;
  readonly kernels: Kernels;
  /** Bytes of weights in one binding at most. */
  readonly limit: number;
}

/** What a tile gives beside its arrays. */
export interface TileCounts {
  readonly nonFinite: number;
  readonly saturated: number;
  /** Zeros where the job does not measure. */
  readonly error: ErrorSums;
}

/** A range of the buffer that holds all results of a tile. */
interface Section {
  readonly offset: number;
  readonly size: number;
}

/** The results of a tile, in the order in which they lie in one buffer. */
interface Sections {
  readonly codes: Section;
  readonly scales: Section;
  readonly tally: Section;
  readonly zeroPoints: Section;
  readonly sums: Section;
  /** Bytes of all that is read back. */
  readonly readBytes: number;
  readonly totalBytes: number;
}

const ALIGNMENT = 256;
const TALLY_BYTES = 12;
/** Columns of a part of a long row: the results of each part then begin at the alignment. */
const PART_COLUMNS = 16 * LONG_RUN;
/** Bytes of one call of `writeBuffer`. */
const UPLOAD_BYTES = 256 * 2 ** 20;

/**
 * Quantizes `tile` of `job` and puts its results into `into`. Rejects with an `EngineFault` where
 * the device fails or the tile is too large for it.
 */
export async function quantizeTile(
  context: TileContext,
  jobKernels: JobKernels,
  job: QuantizeJob,
  tile: Tile,
  into: ResultArrays,
): Promise<TileCounts> {
  const { device, kernels } = context;
  const parts = partsOf(job, jobKernels, tile, context.limit);
  const sections = sectionsOf(job, jobKernels, tile);
  const layout = blockLayout(job.format, tile.rows, tile.columns);
  const rows: Rows = {
    columns: tile.columns,
    runs: Math.ceil(tile.columns / jobKernels.run),
    planeBytes: layout.codeBytes / 3,
  };
  const buffers = await takeBuffers(context, jobKernels, job, parts, rows, sections);
  try {
    await device.guard("quantize", () => {
      const { queue } = device.gpu;
      for (const [index, part] of parts.entries()) {
        const range = {
          firstRow: tile.firstRow,
          rows: tile.rows,
          firstColumn: tile.firstColumn + part.firstRun * jobKernels.run,
          columns: part.columns,
        };
        upload(queue, buffers.weights[index]!, packWeights(job, range));
        const parameters = kernels.parameters(jobKernels, job, part, rows);
        queue.writeBuffer(buffers.parameters, index * PARAMETER_BYTES, parameters);
      }
      if (buffers.importance !== null) {
        queue.writeBuffer(
          buffers.importance.buffer,
          0,
          sharesOfTile(job, layout.blockLength, jobKernels, tile),
        );
      }
      const encoder = device.gpu.createCommandEncoder();
      encoder.clearBuffer(buffers.results, 0, sections.totalBytes);
      const pass = encoder.beginComputePass();
      kernels.record(
        pass,
        jobKernels,
        job,
        parts.map((part, index) => ({
          part,
          bindings: bindingsOf(job, buffers, sections, part, index),
        })),
      );
      pass.end();
      encoder.copyBufferToBuffer(buffers.results, 0, buffers.staging, 0, sections.readBytes);
      queue.submit([encoder.finish()]);
    });
    await device.waitFor(
      "read results back",
      buffers.staging.mapAsync(GPUMapMode.READ, 0, sections.readBytes),
    );
    device.check();
    const groups = parts.reduce(
      (sum, part) => sum + kernels.groupsOf(jobKernels, job, part),
      0,
    );
    const mapped = buffers.staging.getMappedRange(0, sections.readBytes);
    const counts = readResults(job, tile, mapped, sections, groups, into);
    buffers.staging.unmap();
    device.giveBack(buffers.all);
    return counts;
  } catch (error) {
    device.discard(buffers.all);
    throw error;
  }
}

/** The parts that a tile's weights are uploaded in: one, unless a single row exceeds `limit`. */
function partsOf(job: QuantizeJob, kernels: JobKernels, tile: Tile, limit: number): Part[] {
  const rowBytes = tile.columns * UPLOADED_BYTES[job.weightType];
  const most = Math.floor(limit / UPLOADED_BYTES[job.weightType] / PART_COLUMNS);
  const width = kernels.kind === "long" && tile.rows === 1 && rowBytes > limit
    ? Math.max(1, most) * PART_COLUMNS
    : tile.columns;
  const parts: Part[] = [];
  for (let first = 0; first < tile.columns; first += width) {
    const columns = Math.min(width, tile.columns - first);
    parts.push({
      rows: tile.rows,
      columns,
      runs: Math.ceil(columns / kernels.run),
      firstRun: first / kernels.run,
      // The planes of 3-bit codes are bound whole, other codes part by part.
      firstCode: job.format.bits === 3 ? first : 0,
    });
  }
  return parts;
}

function sectionsOf(job: QuantizeJob, kernels: JobKernels, tile: Tile): Sections {
  const layout = blockLayout(job.format, tile.rows, tile.columns);
  const blocks = tile.rows * layout.blocks;
  const runs = tile.rows * Math.ceil(tile.columns / kernels.run);
  let end = 0;
  const section = (bytes: number): Section => {
    const offset = end;
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    end = Math.ceil((offset + size) / ALIGNMENT) * ALIGNMENT;
    return { offset, size };
  };
  const codes = section(layout.codeBytes);
  const scales = section(layout.scaleBytes);
  const tally = section(TALLY_BYTES);
  // What the job does not want comes last and stays on the device.
  let readBytes = end;
  const zeroPoints = section(blocks);
  if (!job.format.symmetric) readBytes = end;
  const sums = section(job.measure ? runs * SUMS_BYTES : SUMS_BYTES);
  if (job.measure) readBytes = end;
  return { codes, scales, tally, zeroPoints, sums, readBytes, totalBytes: end };
}

/** The buffers of a tile. */
interface TileBuffers {
  readonly all: readonly GPUBuffer[];
  /** One for each part. */
  readonly weights: readonly GPUBuffer[];
  readonly parameters: GPUBuffer;
  readonly results: GPUBuffer;
  readonly staging: GPUBuffer;
  /** Null for short blocks. */
  readonly states: GPUBufferBinding | null;
  /** What the passes over long blocks find; null for short blocks. */
  readonly partials: GPUBufferBinding | null;
  /** Null where all columns count alike. */
  readonly importance: GPUBufferBinding | null;
}

async function takeBuffers(
  { device }: TileContext,
  kernels: JobKernels,
  job: QuantizeJob,
  parts: readonly Part[],
  rows: Rows,
  sections: Sections,
): Promise<TileBuffers> {
  const storage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
  const rowCount = parts[0]!.rows;
  const long = kernels.kind === "long";
  const partialBytes = long ? rowCount * rows.runs * partialsOfRun(job) * 4 : 0;
  // Kernels count the bits of a row's planes in 32 bits.
  const limit = Math.min(device.limits.bindingBytes, 2 ** 29 - 1);
  const planeBytes = job.format.bits === 3 ? sections.codes.size : 0;
  if (Math.max(partialBytes, planeBytes, sections.sums.size) > limit) {
    throw new EngineFault(
      `Cannot quantize a block of ${rows.columns} weights on WebGPU: its ` +
        `intermediate results exceed the ${limit} bytes of a binding. Use another engine.`,
    );
  }
  const wanted: BufferRequest[] = [];
  const want = (size: number, usage: GPUBufferUsageFlags): number =>
    wanted.push({ size, usage }) - 1;
  const weights = parts.map((part) =>
    want(part.rows * part.columns * UPLOADED_BYTES[job.weightType] + 3, storage)
  );
  const parameters = want(
    parts.length * PARAMETER_BYTES,
    GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
  );
  const results = want(sections.totalBytes, storage | GPUBufferUsage.COPY_SRC);
  const staging = want(sections.readBytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  const states = long ? want(rowCount * STATE_BYTES, storage) : null;
  const partials = long ? want(partialBytes, storage) : null;
  const importance = importanceOf(job) ? want(rows.runs * kernels.run * 4, storage) : null;
  const all = await device.take(wanted);
  const whole = (index: number | null): GPUBufferBinding | null =>
    index === null ? null : { buffer: all[index]!, size: wanted[index]!.size };
  return {
    all,
    weights: weights.map((index) => all[index]!),
    parameters: all[parameters]!,
    results: all[results]!,
    staging: all[staging]!,
    states: whole(states),
    partials: whole(partials),
    importance: whole(importance),
  };
}

/** Words that a pass at most finds in a run of a long block. */
function partialsOfRun({ method, format, columns }: QuantizeJob): number {
  if (method !== "mse") return 3;
  const length = lengthClass(columns);
  const candidates = format.symmetric
    ? 2 * SYMMETRIC_GRIDS[format.bits][length].lower.count
    : 3 * ASYMMETRIC_GRIDS[format.bits][length].count;
  return 2 * (1 + candidates);
}

function bindingsOf(
  job: QuantizeJob,
  buffers: TileBuffers,
  sections: Sections,
  part: Part,
  index: number,
): Bindings {
  const { results } = buffers;
  const range = ({ offset, size }: Section): GPUBufferBinding => ({
    buffer: results,
    offset,
    size,
  });
  const weights = {
    buffer: buffers.weights[index]!,
    size: Math.ceil((part.rows * part.columns * UPLOADED_BYTES[job.weightType]) / 4) * 4,
  };
  let codes = sections.codes;
  if (part.firstRun > 0 && job.format.bits !== 3) {
    const skipped = (part.firstRun * LONG_RUN * job.format.bits) / 8;
    codes = { offset: codes.offset + skipped, size: codes.size - skipped };
  }
  const sums = {
    offset: sections.sums.offset + (job.measure ? part.firstRun * SUMS_BYTES : 0),
    size: sections.sums.size - (job.measure ? part.firstRun * SUMS_BYTES : 0),
  };
  return {
    parameters: {
      buffer: buffers.parameters,
      offset: index * PARAMETER_BYTES,
      size: PARAMETER_BYTES,
    },
    weights,
    codes: range(codes),
    scales: range(sections.scales),
    zeroPoints: range(sections.zeroPoints),
    tally: range(sections.tally),
    sums: range(sums),
    // Something is bound, but not read, where all columns count alike.
    importance: buffers.importance ?? { buffer: weights.buffer, size: 16 },
    ...(buffers.states === null ? {} : { states: buffers.states }),
    ...(buffers.partials === null ? {} : { partials: buffers.partials }),
  };
}

/** Shares of the importance that the tile's columns have, 0 for the padding. */
function sharesOfTile(
  job: QuantizeJob,
  blockLength: number,
  kernels: JobKernels,
  tile: Tile,
): Float32Array<ArrayBuffer> {
  const padded = new Float32Array(Math.ceil(tile.columns / kernels.run) * kernels.run);
  const { firstColumn, columns } = tile;
  const importance = importanceOf(job);
  if (importance !== null) {
    padded.set(sharesOf(importance.subarray(firstColumn, firstColumn + columns), blockLength));
  }
  return padded;
}

/** Writes `bytes` to the beginning of `buffer`, the last word padded with zeros. */
function upload(queue: GPUQueue, buffer: GPUBuffer, bytes: Uint8Array): void {
  const whole = bytes.byteLength - (bytes.byteLength % 4);
  for (let offset = 0; offset < whole; offset += UPLOAD_BYTES) {
    const piece = bytes.subarray(offset, Math.min(offset + UPLOAD_BYTES, whole));
    // WebGPU takes shared memory here as well; its types in TypeScript do not say so.
    queue.writeBuffer(buffer, offset, piece as Uint8Array<ArrayBuffer>);
  }
  if (whole < bytes.byteLength) {
    const last = new Uint8Array(4);
    last.set(bytes.subarray(whole));
    queue.writeBuffer(buffer, whole, last);
  }
}

function readResults(
  job: QuantizeJob,
  tile: Tile,
  mapped: ArrayBuffer,
  sections: Sections,
  groups: number,
  into: ResultArrays,
): TileCounts {
  const bytes = ({ offset, size }: Section) => new Uint8Array(mapped, offset, size);
  const tally = new Uint32Array(mapped, sections.tally.offset, TALLY_BYTES / 4);
  const [nonFinite, saturated, finished] = [tally[0]!, tally[1]!, tally[2]!];
  if (finished !== groups) {
    throw new EngineFault(
      `Cannot quantize on WebGPU: ${finished} of ${groups} workgroups finished. ` +
        "Use another engine.",
    );
  }
  placeResults(job, tile, {
    codes: bytes(sections.codes),
    scales: bytes(sections.scales),
    zeroPoints: job.format.symmetric ? null : bytes(sections.zeroPoints),
  }, into);
  const error: ErrorSums = { signal: 0, noise: 0, dot: 0 };
  if (job.measure) {
    const { offset, size } = sections.sums;
    const sums = new Float32Array(mapped, offset, size / 4);
    for (let i = 0; i < sums.length; i += 4) {
      const factor = sums[i + 3]! ** 2;
      error.signal += sums[i]! * factor;
      error.noise += sums[i + 1]! * factor;
      error.dot += sums[i + 2]! * factor;
    }
  }
  return { nonFinite, saturated, error };
}
