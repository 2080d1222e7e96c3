/**
 * The wasm engine: AssemblyScript SIMD kernels in workers over one shared memory. A job is cut into
 * units of rows which the workers take one after another; the result does not depend on who took
 * which.
 */
import { MissingToolError } from "../error.ts";
import { blockLayout } from "../formats.ts";
import { checkImportance, checkJob } from "./check_job.ts";
import {
  type Engine,
  EngineFault,
  type QuantizeFileJob,
  type QuantizeJob,
  type QuantizeResult,
} from "./engine.ts";
import { SharedMemory } from "./shared_memory.ts";
import { powerTable } from "./wasm_job.ts";
import {
  instantiate,
  type WorkerJob,
  type WorkerReply,
  type WorkerRequest,
} from "./wasm_kernels.ts";
import {
  emptyResult,
  outOfMemory,
  type PreparedJob,
  prepareJob,
  resultOf,
} from "./wasm_prepared.ts";
import { BUFFER_BYTES } from "./wasm_units.ts";

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
    if (rows === 0 || columns === 0) return emptyResult(job, layout);
    const prepared = prepareJob(this.#heap, this.#powers, job, layout);
    try {
      await this.#run(prepared);
      return resultOf(this.#heap, job, layout, prepared);
    } catch (error) {
      prepared.release();
      throw error;
    }
  }

  /** Has as many workers as there are units work on a job. */
  #run({ at: { record }, plan, matrix }: PreparedJob): Promise<void> {
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
      // Workers wake up by the first of jobs that come together; the others go in one message.
      if (this.#posting) return;
      if (this.#running.size === 1) return this.#post();
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
