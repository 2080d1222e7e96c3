/** Requests of programs to verify, and reports that they hand in, checked value by value. */
import { z } from "zod";
import { optionError } from "../error.ts";
import type { VerifyOptions } from "../verify.ts";
import { NORMALIZATIONS } from "./picture.ts";
import type { VerificationReport } from "./report.ts";
import { type HostTensor, isHostTensor } from "./values.ts";

const path = z.string().min(1).refine((text) => !text.includes("\0"), "is not a path");
const count = z.number().int().min(1).max(999_999_999);
const extent = z.number().int().min(0).max(2 ** 31 - 1);

/** What a row of a table with two models says of both. */
const both = <Value extends z.ZodType>(value: Value) =>
  z.looseObject({ original: value, result: value });

const tensor = z.custom<HostTensor>(
  isHostTensor,
  "expected { dtype, dims, data }: the name of an element type, extents, and the array of that type",
);

const inputs = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("file"),
    path,
    normalization: z.enum(NORMALIZATIONS).optional(),
  }),
  z.strictObject({
    kind: z.literal("tensors"),
    tensors: z.map(z.string(), tensor),
    origin: z.string(),
  }),
], { error: ({ code }) => code === "invalid_union" ? 'expected "file" or "tensors"' : undefined });

const tolerance = z.strictObject({
  relativeL2: z.number().nonnegative(),
  probability: z.number().nonnegative(),
  equalShare: z.number().min(0).max(1),
});

const Options = z.strictObject({
  original: path,
  result: path,
  inputs: inputs.optional(),
  samples: count.optional(),
  runs: z.number().int().min(0).max(999_999_999).optional(),
  seed: count.optional(),
  extents: z.strictObject({
    fixed: z.record(z.string(), extent),
    largest: z.record(z.string(), extent),
  }).optional(),
  provider: z.string().min(1).optional(),
  signal: z.instanceof(AbortSignal, { error: "expected an AbortSignal" }).optional(),
  perOp: z.boolean().optional(),
  perOpThreshold: z.number().nonnegative().optional(),
  tolerance: tolerance.nullable().optional(),
});

/** Throws an `InputError` that names the option of `options` that can't be used, and what can. */
export function checkVerifyOptions(options: VerifyOptions): void {
  const { error } = Options.safeParse(options);
  if (error !== undefined) throw optionError("verify", error.issues[0]!);
}

/** Errors may be infinite. */
const number = z.custom<number>((value) => typeof value === "number", "expected a number");
const texts = z.array(z.string());
const dims = z.array(number);
const numbers = both(number);
const placement = z.looseObject({
  nodes: number.nullable(),
  elsewhere: z.array(z.unknown()).nullable(),
});
const times = z.looseObject({ load: number, run: number.nullable() });
const inside = z.looseObject({
  value: z.string(),
  node: z.string(),
  op: both(z.string()),
  error: number.nullable(),
  jump: number,
  mismatch: z.string().nullable(),
});

/** What of a report its lines are made of. */
const Report = z.looseObject({
  provider: z.string(),
  runtime: z.looseObject({ version: z.string() }),
  adapter: z.looseObject({ name: z.string(), software: z.boolean(), runtime: z.string() })
    .nullable(),
  placement: both(placement),
  samples: number,
  seed: number.nullable(),
  inputs: z.array(
    z.looseObject({ name: z.string(), dtype: z.string(), dims, origin: z.string() }),
  ),
  outputs: z.array(z.looseObject({
    name: z.string(),
    dtype: both(z.string()),
    dims,
    equalShare: number,
    float: z.looseObject({
      sqnr: number.nullable(),
      cosine: number.nullable(),
      relativeL2: number.nullable(),
      maxAbsError: number,
      sameLargest: number.nullable(),
      nan: numbers,
      infinite: numbers,
    }).nullable(),
  })),
  time: both(times).extend({ runs: number, ratio: number.nullable() }),
  tolerance: z.looseObject({ relativeL2: number }).nullable(),
  passed: z.boolean(),
  failures: texts,
  warnings: texts,
  notChecked: texts,
  perOp: z.looseObject({
    threshold: number,
    first: inside.nullable(),
    values: z.array(inside),
    skipped: z.array(z.looseObject({ value: z.string(), reason: z.string() })),
    notChecked: texts,
  }).nullable(),
});

/** Throws an `InputError` that names what is not as in a report of a verification. */
export function checkVerificationReport(report: VerificationReport): void {
  const { error } = Report.safeParse(report);
  if (error !== undefined) throw optionError("format the verification", error.issues[0]!);
}
