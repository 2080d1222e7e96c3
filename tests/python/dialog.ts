/** A dialog with a Python program of the tests or benchmarks: a line of JSON each way, in turns. */
import { start } from "../../src/process.ts";
import { type PythonEnvironment, pythonPath, ROOT } from "../install.ts";

/** A Python program that answers requests. Dispose of it to end it. */
export interface Dialog extends AsyncDisposable {
  /** Sends one request and waits for its answer. Throws what the program printed where it ended. */
  ask(request: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
}

/** Starts `script`, a path in the repository, in an environment; in the usual one if absent. */
export function startDialog(script: string, environment?: PythonEnvironment): Dialog {
  const child = start({
    program: pythonPath(environment),
    args: [`${ROOT}/${script}`],
    inheritEnv: ["HOME", "PATH"],
    // ONNX Runtime would send facts about models and machine otherwise.
    env: { ORT_DISABLE_TELEMETRY: "1" },
    install: "Run the tests with: deno task test",
  });
  return {
    async ask(request) {
      await child.send(JSON.stringify(request));
      const answer = await child.receive();
      if (answer === null) throw new Error((await child.finish()).stderr);
      return JSON.parse(answer);
    },
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
