/**
 * The folder that transformers.js loads (npm `@huggingface/transformers`): the model's parts at each
 * dtype asked for in `onnx/`, the configuration, the tokenizer's and the processor's files, licences,
 * and a model card with the measured errors. It appears whole or not at all.
 */
import { basename, dirname, join } from "node:path";
import { type Conversion, UNVERIFIED } from "../converters/conversion.ts";
import type { ConversionEvents } from "../converters/converter.ts";
import { convertOnnx } from "../converters/onnx_to_onnx.ts";
import { DEFAULTS } from "../converters/options.ts";
import { InterruptedError, ModelcastError, VerificationError } from "../error.ts";
import { StagingFolder } from "../onnx/staging.ts";
import { checkVerification, runOriginal, type VerificationReport } from "../verify.ts";
import { configText, dataFileSuffix, defaultDtypes, modelFileName, REPOSITORY } from "./config.ts";
import { type Dtype, DTYPE_NAMES, DTYPES } from "./dtypes.ts";
import { describeComparison, failuresOf, measure, type Verified } from "./measure.ts";
import { type CardFile, modelCard } from "./model_card.ts";
import { checkOutput, dropAside, publishFolder, unwritable } from "./output_folder.ts";
import { type LayoutRequest, type Part, type Plan, prepare } from "./plan.ts";
import { type ModelRole, ROLE_FILES } from "./roles.ts";
import { readSourceCard } from "./source_card.ts";
import { copyFile, isLicence } from "./source_folder.ts";
import { poolingOf, taskOf } from "./tasks.ts";

export { type Dtype, DTYPE_NAMES, dtypesOfPrecisions, parseDtype } from "./dtypes.ts";
export type { Measurement } from "./measure.ts";
export { checkLayout, type LayoutModel, type LayoutRequest } from "./plan.ts";
export type { ModelRole } from "./roles.ts";

/** A model file that was written. */
export interface LaidOutModel {
  readonly role: ModelRole;
  readonly dtype: Dtype;
  /** Paths that its files have now are in `conversion.files`. */
  readonly conversion: Conversion;
  /** Null where it was not asked for. */
  readonly verification: VerificationReport | null;
}

/** What was written. */
export interface LayoutResult {
  /** The folder. */
  readonly output: string;
  /** Names of all files relative to it, with `/`, sorted. */
  readonly files: readonly string[];
  readonly models: readonly LaidOutModel[];
}

const MODEL_FILE_BYTES = 2 ** 30;
const DATA_FILE_BYTES = 2_000_000_000;

/**
 * The oldest runtimes of transformers.js whose forms cost nothing: what they load, later ones load.
 * The other list is for models that they can't load anyway.
 */
const RUNTIMES = runtimesOf("1.22");
const NEWER_RUNTIMES = runtimesOf("1.30");
/** Highest default-domain opset of the former. */
const OLDER_OPSET = 22;

function runtimesOf(version: string): readonly string[] {
  return [
    `onnxruntime-web-${version}:wasm`,
    `onnxruntime-web-${version}:webgpu`,
    `onnxruntime-${version}:cpu`,
  ];
}

/**
 * Writes the folder `request.output`.
 *
 * @throws InputError where the source, a model or the output can't be used.
 * @throws VerificationError where a file does not compute what the float32 model does: the folder is
 *   then written as `OUTPUT.unverified`.
 * @throws MissingToolError where verification is asked for and ONNX Runtime is missing or not allowed.
 * @throws InterruptedError once `signal` is aborted; the output is then as it was.
 */
export async function writeTransformersJsLayout(
  request: LayoutRequest,
  events: ConversionEvents,
  signal: AbortSignal,
): Promise<LayoutResult> {
  const plan = await prepare(request, events);
  if (plan.verify) await checkVerification(plan.provider, null);
  const staging = new StagingFolder(plan.output);
  try {
    const made = join(staging.path, "layout");
    Deno.mkdirSync(join(made, "onnx"), { recursive: true });
    const models: LaidOutModel[] = [];
    const verified: Verified[] = [];
    const cardFiles: CardFile[] = [];
    const failures: string[] = [];
    for (const part of plan.models) {
      const conversions = await convertPart(plan, part, made, events, signal);
      const compare = plan.verify ? await comparerOf(plan, part, made, events, signal) : null;
      for (const { dtype, conversion } of conversions) {
        for (const warning of conversion.warnings) events.warn(warning);
        throwIfAborted(signal);
        let compared: Verified | null = null;
        try {
          compared = await compare?.(conversion.files[0]!.path, dtype) ?? null;
        } catch (error) {
          if (!(error instanceof VerificationError)) throw error;
          failures.push(error.message);
        }
        if (compared !== null) {
          verified.push(compared);
          failures.push(...failuresOf(compared));
        }
        const verification = compared?.report ?? null;
        models.push({ role: part.role, dtype, conversion, verification });
        cardFiles.push(cardFileOf(dtype, conversion, compared));
      }
    }
    throwIfAborted(signal);
    events.stage("write the folder", null);
    const ordered = byDtype(cardFiles);
    const sourceBytes = models.filter(({ dtype }) => dtype === plan.dtypes[0])
      .reduce((sum, { conversion }) => sum + conversion.totals.fileBytesBefore, 0);
    writeTexts(made, plan, ordered, sourceBytes, verified);
    const output = failures.length === 0 ? plan.output : `${plan.output}${UNVERIFIED}`;
    if (failures.length > 0) checkOutput(output, plan.sources);
    const files = filesBelow(made);
    publishFolder(made, output);
    if (failures.length > 0) {
      throw new VerificationError(
        `Cannot vouch for "${plan.output}": ${failures.join("; ")}. It is kept as "${output}"; ` +
          "leave these dtypes out, or take a smaller block size.",
      );
    }
    const aside = `${output}${UNVERIFIED}`;
    if (dropAside(aside, made, plan.sources)) {
      events.note(`removed "${aside}", which failed its verification before`);
    }
    return { output, files, models: byDtype(models).map((model) => published(model, output)) };
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof ModelcastError) {
      error.message = error.message.replaceAll(join(staging.path, "layout"), plan.output);
    }
    throw unwritable(plan.output, error);
  } finally {
    staging.discard();
  }
}

/** The dtypes that one read of the weights can give: of each precision one, of the same options. */
function groupsOf(dtypes: readonly Dtype[], symmetric: boolean): Dtype[][] {
  const groups = new Map<string, Dtype[]>();
  for (const dtype of dtypes) {
    const row = DTYPES[dtype];
    for (let round = 0;; round++) {
      const key = `${row.activations} ${row.symmetric ?? symmetric} ${round}`;
      const group = groups.get(key) ?? [];
      if (group.some((other) => DTYPES[other].precision === row.precision)) continue;
      groups.set(key, [...group, dtype]);
      break;
    }
  }
  return [...groups.values()];
}

/** Writes the files of a part, in as few reads of its weights as there are groups. */
async function convertPart(
  { request, dtypes }: Plan,
  { path, role, opset }: Part,
  made: string,
  events: ConversionEvents,
  signal: AbortSignal,
): Promise<{ readonly dtype: Dtype; readonly conversion: Conversion }[]> {
  const { source: _, models: __, output: ___, dtypes: ____, ...options } = request;
  const symmetric = options.symmetric ?? DEFAULTS.symmetric;
  const part = ROLE_FILES[role];
  const fileOf = (dtype: Dtype) => join(made, "onnx", modelFileName(part, dtype));
  const written: { dtype: Dtype; conversion: Conversion }[] = [];
  for (const group of groupsOf(dtypes, symmetric)) {
    events.stage(`write ${part} as ${group.join(", ")}`, null);
    const first = DTYPES[group[0]!];
    const conversions = await convertOnnx(
      {
        ...DEFAULTS,
        runtimes: opset > OLDER_OPSET ? NEWER_RUNTIMES : RUNTIMES,
        ...options,
        source: path,
        output: fileOf(group[0]!),
        outputOf: (precision) =>
          fileOf(group.find((dtype) => DTYPES[dtype].precision === precision)!),
        precisions: group.map((dtype) => DTYPES[dtype].precision),
        activations: first.activations,
        symmetric: first.symmetric ?? symmetric,
        ioFloat16: false,
        storage: {
          externalData: "large",
          modelFileBytes: request.modelFileBytes ?? MODEL_FILE_BYTES,
          dataFileBytes: request.dataFileBytes ?? DATA_FILE_BYTES,
          dataFileSuffix,
        },
      },
      events,
      signal,
    );
    group.forEach((dtype, index) => written.push({ dtype, conversion: conversions[index]! }));
  }
  return written;
}

/** Runs a part's float32 model and gives what compares a file of it. */
async function comparerOf(
  { seed, provider }: Plan,
  { path, role }: Part,
  made: string,
  events: ConversionEvents,
  signal: AbortSignal,
): Promise<(result: string, dtype: Dtype) => Promise<Verified>> {
  events.stage(`run ${ROLE_FILES[role]} as float32`, null);
  const settings = { original: path, scratch: made, runs: 0, seed, provider, signal };
  const original = await runOriginal(settings);
  return async (result, dtype) => {
    events.stage(`verify ${basename(result)}`, null);
    return await measure(original, result, dtype);
  };
}

function cardFileOf(dtype: Dtype, conversion: Conversion, compared: Verified | null): CardFile {
  const { files, totals } = conversion;
  return {
    dtype,
    files: files.map(({ path }) => `onnx/${basename(path)}`),
    byteLength: files.reduce((sum, { byteLength }) => sum + byteLength, 0),
    bitsPerWeight: totals.bitsPerWeight,
    convertedShare: totals.convertedShare,
    measured: compared?.measured ?? null,
  };
}

/** Writes configuration and card, and copies what goes with the model. */
function writeTexts(
  made: string,
  { request, folder, config, output, models, dtypes }: Plan,
  files: readonly CardFile[],
  sourceBytes: number,
  verified: readonly Verified[],
): void {
  const companions = folder.companions();
  for (const file of companions) {
    const target = join(made, ...file.name.split("/"));
    Deno.mkdirSync(dirname(target), { recursive: true });
    copyFile(file, target);
  }
  Deno.writeTextFileSync(join(made, "config.json"), configText(config, files));
  const card = readSourceCard(folder.readText("README.md"));
  const madeFrom = [...card.baseModels, ...(config.madeFrom === null ? [] : [config.madeFrom])];
  const text = modelCard({
    name: basename(output),
    origin: {
      repository: request.repository ?? folder.repository,
      madeFrom: [...new Set(madeFrom.filter((name) => REPOSITORY.test(name)))],
    },
    card,
    task: taskOf(config.architectures, models[0]!.inputs),
    pooling: poolingOf(folder.readJson("1_Pooling/config.json"), folder.readText("modules.json")),
    modelType: config.modelType,
    defaults: defaultDtypes(dtypes),
    files,
    sourceBytes,
    licenceFiles: companions.map(({ name }) => name).filter(isLicence),
    comparison: describeComparison(verified),
  });
  Deno.writeTextFileSync(join(made, "README.md"), text);
}

/** `entries` in the order of the dtypes; within one, in the order of the parts. */
function byDtype<Entry extends { readonly dtype: Dtype }>(entries: readonly Entry[]): Entry[] {
  return entries.toSorted((a, b) => DTYPE_NAMES.indexOf(a.dtype) - DTYPE_NAMES.indexOf(b.dtype));
}

/** Names of all files below `folder`, with `/`, sorted. */
function filesBelow(folder: string, prefix = ""): string[] {
  return [...Deno.readDirSync(join(folder, prefix))].flatMap(({ name, isDirectory }) => {
    const path = `${prefix}${name}`;
    return isDirectory ? filesBelow(folder, `${path}/`) : [path];
  }).sort();
}

/** `model` with the paths that its files have in `output`. */
function published(model: LaidOutModel, output: string): LaidOutModel {
  const files = model.conversion.files.map((file) => ({
    ...file,
    path: join(output, "onnx", basename(file.path)),
  }));
  const { verification } = model;
  return {
    ...model,
    conversion: { ...model.conversion, files },
    verification: verification === null ? null : { ...verification, result: files[0]!.path },
  };
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new InterruptedError("interrupted; the target is as it was");
}
