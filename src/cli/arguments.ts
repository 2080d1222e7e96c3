/**
 * The command line's grammar: arguments in, a discriminated union out. Nothing here touches the
 * file system; values are checked for form, and a wrong one is answered with the nearest right one.
 */
import { Command, CommanderError, Option } from "commander";
import { InputError, nearestNames } from "../error.ts";
import {
  type ConversionOptions,
  DEFAULTS,
  type Precision,
  PRECISIONS,
} from "../converters/options.ts";
import { BLOCK_SIZES, type BlockSize, type ScaleType } from "../formats.ts";
import type { EngineName, Method } from "../quantization/engine.ts";
import { VERSION } from "../version.ts";

/** Other spellings of the precisions that people type. */
const PRECISION_ALIASES: Readonly<Record<string, Precision>> = {
  f32: "float32",
  fp32: "float32",
  f16: "float16",
  fp16: "float16",
  half: "float16",
  bf16: "bfloat16",
  int8: "8bit",
  q8: "8bit",
  "8": "8bit",
  int4: "4bit",
  q4: "4bit",
  "4": "4bit",
  int3: "3bit",
  q3: "3bit",
  "3": "3bit",
  int2: "2bit",
  q2: "2bit",
  "2": "2bit",
};

/** `modelcast convert`, checked for form. */
export interface ConvertArguments extends ConversionOptions {
  readonly kind: "convert";
  readonly verify: boolean;
  readonly inputs: string | null;
  readonly provider: string;
  readonly seed: number;
  readonly perOp: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** Text to print instead of running a command: help, the version, or a usage error. */
export interface PrintCommand {
  readonly kind: "print";
  readonly text: string;
  readonly exitCode: 0 | 2;
}

/** A parsed command line. */
export type ParsedCommand = ConvertArguments | PrintCommand;

/** Parses `args`. Throws an `InputError` for values of the wrong form. */
export function parseArguments(args: readonly string[]): ParsedCommand {
  let parsed: ParsedCommand | null = null;
  let text = "";
  const program = new Command("modelcast")
    .description(
      "Casts a model into the format and the precision that its target runs.\n" +
        "Quantizes ONNX models to 8, 4, 3 and 2 bits, float16 and bfloat16.",
    )
    .version(VERSION)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (chunk) => void (text += chunk),
      writeErr: (chunk) => void (text += chunk),
    });
  addConvert(program, (command) => void (parsed = command));
  try {
    program.parse(args.length === 0 ? ["--help"] : args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: "print", text, exitCode: error.exitCode === 0 ? 0 : 2 };
  }
  return parsed ?? { kind: "print", text: program.helpInformation(), exitCode: 2 };
}

/** Adds `convert` to `program`; `done` gets its parsed arguments. */
function addConvert(program: Command, done: (command: ConvertArguments) => void): void {
  program.command("convert")
    .description("convert a model to another format or precision")
    .requiredOption("--source <file>", "the model to read: an .onnx file")
    .addOption(choice("--source-format <name>", "format of the source", ["onnx"]).default("onnx"))
    .addOption(choice("--target-format <name>", "format to write", ["onnx"]).default("onnx"))
    .option("--output <file>", "the file to write; replaced when the conversion has succeeded")
    .option("--precision <name>", `precision of the weights: ${PRECISIONS.join(", ")}`, precision)
    .option("--all-precisions", "write every precision, OUTPUT.PRECISION.onnx each, from one read")
    .option("--block-size <n>", "weights that share a scale: 16 to 256, channel, tensor", blockSize)
    .option("--symmetric", "no zero points: codes around the middle of their range")
    .option("--asymmetric", "a zero point for each block (the default)")
    .addOption(
      choice("--method <name>", "how scales are chosen", ["rtn", "mse", "hqq"]).default(
        DEFAULTS.method,
      ),
    )
    .addOption(
      choice("--scales <type>", "type of the stored scales", ["float16", "float32"])
        .default("float16"),
    )
    .addOption(
      choice("--activations <type>", "type that the model computes in", ["float32", "float16"])
        .default("float32"),
    )
    .option("--io-f16", "make float inputs and outputs float16 too")
    .addOption(
      choice("--encoding <name>", "ONNX form of quantized weights", ["auto", "matmulnbits", "qdq"])
        .default("auto"),
    )
    .option(
      "--runtime <name>",
      "a runtime that must load the result, such as onnxruntime-1.24:webgpu; repeatable",
      collect,
      [],
    )
    .option(
      "--exclude <pattern>",
      "leave weights alone whose tensor or node name matches; repeatable",
      collect,
      [],
    )
    .addOption(
      choice("--nan <what>", "a weight that holds NaN or infinity", ["error", "keep"])
        .default("error"),
    )
    .addOption(
      choice("--engine <name>", "what does the work", ["auto", "webgpu", "wasm", "reference"])
        .default("auto"),
    )
    .option("--workers <n>", "threads of the wasm engine (default: one a core)", positiveInteger)
    .option("--allow-inexact", "use a GPU whose arithmetic fails the self-test")
    .option("--verify", "run the original and the result in ONNX Runtime and compare them")
    .option("--inputs <file>", "verify on these inputs: .npz, .npy or a picture")
    .option("--provider <name>", "execution provider to verify on", "cpu")
    .option("--seed <n>", "seed of the generated inputs", positiveInteger, 1)
    .option("--per-op", "find the first node where the original and the result part")
    .option("--dry-run", "print what would be written, to the byte, and write nothing")
    .option("--sha256", "print the SHA-256 of what was written")
    .option("--json", "print the report as JSON")
    .option("--quiet", "print nothing but errors")
    .action((options: ConvertOptions) => done(checkConvert(options)));
}

/** What commander hands to the action of `convert`. */
interface ConvertOptions {
  source: string;
  output?: string;
  precision?: Precision;
  allPrecisions?: true;
  blockSize?: BlockSize;
  symmetric?: true;
  asymmetric?: true;
  method: Method;
  scales: ScaleType;
  activations: "float32" | "float16";
  ioF16?: true;
  encoding: "auto" | "matmulnbits" | "qdq";
  runtime: string[];
  exclude: string[];
  nan: "error" | "keep";
  engine: "auto" | EngineName;
  workers?: number;
  allowInexact?: true;
  verify?: true;
  inputs?: string;
  provider: string;
  seed: number;
  perOp?: true;
  dryRun?: true;
  sha256?: true;
  json?: true;
  quiet?: true;
}

/** Checks what commander can't: options that exclude or need each other. */
function checkConvert(options: ConvertOptions): ConvertArguments {
  if (options.symmetric && options.asymmetric) {
    throw new InputError(
      "Cannot read the command line: --symmetric and --asymmetric exclude each other. Give one.",
    );
  }
  if (options.precision !== undefined && options.allPrecisions) {
    throw new InputError(
      "Cannot read the command line: --precision and --all-precisions exclude each other. Give one.",
    );
  }
  if (options.precision === undefined && !options.allPrecisions) {
    throw new InputError(
      `Cannot read the command line: no precision is given. Add --precision with one of ` +
        `${PRECISIONS.join(", ")}, or --all-precisions.`,
    );
  }
  if (options.source === "" || options.output === "") {
    throw new InputError(
      "Cannot read the command line: the name of a file is empty. Give --source FILE and --output FILE.",
    );
  }
  if (options.output === undefined && !options.dryRun) {
    throw new InputError(
      "Cannot read the command line: no output is given. Add --output FILE, or --dry-run to see " +
        "the sizes only.",
    );
  }
  return {
    kind: "convert",
    source: options.source,
    output: options.output ?? `${options.source.replace(/\.onnx$/, "")}.converted.onnx`,
    precisions: options.precision === undefined
      ? PRECISIONS.filter((name) =>
        name !== "float32" && (name !== "bfloat16" || options.activations === "float32")
      )
      : [options.precision],
    blockSize: options.blockSize ?? DEFAULTS.blockSize,
    symmetric: options.symmetric ?? false,
    method: options.method,
    scales: options.scales,
    activations: options.activations,
    ioFloat16: options.ioF16 ?? false,
    encoding: options.encoding,
    runtimes: options.runtime,
    exclude: options.exclude,
    nan: options.nan,
    engine: options.engine,
    workers: options.workers ?? null,
    allowInexact: options.allowInexact ?? false,
    verify: (options.verify ?? false) || options.inputs !== undefined || (options.perOp ?? false),
    inputs: options.inputs ?? null,
    provider: options.provider,
    seed: options.seed,
    perOp: options.perOp ?? false,
    dryRun: options.dryRun ?? false,
    sha256: options.sha256 ?? false,
    json: options.json ?? false,
    quiet: options.quiet ?? false,
  };
}

/** An option with a closed list of values. */
function choice(flags: string, description: string, values: readonly string[]): Option {
  return new Option(flags, `${description}: ${values.join(", ")}`).argParser((value: string) => {
    if (values.includes(value)) return value;
    throw wrongValue(flags, value, values);
  });
}

function precision(value: string): Precision {
  const name = PRECISION_ALIASES[value.toLowerCase()] ?? value.toLowerCase();
  if ((PRECISIONS as readonly string[]).includes(name)) return name as Precision;
  const bits = /^(?:int|q|uint)?([0-9]{1,3})(?:[- ]?bits?)?$/.exec(name)?.[1];
  throw bits === undefined
    ? wrongValue("--precision", value, PRECISIONS)
    : wrongValue("--precision", value, PRECISIONS, nearestBits(Number(bits)));
}

/** The quantized precision with about as many bits, rather more than fewer; or float16. */
function nearestBits(bits: number): Precision {
  const names: Precision[] = ["2bit", "3bit", "4bit", "8bit"];
  return names.find((name) => bits <= parseInt(name)) ?? (bits <= 24 ? "float16" : "float32");
}

function blockSize(value: string): BlockSize {
  const names = [...BLOCK_SIZES.map(String), "channel", "tensor"];
  if (!names.includes(value)) throw wrongValue("--block-size", value, names);
  return value === "channel" || value === "tensor" ? value : Number(value) as BlockSize;
}

function positiveInteger(value: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(value)) return Number(value);
  throw new InputError(
    `Cannot read the command line: "${value}" is not a positive whole number. Give one, such as 2.`,
  );
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function wrongValue(
  flags: string,
  value: string,
  values: readonly string[],
  nearest = nearestNames(value, values, 1)[0],
): InputError {
  const option = flags.split(" ")[0];
  return new InputError(
    `Cannot read ${option} "${value}": the nearest value is "${nearest}". ` +
      `Give one of ${values.join(", ")}.`,
  );
}
