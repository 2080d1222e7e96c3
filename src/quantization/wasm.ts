/**
 * The wasm engine: AssemblyScript SIMD kernels in workers over one shared memory. A job is cut into
 * units of rows which the workers take one after another; the result does not depend on who took
 * which.
 */
import { blockLayout } from "../formats.ts";
import { MissingToolError } from "../error.ts";
import { checkImportance, checkJob } from "./check_job.ts";
import {
  type Engine,
  EngineFault,
  type FileMatrix,
  type Method,
  type QuantizeFileJob,
  type QuantizeJob,
  type QuantizeResult,
} from "./engine.ts";
import { importanceOf } from "./methods/integers.ts";
import { placesOf, SharedMemory } from "./shared_memory.ts";
import {
  JOB_BYTES,
  METHOD_NUMBERS,
  powerTable,
  searchSteps,
  shareTable,
  UNIT_STATISTICS,
  WEIGHT_TYPE_NUMBERS,
  writeJob,
} from "./wasm_job.ts";
import {
  instantiate,
  type WorkerJob,
  type WorkerReply,
  type WorkerRequest,
} from "./wasm_kernels.ts";
import { BUFFER_BYTES, planUnits, type UnitPlan } from "./wasm_units.ts";
import { WEIGHT_BYTES } from "./widen.ts";

/** The compiled kernels. */
const KERNELS = new URL("../../build/quantize.wasm", import.meta.url);

/** Options of {@link createWasmEngine}. */
export interface WasmEngineOptions {
  /** Workers; one for each processor unless given. */
  readonly workers?: number;
  /** Bytes of weights that may be allocated at a time; one job may have more. 192 MiB unless given. */
  readonly budget?: number;
}

/**
 * An engine of workers, which start now: they are ready when the first job comes.
 * Throws a `MissingToolError` when the kernels have not been built.
 */
export async function createWasmEngine(options: WasmEngineOptions = {}): Promise<Engine> {
  const count = Math.max(1, Math.floor(options.workers ?? navigator.hardwareConcurrency));
  const kernels = loadKernels();
  // Starting a worker takes as long as compiling.
  const workers = Array.from(
    { length: count },
    () =>
      new Worker(new URL("./wasm_worker.ts", import.meta.url).href, {
        type: "module",
        name: "quantize",
      }),
  );
  try {
    return new WasmEngine(await kernels, workers, options.budget ?? 192 * 1024 * 1024);
  } catch (error) {
    for (const worker of workers) worker.terminate();
    throw error;
  }
}

async function loadKernels(): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(await Deno.readFile(KERNELS));
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new MissingToolError(
      'Cannot start the wasm engine: "build/quantize.wasm" does not exist. ' +
        "Build it with: deno task build:assembly",
      { cause },
    );
  }
}

interface Waiting {
  readonly byteLength: number;
  resolve(memory: { bytes: Uint8Array; release(): void }): void;
  reject(fault: EngineFault): void;
}

interface Running {
  /** Workers that have not replied. */
  left: number;
  fault: string | null;
  settle(fault: string | null): void;
}

class WasmEngine implements Engine {
  readonly name = "wasm";
  readonly #budget: number;
  readonly #heap = new SharedMemory();
  readonly #waiting: Waiting[] = [];
  readonly #running = new Map<number, Running>();
  readonly #workers: readonly Worker[];
  /** Jobs that wait to be posted, for each worker. */
  readonly #queues: WorkerJob[][];
  #posting = false;
  readonly #powers: number;
  #allocated = 0;
  #jobs = 0;
  #fault: string | null = null;

  constructor(module: WebAssembly.Module, workers: readonly Worker[], budget: number) {
    this.#budget = budget;
    this.#workers = workers;
    this.#queues = workers.map(() => []);
    const { memory } = this.#heap;
    const scratchBytes = instantiate(module, memory).scratchBytes();
    const table = powerTable();
    this.#powers = this.#reserve(table.byteLength);
    new Float32Array(memory.buffer, this.#powers, table.length).set(table);
    for (const worker of workers) {
      worker.onmessage = ({ data }: MessageEvent<WorkerReply>) => this.#reply(data);
      worker.onerror = (event) => {
        event.preventDefault();
        this.#fail(`A worker of the wasm engine failed: ${event.message}`);
      };
      worker.postMessage(
        {
          kind: "start",
          module,
          memory,
          scratch: this.#reserve(scratchBytes),
          buffer: this.#reserve(BUFFER_BYTES),
        } satisfies WorkerRequest,
      );
    }
  }

  /** Takes memory for as long as the engine lives. */
  #reserve(byteLength: number): number {
    const offset = this.#heap.allocate(byteLength);
    if (offset === null) throw outOfMemory(byteLength);
    return offset;
  }

  allocate(byteLength: number): Promise<{ bytes: Uint8Array; release(): void }> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ byteLength, resolve, reject });
      this.#serveWaiting();
    });
  }

  /** Serves allocations in order, as far as the budget goes. */
  #serveWaiting(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const { byteLength, resolve, reject } = first;
      if (this.#fault !== null) {
        this.#waiting.shift();
        reject(new EngineFault(this.#fault));
        continue;
      }
      if (this.#allocated > 0 && this.#allocated + byteLength > this.#budget) return;
      this.#waiting.shift();
      const offset = this.#heap.allocate(byteLength);
      if (offset === null) {
        reject(outOfMemory(byteLength));
        continue;
      }
      this.#allocated += byteLength;
      let held = true;
      const release = () => {
        if (!held) return;
        held = false;
        this.#allocated -= byteLength;
        this.#heap.free(offset);
        this.#serveWaiting();
      };
      resolve({ bytes: this.#heap.bytes(offset, byteLength), release });
    }
  }

  async quantize(job: QuantizeJob): Promise<QuantizeResult> {
    checkJob(job);
    return await this.#quantize(job);
  }

  async quantizeFile(job: QuantizeFileJob): Promise<QuantizeResult> {
    checkImportance(job);
    return await this.#quantize(job);
  }

  async #quantize(job: QuantizeJob | QuantizeFileJob): Promise<QuantizeResult> {
    if (this.#fault !== null) throw new EngineFault(this.#fault);
    const { rows, columns, format } = job;
    const layout = blockLayout(format, rows, columns);
    const zeroPointBytes = format.symmetric ? 0 : rows * layout.blocks;
    if (rows === 0 || columns === 0) return emptyResult(job, layout.scaleBytes, zeroPointBytes);

    const { steps, count } = searchSteps(format, layout.blockLength);
    const importance = importanceOf(job);
    const shares = importance &&
      shareTable(importance, layout.blockLength, layout.blocks * layout.blockLength);
    const inMemory = job.weights instanceof Uint8Array ? job.weights : null;
    const held = inMemory && this.#heap.offsetOf(inMemory);
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
      inMemory === null,
    );
    // One piece of the heap for all that a job needs.
    const places = placesOf({
      record: JOB_BYTES,
      statistics: plan.units * UNIT_STATISTICS * 8,
      steps: steps.byteLength,
      shares: shares?.byteLength ?? 0,
      codes: layout.codeBytes,
      scales: layout.scaleBytes,
      zeroPoints: zeroPointBytes,
      weights: inMemory && held === null ? inMemory.byteLength : 0,
    });
    const start = this.#heap.allocate(places.byteLength);
    if (start === null) throw outOfMemory(places.byteLength);
    const release = () => this.#heap.free(start);
    try {
      const at = places.from(start);
      const put = (offset: number, array: Float32Array | Int16Array | Uint8Array) =>
        this.#heap.bytes(offset, array.byteLength)
          .set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      put(at.steps, steps);
      if (shares) put(at.shares, shares);
      if (inMemory && held === null) put(at.weights, inMemory);
      const { codes, scales, zeroPoints, statistics } = at;
      this.#heap.bytes(statistics, plan.units * UNIT_STATISTICS * 8).fill(0);
      writeJob(this.#heap.bytes(at.record, JOB_BYTES), {
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
        codes,
        scales,
        zeroPoints: format.symmetric ? 0 : zeroPoints,
        steps: at.steps,
        stepCount: count,
        staged: format.blockSize === 0 ? 0 : 1,
        powers: this.#powers,
        weights: inMemory ? held ?? at.weights : 0,
        pitch: plan.columnsOrder ? rows : columns,
        unitRows: plan.unitRows,
        unitBlocks: plan.unitBlocks,
        units: plan.units,
        statistics,
        taken: 0,
      });
      await this.#run(at.record, plan, inMemory ? null : job.weights as FileMatrix);
      const sums = new Float64Array(
        this.#heap.memory.buffer,
        statistics,
        plan.units * UNIT_STATISTICS,
      );
      const total = (field: number) => {
        let sum = 0;
        for (let i = field; i < sums.length; i += UNIT_STATISTICS) sum += sums[i]!;
        return sum;
      };
      // What the sample stands for.
      const share = job.measure ? (rows * layout.blocks) / total(5) : 0;
      return {
        codes: this.#heap.bytes(codes, layout.codeBytes),
        scales: this.#heap.bytes(scales, layout.scaleBytes),
        zeroPoints: format.symmetric ? null : this.#heap.bytes(zeroPoints, zeroPointBytes),
        nonFinite: total(3),
        saturated: total(4),
        ...(job.measure
          ? { error: { signal: share * total(0), noise: share * total(1), dot: share * total(2) } }
          : {}),
        release,
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Has as many workers as there are units work on the job of `record`. */
  #run(record: number, plan: UnitPlan, matrix: FileMatrix | null): Promise<void> {
    const id = this.#jobs++;
    const file = matrix && { matrix, plan };
    const workers = Math.min(plan.units, this.#workers.length);
    return new Promise((resolve, reject) => {
      const settle = (fault: string | null) => {
        this.#running.delete(id);
        if (fault === null) resolve();
        else reject(new EngineFault(fault));
      };
      this.#running.set(id, { left: workers, fault: null, settle });
      // Jobs in flight start at different workers, so that small ones spread.
      for (let i = 0; i < workers; i++) {
        this.#queues[(id + i) % this.#workers.length]!.push({ id, record, file });
      }
      // Jobs that come together go in one message.
      if (this.#posting) return;
      this.#posting = true;
      queueMicrotask(() => this.#post());
    });
  }

  /** Hands over the jobs that wait. */
  #post(): void {
    this.#posting = false;
    this.#queues.forEach((jobs, i) => {
      if (jobs.length === 0) return;
      this.#workers[i]!.postMessage({ kind: "run", jobs: jobs.splice(0) } satisfies WorkerRequest);
    });
  }

  #reply(replies: WorkerReply): void {
    for (const { id, fault } of replies) {
      const running = this.#running.get(id);
      if (running === undefined) continue;
      running.left--;
      running.fault ??= fault;
      if (running.left === 0) running.settle(running.fault);
    }
  }

  /** Ends the engine: every job and allocation in flight is rejected. */
  #fail(reason: string): void {
    if (this.#fault !== null) return;
    this.#fault = reason;
    for (const worker of this.#workers) worker.terminate();
    for (const running of [...this.#running.values()]) running.settle(reason);
    this.#serveWaiting();
  }

  dispose(): void {
    this.#fail("The wasm engine was disposed of.");
  }
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

function outOfMemory(byteLength: number): EngineFault {
  return new EngineFault(`The wasm engine has no ${byteLength} bytes of memory left.`);
}

function emptyResult(
  job: Omit<QuantizeJob, "weights">,
  scaleBytes: number,
  zeroPointBytes: number,
): QuantizeResult {
  return {
    codes: new Uint8Array(0),
    scales: new Uint8Array(scaleBytes),
    zeroPoints: job.format.symmetric ? null : new Uint8Array(zeroPointBytes),
    nonFinite: 0,
    saturated: 0,
    ...(job.measure ? { error: { signal: 0, noise: 0, dot: 0 } } : {}),
    release: () => {},
  };
}
