/**
 * A job of the wasm engine in shared memory: all that workers read and write of it in one piece of the
 * heap.
 */
import type { BlockLayout } from "../formats.ts";
import {
  EngineFault,
  type FileMatrix,
  type Method,
  type QuantizeFileJob,
  type QuantizeJob,
  type QuantizeResult,
} from "./engine.ts";
import { importanceOf } from "./methods/integers.ts";
import { placesOf, type SharedMemory } from "./shared_memory.ts";
import {
  JOB_BYTES,
  METHOD_NUMBERS,
  searchSteps,
  shareTable,
  UNIT_STATISTICS,
  WEIGHT_TYPE_NUMBERS,
  writeJob,
} from "./wasm_job.ts";
import { planUnits, type UnitPlan } from "./wasm_units.ts";
import { WEIGHT_BYTES } from "./widen.ts";

/** A job in the heap. */
export interface PreparedJob {
  readonly at: Readonly<
    Record<"record" | "statistics" | "codes" | "scales" | "zeroPoints", number>
  >;
  readonly plan: UnitPlan;
  /** Where the weights are if not in the heap. */
  readonly matrix: FileMatrix | null;
  /** Gives the memory back; a second time does nothing. */
  release(): void;
}

/**
 * Takes one piece of the heap for all that a job needs, and writes into it what workers read; `powers`
 * is where the table of powers is. Throws an `EngineFault` where there is no memory left.
 */
export function prepareJob(
  heap: SharedMemory,
  powers: number,
  job: QuantizeJob | QuantizeFileJob,
  layout: BlockLayout,
): PreparedJob {
  const { rows, columns, format } = job;
  const inMemory = job.weights instanceof Uint8Array ? job.weights : null;
  const matrix = job.weights instanceof Uint8Array ? null : job.weights;
  const held = inMemory && heap.offsetOf(inMemory);
  const plan = planUnits(
    {
      rows,
      columns,
      columnsOrder: job.order === "columns",
      weightBytes: WEIGHT_BYTES[job.weightType],
      blocks: layout.blocks,
      blockLength: layout.blockLength,
    },
    job.method,
    matrix !== null,
  );
  const { steps, count } = searchSteps(format, layout.blockLength);
  const importance = importanceOf(job);
  const shares = importance &&
    shareTable(importance, layout.blockLength, layout.blocks * layout.blockLength);
  const statisticsBytes = plan.units * UNIT_STATISTICS * 8;
  const places = placesOf({
    record: JOB_BYTES,
    statistics: statisticsBytes,
    steps: steps.byteLength,
    shares: shares?.byteLength ?? 0,
    codes: layout.codeBytes,
    scales: layout.scaleBytes,
    zeroPoints: format.symmetric ? 0 : rows * layout.blocks,
    weights: inMemory && held === null ? inMemory.byteLength : 0,
  });
  const start = heap.allocate(places.byteLength);
  if (start === null) throw outOfMemory(places.byteLength);
  const at = places.from(start);
  const put = (offset: number, { buffer, byteOffset, byteLength }: ArrayBufferView) =>
    heap.bytes(offset, byteLength).set(new Uint8Array(buffer, byteOffset, byteLength));
  put(at.steps, steps);
  if (shares) put(at.shares, shares);
  if (inMemory && held === null) put(at.weights, inMemory);
  heap.bytes(at.statistics, statisticsBytes).fill(0);
  writeJob(heap.bytes(at.record, JOB_BYTES), {
    rows,
    columns,
    columnsOrder: plan.columnsOrder ? 1 : 0,
    weightType: WEIGHT_TYPE_NUMBERS[job.weightType],
    bits: format.bits,
    symmetric: format.symmetric ? 1 : 0,
    blockLength: layout.blockLength,
    blocks: layout.blocks,
    wideScales: format.scaleType === "float32" ? 1 : 0,
    method: METHOD_NUMBERS[job.method],
    shares: shares ? at.shares : 0,
    measure: job.measure ? samplingOf(job.method, rows * layout.blocks) : 0,
    codes: at.codes,
    scales: at.scales,
    zeroPoints: format.symmetric ? 0 : at.zeroPoints,
    steps: at.steps,
    stepCount: count,
    staged: format.blockSize === 0 ? 0 : 1,
    powers,
    weights: inMemory ? held ?? at.weights : 0,
    pitch: plan.columnsOrder ? rows : columns,
    unitRows: plan.unitRows,
    unitBlocks: plan.unitBlocks,
    units: plan.units,
    statistics: at.statistics,
    taken: 0,
  });
  let free = false;
  const release = () => {
    if (!free) heap.free(start);
    free = true;
  };
  return { at, plan, matrix, release };
}

/** The result that workers left in the memory of a job. */
export function resultOf(
  heap: SharedMemory,
  { rows, format, measure }: QuantizeJob | QuantizeFileJob,
  layout: BlockLayout,
  { at, plan, release }: PreparedJob,
): QuantizeResult {
  const sums = new Float64Array(
    heap.memory.buffer,
    at.statistics,
    plan.units * UNIT_STATISTICS,
  );
  const total = (field: number) => {
    let sum = 0;
    for (let i = field; i < sums.length; i += UNIT_STATISTICS) sum += sums[i]!;
    return sum;
  };
  // What the sample stands for.
  const share = measure ? (rows * layout.blocks) / total(5) : 0;
  return {
    codes: heap.bytes(at.codes, layout.codeBytes),
    scales: heap.bytes(at.scales, layout.scaleBytes),
    zeroPoints: format.symmetric ? null : heap.bytes(at.zeroPoints, rows * layout.blocks),
    nonFinite: total(3),
    saturated: total(4),
    ...(measure
      ? { error: { signal: share * total(0), noise: share * total(1), dot: share * total(2) } }
      : {}),
    release,
  };
}

/** The result of a job without weights. */
export function emptyResult(
  { rows, format, measure }: QuantizeJob | QuantizeFileJob,
  { blocks, scaleBytes }: BlockLayout,
): QuantizeResult {
  return {
    codes: new Uint8Array(0),
    scales: new Uint8Array(scaleBytes),
    zeroPoints: format.symmetric ? null : new Uint8Array(rows * blocks),
    nonFinite: 0,
    saturated: 0,
    ...(measure ? { error: { signal: 0, noise: 0, dot: 0 } } : {}),
    release: () => {},
  };
}

/**
 * One of how many blocks is measured. Rounding is so fast that measuring all of it would take as
 * long again; 8,192 blocks or more tell the SQNR to a few hundredths of a decibel.
 */
function samplingOf(method: Method, blocks: number): number {
  let sampling = 1;
  while (method === "rtn" && sampling < 32 && blocks >= 16384 * sampling) sampling *= 2;
  return sampling;
}

/** The fault of an engine that can't have `byteLength` bytes. */
export function outOfMemory(byteLength: number): EngineFault {
  return new EngineFault(`The wasm engine has no ${byteLength} bytes of memory left.`);
}
