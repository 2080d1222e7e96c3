/**
 * The target "onnx": ONNX Runtime on the CPU. It runs what the other targets are compared with, so a
 * test that fails here tells of the test, or of the harness.
 */
import { loadRuntime, openSession } from "../src/verify/runtime.ts";
import { RuntimeFault } from "../src/verify/session.ts";
import { type HostTensor, isHostType } from "../src/verify/values.ts";
import { type Candidate, type Target, Unsupported } from "./target.ts";
import type { Value } from "./values.ts";

/** ONNX Runtime, loaded. */
export async function openOnnx(): Promise<Target> {
  const runtime = await loadRuntime();
  return {
    lost: new Promise<string>(() => {}),
    async prepare(model): Promise<Candidate> {
      const { path } = model;
      let session;
      try {
        session = await openSession(runtime, path, "cpu", { calm: true });
      } catch (error) {
        if (!(error instanceof RuntimeFault)) throw error;
        throw new Unsupported(error.message, { cause: error });
      }
      const outputs = session.outputs.map((port) => port.name);
      return {
        hostNodes: [],
        async run(inputs) {
          const feeds = new Map<string, HostTensor>();
          for (const [name, value] of inputs) feeds.set(name, toHost(name, value));
          const results = await session.run(feeds, outputs);
          return new Map([...results].map(([name, tensor]) => [name, fromHost(tensor)]));
        },
        [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
      };
    },
  };
}

function toHost(name: string, { dtype, dims, data }: Value): HostTensor {
  if (!isHostType(dtype)) {
    throw new Unsupported(`onnxruntime-node can't be given the input "${name}" of ${dtype}`);
  }
  return { dtype, dims, data };
}

function fromHost({ dtype, dims, data }: HostTensor): Value {
  if (dtype === "string" || Array.isArray(data)) throw new RuntimeFault("an output is of strings");
  return { dtype, dims, data };
}
