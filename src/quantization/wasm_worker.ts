/**
 * A worker of the wasm engine: an instance of the kernels over the shared memory, which works on one
 * job after another together with the other workers.
 */
import { instantiate, type Kernels, type WorkerReply, type WorkerRequest } from "./wasm_kernels.ts";

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<WorkerRequest>) => void) | null;
  postMessage(reply: WorkerReply): void;
}

const scope = globalThis as unknown as WorkerScope;
let kernels: Kernels | null = null;
let scratch = 0;

scope.onmessage = ({ data }) => {
  if (data.kind === "start") {
    kernels = instantiate(data.module, data.memory);
    scratch = data.scratch;
    return;
  }
  let fault: string | null = null;
  try {
    kernels?.run(data.job, scratch);
  } catch (error) {
    fault = String(error);
  }
  scope.postMessage({ id: data.id, fault });
};
