/** Requests of programs, checked value by value: what the command line's grammar does for people. */
import { z } from "zod";
import { InputError, optionError } from "../error.ts";
import { BLOCK_SIZES } from "../formats.ts";
import type { ConversionEvents, ConversionResult, ConverterRequest } from "./converter.ts";
import {
  DEFAULTS,
  MODEL_FORMATS,
  type ModelFormat,
  MOST_WORKERS,
  type Precision,
  PRECISIONS,
  TASKS,
} from "./options.ts";

/** What a program may ask for; what it leaves out takes the default. */
export type RequestInput =
  & Pick<ConverterRequest, "modelPath" | "outputPath">
  & Partial<Omit<ConverterRequest, "modelPath" | "outputPath" | "precisions">>
  & {
    /** One precision is written to the output, several to `OUTPUT.PRECISION.onnx` each. */
    readonly precision?: Precision | readonly Precision[];
    /** Formats, where the paths don't tell them. */
    readonly sourceFormat?: ModelFormat;
    readonly targetFormat?: ModelFormat;
  };

const path = z.string().min(1).refine((text) => !text.includes("\0"), "is not a path");
const format = z.enum(Object.keys(MODEL_FORMATS) as [ModelFormat, ...ModelFormat[]]);
const precision = z.enum(PRECISIONS);
const count = z.number().int().min(1).max(999_999_999);

/**
 * The shape of a request; keys that it lacks take {@link DEFAULTS}. Nothing in it is `readonly`, for which
 * zod freezes what a caller gave.
 */
const Request = z.strictObject({
  modelPath: path,
  outputPath: path,
  modelType: z.string().min(1).nullable().default(null),
  sourceFormat: format.optional(),
  targetFormat: format.optional(),
  precision: z.union([precision, z.array(precision).min(1)]).default("float32"),
  blockSize: z.union([
    z.literal([...BLOCK_SIZES]),
    z.enum(["channel", "tensor"]),
  ]).default(DEFAULTS.blockSize),
  symmetric: z.boolean().default(DEFAULTS.symmetric),
  method: z.enum(["rtn", "mse", "hqq"]).default(DEFAULTS.method),
  scales: z.enum(["float16", "float32"]).default(DEFAULTS.scales),
  activations: z.enum(["float32", "float16"]).default(DEFAULTS.activations),
  ioFloat16: z.boolean().default(DEFAULTS.ioFloat16),
  encoding: z.enum(["auto", "matmulnbits", "qdq"]).default(DEFAULTS.encoding),
  runtimes: z.array(z.string()).default(() => [...DEFAULTS.runtimes]),
  exclude: z.array(z.string()).default(() => [...DEFAULTS.exclude]),
  nan: z.enum(["error", "keep"]).default(DEFAULTS.nan),
  engine: z.enum(["auto", "webgpu", "wasm", "reference"]).default(DEFAULTS.engine),
  workers: count.max(MOST_WORKERS).nullable().default(DEFAULTS.workers),
  allowInexact: z.boolean().default(DEFAULTS.allowInexact),
  task: z.enum(TASKS).default(DEFAULTS.task),
  config: path.nullable().default(DEFAULTS.config),
  opset: count.nullable().default(DEFAULTS.opset),
  dynamic: z.boolean().default(DEFAULTS.dynamic),
  exporter: z.enum(["auto", "dynamo", "torchscript"]).default(DEFAULTS.exporter),
  externalData: z.enum(["auto", "always", "never"]).default(DEFAULTS.externalData),
  trustPickle: z.boolean().default(DEFAULTS.trustPickle),
  randomWeights: z.boolean().default(DEFAULTS.randomWeights),
  python: path.nullable().default(DEFAULTS.python),
  allowHub: z.boolean().default(DEFAULTS.allowHub),
  timeout: count.default(DEFAULTS.timeout),
  maxMemory: z.number().int().positive().nullable().default(DEFAULTS.maxMemory),
  verify: z.boolean().nullable().default(DEFAULTS.verify),
  inputs: path.nullable().default(DEFAULTS.inputs),
  provider: z.string().min(1).default(DEFAULTS.provider),
  seed: count.default(DEFAULTS.seed),
  perOp: z.boolean().default(DEFAULTS.perOp),
  maxError: z.number().nonnegative().nullable().default(DEFAULTS.maxError),
  nncf: z.boolean().default(DEFAULTS.nncf),
  compile: z.string().min(1).nullable().default(DEFAULTS.compile),
  dims: z.record(z.string(), count).default(DEFAULTS.dims),
  maxDims: z.record(z.string(), count).default(DEFAULTS.maxDims),
  dryRun: z.boolean().default(DEFAULTS.dryRun),
  sha256: z.boolean().default(DEFAULTS.sha256),
});

/** A request that was checked, and the formats that it names. */
export interface CheckedRequest {
  readonly request: ConverterRequest;
  /** Null where the path tells. */
  readonly sourceFormat: ModelFormat | null;
  readonly targetFormat: ModelFormat | null;
}

/**
 * Checks `input`, and what goes with it, and fills in what it lacks; throws an `InputError` that names
 * the wrong option.
 */
export function checkRequest(
  input: RequestInput,
  events: Partial<ConversionEvents> = {},
  signal?: AbortSignal,
): CheckedRequest {
  const { success, data, error } = Request.safeParse(input);
  if (!success) throw optionError("convert", error.issues[0]!);
  const hook = ["progress", "stage", "warn", "note"].find((name) => !isHook(events, name));
  if (hook !== undefined) {
    throw new InputError(`Cannot convert: "events.${hook}" can't be used: it is not a function.`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new InputError(`Cannot convert: "signal" can't be used: it is not an AbortSignal.`);
  }
  const { precision, sourceFormat, targetFormat, ...rest } = data;
  return {
    request: { ...rest, precisions: typeof precision === "string" ? [precision] : precision },
    sourceFormat: sourceFormat ?? null,
    targetFormat: targetFormat ?? null,
  };
}

/** {@link checkRequest} for who has named the converter: `request` has several precisions, no formats. */
export function checkWholeRequest(
  request: ConverterRequest,
  events?: Partial<ConversionEvents>,
  signal?: AbortSignal,
): ConverterRequest {
  const { precisions, storeFloats, ...input } = request ?? {};
  // Of none at all the conversion itself tells.
  const isNone = Array.isArray(precisions) && precisions.length === 0;
  const precision = isNone || precisions === undefined ? {} : { precision: precisions };
  const checked = checkRequest({ ...input, ...precision }, events, signal);
  return {
    ...checked.request,
    ...(isNone ? { precisions } : {}),
    ...(storeFloats === undefined ? {} : { storeFloats }),
  };
}

/** What becomes of a conversion of `input`, of which nothing is known but that `error` refuses it. */
export function refusedRequest(error: InputError, input: unknown): ConversionResult {
  const outputPath: unknown = Reflect.get(Object(input), "outputPath");
  return {
    success: false,
    outputPath: typeof outputPath === "string" ? outputPath : "",
    error,
    files: [],
    steps: [],
  };
}

function isHook(events: Partial<ConversionEvents>, name: string): boolean {
  const hook: unknown = Reflect.get(Object(events), name);
  return hook === undefined || typeof hook === "function";
}
