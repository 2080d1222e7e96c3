/** What `python/openvino_ir.py` answers, and what a conversion to OpenVINO reports of it. */
import { z } from "zod";

/** How an IR compares with the ONNX model that it was made from: plain data. */
export interface OpenVinoVerification {
  readonly passed: boolean;
  /** What computed the expected outputs, and what the compared ones. */
  readonly reference: string;
  readonly runtime: string;
  readonly device: string;
  /** Largest |error| that passes, as a part of the output's largest magnitude. */
  readonly tolerance: number;
  readonly seed: number;
  readonly samples: number;
  readonly inputs: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly dims: readonly number[];
  }[];
  readonly outputs: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly dims: readonly number[];
    /** Of float outputs; null for others. */
    readonly maximumAbsoluteError: number | null;
    readonly relativeToLargest: number | null;
    readonly relativeL2: number | null;
    /** Share of equal elements of integer, boolean and string outputs; null for floats. */
    readonly equalShare: number | null;
  }[];
  readonly failures: readonly string[];
}

/** What the program says of the model that it wrote. */
export interface OpenVinoFacts {
  /** Version of OpenVINO. */
  readonly openvino: string;
  /** Weights that kept the codes they had in ONNX, or that NNCF compressed. */
  readonly weights: readonly {
    readonly name: string;
    readonly form: string;
    readonly element: string;
    readonly dims: readonly number[];
    readonly byteLength: number;
  }[];
  /** All constants by element type, the largest first. */
  readonly constants: readonly {
    readonly element: string;
    readonly elements: number;
    readonly byteLength: number;
  }[];
  /** Null where it was not asked for. */
  readonly verification: OpenVinoVerification | null;
}

/** What a step from ONNX to OpenVINO did, as plain data. */
export interface OpenVinoReport extends OpenVinoFacts {
  readonly kind: "openvino";
  readonly outputPath: string;
  readonly source: { readonly path: string; readonly sha256: string };
  /** The IR's graph, its weights, and the compiled model where it was asked for. */
  readonly files: readonly {
    readonly path: string;
    readonly byteLength: number;
    /** Hex digits; null where it was not asked for. */
    readonly sha256: string | null;
  }[];
  /** From the start of the Python child to its end. */
  readonly seconds: number;
  /** What held the child, and what that means. */
  readonly sandbox: string;
  readonly held: string;
}

/** Checks the answer of the program; throws where it is none. */
export function parseOpenVinoAnswer(
  value: unknown,
): OpenVinoFacts & { readonly files: readonly { readonly name: string }[] } {
  // A name in the output folder: the child is not trusted with paths.
  const fileName = z.string().regex(/^[^/\\\0]{1,255}$/);
  // A number of Python's that JSON has no word for comes as text.
  const float = z.union([
    z.number(),
    z.enum(["NaN", "Infinity", "-Infinity"]).transform(Number),
  ]);
  const dims = z.array(z.number());
  const verification = z.object({
    passed: z.boolean(),
    reference: z.string(),
    runtime: z.string(),
    device: z.string(),
    tolerance: z.number(),
    seed: z.number(),
    samples: z.number(),
    inputs: z.array(z.object({ name: z.string(), dtype: z.string(), dims })),
    outputs: z.array(z.object({
      name: z.string(),
      dtype: z.string(),
      dims,
      maximumAbsoluteError: float.nullable(),
      relativeToLargest: float.nullable(),
      relativeL2: float.nullable(),
      equalShare: z.number().nullable(),
    })),
    failures: z.array(z.string()),
  });
  return z.object({
    files: z.array(z.object({ name: fileName })).min(2),
    openvino: z.string(),
    weights: z.array(z.object({
      name: z.string(),
      form: z.string(),
      element: z.string(),
      dims,
      byteLength: z.number(),
    })),
    constants: z.array(
      z.object({ element: z.string(), elements: z.number(), byteLength: z.number() }),
    ),
    verification: verification.nullable(),
  }).parse(value);
}
