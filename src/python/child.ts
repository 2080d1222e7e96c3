/**
 * The Python side: finds or makes the interpreter, and runs one of the programs of `python/` in a
 * sandbox for one request.
 */
import { join } from "node:path";
import { InputError, MissingToolError } from "../error.ts";
import {
  type PythonAnswer,
  type PythonEvents,
  runConfined,
  type Sandbox,
  SANDBOXES,
} from "./confined.ts";
import { findInterpreter, pythonFolder } from "./environment.ts";

export type { PythonAnswer, PythonEvents, Sandbox } from "./confined.ts";
export { PythonError } from "./confined.ts";

/** How Python is run. */
export interface PythonSettings {
  /** Path of the interpreter; null for the environment that modelcast makes itself. */
  readonly python: string | null;
  /** Whether the program may use the network. */
  readonly allowHub: boolean;
  /** Seconds that the program may take; the installation of its packages does not count. */
  readonly timeoutSeconds: number;
  /** Bytes of memory that the program may hold; null for as much as the machine has. */
  readonly maxMemoryBytes: number | null;
}

/** What a program is asked, and what it may touch. */
export interface PythonJob {
  readonly program: "export.py" | "openvino_ir.py";
  readonly request: Readonly<Record<string, unknown>>;
  /** Absolute paths of files and folders. */
  readonly readable: readonly string[];
  /** Absolute path of the only folder that is writable. */
  readonly writable: string;
  readonly settings: PythonSettings;
}

/**
 * Finds the interpreter, or makes its environment, before there is anything to run: `python` is the
 * path of one, or null.
 *
 * @throws MissingToolError where uv or a Python is missing, or programs may not be started.
 */
export async function preparePython(
  python: string | null,
  events: Pick<PythonEvents, "note">,
  signal: AbortSignal,
): Promise<void> {
  const programs = ["uv", "bwrap", ...(python === null ? [] : [python])];
  const granted = programs.some((command) =>
    Deno.permissions.querySync({ name: "run", command }).state === "granted"
  );
  if (!granted) {
    throw new MissingToolError(
      `Cannot run Python: Deno was not given the permission to start programs. Use "deno task ` +
        `convert-python", or add --allow-run=${programs.join(",")}.`,
    );
  }
  await findInterpreter({ python, note: (text) => events.note(text), signal });
}

/** Memory that PyTorch, SciPy and the others take by being loaded, and a little for a model. */
const LEAST_MEMORY_BYTES = 1.5e9;

/**
 * Runs a program and returns its answer and what held it. The program has ended when this returns
 * or throws; errors as with `runConfined`, and a `MissingToolError` where uv or a Python is missing.
 */
export async function runPython(
  job: PythonJob,
  events: PythonEvents,
  signal: AbortSignal,
): Promise<PythonAnswer> {
  const { python, allowHub, timeoutSeconds, maxMemoryBytes } = job.settings;
  if (maxMemoryBytes !== null && maxMemoryBytes < LEAST_MEMORY_BYTES) {
    throw new InputError(
      `Cannot run "${job.program}" in ${
        (maxMemoryBytes / 1e9).toFixed(1)
      } GB: its libraries take ` +
        `most of that before there is a model. Give --max-memory 1.5GB or more.`,
    );
  }
  const interpreter = await findInterpreter({
    python,
    note: (text) => events.note(text),
    signal,
  });
  const sandboxes: readonly Sandbox[] = Deno.build.os === "linux" ? SANDBOXES : ["audit hook"];
  return await runConfined(
    {
      program: join(pythonFolder(), job.program),
      request: job.request,
      readable: job.readable,
      writable: job.writable,
      allowHub,
      timeoutSeconds,
      maxMemoryBytes,
      interpreter,
      sandboxes,
    },
    events,
    signal,
  );
}
