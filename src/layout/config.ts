/**
 * `config.json`: what is read of it, and what is put into it for transformers.js, under
 * `transformers.js_config` (its `TransformersJSConfig`, as of 4.3).
 */
import { basename, join } from "node:path";
import { InputError } from "../error.ts";
import { type Dtype, DTYPES } from "./dtypes.ts";
import { isRecord, type SourceFolder } from "./source_folder.ts";

const KEY = "transformers.js_config";

/** A model's configuration. */
export interface ModelConfig {
  readonly values: Readonly<Record<string, unknown>>;
  readonly modelType: string;
  readonly architectures: readonly string[];
  /** The repository that it says it was made from; null where it says none. */
  readonly madeFrom: string | null;
}

/** A file that transformers.js loads a session from. */
export interface SessionFile {
  readonly dtype: Dtype;
  /** Names of the model file and of its external data files, without a folder. */
  readonly files: readonly string[];
}

/** A repository's name on the Hugging Face Hub. */
export const REPOSITORY: RegExp = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;

/** Reads the configuration of `folder`. Throws an `InputError` where transformers.js could not. */
export function readConfig(folder: SourceFolder): ModelConfig {
  const path = join(folder.path, "config.json");
  const values = folder.readJson("config.json");
  if (values === null) {
    throw new InputError(
      `Cannot lay "${folder.path}" out for transformers.js: it has no config.json. Name the Hugging ` +
        "Face folder that the model was exported from.",
    );
  }
  const { model_type: modelType, architectures } = values;
  if (typeof modelType !== "string" || modelType === "") {
    throw new InputError(
      `Cannot lay "${folder.path}" out for transformers.js: "${path}" has no "model_type", by which ` +
        "transformers.js picks the model's class. Add it.",
    );
  }
  if (architectures !== undefined && architectures !== null && !isNames(architectures)) {
    throw new InputError(
      `Cannot read "${path}": "architectures" is not a list of names. Check the file.`,
    );
  }
  const from = values["_name_or_path"];
  return {
    values,
    modelType,
    architectures: architectures ?? [],
    madeFrom: typeof from === "string" && REPOSITORY.test(from) ? from : null,
  };
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((name) => typeof name === "string");
}

/** The dtypes that are taken when a program names none, the likeliest to serve first. */
const PREFERRED: Readonly<Record<"wasm" | "other", readonly Dtype[]>> = {
  wasm: ["q8", "uint8", "int8", "q4", "q2", "fp32", "fp16", "q4f16", "q2f16"],
  other: ["fp32", "q8", "uint8", "int8", "q4", "fp16", "q4f16", "q2", "q2f16"],
};

/** What is loaded of `dtypes` when a program names none: on the device `wasm`, and elsewhere. */
export function defaultDtypes(dtypes: readonly Dtype[]): Readonly<Record<"wasm" | "other", Dtype>> {
  const first = (order: readonly Dtype[]) => order.find((dtype) => dtypes.includes(dtype))!;
  return { wasm: first(PREFERRED.wasm), other: first(PREFERRED.other) };
}

/**
 * The text of the configuration to write. What the source says to transformers.js is replaced: it
 * is about other files. A path of the machine that the model was trained on is left out.
 */
export function configText(config: ModelConfig, sessions: readonly SessionFile[]): string {
  const { _name_or_path: _, ...rest } = config.values;
  const values = config.madeFrom === null ? rest : config.values;
  const settings = transformersJsConfig(sessions);
  const { [KEY]: __, ...kept } = values;
  const whole = Object.keys(settings).length === 0 ? kept : { ...kept, [KEY]: settings };
  try {
    return `${JSON.stringify(whole, null, 2)}\n`;
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new InputError(
      'Cannot write "config.json": it is nested too deeply. Check the source\'s file.',
      { cause },
    );
  }
}

/** Whether the source had settings that {@link configText} replaces. */
export function hasSettings(config: ModelConfig): boolean {
  return isRecord(config.values[KEY]) && Object.keys(config.values[KEY]).length > 0;
}

/**
 * `use_external_data_format` counts the data files of each model file. `dtype` names what is loaded
 * when a program asks for none, where the default's file is not there: float32, on `wasm` 8 bits.
 */
function transformersJsConfig(sessions: readonly SessionFile[]): Readonly<Record<string, unknown>> {
  const { wasm, other } = defaultDtypes(sessions.map(({ dtype }) => dtype));
  const external = sessions.filter(({ files }) => files.length > 1)
    .map(({ files }) => [basename(files[0]!), files.length - 1] as const);
  return {
    ...(other === "fp32" ? {} : { dtype: other }),
    // A dtype for all devices holds for wasm too.
    ...(wasm === (other === "fp32" ? "q8" : other)
      ? {}
      : { device_config: { wasm: { dtype: wasm } } }),
    ...(external.length === 0 ? {} : { use_external_data_format: Object.fromEntries(external) }),
  };
}

/** What transformers.js calls the data files of the model file. */
export function dataFileSuffix(index: number): string {
  return index === 0 ? "_data" : `_data_${index}`;
}

/** Name of the model file of a part at a dtype. */
export function modelFileName(part: string, dtype: Dtype): string {
  return `${part}${DTYPES[dtype].suffix}.onnx`;
}
