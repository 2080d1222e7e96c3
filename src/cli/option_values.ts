/** Values of options, read from what a person typed; a wrong one is answered with the nearest right one. */
import { Option } from "commander";
import { MOST_WORKERS, type Precision, PRECISIONS } from "../converters/options.ts";
import { InputError, nearestNames } from "../error.ts";
import { BLOCK_SIZES, type BlockSize } from "../formats.ts";
import { type Dtype, parseDtype } from "../layout/dtypes.ts";

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

/** An option with a closed list of values. */
export function choice(flags: string, description: string, values: readonly string[]): Option {
  return new Option(flags, `${description}: ${values.join(", ")}`).argParser((value: string) => {
    if (values.includes(value)) return value;
    throw wrongValue(flags, value, values);
  });
}

/** "8GB", "512MB" or a number of bytes; units are powers of 1000, or of 1024 with an "i". */
export function memorySize(value: string): number {
  const [, digits, unit] = /^([0-9]{1,6}(?:\.[0-9]+)?) ?([kMGT]i?B)?$/i.exec(value) ?? [];
  if (digits === undefined || Number(digits) === 0) {
    throw new InputError(
      `Cannot read --max-memory "${value}": it is not a size. Give one such as 8GB.`,
    );
  }
  const name = unit?.toUpperCase() ?? "";
  const power = name === "" ? 0 : "KMGT".indexOf(name[0]!) + 1;
  return Math.ceil(Number(digits) * (name[1] === "I" ? 1024 : 1000) ** power);
}

/** Names of dtypes, separated by commas. */
export function dtypes(value: string): readonly Dtype[] {
  return value.split(",").map((name) => parseDtype(name.trim()));
}

/** The name of a precision, or another spelling of one; `previous` is one that was given before. */
export function precision(value: string, previous?: Precision): Precision {
  if (previous !== undefined) {
    throw new InputError(
      "Cannot read the command line: --precision is given twice. Give it once, or " +
        "--all-precisions for every one.",
    );
  }
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

/** A block size, "channel" or "tensor". */
export function blockSize(value: string): BlockSize {
  const names = [...BLOCK_SIZES.map(String), "channel", "tensor"];
  if (!names.includes(value)) {
    const size = Number(value);
    const nearest = Number.isFinite(size)
      ? BLOCK_SIZES.toSorted((a, b) => Math.abs(a - size) - Math.abs(b - size))[0]
      : undefined;
    throw wrongValue("--block-size", value, names, nearest?.toString());
  }
  return value === "channel" || value === "tensor" ? value : Number(value) as BlockSize;
}

/** A whole number from 1 on. */
export function positiveInteger(value: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(value)) return Number(value);
  throw new InputError(
    `Cannot read the command line: "${value}" is not a positive whole number. Give one, such as 2.`,
  );
}

/** A number of threads. */
export function workers(value: string): number {
  const count = positiveInteger(value);
  if (count <= MOST_WORKERS) return count;
  throw new InputError(
    `Cannot read --workers "${value}": there can be no more than ${MOST_WORKERS}. Leave it out for ` +
      "one a core.",
  );
}

/** A relative error: a number from 0 on. */
export function errorLimit(value: string): number {
  const limit = /^[0-9]*\.?[0-9]+(e-?[0-9]{1,3})?$/i.test(value) ? Number(value) : NaN;
  if (Number.isFinite(limit)) return limit;
  throw new InputError(
    `Cannot read --max-error "${value}": it is not a relative error. Give a number from 0 on, such ` +
      "as 0.1.",
  );
}

/** Adds the value of an option that may be given several times. */
export function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds "NAME=NUMBER" of an option that may be given several times. */
export function collectExtent(
  value: string,
  previous: Readonly<Record<string, number>> = {},
): Readonly<Record<string, number>> {
  const at = value.lastIndexOf("=");
  const [name, extent] = [value.slice(0, at), value.slice(at + 1)];
  if (at < 1 || !/^[1-9][0-9]{0,8}$/.test(extent)) {
    throw new InputError(
      `Cannot read the dimension "${value}": it is not a name and a positive whole number. ` +
        "Give it as batch=1.",
    );
  }
  if (Object.hasOwn(previous, name)) {
    throw new InputError(
      `Cannot read the command line: the dimension "${name}" is given twice. Give it once.`,
    );
  }
  return Object.fromEntries([...Object.entries(previous), [name, Number(extent)]]);
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
