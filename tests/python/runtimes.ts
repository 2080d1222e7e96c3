/** Runtimes installed in Python environments, for tests: see run_model.py for the dialog. */
import type { PythonEnvironment } from "../install.ts";
import { startDialog } from "./dialog.ts";

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
  const dialog = startDialog("tests/python/run_model.py", environment);
  return {
    version: async () => String((await dialog.ask({ op: "version" })).version),
    original: async (model, inputs) =>
      (await dialog.ask({ op: "original", model, inputs })).error as string | null,
    compare: async (model, inputs) =>
      await dialog.ask({ op: "compare", model, inputs }) as unknown as Comparison,
    [Symbol.asyncDispose]: () => dialog[Symbol.asyncDispose](),
  };
}
