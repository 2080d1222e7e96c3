/**
 * A process that runs models in ONNX Runtime: frames on standard input say which and on what, frames on
 * standard output answer (`frames.ts`). There are models that the library ends its process over, and
 * this is the process that ends then; `runtime_process.ts` starts it.
 */
import { MissingToolError } from "../error.ts";
import {
  type Answer,
  frameParts,
  FrameReader,
  packTensors,
  type Request,
  unpackTensors,
} from "./frames.ts";
import { loadRuntime, type NativeSession, openSession, type Runtime } from "./runtime.ts";
import { RuntimeFault } from "./session.ts";

/** The model that is loaded. */
let session: NativeSession | null = null;

function answer(header: Answer, parts?: readonly Uint8Array[]): void {
  for (const bytes of frameParts(header, parts)) {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  }
}

function answerError(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof RuntimeFault) answer({ kind: "fault", message });
  else if (error instanceof MissingToolError) answer({ kind: "missing", message });
  else answer({ kind: "bug", message: error instanceof Error ? `${error.stack}` : message });
}

function loaded(): NativeSession {
  if (session === null) throw new Error("no model is loaded");
  return session;
}

async function serve(
  runtime: Runtime,
  request: Request,
  body: Uint8Array<ArrayBuffer>,
): Promise<void> {
  switch (request.kind) {
    case "open": {
      const { provider, profile, calm } = request;
      const model = typeof request.model === "string"
        ? request.model
        : { ...request.model, bytes: body.subarray(0, request.model.bytes) };
      session = await openSession(runtime, model, provider, { profile, calm });
      const { inputs, outputs, loadTime } = session;
      return answer({ kind: "opened", inputs, outputs, loadTime });
    }
    case "run": {
      const { fetches, timed } = request;
      const feeds = unpackTensors(request.feeds, body);
      if (timed === null) {
        const { headers, parts } = packTensors(await loaded().run(feeds, fetches));
        return answer({ kind: "ran", outputs: headers }, parts);
      }
      const times: number[] = [];
      while (times.length < timed) {
        const started = performance.now();
        await loaded().run(feeds, fetches);
        times.push(performance.now() - started);
      }
      return answer({ kind: "timed", times });
    }
    case "end profiling":
      loaded().endProfiling();
      return answer({ kind: "done" });
    case "close":
      await loaded()[Symbol.asyncDispose]();
      session = null;
      return answer({ kind: "done" });
  }
}

// Standard output is for the answers.
console.log = console.info = console.debug = console.error;
const input = Deno.stdin.readable.getReader();
const frames = new FrameReader(async () => (await input.read()).value ?? null);
let runtime: Runtime | null = null;
try {
  runtime = await loadRuntime();
  const { version, providers } = runtime;
  answer({ kind: "ready", version, providers });
} catch (error) {
  answerError(error);
}
if (runtime !== null) {
  for (let frame = await frames.next(); frame !== null; frame = await frames.next()) {
    try {
      await serve(runtime, frame.header as Request, frame.body);
    } catch (error) {
      answerError(error);
    }
  }
}
