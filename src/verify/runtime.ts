/**
 * ONNX Runtime (npm `onnxruntime-node`) in this process: opens a model on one named execution provider
 * and runs it. The library is native code, and there are models that it ends its process over: what
 * verifies runs it by `runtime_process.ts`, in a process that has this file and little more.
 */
import { join } from "node:path";
import type { InferenceSession, Tensor as RuntimeTensor } from "onnxruntime-node";
import { dtypeOfOnnx } from "../dtype.ts";
import { MissingToolError } from "../error.ts";
import { withRuntimeFolder } from "../hardware.ts";
import {
  checkProvider,
  type ModelSource,
  type Port,
  type RuntimeBuild,
  RuntimeFault,
  type Session,
} from "./session.ts";
import { type HostTensor, isHostType } from "./values.ts";

type Library = typeof import("onnxruntime-node");

/** ONNX Runtime, loaded. */
export interface Runtime extends RuntimeBuild {
  readonly library: Library;
}

/** How to open a model. */
export interface OpenOptions {
  /** An empty folder for a profile of the runs; none is made if absent. */
  readonly profile?: string | null;
  /** Whether idle threads give way at once instead of spinning: slower runs, but a calm machine. */
  readonly calm?: boolean;
}

/** A loaded model. Runs block the thread while ONNX Runtime computes. */
export interface NativeSession extends Session {
  /** Writes the profile of the runs so far, where one was asked for. */
  endProfiling(): void;
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
    const [reason] = (cause instanceof Error ? cause.message : String(cause)).split("\n");
    throw new MissingToolError(
      `Cannot load "onnxruntime-node": ${reason}. Install it with: deno install`,
      { cause },
    );
  }
  // Messages reach the caller as errors; the library's own log would only repeat them on stderr.
  library.env.logLevel = "fatal";
  return {
    version: library.env.versions.node ?? library.env.versions.common,
    providers: library.listSupportedBackends().map((backend) => backend.name),
    library,
  };
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
  { profile = null, calm = false }: OpenOptions = {},
): Promise<NativeSession> {
  checkProvider(runtime, provider);
  const settings: Record<string, Record<string, string>> = {
    // Without it ONNX Runtime fuses DequantizeLinear and MatMul into a kernel that rounds the
    // activations to 8 bits, and the comparison would measure that instead of the weights.
    session: {
      qdq_matmulnbits_accuracy_level: "1",
      ...(calm ? { "intra_op.allow_spinning": "0" } : {}),
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
  return new OpenSession(runtime, session, loadTime);
}

/** What ONNX Runtime says when a provider itself is missing, not when it rejects a model. */
const PROVIDER_FAILURE =
  /adapter|AppendExecutionProvider|failed to load (shared )?library|providers?_shared|driver|no device/i;

/** A session of `onnxruntime-node`. */
class OpenSession implements NativeSession {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly loadTime: number;
  readonly #runtime: Runtime;
  readonly #session: InferenceSession;

  constructor(runtime: Runtime, session: InferenceSession, loadTime: number) {
    this.#runtime = runtime;
    this.#session = session;
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

  endProfiling(): void {
    try {
      this.#session.endProfiling();
    } catch (cause) {
      throw new RuntimeFault(runtimeMessage(cause), { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.release();
  }
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
