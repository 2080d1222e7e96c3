/**
 * The precisions that transformers.js knows by name (its `dtype` option), the ending that it gives
 * each one's file (its `DEFAULT_DTYPE_SUFFIX_MAPPING`, as of 4.3), and what modelcast writes for it.
 */
import { InputError, nearestNames } from "../error.ts";
import type { Precision } from "../converters/options.ts";

/** What is written for one `dtype`. */
export interface DtypeRow {
  /** What stands between the model's name and `.onnx`. */
  readonly suffix: string;
  readonly precision: Precision;
  readonly activations: "float32" | "float16";
  /** Whether blocks have no zero point; null where the caller decides. */
  readonly symmetric: boolean | null;
  /** For the table of a model card. */
  readonly about: string;
}

/** The dtypes that modelcast can write, by name. */
export const DTYPES = {
  fp32: row("", "float32", "float32", null, "float32"),
  fp16: row("_fp16", "float16", "float32", null, "float16, computed in float16"),
  q8: row("_quantized", "8bit", "float32", null, "8-bit weights, computed in float32"),
  int8: row("_int8", "8bit", "float32", true, "8-bit signed weights, computed in float32"),
  uint8: row("_uint8", "8bit", "float32", false, "8-bit unsigned weights, computed in float32"),
  q4: row("_q4", "4bit", "float32", null, "4-bit weights, computed in float32"),
  q4f16: row("_q4f16", "4bit", "float16", null, "4-bit weights, computed in float16"),
  q2: row("_q2", "2bit", "float32", null, "2-bit weights, computed in float32"),
  q2f16: row("_q2f16", "2bit", "float16", null, "2-bit weights, computed in float16"),
} as const satisfies Readonly<Record<string, DtypeRow>>;

/** Name of a dtype that modelcast can write. */
export type Dtype = keyof typeof DTYPES;

/** The names, from the most bits to the fewest. */
export const DTYPE_NAMES: readonly Dtype[] = Object.keys(DTYPES) as Dtype[];

/** What transformers.js knows and modelcast does not write, and why. */
const NOT_WRITTEN: Readonly<Record<string, string>> = {
  q1: "modelcast makes no 1-bit weights",
  q1f16: "modelcast makes no 1-bit weights",
  bnb4: "modelcast does not write the 4-bit float codes of bitsandbytes",
};

function row(
  suffix: string,
  precision: Precision,
  activations: "float32" | "float16",
  symmetric: boolean | null,
  about: string,
): DtypeRow {
  return { suffix, precision, activations, symmetric, about };
}

/** Reads a dtype's name. Throws an `InputError` that says why another one is not written. */
export function parseDtype(text: string): Dtype {
  if (Object.hasOwn(DTYPES, text)) return text as Dtype;
  const reason = Object.hasOwn(NOT_WRITTEN, text) ? NOT_WRITTEN[text]! : "it has no such dtype";
  throw new InputError(
    `Cannot write the dtype "${text}" for transformers.js: ${reason}. ` +
      `The nearest are ${nearestNames(text, DTYPE_NAMES).join(", ")}.`,
  );
}

/**
 * The dtypes of `precisions`: `q4` for 4 bits, `q4f16` with float16 activations. Throws an
 * `InputError` for precisions that transformers.js has no name for.
 */
export function dtypesOfPrecisions(
  precisions: readonly Precision[],
  activations: "float32" | "float16",
): Dtype[] {
  return precisions.map((precision) => {
    const found = DTYPE_NAMES.find((name) =>
      DTYPES[name].precision === precision &&
      (DTYPES[name].activations === activations || precision === "float16")
    );
    if (found !== undefined) return found;
    throw new InputError(
      `Cannot lay ${precision} weights with ${activations} activations out for transformers.js: it ` +
        `has no name for such a file. It has names for ${DTYPE_NAMES.join(", ")}.`,
    );
  });
}
