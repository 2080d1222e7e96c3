/**
 * A worker of the wasm engine: an instance of the kernels over the shared memory, which works on one
 * job after another together with the other workers. Weights in a file it reads itself, as many at a
 * time as its cache holds.
 */
import type { FileMatrix } from "./engine.ts";
import { TAKEN_OFFSET } from "./wasm_job.ts";
import {
  instantiate,
  type Kernels,
  type WorkerJob,
  type WorkerReply,
  type WorkerRequest,
} from "./wasm_kernels.ts";
import {
  BUFFER_BYTES,
  type Piece,
  readablePieces,
  runsOf,
  unitAt,
  type UnitPlan,
} from "./wasm_units.ts";

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<WorkerRequest>) => void) | null;
  postMessage(reply: WorkerReply): void;
}

/** What this worker works with. */
interface Tools {
  readonly kernels: Kernels;
  readonly scratch: number;
  readonly buffer: Uint8Array;
}

const scope = globalThis as unknown as WorkerScope;
let tools: Tools | null = null;
/** The file that was read last. */
let opened: { readonly path: string; readonly file: Deno.FsFile } | null = null;

scope.onmessage = ({ data }) => {
  if (data.kind === "start") {
    tools = {
      kernels: instantiate(data.module, data.memory),
      scratch: data.scratch,
      buffer: new Uint8Array(data.memory.buffer, data.buffer, BUFFER_BYTES),
    };
    return;
  }
  if (tools !== null) runAll(tools, data.jobs);
};

/** Milliseconds for which a reply may wait for the next. */
const PATIENCE = 2;

/** Works on jobs in order. A message takes as long as a small job: replies go together. */
function runAll(tools: Tools, jobs: readonly WorkerJob[]): void {
  let replies: WorkerReply[number][] = [];
  let since = performance.now();
  for (const [index, job] of jobs.entries()) {
    let fault: string | null = null;
    try {
      run(tools, job);
    } catch (error) {
      fault = String(error);
    }
    replies.push({ id: job.id, fault });
    if (index < jobs.length - 1 && performance.now() - since < PATIENCE) continue;
    scope.postMessage(replies);
    replies = [];
    since = performance.now();
  }
}

/** Works on a job until no unit of it is left. */
function run({ kernels, scratch, buffer }: Tools, { record, file }: WorkerJob): void {
  if (file === null) return kernels.quantizeUnits(record, scratch);
  const { matrix, plan } = file;
  const opened = open(matrix.path);
  for (let index; (index = kernels.take(record + TAKEN_OFFSET)) < plan.units;) {
    for (const piece of readablePieces(plan, unitAt(plan, index))) {
      const length = read(opened, plan, matrix, piece, buffer);
      kernels.quantize(
        record,
        scratch,
        buffer.byteOffset,
        length / plan.weightBytes,
        piece.firstRow,
        piece.endRow,
        piece.firstBlock,
        piece.endBlock,
        index,
      );
    }
  }
}

function open(path: string): Deno.FsFile {
  if (opened?.path !== path) {
    opened?.file.close();
    opened = null;
    opened = { path, file: Deno.openSync(path) };
  }
  return opened.file;
}

/** Reads a piece, without what lies between its runs, into `buffer`; returns the bytes of a run. */
function read(
  file: Deno.FsFile,
  plan: UnitPlan,
  matrix: FileMatrix,
  piece: Piece,
  buffer: Uint8Array,
): number {
  const { offset, count, length, stride } = runsOf(plan, piece, matrix.pitch);
  const [reads, bytes] = length === stride ? [1, count * length] : [count, length];
  for (let i = 0; i < reads; i++) {
    file.seekSync(matrix.offset + offset + i * stride, Deno.SeekMode.Start);
    const end = (i + 1) * bytes;
    for (let at = i * bytes; at < end;) {
      const read = file.readSync(buffer.subarray(at, end));
      if (read === null || read === 0) throw new Error("the file has become shorter");
      at += read;
    }
  }
  return length;
}
