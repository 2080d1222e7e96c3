/** Runtimes installed in Python environments, for tests: see run_model.py for the dialog. */
import { start } from "../../src/process.ts";
import { type PythonEnvironment, pythonPath, ROOT } from "../install.ts";

/** How a result compares with its original on the same inputs. */
export interface Comparison {
  /** Why the model can't be loaded or run; null when it can. */
  readonly error: string | null;
  /** Mean over inputs and float outputs of |wanted - got| / |wanted|; -1 when not finite. */
  readonly relativeL2: number;
  readonly integersEqual: boolean;
  readonly finite: boolean;
}

/** A runtime in a process of its own. */
export interface InstalledRuntime extends AsyncDisposable {
  /** Its version, such as "1.32.0". */
  version(): Promise<string>;
  /** Runs a model on seeded inputs and keeps its outputs; gives why it can't, or null. */
  original(model: string, inputs: number): Promise<string | null>;
  /** Runs another model on the first of these inputs. */
  compare(model: string, inputs: number): Promise<Comparison>;
}

/** Starts the runtime of a Python environment. */
export function startRuntime(environment: PythonEnvironment): InstalledRuntime {
  const child = start({
    program: pythonPath(environment),
    args: [`${ROOT}/tests/python/run_model.py`],
    // ONNX Runtime would send facts about models and machine otherwise.
    env: { ORT_DISABLE_TELEMETRY: "1" },
    install: "Run the tests with: deno task test",
  });
  async function ask(request: Record<string, unknown>): Promise<Record<string, unknown>> {
    await child.send(JSON.stringify(request));
    const answer = await child.receive();
    if (answer === null) throw new Error((await child.finish()).stderr);
    return JSON.parse(answer);
  }
  return {
    version: async () => String((await ask({ op: "version" })).version),
    original: async (model, inputs) =>
      (await ask({ op: "original", model, inputs })).error as string | null,
    compare: async (model, inputs) =>
      await ask({ op: "compare", model, inputs }) as unknown as Comparison,
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
