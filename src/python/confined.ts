/**
 * Runs one Python program confined, by the strongest means that works here: bubblewrap, namespaces
 * that the child makes for itself, or an audit hook. A child says in its first line that it is
 * confined; one that ends without it could not be, and the next means is tried. Trying is the only
 * probe, so the usual case costs nothing, and what failed is not tried again.
 */
import { join } from "node:path";
import { InputError, InterruptedError, MissingToolError, VerificationError } from "../error.ts";
import { type Child, ProcessError, start } from "../process.ts";
import { bubblewrapOptions, environmentOf } from "./command.ts";
import { INSTALL_UV, type Interpreter, pythonFolder } from "./environment.ts";
import { type Message, parseMessage } from "./messages.ts";
import { viewOf } from "./view.ts";

/** Means of confinement, the strongest first. */
export const SANDBOXES = ["bubblewrap", "namespaces", "audit hook"] as const;

/** A means of confinement. */
export type Sandbox = typeof SANDBOXES[number];

/** What a Python program is asked, and what it may touch. */
export interface ConfinedJob {
  /** Absolute path of the program, which serves one request through `python/child/dialog.py`. */
  readonly program: string;
  readonly request: Readonly<Record<string, unknown>>;
  /** Absolute paths of the files and folders that it reads. */
  readonly readable: readonly string[];
  /** Absolute path of the folder that it writes; it works in a folder there, which is removed. */
  readonly writable: string;
  readonly allowHub: boolean;
  readonly timeoutSeconds: number;
  /** Bytes of memory; null for as much as the machine has. */
  readonly maxMemoryBytes: number | null;
  readonly interpreter: Interpreter;
  /** The means to try, in this order. */
  readonly sandboxes: readonly Sandbox[];
  /** False only to see what namespaces hold without their second wall, hook and filters. */
  readonly hook?: boolean;
}

/** What goes on while a program runs. */
export interface PythonEvents {
  progress(stage: string, fraction: number | null): void;
  warn(text: string): void;
  note(text: string): void;
}

/** What a program answered, and what held it. */
export interface PythonAnswer {
  /** The value as the program sent it; whoever asked checks its shape. */
  readonly value: unknown;
  readonly sandbox: Sandbox;
  /** One sentence on what was held, for the report. */
  readonly held: string;
}

/** The program failed in a way that nobody foresaw. */
export class PythonError extends Error {
  override readonly name = "PythonError";
  /** Python's own account; null where the program could not give one. */
  readonly traceback: string | null;

  constructor(message: string, traceback: string | null) {
    super(message);
    this.traceback = traceback;
  }
}

const MAXIMUM_LINE_BYTES = 8 * 2 ** 20;
const MAXIMUM_LINES = 50_000;
const MAXIMUM_WARNINGS = 600;
/** Milliseconds that a program has to end after its answer. */
const END_MS = 10_000;
const MAXIMUM_TIMEOUT_SECONDS = 2 ** 31 / 1000 - 1;
const LAST_WORDS_LINES = 12;
const LAST_WORDS_CHARACTERS = 2_000;
const SIGKILL_CODE = 137;
/** What libraries say that end the process where memory is refused. */
const OUT_OF_MEMORY =
  /bad_alloc|cannot allocate memory|MemoryError|memory allocation|Rust cannot catch foreign exc/i;
/** What Python's and C++'s libraries say where a file can't take more. */
const OUT_OF_SPACE =
  /No space left on device|Disk quota exceeded|File too large|basic_ios::clear|iostream error/;
/** Codes of SIGHUP, SIGINT and SIGTERM, which a terminal sends to the child as well. */
const INTERRUPTED_CODES: readonly number[] = [129, 130, 143];
/** Exit codes from here on say which signal ended the program. */
const SIGNAL_CODES = 128;
/** Programs that a sandbox is started by, and that may be missing where another works. */
const FALLIBLE: readonly string[] = ["bwrap", "uv"];
const WINDOWS = Deno.build.os === "windows";

/** Why a means does not work on this machine. */
const unavailable = new Map<Sandbox, string>();

/**
 * Runs the program and returns its answer.
 *
 * @throws InputError for input that the program refuses, a limit that is passed, a crash.
 * @throws VerificationError, MissingToolError where the program says so.
 * @throws InterruptedError when `signal` aborts or the person interrupts.
 * @throws PythonError for a bug.
 */
export async function runConfined(
  job: ConfinedJob,
  events: PythonEvents,
  signal: AbortSignal,
): Promise<PythonAnswer> {
  const work = join(job.writable, ".work");
  await Deno.mkdir(work, { recursive: true });
  try {
    const deadline = performance.now() + 1000 * job.timeoutSeconds;
    for (const sandbox of job.sandboxes) {
      if (unavailable.has(sandbox)) continue;
      const answer = await attempt(job, sandbox, work, deadline, events, signal);
      if (answer !== null) {
        const { value, natively } = answer;
        return { value, sandbox, held: heldBy(sandbox, natively, job.allowHub) };
      }
    }
    const reasons = job.sandboxes.map((sandbox) => `${sandbox}: ${unavailable.get(sandbox)}`);
    throw new MissingToolError(
      `Cannot run "${job.interpreter.program}" confined, and unconfined it is not run. ${
        reasons.join("; ")
      }`,
    );
  } finally {
    await Deno.remove(work, { recursive: true }).catch(() => undefined);
  }
}

/** Runs the program by one means; null where that does not work here. */
async function attempt(
  job: ConfinedJob,
  sandbox: Sandbox,
  work: string,
  deadline: number,
  events: PythonEvents,
  signal: AbortSignal,
): Promise<{ value: unknown; natively: boolean } | null> {
  const { interpreter, allowHub, writable } = job;
  const folder = pythonFolder();
  const view = sandbox === "audit hook" ? null : await viewOf({
    programs: [...interpreter.folders, folder, job.program],
    readable: job.readable,
    writable,
    network: allowHub,
    warn: (text) => events.warn(text),
  });
  const environment = environmentOf(work, allowHub);
  // A PATH of the child would be where the program itself is looked for.
  const { PATH: _, ...unfound } = environment;
  const [program, ...args] = view !== null && sandbox === "bubblewrap"
    ? ["bwrap", ...bubblewrapOptions(view, allowHub), "--", interpreter.program]
    : interpreter.command;
  const milliseconds = Math.min(deadline - performance.now(), MAXIMUM_TIMEOUT_SECONDS * 1000);
  let started: Child;
  try {
    started = start({
      program,
      args: [...args, "-P", "-s", join(folder, "launch.py")],
      cwd: work,
      env: unfound,
      inheritEnv: WINDOWS ? ["SYSTEMROOT"] : [],
      timeoutMs: Math.max(1, milliseconds),
      signal,
      maxOutputBytes: MAXIMUM_LINE_BYTES,
      install: program === "uv" ? INSTALL_UV : "Install it with the system's package manager.",
    });
  } catch (error) {
    if (!(error instanceof MissingToolError) || !FALLIBLE.includes(program)) throw error;
    unavailable.set(sandbox, error.message);
    return null;
  }
  try {
    await using child = started;
    const setting = {
      program: job.program,
      sandbox,
      view,
      libraries: interpreter.folders,
      writable,
      network: allowHub,
      hook: job.hook ?? true,
      memory: job.maxMemoryBytes,
      environment,
    };
    await send(child, setting, job.request);
    const line = await child.receive();
    const first = line === null ? null : parseMessage(line);
    if (first?.type !== "confined") {
      const { code, stderr } = await child.finish();
      unavailable.set(sandbox, lastWords(stderr) || `exit code ${code}`);
      return null;
    }
    return { value: await converse(child, job, events), natively: first.natively };
  } catch (error) {
    if (error instanceof ProcessError) throw limitError(error, job);
    throw error;
  }
}

/** Sends what the child has to know. Where it reads no more, its end tells why. */
async function send(child: Child, setting: unknown, request: unknown): Promise<void> {
  try {
    await child.send(JSON.stringify(setting));
    await child.send(JSON.stringify(request));
  } catch (error) {
    if (!(error instanceof ProcessError) || error.reason !== "input") throw error;
  }
}

/** Hears the program out, and returns the value of its result once it has ended. */
async function converse(child: Child, job: ConfinedJob, events: PythonEvents): Promise<unknown> {
  const name = job.program.split(/[/\\]/).at(-1) ?? "";
  let warnings = 0;
  for (let lines = 0; lines < MAXIMUM_LINES; lines++) {
    const line = await child.receive();
    if (line === null) throw endedEarly(name, await endOf(child));
    const message = parseMessage(line);
    switch (message?.type) {
      case "progress":
        events.progress(message.stage, message.fraction);
        break;
      case "warning":
        if (++warnings <= MAXIMUM_WARNINGS) events.warn(message.message);
        break;
      case "result": {
        // Only now is what it wrote final.
        const end = await endOf(child);
        if (!end?.success) throw endedEarly(name, end);
        return message.value;
      }
      case "error":
        throw await errorOf(message, child, job, name);
      default:
        throw new PythonError(
          `Cannot finish "${name}": it sent a line that is no message: ${
            JSON.stringify(line.slice(0, 200))
          }`,
          null,
        );
    }
  }
  throw new InputError(
    `Cannot finish "${name}": it sent more than ${MAXIMUM_LINES} lines. Don't trust the model.`,
  );
}

/** The end of a program that has nothing more to say; null where it does not end. */
async function endOf(
  child: Child,
): Promise<{ success: boolean; code: number; stderr: string } | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((done) => timer = setTimeout(() => done(null), END_MS));
  const end = child.wait();
  end.catch(() => undefined);
  return await Promise.race([end, late]).finally(() => clearTimeout(timer));
}

/** The error that a program told of. */
async function errorOf(
  { kind, message, traceback }: Extract<Message, { type: "error" }>,
  child: Child,
  { request: { outputName }, writable }: ConfinedJob,
  name: string,
): Promise<Error> {
  switch (kind) {
    case "input":
    case "memory":
      return new InputError(message);
    case "verification":
      return new VerificationError(message);
    case "missing-tool":
      return new MissingToolError(message);
    case "bug": {
      if (OUT_OF_SPACE.test(message)) {
        const target = typeof outputName === "string" ? join(writable, outputName) : writable;
        return new InputError(
          `Cannot write "${target}": "${name}" found no space left, or a file grew larger than the ` +
            "system allows. Free some, or write to another disk.",
        );
      }
      const end = await endOf(child);
      const words = quoted(end?.stderr ?? "");
      return new PythonError(`Cannot finish "${name}": ${message}${words}`, traceback);
    }
    default:
      return kind satisfies never;
  }
}

/** The error for a program that ended without an answer, or (null) does not end. */
function endedEarly(name: string, end: { code: number; stderr: string } | null): Error {
  if (end === null) {
    return new PythonError(`Cannot finish "${name}": it closed its output and did not end.`, null);
  }
  const { code, stderr } = end;
  if (OUT_OF_MEMORY.test(stderr.slice(-LAST_WORDS_CHARACTERS))) {
    return new InputError(
      `Cannot finish "${name}": it ran out of memory. Raise the limit with --max-memory, or ` +
        `convert on a machine with more memory.${quoted(stderr)}`,
    );
  }
  if (INTERRUPTED_CODES.includes(code)) {
    return new InterruptedError(`Interrupted while "${name}" was running.`);
  }
  if (code === SIGKILL_CODE) {
    return new InputError(
      `Cannot finish "${name}": it was killed, as the system does when memory runs out. Convert ` +
        `on a machine with more memory, or find out who killed it.${quoted(stderr)}`,
    );
  }
  if (code > SIGNAL_CODES) {
    return new InputError(
      `Cannot finish "${name}": it crashed with signal ${code - SIGNAL_CODES}, which a broken ` +
        `model can cause, or want of memory. Check the model's files, raise the limit with ` +
        `--max-memory, or convert on a machine with more memory.${quoted(stderr)}`,
    );
  }
  return new PythonError(
    `Cannot finish "${name}": it ended with exit code ${code} and no answer.${quoted(stderr)}`,
    null,
  );
}

/** The error for a limit that the parent holds. */
function limitError(error: ProcessError, { program, timeoutSeconds }: ConfinedJob): Error {
  const name = program.split(/[/\\]/).at(-1) ?? "";
  switch (error.reason) {
    case "timeout":
      return new InputError(
        `Cannot finish "${name}": it ran longer than ${timeoutSeconds} s. Allow more with ` +
          `--timeout.`,
        { cause: error },
      );
    case "output":
      return new InputError(
        `Cannot finish "${name}": it sent a line of more than ${MAXIMUM_LINE_BYTES} bytes. Don't ` +
          `trust the model.`,
        { cause: error },
      );
    case "input":
      return error;
    default:
      return error.reason satisfies never;
  }
}

function heldBy(sandbox: Sandbox, natively: boolean, allowHub: boolean): string {
  const network = allowHub ? "the network open (--allow-hub)" : "no network";
  switch (sandbox) {
    case "bubblewrap":
    case "namespaces": {
      const by = sandbox === "bubblewrap" ? "bubblewrap" : "namespaces of its own";
      return `Python ran in ${by}: only the source readable, only the output writable, ${network}.`;
    }
    case "audit hook": {
      const held = `only the output writable, no subprocesses, ${network}; reading was not held`;
      return natively
        ? `Python ran under an audit hook, and native code under Landlock and seccomp: ${held}.`
        : `Python ran under an audit hook: ${held}, nor was native code.`;
    }
    default:
      return sandbox satisfies never;
  }
}

/** The end of what the program wrote to standard error, as the end of a message. */
function quoted(stderr: string): string {
  const words = lastWords(stderr);
  return words === "" ? "" : `\nIts last words:\n${words}`;
}

function lastWords(stderr: string): string {
  const lines = stderr.trimEnd().split("\n").slice(-LAST_WORDS_LINES);
  return lines.join("\n").slice(-LAST_WORDS_CHARACTERS).trim();
}
