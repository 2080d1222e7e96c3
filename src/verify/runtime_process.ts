/**
 * ONNX Runtime in a process of its own, which has no permission but to load it: there are models that
 * the library ends its process over, and then it is that process. Deno's sandbox does not hold native
 * code; that the process is another one is what keeps this one, and what it has to tidy up.
 */
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { InterruptedError, MissingToolError } from "../error.ts";
import { type ByteChild, ProcessError, startBytes } from "../process.ts";
import { DENO_VARIABLES, denoProgram, lastWords, signalOf } from "./deno.ts";
import { type Answer, frameParts, FrameReader, packTensors, unpackTensors } from "./frames.ts";
import type { Frame, Request } from "./frames.ts";
import { makeProfileFolder, type Placement, type ProfileFolder } from "./placement.ts";
import {
  checkpoint,
  checkProvider,
  type ModelSource,
  type Port,
  type RuntimeBuild,
  RuntimeCrash,
  RuntimeFault,
  type Session,
} from "./session.ts";
import { type HostTensor, type HostType, isHostType } from "./values.ts";

/** How to open a model. */
export interface OpenOptions {
  /** Where the profile that tells of the placement is made if the system's folder may not be written. */
  readonly scratch?: string;
  /** Whether idle threads give way at once instead of spinning: slower runs, but a calm machine. */
  readonly calm?: boolean;
}

/** ONNX Runtime in a process of its own, which ends when this is disposed of. */
export interface RuntimeProcess extends RuntimeBuild, AsyncDisposable {
  /**
   * Opens `model` on `provider` alone; one model at a time. A process that has died is replaced.
   *
   * @throws InputError for a provider that this build does not know.
   * @throws MissingToolError for a provider that does not work on this machine.
   * @throws RuntimeFault where the model does not load, a {@link RuntimeCrash} where the process dies.
   */
  open(model: ModelSource, provider: string, options?: OpenOptions): Promise<ProcessSession>;
}

/** A model that is loaded there. What ends the process is a {@link RuntimeCrash}. */
export interface ProcessSession extends Session {
  /** Milliseconds of each of `runs` runs. */
  time(
    feeds: ReadonlyMap<string, HostTensor>,
    fetches: readonly string[],
    runs: number,
  ): Promise<readonly number[]>;
  /**
   * Where the nodes of the runs so far ran, for a session that was opened with `scratch`. Ends the
   * measuring: call it once, before timing.
   */
  placement(): Promise<Placement>;
}

// The build puts this file and the packages where these paths are right too.
const CHILD = fileURLToPath(new URL("./runtime_child.ts", import.meta.url));
const PACKAGES = fileURLToPath(new URL("../../node_modules", import.meta.url));

const DTYPE = z.custom<HostType>((name) => typeof name === "string" && isHostType(name));
const PORTS = z.array(z.object({
  name: z.string(),
  dtype: DTYPE.nullable(),
  dims: z.array(z.union([z.number(), z.string(), z.null()])),
}));
const TENSORS = z.array(z.object({
  name: z.string(),
  dtype: z.string(),
  dims: z.array(z.int().min(0)),
  bytes: z.int().min(0),
  strings: z.array(z.string()).optional(),
}));
const ANSWER: z.ZodType<Answer> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("ready"), version: z.string(), providers: z.array(z.string()) }),
  z.object({ kind: z.literal("opened"), inputs: PORTS, outputs: PORTS, loadTime: z.number() }),
  z.object({ kind: z.literal("ran"), outputs: TENSORS }),
  z.object({ kind: z.literal("timed"), times: z.array(z.number()) }),
  z.object({ kind: z.literal("done") }),
  z.object({ kind: z.enum(["fault", "missing", "bug"]), message: z.string() }),
]);

/** The answers that are no errors. */
type Told = Exclude<Answer, { readonly message: string }>;

/**
 * Starts the process, which `signal` ends when it is aborted: what waits for it then throws the
 * signal's reason.
 *
 * @throws MissingToolError where Deno may not be started, or ONNX Runtime can't be loaded.
 */
export async function startRuntime(signal?: AbortSignal): Promise<RuntimeProcess> {
  let dialog = await Dialog.start(signal);
  const { build } = dialog;
  return {
    ...build,
    async open(model, provider, { scratch, calm = false } = {}) {
      checkProvider(build, provider);
      if (dialog.ended) {
        await dialog[Symbol.asyncDispose]();
        dialog = await Dialog.start(signal);
      }
      const profile = provider === "cpu" || scratch === undefined
        ? null
        : await makeProfileFolder(scratch);
      try {
        return await OpenedSession.open(dialog, model, provider, profile, calm);
      } catch (error) {
        await profile?.[Symbol.asyncDispose]();
        throw error;
      }
    },
    [Symbol.asyncDispose]: async () => await dialog[Symbol.asyncDispose](),
  };
}

/** A model that is loaded in the process of a dialog. */
class OpenedSession implements ProcessSession {
  readonly #dialog: Dialog;
  readonly #provider: string;
  readonly #profile: ProfileFolder | null;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly loadTime: number;

  private constructor(
    dialog: Dialog,
    provider: string,
    profile: ProfileFolder | null,
    opened: Extract<Answer, { kind: "opened" }>,
  ) {
    this.#dialog = dialog;
    this.#provider = provider;
    this.#profile = profile;
    this.inputs = opened.inputs;
    this.outputs = opened.outputs;
    this.loadTime = opened.loadTime;
  }

  static async open(
    dialog: Dialog,
    model: ModelSource,
    provider: string,
    profile: ProfileFolder | null,
    calm: boolean,
  ): Promise<OpenedSession> {
    const [described, parts] = typeof model === "string"
      ? [model, []]
      : [{ bytes: model.bytes.length, folder: model.folder }, [model.bytes]];
    const request: Request = {
      ...{ kind: "open", model: described, provider, calm },
      profile: profile?.path ?? null,
    };
    const { told } = await dialog.ask(request, "opened", "loading it", parts);
    return new OpenedSession(dialog, provider, profile, told);
  }

  async run(
    feeds: ReadonlyMap<string, HostTensor>,
    fetches: readonly string[],
  ): Promise<Map<string, HostTensor>> {
    const { headers, parts } = packTensors(feeds);
    const request = { kind: "run", feeds: headers, fetches, timed: null } as const;
    const { told, body } = await this.#dialog.ask(request, "ran", "running it", parts);
    return unpackTensors(told.outputs, body);
  }

  async time(
    feeds: ReadonlyMap<string, HostTensor>,
    fetches: readonly string[],
    runs: number,
  ): Promise<readonly number[]> {
    const { headers, parts } = packTensors(feeds);
    const request = { kind: "run", feeds: headers, fetches, timed: runs } as const;
    return (await this.#dialog.ask(request, "timed", "running it", parts)).told.times;
  }

  async placement(): Promise<Placement> {
    if (this.#provider === "cpu") {
      return { nodes: null, elsewhere: [], how: "no other provider was given to the session" };
    }
    if (this.#profile === null) {
      return { nodes: null, elsewhere: null, how: "the session was opened without a profile" };
    }
    await this.#dialog.ask({ kind: "end profiling" }, "done", "ending its profile");
    return await this.#profile.read(this.#provider);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (!this.#dialog.ended) await this.#dialog.ask({ kind: "close" }, "done", "unloading it");
    } catch {
      // What it computed is here, and a process that ends over this is replaced when one is needed.
    }
    await this.#profile?.[Symbol.asyncDispose]();
  }
}

/** Questions to the process, and its answers, in turns. */
class Dialog implements AsyncDisposable {
  readonly build: RuntimeBuild;
  readonly #child: ByteChild;
  readonly #frames: FrameReader;
  readonly #signal: AbortSignal | undefined;
  #ended = false;

  private constructor(
    build: RuntimeBuild,
    child: ByteChild,
    frames: FrameReader,
    signal: AbortSignal | undefined,
  ) {
    this.build = build;
    this.#child = child;
    this.#frames = frames;
    this.#signal = signal;
  }

  static async start(signal: AbortSignal | undefined): Promise<Dialog> {
    signal?.throwIfAborted();
    const child = startBytes({
      program: denoProgram(),
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-remote", permissionToLoad()],
        ...["--allow-env=ORT_DISABLE_TELEMETRY,XDG_RUNTIME_DIR", CHILD],
      ],
      inheritEnv: [...DENO_VARIABLES, "XDG_RUNTIME_DIR"],
      install:
        "Verification runs ONNX Runtime by a Deno of its own: put deno in the PATH, and run by the " +
        "task convert-verify or convert-python.",
      ...(signal === undefined ? {} : { signal }),
    });
    const frames = new FrameReader(child.read);
    try {
      const told = parseAnswer(await frames.next());
      if (told?.kind === "ready") return new Dialog(told, child, frames, signal);
      if (told?.kind === "missing") throw new MissingToolError(told.message);
      if (told !== null) throw new Error(`ONNX Runtime's process said ${JSON.stringify(told)}`);
      const { code, stderr } = await child.wait();
      throw new MissingToolError(
        `Cannot load "onnxruntime-node": its process ${await endOf(code, stderr, signal)}. ` +
          "Install it with: deno install",
      );
    } catch (error) {
      await child[Symbol.asyncDispose]();
      signal?.throwIfAborted();
      throw error;
    }
  }

  /** Whether the process has ended, or can't be talked to any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Asks for an answer of `kind`; `doing` is what the process does to the model meanwhile.
   *
   * @throws RuntimeFault, MissingToolError where it answers so.
   * @throws RuntimeCrash where it dies.
   * @throws InterruptedError, or the signal's reason, where it was ended.
   */
  async ask<Kind extends Told["kind"]>(
    request: Request,
    kind: Kind,
    doing: string,
    parts: readonly Uint8Array[] = [],
  ): Promise<{ told: Extract<Told, { kind: Kind }>; body: Frame["body"] }> {
    const { told, body } = await this.#exchange(request, doing, parts);
    switch (told.kind) {
      case "fault":
        throw new RuntimeFault(told.message);
      case "missing":
        throw new MissingToolError(told.message);
      case "bug":
        throw new Error(`ONNX Runtime's process failed: ${told.message}`);
    }
    if (!isKind(told, kind)) throw new Error(`ONNX Runtime's process answered "${told.kind}"`);
    return { told, body };
  }

  async #exchange(
    request: Request,
    doing: string,
    parts: readonly Uint8Array[],
  ): Promise<{ told: Answer; body: Frame["body"] }> {
    // Until the answer is there.
    this.#ended = true;
    try {
      await this.#send(request, parts);
      const frame = await this.#frames.next();
      const told = parseAnswer(frame);
      if (frame !== null && told !== null) {
        this.#ended = false;
        return { told, body: frame.body };
      }
      const { code, stderr } = await this.#child.wait();
      throw new RuntimeCrash(await endOf(code, stderr, this.#signal, ` while ${doing}`));
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw error;
    }
  }

  async #send(request: Request, parts: readonly Uint8Array[]): Promise<void> {
    try {
      for (const bytes of frameParts(request, parts)) await this.#child.write(bytes);
    } catch (error) {
      // It has ended: its missing answer tells.
      if (!(error instanceof ProcessError && error.reason === "input")) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]();
  }
}

/** Permission to load the native code of ONNX Runtime; of any where a list can't hold its path. */
function permissionToLoad(): string {
  let folder = PACKAGES;
  try {
    // In the repository the package is a link.
    folder = Deno.realPathSync(`${PACKAGES}/onnxruntime-node`);
  } catch {
    // Where it is not, or may not be looked for, the process tells what it lacks.
  }
  return folder.includes(",") ? "--allow-ffi" : `--allow-ffi=${folder}`;
}

function isKind<Kind extends Told["kind"]>(
  told: Told,
  kind: Kind,
): told is Extract<Told, { kind: Kind }> {
  return told.kind === kind;
}

/** The answer of a frame; null where the process ended instead. */
function parseAnswer(frame: Frame | null): Answer | null {
  return frame === null ? null : ANSWER.parse(frame.header);
}

/** Signals by which somebody ends a process; a terminal sends them to all of a command. */
const REQUESTS: readonly string[] = ["SIGHUP", "SIGINT", "SIGTERM"];

/**
 * How the process ended that said no more, with `when` behind it: "crashed with signal SIGSEGV".
 *
 * @throws InterruptedError, or the reason of `signal`, where it was asked to end.
 */
async function endOf(
  code: number,
  stderr: string,
  signal: AbortSignal | undefined,
  when = "",
): Promise<string> {
  const name = signalOf(code);
  if (name !== null && REQUESTS.includes(name)) {
    await checkpoint(signal);
    throw new InterruptedError("Interrupted while ONNX Runtime was running.");
  }
  const words = lastWords(stderr);
  const said = words === "" ? "" : ` (its last words: ${words.replace(/\.$/, "")})`;
  if (name === "SIGKILL") return `was killed, most likely for want of memory,${when}${said}`;
  return name === null
    ? `ended with exit code ${code}${when}${said}`
    : `crashed with signal ${name}${when}${said}`;
}
