/**
 * The only place where a subprocess starts. A child gets an empty environment but for the stated
 * entries, never outlives its parent's orderly end (return, exit, interrupt, termination), and is
 * bounded in time and in output. Nothing here ever prompts: a program that is absent or not
 * permitted is a {@link MissingToolError} which says how to get it.
 */
import { InterruptedError, MissingToolError } from "./error.ts";

/** What to run. */
export interface Command {
  /** A name to look up in PATH, or a path. */
  readonly program: string;
  readonly args?: readonly string[];
  /** Working directory of the child; the parent's if absent. */
  readonly cwd?: string;
  /** The child's whole environment, but for `inheritEnv`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Variables handed on from the parent where they are set and may be read. */
  readonly inheritEnv?: readonly string[];
  /** One sentence that says how to install the program; the end of a `MissingToolError`. */
  readonly install: string;
  /** Milliseconds until the child is ended and a `ProcessError` thrown; no limit if absent. */
  readonly timeoutMs?: number;
  /** Ends the child when aborted; the promise then rejects with an `InterruptedError`. */
  readonly signal?: AbortSignal;
  /** Bytes of standard output (of one line, with {@link start}) at most; 64 MiB if absent. */
  readonly maxOutputBytes?: number;
  /** Where standard error goes: kept (its last 64 KiB, the default), or the parent's own. */
  readonly stderr?: "keep" | "inherit";
}

/** What to run to its end. */
export interface RunCommand extends Command {
  /** Bytes or text for standard input; empty if absent. */
  readonly stdin?: string | Uint8Array;
  /** Where standard output goes: kept (the default), or the parent's own. */
  readonly stdout?: "keep" | "inherit";
}

/** How a child ended. */
export interface ProcessResult {
  readonly success: boolean;
  /** Exit code; 128 plus the signal's number where a signal ended it. */
  readonly code: number;
  readonly stdout: Uint8Array;
  /** The last 64 KiB of standard error, as text. */
  readonly stderr: string;
}

/** A child that is talked to in bytes. */
export interface ByteChild extends AsyncDisposable {
  readonly pid: number;
  /** Writes `bytes` to standard input. */
  write(bytes: Uint8Array): Promise<void>;
  /** What comes next on standard output, however much that is; null at the end. */
  read(): Promise<Uint8Array | null>;
  /** Closes standard input and waits for the end; unread output is dropped. */
  finish(): Promise<Omit<ProcessResult, "stdout">>;
  /** Waits for the end with standard input open; unread output is dropped. */
  wait(): Promise<Omit<ProcessResult, "stdout">>;
  /** Ends the child at once. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A child that is talked to line by line. */
export interface Child extends Omit<ByteChild, "write" | "read"> {
  /** Writes `line` and a newline to standard input. */
  send(line: string): Promise<void>;
  /** The next line of standard output without its newline; null at the end. */
  receive(): Promise<string | null>;
}

/** A child ran past one of its limits, or broke off a dialog. */
export class ProcessError extends Error {
  override readonly name = "ProcessError";
  /** Which limit it was; "input" where the child reads no more. */
  readonly reason: "timeout" | "output" | "input";

  constructor(reason: "timeout" | "output" | "input", message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

const DEFAULT_OUTPUT_BYTES = 64 * 2 ** 20;
const STDERR_TAIL_BYTES = 64 * 2 ** 10;
/** Milliseconds between the request to end and the kill. */
const GRACE_MS = 2000;
/** Milliseconds that the children of a killed child have to end with it. */
const LINGER_MS = 500;

/**
 * Runs a program to its end. A nonzero exit code is a result, not an error.
 *
 * @throws MissingToolError where the program is absent or may not be run.
 * @throws ProcessError past `timeoutMs` or `maxOutputBytes`.
 * @throws InterruptedError when `signal` aborts or the parent is interrupted.
 */
export async function run(command: RunCommand): Promise<ProcessResult> {
  const life = new Life(command, {
    stdin: command.stdin === undefined ? "null" : "piped",
    stdout: command.stdout === "inherit" ? "inherit" : "piped",
  });
  const [stdout, stderr, status] = await Promise.all([
    command.stdout === "inherit" ? new Uint8Array(0) : life.captureOutput(),
    life.captureErrors(),
    life.child.status,
    command.stdin === undefined ? undefined : feed(life.child.stdin, command.stdin),
  ]);
  life.settle();
  return { success: status.success, code: status.code, stdout, stderr };
}

/**
 * Starts a program for a dialog over its standard input and output. Dispose of it (`await using`) to be
 * sure that it ends. Errors as with {@link run}; `maxOutputBytes` does not count here.
 */
export function startBytes(command: Command): ByteChild {
  return dialog(new Life(command, { stdin: "piped", stdout: "piped" }), command.program);
}

/** The same, a line a message, of `maxOutputBytes` at most. */
export function start(command: Command): Child {
  const life = new Life(command, { stdin: "piped", stdout: "piped" });
  const { write, read, ...child } = dialog(life, command.program);
  const decoder = new TextDecoder();
  const limit = command.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES;
  let pending = "";
  let ended = false;
  return {
    ...child,
    send: async (line) => await write(new TextEncoder().encode(line + "\n")),
    async receive() {
      let newline = pending.indexOf("\n");
      while (newline < 0 && !ended) {
        const searched = pending.length;
        if (searched > limit) life.end({ reason: "output" });
        const bytes = await read();
        ended = bytes === null;
        pending += bytes === null ? decoder.decode() : decoder.decode(bytes, { stream: true });
        newline = pending.indexOf("\n", searched);
      }
      const end = newline < 0 ? pending.length : newline;
      const line = pending.slice(0, end);
      pending = pending.slice(end + 1);
      if (newline < 0) return line === "" ? null : line;
      return line.endsWith("\r") ? line.slice(0, -1) : line;
    },
  };
}

/** A dialog in bytes with the child of `life`. */
function dialog(life: Life, program: string): ByteChild {
  const writer = life.child.stdin.getWriter();
  const reader = life.readerOf(life.child.stdout);
  const errors = life.captureErrors();
  let ended = false;

  async function read(): Promise<Uint8Array | null> {
    if (!ended) {
      const { value, done } = await reader.read();
      if (!done) return value;
      ended = true;
    }
    life.throwIfEnded();
    return null;
  }

  async function drain(): Promise<void> {
    while (!ended) ended = (await reader.read()).done;
  }

  async function wait(): Promise<Omit<ProcessResult, "stdout">> {
    const [status, stderr] = await Promise.all([life.child.status, errors, drain()]);
    life.settle();
    return { success: status.success, code: status.code, stderr };
  }

  return {
    pid: life.child.pid,
    read,
    async write(bytes) {
      try {
        await writer.write(bytes);
      } catch (cause) {
        life.throwIfEnded();
        const words = (await errors).trim() || "none";
        const state = `it closed its standard input. Its last words: ${words}`;
        throw new ProcessError("input", `Cannot write to "${program}": ${state}`, { cause });
      }
    },
    async finish() {
      await writer.close().catch(() => undefined);
      return await wait();
    },
    wait,
    async [Symbol.asyncDispose]() {
      await writer.close().catch(() => undefined);
      life.kill();
      await Promise.all([life.child.status, errors, drain()]);
      life.release();
    },
  };
}

/** Why a child was ended before its own end. */
type Ending = { readonly reason: "timeout" | "output" | "abort" | "signal" };

/** A child process with its limits: it ends when one is passed, or when the parent ends. */
class Life {
  readonly child: Deno.ChildProcess;
  readonly #command: Command;
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #readers: ReadableStreamDefaultReader<Uint8Array>[] = [];
  readonly #onAbort = (): void => this.end({ reason: "abort" });
  #ending: Ending | null = null;

  constructor(command: Command, pipes: { stdin: "piped" | "null"; stdout: "piped" | "inherit" }) {
    this.#command = command;
    if (command.signal?.aborted) throw interrupted(command.program);
    this.child = spawn(command, pipes);
    attend(this);
    command.signal?.addEventListener("abort", this.#onAbort);
    if (command.timeoutMs !== undefined) {
      this.#timers.push(setTimeout(() => this.end({ reason: "timeout" }), command.timeoutMs));
    }
  }

  /** Asks the child to end, and kills it when it has not after a while. */
  end(ending: Ending): void {
    if (this.#ending !== null) return;
    this.#ending = ending;
    if (ending.reason === "output") return this.kill();
    signalChild(this.child, "SIGTERM");
    this.#timers.push(setTimeout(() => this.kill(), GRACE_MS));
  }

  /**
   * Kills the child, and soon stops reading what its own children may still print: those that end
   * with it need a moment for that.
   */
  kill(): void {
    signalChild(this.child, "SIGKILL");
    this.child.status.then(() => {
      const stop = (): unknown => Promise.allSettled(this.#readers.map((one) => one.cancel()));
      const timer = setTimeout(stop, LINGER_MS);
      Promise.allSettled(this.#readers.map((one) => one.closed)).then(() => clearTimeout(timer));
    }).catch(() => undefined);
  }

  /** A reader of one of the child's streams that ends when the child is killed. */
  readerOf(stream: ReadableStream<Uint8Array>): ReadableStreamDefaultReader<Uint8Array> {
    const reader = stream.getReader();
    this.#readers.push(reader);
    return reader;
  }

  /** To be called once the child has ended: frees what watched it, throws if it was ended. */
  settle(): void {
    this.release();
    this.throwIfEnded();
  }

  /** Frees what watched the child. */
  release(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#command.signal?.removeEventListener("abort", this.#onAbort);
    dismiss(this);
  }

  /** Throws the error that says why the child was ended early, if it was. */
  throwIfEnded(): void {
    const { program, timeoutMs, maxOutputBytes = DEFAULT_OUTPUT_BYTES } = this.#command;
    switch (this.#ending?.reason) {
      case undefined:
        return;
      case "timeout":
        throw new ProcessError(
          "timeout",
          `Cannot finish "${program}": it ran longer than ${(timeoutMs ?? 0) / 1000} s.`,
        );
      case "output":
        throw new ProcessError(
          "output",
          `Cannot read from "${program}": it printed more than ${maxOutputBytes} bytes.`,
        );
      case "abort":
      case "signal":
        throw interrupted(program);
    }
  }

  async captureOutput(): Promise<Uint8Array> {
    const limit = this.#command.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES;
    const chunks: Uint8Array[] = [];
    let length = 0;
    const reader = this.readerOf(this.child.stdout);
    for (let { value } = await reader.read(); value !== undefined;) {
      if (length + value.length > limit) this.end({ reason: "output" });
      else {
        length += value.length;
        chunks.push(value);
      }
      ({ value } = await reader.read());
    }
    return concatenate(chunks, length);
  }

  async captureErrors(): Promise<string> {
    if (this.#command.stderr === "inherit") return "";
    let tail: Uint8Array<ArrayBufferLike> = new Uint8Array(0);
    const reader = this.readerOf(this.child.stderr);
    for (let { value } = await reader.read(); value !== undefined;) {
      const joined = concatenate([tail, value], tail.length + value.length);
      tail = joined.subarray(Math.max(0, joined.length - STDERR_TAIL_BYTES));
      ({ value } = await reader.read());
    }
    return new TextDecoder().decode(tail);
  }
}

/** Starts the process of `command`. */
function spawn(
  command: Command,
  pipes: { stdin: "piped" | "null"; stdout: "piped" | "inherit" },
): Deno.ChildProcess {
  const { program, cwd, install } = command;
  if (Deno.permissions.querySync({ name: "run", command: program }).state !== "granted") {
    // Deno forgets a permitted name that it does not find when it starts.
    const state = /[/\\]/.test(program)
      ? "it is not permitted."
      : `it is not installed or not permitted. ${install}`;
    throw new MissingToolError(
      `Cannot run "${program}": ${state} Allow it with --allow-run=${program}`,
    );
  }
  try {
    return new Deno.Command(program, {
      args: [...(command.args ?? [])],
      ...(cwd === undefined ? {} : { cwd }),
      clearEnv: true,
      env: { ...inherited(command.inheritEnv ?? []), ...command.env },
      ...pipes,
      stderr: command.stderr === "inherit" ? "inherit" : "piped",
    }).spawn();
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      if (cwd !== undefined && !isFolder(cwd)) {
        throw new MissingToolError(
          `Cannot run "${program}" in "${cwd}": there is no such folder.`,
          { cause },
        );
      }
      throw new MissingToolError(`Cannot run "${program}": it is not installed. ${install}`, {
        cause,
      });
    }
    if (cause instanceof Deno.errors.PermissionDenied || cause instanceof Deno.errors.NotCapable) {
      throw new MissingToolError(`Cannot run "${program}": ${cause.message}. ${install}`, {
        cause,
      });
    }
    throw cause;
  }
}

/** The variables of `names` that are set and may be read without a prompt. */
function inherited(names: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of names) {
    if (Deno.permissions.querySync({ name: "env", variable: name }).state !== "granted") continue;
    const value = Deno.env.get(name);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/** Sends a signal to a child that may have ended already. */
function signalChild(child: Deno.ChildProcess, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended: nothing is left to signal.
  }
}

async function feed(
  stream: WritableStream<Uint8Array<ArrayBufferLike>>,
  input: string | Uint8Array,
): Promise<void> {
  const writer = stream.getWriter();
  try {
    await writer.write(typeof input === "string" ? new TextEncoder().encode(input) : input);
    await writer.close();
  } catch {
    // A child may end without having read its input; its exit code says whether that is wrong.
  }
}

function concatenate(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function interrupted(program: string): InterruptedError {
  return new InterruptedError(`Interrupted while "${program}" was running.`);
}

/** The children that are running. */
const alive = new Set<Life>();
/** Signals that end a process: while a child runs they end it first, and then its caller. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

function onSignal(): void {
  for (const life of alive) life.end({ reason: "signal" });
}

function onUnload(): void {
  for (const life of alive) life.kill();
}

function attend(life: Life): void {
  if (alive.size === 0) {
    for (const signal of SIGNALS) Deno.addSignalListener(signal, onSignal);
    addEventListener("unload", onUnload);
  }
  alive.add(life);
}

function dismiss(life: Life): void {
  if (!alive.delete(life) || alive.size > 0) return;
  for (const signal of SIGNALS) Deno.removeSignalListener(signal, onSignal);
  removeEventListener("unload", onUnload);
}
