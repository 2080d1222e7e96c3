/** What `python/openvino_ir.py` answers, and what a conversion to OpenVINO reports of it. */
import { z } from "zod";

/** A name in the output folder: the child is not trusted with paths. */
const FileName = z.string().regex(/^[^/\\\0]{1,255}$/);

/** A number of Python's that JSON has no word for comes as text. */
const Float = z.union([z.number(), z.enum(["NaN", "Infinity", "-Infinity"]).transform(Number)]);

const Verification = z.object({
  passed: z.boolean(),
  /** What computed the expected outputs, and what the compared ones. */
  reference: z.string(),
  runtime: z.string(),
  device: z.string(),
  /** Largest |error| that passes, as a part of the output's largest magnitude. */
  tolerance: z.number(),
  seed: z.number(),
  samples: z.number(),
  inputs: z.array(z.object({ name: z.string(), dtype: z.string(), dims: z.array(z.number()) })),
  outputs: z.array(z.object({
    name: z.string(),
    dtype: z.string(),
    dims: z.array(z.number()),
    /** Of float outputs; null for others. */
    maximumAbsoluteError: Float.nullable(),
    relativeToLargest: Float.nullable(),
    relativeL2: Float.nullable(),
    /** Share of equal elements of integer, boolean and string outputs; null for floats. */
    equalShare: z.number().nullable(),
  })),
  failures: z.array(z.string()),
});

/** The answer of the program. */
export const OpenVinoAnswer = z.object({
  files: z.array(z.object({ name: FileName, byteLength: z.number() })).min(2),
  openvino: z.string(),
  weights: z.array(z.object({
    name: z.string(),
    form: z.string(),
    element: z.string(),
    dims: z.array(z.number()),
    byteLength: z.number(),
  })),
  constants: z.array(
    z.object({ element: z.string(), elements: z.number(), byteLength: z.number() }),
  ),
  verification: Verification.nullable(),
});

/** How an IR compares with the ONNX model that it was made from: plain data. */
export type OpenVinoVerification = z.infer<typeof Verification>;

/** What a step from ONNX to OpenVINO did, as plain data. */
export interface OpenVinoReport {
  readonly kind: "openvino";
  readonly outputPath: string;
  readonly source: { readonly path: string; readonly sha256: string };
  /** Version of OpenVINO. */
  readonly openvino: string;
  /** The IR's graph, its weights, and the compiled model where it was asked for. */
  readonly files: readonly {
    readonly path: string;
    readonly byteLength: number;
    /** Hex digits; null where it was not asked for. */
    readonly sha256: string | null;
  }[];
  /** Weights that kept the codes they had in ONNX, or that NNCF compressed. */
  readonly weights: z.infer<typeof OpenVinoAnswer>["weights"];
  /** All constants by element type, the largest first. */
  readonly constants: z.infer<typeof OpenVinoAnswer>["constants"];
  readonly verification: OpenVinoVerification | null;
  /** From the start of the Python child to its end. */
  readonly seconds: number;
  /** What held the child, and what that means. */
  readonly sandbox: string;
  readonly held: string;
}
