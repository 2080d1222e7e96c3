/**
 * Options that contradict each other or the way a conversion takes are refused before any work; those
 * that merely do nothing there are told.
 */
import { InputError } from "../error.ts";
import type { ConverterRequest, ModelConverter } from "./converter.ts";
import { type ConverterOptions, DEFAULTS, quantizedBits } from "./options.ts";

/** An option that a person gave, and what it needs. */
interface Rule {
  /** The option as a person writes it. */
  readonly option: string;
  /** Whether the request has it. */
  readonly given: (request: ConverterRequest) => boolean;
  /** Whether the request can be served with it. */
  readonly serves: (request: ConverterRequest, path: readonly ModelConverter[]) => boolean;
  /** What it is about, after "it". */
  readonly needs: string;
}

const UNASKED: Omit<ConverterOptions, "precisions"> = DEFAULTS;
const differs = (key: keyof typeof UNASKED) => (request: ConverterRequest) =>
  request[key] !== UNASKED[key];
const named = (extents: Readonly<Record<string, number>>) => Object.keys(extents).length > 0;
const reads = (format: string) => (_: ConverterRequest, path: readonly ModelConverter[]) =>
  path[0]!.sourceFormat === format;
const writes = (format: string) => (_: unknown, path: readonly ModelConverter[]) =>
  path.at(-1)!.targetFormat === format;

const FROM_PYTORCH = "belongs to a PyTorch source";
const USES_PYTHON = "belongs to a conversion from PyTorch or to OpenVINO";
const runsPython = (_: ConverterRequest, path: readonly ModelConverter[]) => usesPython(path);

const RULES: readonly Rule[] = [
  { option: "--task", given: differs("task"), serves: reads("pytorch"), needs: FROM_PYTORCH },
  { option: "--config", given: differs("config"), serves: reads("pytorch"), needs: FROM_PYTORCH },
  { option: "--opset", given: differs("opset"), serves: reads("pytorch"), needs: FROM_PYTORCH },
  { option: "--static", given: differs("dynamic"), serves: reads("pytorch"), needs: FROM_PYTORCH },
  {
    option: "--exporter",
    given: differs("exporter"),
    serves: reads("pytorch"),
    needs: FROM_PYTORCH,
  },
  {
    option: "--external-data",
    given: differs("externalData"),
    serves: reads("pytorch"),
    needs: FROM_PYTORCH,
  },
  {
    option: "--trust-pickle",
    given: differs("trustPickle"),
    serves: reads("pytorch"),
    needs: FROM_PYTORCH,
  },
  {
    option: "--random-weights",
    given: differs("randomWeights"),
    serves: reads("pytorch"),
    needs: FROM_PYTORCH,
  },
  {
    option: "--model-type",
    given: ({ modelType }) => modelType !== null,
    serves: (_, path) =>
      path[0]!.sourceFormat === "pytorch" ||
      path.some(({ supportedModelTypes }) => supportedModelTypes !== "any"),
    needs: FROM_PYTORCH,
  },
  { option: "--python", given: differs("python"), serves: runsPython, needs: USES_PYTHON },
  { option: "--allow-hub", given: differs("allowHub"), serves: runsPython, needs: USES_PYTHON },
  {
    option: "--timeout",
    given: differs("timeout"),
    serves: (request, path) =>
      runsPython(request, path) || (request.verify === true && writes("webgpu")(null, path)),
    needs: "belongs to a conversion from PyTorch or to OpenVINO, and to --verify of a module",
  },
  { option: "--max-memory", given: differs("maxMemory"), serves: runsPython, needs: USES_PYTHON },
  {
    option: "--method nncf",
    given: differs("nncf"),
    serves: ({ blockSize }, path) =>
      writes("openvino")(null, path) && typeof blockSize === "number" &&
      !path.some(({ sourceFormat, targetFormat }) => sourceFormat === targetFormat),
    needs: "compresses to 8 or 4 bits in blocks, for OpenVINO alone",
  },
  {
    option: "--compile",
    given: differs("compile"),
    serves: writes("openvino"),
    needs: "belongs to --target-format openvino",
  },
  {
    option: "--dim",
    given: ({ dims }) => named(dims),
    serves: writes("webgpu"),
    needs: "belongs to --target-format webgpu",
  },
  {
    option: "--max-dim",
    given: ({ maxDims }) => named(maxDims),
    serves: writes("webgpu"),
    needs: "belongs to --target-format webgpu",
  },
  {
    option: "--all-precisions",
    given: ({ precisions }) => precisions.length > 1,
    serves: (_, path) => ["onnx", "webgpu"].includes(path.at(-1)!.targetFormat),
    needs: "writes ONNX files or modules for WebGPU; give one --precision",
  },
  {
    option: "--dry-run",
    given: differs("dryRun"),
    serves: (_, path) => !usesPython(path),
    needs: "is of conversions without Python: elsewhere sizes are not known before the work",
  },
  {
    option: "--inputs",
    given: differs("inputs"),
    serves: ({ verify }) => verify === true,
    needs: "belongs to --verify",
  },
  {
    option: "--per-op",
    given: differs("perOp"),
    serves: ({ verify }) => verify === true,
    needs: "belongs to --verify",
  },
  {
    option: "--max-error",
    given: differs("maxError"),
    serves: ({ verify }, path) => verify === true && limitedStep(path) !== null,
    needs: "belongs to --verify of another precision in ONNX, or of a module for WebGPU",
  },
];

/** Whether Python runs on the way that `path` takes, which PyTorch and OpenVINO need. */
export function usesPython(path: readonly ModelConverter[]): boolean {
  return path.some(({ sourceFormat, targetFormat }) =>
    sourceFormat === "pytorch" || targetFormat === "openvino"
  );
}

/**
 * The converter of `path` whose results --max-error limits: the one that changes the precision, as far
 * as ONNX Runtime runs what it writes, or else the compiler for WebGPU; null where there is neither.
 */
export function limitedStep(path: readonly ModelConverter[]): ModelConverter | null {
  const to = (target: string) => ({ sourceFormat, targetFormat }: ModelConverter) =>
    sourceFormat === "onnx" && targetFormat === target;
  return path.find(to("onnx")) ?? path.find(to("webgpu")) ?? null;
}

/** What only quantization asks for. */
const OF_QUANTIZATION = {
  blockSize: "--block-size",
  symmetric: "--symmetric",
  method: "--method",
  scales: "--scales",
  encoding: "--encoding",
  engine: "--engine",
  workers: "--workers",
  allowInexact: "--allow-inexact",
} as const;

/** An option that a person gave, and what it takes to have a use. */
interface IdleRule extends Pick<Rule, "option" | "given"> {
  readonly used: (request: ConverterRequest, path: readonly ModelConverter[]) => boolean;
  /** What is missing, after "without". */
  readonly without: string;
}

const verifies = ({ verify, dryRun }: ConverterRequest, path: readonly ModelConverter[]) =>
  !dryRun && (verify ?? usesPython(path));

const IDLE_RULES: readonly IdleRule[] = [
  {
    option: "--io-f16",
    given: differs("ioFloat16"),
    used: ({ activations, precisions }) =>
      activations === "float16" || precisions.includes("float16"),
    without: "--activations float16",
  },
  { option: "--provider", given: differs("provider"), used: verifies, without: "--verify" },
  {
    option: "--seed",
    given: differs("seed"),
    used: (request, path) => request.randomWeights || verifies(request, path),
    without: "--verify",
  },
];

/**
 * Throws an `InputError` for the first option of `request` that can't be served beside the others, or
 * on the way that `path` takes; tells `warn` of those that do nothing.
 */
export function checkOptions(
  request: ConverterRequest,
  path: readonly ModelConverter[],
  warn: (text: string) => void,
): void {
  if (request.precisions.length === 0) {
    throw new InputError("Cannot convert: no precision is given. Name one, such as 4bit.");
  }
  for (const { option, given, serves, needs } of RULES) {
    if (!given(request) || serves(request, path)) continue;
    throw new InputError(`Cannot use ${option} here: it ${needs}. Leave it out.`);
  }
  if (request.dryRun) {
    if (request.verify === true) warn("--verify does nothing beside --dry-run: nothing is written");
    if (request.sha256) warn("--sha256 does nothing beside --dry-run: nothing is written");
  }
  for (const { option, given, used, without } of IDLE_RULES) {
    if (given(request) && !used(request, path)) warn(`${option} does nothing without ${without}`);
  }
  if (request.precisions.some((precision) => quantizedBits(precision) !== null)) return;
  for (const key of Object.keys(OF_QUANTIZATION) as (keyof typeof OF_QUANTIZATION)[]) {
    if (!differs(key)(request)) continue;
    warn(`${OF_QUANTIZATION[key]} does nothing at ${request.precisions.join(", ")}`);
  }
}
