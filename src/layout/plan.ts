/**
 * What can be asked of a layout for transformers.js, and the checks that come before any work: the
 * source folder, the models, what transformers.js needs of them, the place of the output.
 */
import { resolve } from "node:path";
import type { ConversionEvents } from "../converters/converter.ts";
import type { EngineOptions, OutputOptions, Task } from "../converters/options.ts";
import { InputError } from "../error.ts";
import { readModel } from "../onnx/reader.ts";
import { hasSettings, type ModelConfig, readConfig, REPOSITORY } from "./config.ts";
import { type Dtype, DTYPE_NAMES } from "./dtypes.ts";
import { checkOutput } from "./output_folder.ts";
import { checkDecoder, checkRoles, type ModelRole, withoutCache, writesText } from "./roles.ts";
import { SourceFolder } from "./source_folder.ts";

/** A float32 ONNX model that was made from the source folder. */
export interface LayoutModel {
  readonly path: string;
  readonly role: ModelRole;
}

/**
 * What to lay out. Quantization options that are absent are the defaults of a conversion; dtypes that
 * say something else about symmetry and activations are right.
 */
export interface LayoutRequest
  extends Partial<Omit<OutputOptions, "activations" | "ioFloat16">>, Partial<EngineOptions> {
  /** The Hugging Face folder: config.json, tokenizer.json, ... */
  readonly source: string;
  /** One model, or an encoder and a decoder. */
  readonly models: readonly LayoutModel[];
  /** The folder to write. */
  readonly output: string;
  readonly dtypes: readonly Dtype[];
  /** Repository on the Hugging Face Hub that the source is; null or absent where not known. */
  readonly repository?: string | null;
  /** Whether to run each file in ONNX Runtime beside the float32 model; true if absent. */
  readonly verify?: boolean;
  /** Seed of the inputs that are made up for that; 1 if absent. */
  readonly seed?: number;
  /** Execution provider of ONNX Runtime; "cpu" if absent. */
  readonly provider?: string;
  /**
   * Bytes of a model file from which its weights lie in data files beside it; 2^30 if absent:
   * browsers hold the file and what it is parsed to in memory at once.
   */
  readonly modelFileBytes?: number;
  /** Bytes of a data file; 2,000,000,000 if absent, which browsers can hold in one buffer. */
  readonly dataFileBytes?: number;
}

/** A model, and what of it is needed. */
export interface Part extends LayoutModel {
  /** Names of its inputs. */
  readonly inputs: readonly string[];
  /** Version of the default domain. */
  readonly opset: number;
}

/** A request that was checked, with what was read for that. */
export interface Plan {
  readonly request: LayoutRequest;
  readonly folder: SourceFolder;
  readonly config: ModelConfig;
  /** Absolute. */
  readonly output: string;
  readonly models: readonly Part[];
  readonly dtypes: readonly Dtype[];
  readonly verify: boolean;
  readonly seed: number;
  readonly provider: string;
  /** What is read. */
  readonly sources: readonly string[];
}

/**
 * Checks what can be known before the source is exported for `asked`, which takes minutes. Returns the
 * task to export it for.
 *
 * @throws InputError where the source folder, the output or the task can't be used.
 */
export function checkLayout(source: string, output: string, asked: Task = "auto"): Task {
  const folder = new SourceFolder(source);
  const { architectures, values } = readConfig(folder);
  checkOutput(resolve(output), [folder.realPath]);
  const writes = architectures.some(writesText);
  const afterEncoder = values["is_encoder_decoder"] === true &&
    architectures.some((name) => name.endsWith("ForConditionalGeneration"));
  if (asked === "seq2seq" || (asked === "auto" && afterEncoder)) {
    throw withoutCache(source, "decoder");
  }
  if (asked === "causal-lm" && writes) throw withoutCache(source, "model");
  return asked === "auto" && writes ? "causal-lm-with-past" : asked;
}

/** Checks everything that can be known before the work. */
export async function prepare(request: LayoutRequest, events: ConversionEvents): Promise<Plan> {
  const { repository = null } = request;
  if (request.dtypes.length === 0) {
    throw new InputError(
      `Cannot lay "${request.source}" out for transformers.js: no dtype is asked for. ` +
        `Give some of ${DTYPE_NAMES.join(", ")}.`,
    );
  }
  if (repository !== null && !REPOSITORY.test(repository)) {
    throw new InputError(
      `Cannot name "${repository}" as the base model: it is not of the form "owner/name". Give the ` +
        "repository's name on the Hugging Face Hub.",
    );
  }
  const folder = new SourceFolder(request.source);
  const config = readConfig(folder);
  checkRoles(request.models.map(({ role }) => role));
  const models: Part[] = [];
  for (const { path, role } of request.models) {
    const model = await readModel(path);
    checkDecoder(path, model, role, config.architectures);
    const inputs = model.graph.inputs.map(({ name }) => name);
    models.push({ path, role, inputs, opset: model.opsets.get("") ?? 0 });
  }
  const sources = [folder.realPath, ...models.map(({ path }) => path)];
  const output = resolve(request.output);
  checkOutput(output, sources);
  const names = folder.companions().map(({ name }) => name);
  const { inputs } = models[0]!;
  if (inputs.includes("input_ids") && !names.includes("tokenizer.json")) {
    events.warn(
      `"${request.source}" has no tokenizer.json, and transformers.js reads no other tokenizer; ` +
        "save_pretrained of transformers' AutoTokenizer writes one",
    );
  }
  if (!inputs.includes("input_ids") && !names.includes("preprocessor_config.json")) {
    events.warn(
      `"${request.source}" has no preprocessor_config.json: transformers.js can't make the model's ` +
        "inputs of pictures or sound",
    );
  }
  if (hasSettings(config)) {
    events.note("the source's own settings for transformers.js are about other files: left out");
  }
  return {
    request,
    folder,
    config,
    output,
    models,
    dtypes: DTYPE_NAMES.filter((name) => request.dtypes.includes(name)),
    verify: request.verify ?? true,
    seed: request.seed ?? 1,
    provider: request.provider ?? "cpu",
    sources,
  };
}
