/**
 * ONNX Runtime (npm `onnxruntime-node`) behind a small interface: open a model on one named execution
 * provider, run it, and say which nodes ran elsewhere. The library is native code and is loaded on
 * first use, so that commands that verify nothing need neither it nor its permission.
 */
import { dirname, join } from "node:path";
import type { InferenceSession, Tensor as RuntimeTensor } from "onnxruntime-node";
import { dtypeOfOnnx } from "../dtype.ts";
import { InputError, MissingToolError, nearestNames } from "../error.ts";
import { withRuntimeFolder } from "../hardware.ts";
import { type HostTensor, type HostType, isHostType } from "./values.ts";

type Library = typeof import("onnxruntime-node");

/** ONNX Runtime, loaded. */
export interface Runtime {
  readonly version: string;
  /** Names of the execution providers that this build can be asked for. */
  readonly providers: readonly string[];
  readonly library: Library;
}

/** An input or output of a model. */
export interface Port {
  readonly name: string;
  /** Null for what is not a tensor, and for element types that can't be fed. */
  readonly dtype: HostType | null;
  /** Extents, names of symbolic extents, null for unknown ones. */
  readonly dims: readonly (number | string | null)[];
}

/** A node that ran on another provider than the named one. */
export interface MisplacedNode {
  readonly node: string;
  readonly op: string;
  /** The provider that ran it, in ONNX Runtime's words. */
  readonly provider: string;
}

/** Where the nodes of one model ran. */
export interface Placement {
  /** Nodes that ran after the runtime's own fusions; null where they were not counted. */
  readonly nodes: number | null;
  /** Nodes that ran elsewhere; null where that could not be known. */
  readonly elsewhere: readonly MisplacedNode[] | null;
  /** How this is known, or why it is not. */
  readonly how: string;
}

/** A model to open: a file, or the bytes of one whose external data lie in `folder`. */
export type ModelSource = string | { readonly bytes: Uint8Array; readonly folder: string };

/** How to open a model. */
export interface OpenOptions {
  /** Whether `Session.placement` will be asked for. */
  readonly measurePlacement: boolean;
  /** Folder for the profile that this takes, where the system's folder may not be written. */
  readonly scratch: string;
  /** Whether idle threads give way at once instead of spinning: slower runs, but a calm machine. */
  readonly calm?: boolean;
}

/** A loaded model. Runs block the thread while ONNX Runtime computes. */
export interface Session extends AsyncDisposable {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Milliseconds that loading took. */
  readonly loadTime: number;
  /** Computes `fetches`, which are outputs that are tensors, from `feeds`. */
  run(
    feeds: ReadonlyMap<string, HostTensor>,
    fetches: readonly string[],
  ): Promise<Map<string, HostTensor>>;
  /** Where the nodes of the runs so far ran. Ends the measuring: call it once, before timing. */
  placement(): Promise<Placement>;
}

/** ONNX Runtime can't load or run a model. `message` is what it said. */
export class RuntimeFault extends Error {
  override readonly name = "RuntimeFault";
}

/**
 * The variable that keeps ONNX Runtime 1.29 and later on Linux and macOS from sending facts about
 * models and machine to Microsoft; it is read when the library is loaded
 * (https://github.com/microsoft/onnxruntime/pull/27379).
 */
const NO_TELEMETRY = "ORT_DISABLE_TELEMETRY";

/**
 * Loads ONNX Runtime, its telemetry switched off.
 *
 * @throws MissingToolError where it is not installed, or not permitted to run.
 */
export async function loadRuntime(): Promise<Runtime> {
  let library: Library;
  try {
    Deno.env.set(NO_TELEMETRY, "1");
    library = await import("onnxruntime-node");
  } catch (cause) {
    throw unavailable(cause);
  }
  // Messages reach the caller as errors; the library's own log would only repeat them on stderr.
  library.env.logLevel = "fatal";
  return {
    version: library.env.versions.node ?? library.env.versions.common,
    providers: library.listSupportedBackends().map((backend) => backend.name),
    library,
  };
}

/** The error for a library that did not load. */
function unavailable(cause: unknown): MissingToolError {
  const message = cause instanceof Error ? cause.message : String(cause);
  if (cause instanceof Deno.errors.NotCapable) {
    const folder = /"([^"]*?node_modules)/.exec(message)?.[1] ?? "./node_modules";
    return new MissingToolError(
      'Cannot load "onnxruntime-node": it runs native code, which is not permitted, with its ' +
        "telemetry switched off by a variable. Run again with " +
        `--allow-ffi=${folder} --allow-env=${NO_TELEMETRY}, or by the task convert-verify or convert-python.`,
      { cause },
    );
  }
  return new MissingToolError(
    `Cannot load "onnxruntime-node": ${message.split("\n")[0]}. Install it with: deno install`,
    { cause },
  );
}

/**
 * Lets what waits, such as a signal of the operating system, have its turn, which ONNX Runtime's
 * calls do not; then throws the reason of `signal` where it is aborted.
 */
export async function checkpoint(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  signal?.throwIfAborted();
}

/** Throws an `InputError` for a provider that this build of ONNX Runtime does not know. */
export function checkProvider(runtime: Runtime, provider: string): void {
  if (!runtime.providers.includes(provider)) {
    throw new InputError(
      `Cannot verify on provider "${provider}": onnxruntime-node ${runtime.version} does not have ` +
        `it. Did you mean ${nearestNames(provider, runtime.providers, 1).join()}? It has: ` +
        `${runtime.providers.join(", ")}.`,
    );
  }
}

/**
 * Opens `model` on `provider` alone.
 *
 * @throws InputError for a provider that this build does not know.
 * @throws MissingToolError for a provider that does not work on this machine.
 * @throws RuntimeFault where the model does not load.
 */
export async function openSession(
  runtime: Runtime,
  model: ModelSource,
  provider: string,
  options: OpenOptions,
): Promise<Session> {
  checkProvider(runtime, provider);
  const measured = provider !== "cpu" && options.measurePlacement;
  const profile = measured ? await scratchFolder(options.scratch) : null;
  const settings: Record<string, Record<string, string>> = {
    // Without it ONNX Runtime fuses DequantizeLinear and MatMul into a kernel that rounds the
    // activations to 8 bits, and the comparison would measure that instead of the weights.
    session: {
      qdq_matmulnbits_accuracy_level: "1",
      ...(options.calm === true ? { "intra_op.allow_spinning": "0" } : {}),
    },
  };
  if (typeof model !== "string") {
    settings["session"]!["model_external_initializers_file_folder_path"] = model.folder;
  }
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: [provider],
    logSeverityLevel: 4,
    extra: settings,
    ...(profile === null
      ? {}
      : { enableProfiling: true, profileFilePrefix: join(profile, "profile") }),
  };
  const started = performance.now();
  let session: InferenceSession;
  try {
    const { InferenceSession } = runtime.library;
    const create = async () =>
      typeof model === "string"
        ? await InferenceSession.create(model, sessionOptions)
        : await InferenceSession.create(model.bytes, sessionOptions);
    session = provider === "cpu" ? await create() : await withRuntimeFolder(create);
  } catch (cause) {
    await removeFolder(profile);
    const said = runtimeMessage(cause);
    if (provider !== "cpu" && PROVIDER_FAILURE.test(said)) {
      throw new MissingToolError(
        `Cannot verify on provider "${provider}": ${said}. ` +
          'Verify on "cpu", or install what the provider needs.',
        { cause },
      );
    }
    const dtype = dtypeOfOnnx(Number(/^Unsupported data type: (\d+)$/.exec(said)?.[1]));
    throw new RuntimeFault(
      dtype === undefined ? said : `onnxruntime-node hands over no ${dtype} inputs or outputs`,
      { cause },
    );
  }
  const loadTime = performance.now() - started;
  return new OpenSession(runtime, session, provider, profile, loadTime);
}

/** What ONNX Runtime says when a provider itself is missing, not when it rejects a model. */
const PROVIDER_FAILURE =
  /adapter|AppendExecutionProvider|failed to load (shared )?library|providers?_shared|driver|no device/i;

/** A session of `onnxruntime-node`. */
class OpenSession implements Session {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly loadTime: number;
  readonly #runtime: Runtime;
  readonly #session: InferenceSession;
  readonly #provider: string;
  /** Folder of the profile until it has been read. */
  #profile: string | null;

  constructor(
    runtime: Runtime,
    session: InferenceSession,
    provider: string,
    profile: string | null,
    loadTime: number,
  ) {
    this.#runtime = runtime;
    this.#session = session;
    this.#provider = provider;
    this.#profile = profile;
    this.loadTime = loadTime;
    this.inputs = session.inputMetadata.map(portOf);
    this.outputs = session.outputMetadata.map(portOf);
  }

  async run(
    feeds: ReadonlyMap<string, HostTensor>,
    fetches: readonly string[],
  ): Promise<Map<string, HostTensor>> {
    const tensors: Record<string, RuntimeTensor> = {};
    for (const [name, tensor] of feeds) tensors[name] = toRuntime(this.#runtime, tensor);
    let results: InferenceSession.OnnxValueMapType;
    try {
      results = await this.#session.run(tensors, fetches, { logSeverityLevel: 4 });
    } catch (cause) {
      throw new RuntimeFault(runtimeMessage(cause), { cause });
    }
    return new Map(fetches.map((name) => [name, fromRuntime(name, results[name])]));
  }

  async placement(): Promise<Placement> {
    if (this.#provider === "cpu") {
      return { nodes: null, elsewhere: [], how: "no other provider was given to the session" };
    }
    const folder = this.#profile;
    if (folder === null) {
      return { nodes: null, elsewhere: null, how: "the session was opened without a profile" };
    }
    this.#profile = null;
    try {
      this.#session.endProfiling();
      return await readProfile(folder, this.#provider);
    } catch (error) {
      const state = error instanceof Error ? error.message : String(error);
      return { nodes: null, elsewhere: null, how: `the runtime's profile can't be read: ${state}` };
    } finally {
      await removeFolder(folder);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.release();
    await removeFolder(this.#profile);
    this.#profile = null;
  }
}

/** Where the nodes of the profile in `folder` ran. */
async function readProfile(folder: string, provider: string): Promise<Placement> {
  const events: unknown[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const parsed: unknown = JSON.parse(await Deno.readTextFile(join(folder, entry.name)));
    if (Array.isArray(parsed)) events.push(...parsed);
  }
  const nodes = new Map<string, MisplacedNode>();
  for (const event of events) {
    const node = executedNode(event);
    if (node !== null) nodes.set(node.node, node);
  }
  const elsewhere = [...nodes.values()].filter((node) =>
    node.provider.toLowerCase() !== `${provider}executionprovider`
  );
  return { nodes: nodes.size, elsewhere, how: "ONNX Runtime's profile of one run" };
}

/** The node that a profile's event is about, or null where it is about something else. */
function executedNode(event: unknown): MisplacedNode | null {
  if (!isRecord(event) || event["cat"] !== "Node" || !isRecord(event["args"])) return null;
  const { name, args } = event;
  const op = args["op_name"];
  const provider = args["provider"];
  if (typeof name !== "string" || typeof op !== "string" || typeof provider !== "string") {
    return null;
  }
  return { node: name.replace(/_kernel_time$/, ""), op, provider };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** A new folder for a profile: in the system's place for temporary files, else in `fallback`. */
async function scratchFolder(fallback: string): Promise<string> {
  try {
    return await Deno.makeTempDir({ prefix: "modelcast-profile-" });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  try {
    return await Deno.makeTempDir({ dir: fallback, prefix: ".modelcast-profile-" });
  } catch (cause) {
    throw new MissingToolError(
      `Cannot learn which nodes ran on the provider: no temporary file may be written in ` +
        `"${fallback}". Run again with --allow-read=${fallback} --allow-write=${fallback}`,
      { cause },
    );
  }
}

async function removeFolder(folder: string | null): Promise<void> {
  if (folder !== null) await Deno.remove(folder, { recursive: true });
}

/** The folder that a model's external data are relative to. */
export function modelFolder(path: string): string {
  return dirname(path);
}

function portOf(metadata: InferenceSession.ValueMetadata): Port {
  if (!metadata.isTensor) return { name: metadata.name, dtype: null, dims: [] };
  return {
    name: metadata.name,
    dtype: isHostType(metadata.type) ? metadata.type : null,
    // Some exporters write 0 for an extent that they do not know.
    dims: metadata.shape.map((dim) => dim === "" || dim === 0 ? null : dim),
  };
}

function toRuntime(runtime: Runtime, tensor: HostTensor): RuntimeTensor {
  const { Tensor } = runtime.library;
  const { dtype, data } = tensor;
  if (dtype === "float16" && data instanceof Uint16Array) {
    // A tensor of type float16 would turn its bits into a Float16Array, whose size the native side
    // of onnxruntime-node 1.30 takes for zero (https://github.com/microsoft/onnxruntime/pull/32323).
    const bits: RuntimeTensor = new Tensor("uint16", data, tensor.dims);
    Object.defineProperty(bits, "type", { value: "float16" });
    return bits;
  }
  if (Array.isArray(data)) return new Tensor("string", data, tensor.dims);
  if (dtype === "bool" && data instanceof Uint8Array) return new Tensor("bool", data, tensor.dims);
  return new Tensor(data, tensor.dims);
}

function fromRuntime(name: string, tensor: RuntimeTensor | undefined): HostTensor {
  if (tensor === undefined || !isHostType(tensor.type)) {
    throw new RuntimeFault(`output "${name}" is of type ${tensor?.type ?? "none"}`);
  }
  const data: unknown = tensor.data;
  const { type: dtype, dims } = tensor;
  if (data instanceof Float16Array) {
    return { dtype, dims, data: new Uint16Array(data.buffer, data.byteOffset, data.length) };
  }
  if (data instanceof Uint8ClampedArray) throw new RuntimeFault(`output "${name}" is an image`);
  return { dtype, dims, data: tensor.data as HostTensor["data"] };
}

/** ONNX Runtime's words, on one line and not too long. */
function runtimeMessage(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  const visible = text.replace(/[\p{Cc}\s]+/gu, " ").trim().replace(/\.$/, "");
  return visible.length > 700 ? `${visible.slice(0, 700)}...` : visible;
}
