/**
 * What `--json` prints, as docs/json.md describes it: no field more and none less. Tests of each
 * conversion hold what was printed to it.
 */
import { z } from "zod";

const text = z.string();
const count = z.int().min(0);
const bytes = count;
/** JSON has no word for what is not finite. */
const number = z.union([z.number(), z.enum(["Infinity", "-Infinity", "NaN"])]);
const extents = z.array(count);
const symbolicExtents = z.array(z.union([count, text, z.null()]));
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const FILE = z.strictObject({ path: text, byteLength: bytes, sha256: sha256.nullable() });
const BOTH = z.strictObject({ original: count, result: count });

const PLACEMENT = z.strictObject({
  nodes: count.nullable(),
  elsewhere: z.array(z.strictObject({ node: text, op: text, provider: text })).nullable(),
  how: text,
});
const TIMES = z.strictObject({ load: z.number(), run: z.number().nullable() });

const VALUE = z.strictObject({
  value: text,
  node: text,
  op: z.strictObject({ original: text, result: text }),
  dims: extents,
  error: number.nullable(),
  jump: number,
  mismatch: text.nullable(),
});

const OUTPUT = z.strictObject({
  name: text,
  dtype: z.strictObject({ original: text, result: text }),
  dims: extents,
  elements: count,
  float: z.strictObject({
    maxAbsError: number,
    relativeL2: number.nullable(),
    worstRelativeL2: number.nullable(),
    pooledRelativeL2: number.nullable(),
    cosine: number.nullable(),
    sqnr: number.nullable(),
    nan: BOTH,
    infinite: BOTH,
    nonFiniteMismatches: count,
    sameLargest: number.nullable(),
  }).nullable(),
  equalShare: z.number().min(0).max(1),
  collapsed: text.nullable(),
});

/** The verification of a step from ONNX to ONNX, or to WebGPU. */
export const VERIFICATION = z.strictObject({
  original: text,
  result: text,
  runtime: z.strictObject({ name: z.literal("onnxruntime-node"), version: text }),
  provider: text,
  adapter: z.strictObject({ name: text, vendor: text, software: z.boolean(), runtime: text })
    .nullable(),
  placement: z.strictObject({ original: PLACEMENT, result: PLACEMENT }),
  samples: count,
  seed: count.nullable(),
  inputs: z.array(z.strictObject({ name: text, dtype: text, dims: extents, origin: text })),
  outputs: z.array(OUTPUT),
  time: z.strictObject({
    runs: count,
    original: TIMES,
    result: TIMES,
    ratio: number.nullable(),
  }),
  tolerance: z.strictObject({
    relativeL2: z.number(),
    probability: z.number(),
    equalShare: z.number(),
  }).nullable(),
  passed: z.boolean(),
  failures: z.array(text),
  warnings: z.array(text),
  notChecked: z.array(text),
  perOp: z.strictObject({
    threshold: z.number(),
    values: z.array(VALUE),
    first: VALUE.nullable(),
    largestJump: VALUE.nullable(),
    skipped: z.array(z.strictObject({ value: text, reason: text })),
    notChecked: z.array(text),
  }).nullable(),
});

const CONVERSION = {
  modelcast: text,
  source: z.strictObject({ path: text, sha256 }),
  precision: text,
  options: text,
  files: z.array(FILE),
  dryRun: z.boolean(),
  engine: z.strictObject({ name: text, reason: text }).nullable(),
  seconds: z.number(),
  weights: z.array(z.strictObject({
    name: text,
    ops: z.array(text),
    role: text,
    dims: extents,
    form: text,
    bytesBefore: bytes,
    bytesAfter: bytes,
    bitsPerWeight: z.number(),
    memoryBytes: bytes,
    sqnr: number.nullable(),
    cosine: number.nullable(),
  })),
  skipped: z.array(z.strictObject({ name: text, bytes, reason: text })),
  totals: z.strictObject({
    fileBytesBefore: bytes,
    fileBytesAfter: bytes,
    weightBytesBefore: bytes,
    weightBytesAfter: bytes,
    bitsPerWeight: number,
    nominalReduction: number,
    weightReduction: number,
    fileReduction: number,
    memoryBytes: bytes,
    sqnr: number.nullable(),
    convertedShare: number,
  }),
  warnings: z.array(text),
};

const ONNX = z.strictObject({
  kind: z.literal("onnx"),
  outputPath: text,
  conversions: z.array(z.strictObject({ ...CONVERSION, verification: VERIFICATION.nullable() })),
});

const EXPORTED = z.array(
  z.strictObject({ name: text, dtype: text, shape: z.array(z.union([count, text])) }),
);

const PYTORCH = z.strictObject({
  kind: z.literal("pytorch"),
  outputPath: text,
  source: text,
  exporter: text,
  opset: count,
  modelType: text.nullable(),
  architecture: text,
  task: text,
  parameters: count,
  inputs: EXPORTED,
  outputs: EXPORTED,
  verification: z.strictObject({
    passed: z.boolean(),
    tolerance: z.number(),
    outputs: z.array(z.strictObject({
      file: text,
      name: text,
      shape: extents,
      maximumAbsoluteError: number.nullable(),
      relativeL2: number.nullable(),
    })),
    failures: z.array(text),
  }).nullable(),
  files: z.array(FILE),
  seconds: z.number(),
  sandbox: text,
  held: text,
});

const OPENVINO = z.strictObject({
  kind: z.literal("openvino"),
  outputPath: text,
  source: z.strictObject({ path: text, sha256 }),
  openvino: text,
  weights: z.array(z.strictObject({
    name: text,
    form: text,
    element: text,
    dims: extents,
    byteLength: bytes,
  })),
  constants: z.array(z.strictObject({ element: text, elements: count, byteLength: bytes })),
  verification: z.strictObject({
    passed: z.boolean(),
    reference: text,
    runtime: text,
    device: text,
    tolerance: z.number(),
    seed: count,
    samples: count,
    inputs: z.array(z.strictObject({ name: text, dtype: text, dims: extents })),
    outputs: z.array(z.strictObject({
      name: text,
      dtype: text,
      dims: extents,
      maximumAbsoluteError: number.nullable(),
      relativeToLargest: number.nullable(),
      relativeL2: number.nullable(),
      equalShare: z.number().nullable(),
    })),
    failures: z.array(text),
  }).nullable(),
  files: z.array(FILE),
  seconds: z.number(),
  sandbox: text,
  held: text,
});

const PORT = z.strictObject({ name: text, dtype: text, dims: symbolicExtents.nullable() });

/** The content of `NAME.report.json`. */
export const MODULE = z.strictObject({
  modelcast: text,
  source: z.strictObject({ name: text, sha256, options: text.nullable() }),
  inputs: z.array(PORT),
  outputs: z.array(PORT),
  dims: z.record(z.string(), count),
  maxDims: z.record(z.string(), count),
  nodes: z.record(z.string(), count),
  hostNodes: z.array(text),
  kernels: z.array(z.strictObject({ label: text, bindings: text })),
  choices: z.array(z.strictObject({
    label: text,
    candidates: z.array(z.strictObject({
      variant: text,
      adapter: z.enum(["any", "software", "hardware"]),
      features: z.array(text),
      workgroupBytes: bytes,
      limits: z.array(text),
      kernels: z.array(count),
    })),
  })),
  dispatches: z.array(z.union([
    z.strictObject({ label: text, kernel: count }),
    z.strictObject({ label: text, choice: count }),
  ])),
  weights: z.strictObject({
    fileBytes: bytes,
    buffers: z.array(bytes),
    tensors: z.array(
      z.strictObject({ name: text, precision: text, dtype: text, dims: extents, bytes }),
    ),
  }),
  shaders: z.strictObject({ checker: z.enum(["naga", "adapter", "none"]), checked: count }),
  memory: z.union([
    text,
    z.strictObject({
      dims: z.array(extents),
      dispatches: count,
      arenaBytes: bytes,
      liveBytes: bytes,
    }),
  ]),
  page: text,
});

const WEBGPU = z.strictObject({
  kind: z.literal("webgpu"),
  outputPath: text,
  dryRun: z.boolean(),
  module: MODULE,
  files: z.array(FILE),
  verification: VERIFICATION.nullable(),
  seconds: z.number(),
});

const PLAIN = z.strictObject({
  kind: z.literal("plain"),
  outputPath: text,
  sourceFormat: text,
  targetFormat: text,
  files: z.array(FILE),
});

const STEP = z.discriminatedUnion("kind", [ONNX, PYTORCH, OPENVINO, WEBGPU, PLAIN]);

const LAYOUT = z.strictObject({
  output: text,
  files: z.array(text),
  models: z.array(z.strictObject({
    role: text,
    dtype: text,
    conversion: z.strictObject(CONVERSION),
    verification: VERIFICATION.nullable(),
  })),
});

const COMMON = { outputPath: text, files: z.array(text), steps: z.array(STEP) };

/** The line that `convert --json` prints. */
export const PRINTED = z.union([
  z.strictObject({
    success: z.literal(true),
    error: z.null(),
    ...COMMON,
    layout: LAYOUT.optional(),
  }),
  z.strictObject({ success: z.literal(false), error: text, ...COMMON }),
]);

/** Names of all fields below `schema`. */
export function fieldsOf(schema: z.core.$ZodType): Set<string> {
  const found = new Set<string>();
  const visit = (type: z.core.$ZodType): void => {
    if (type instanceof z.ZodObject) {
      for (const [name, inner] of Object.entries<z.core.$ZodType>(type.shape)) {
        found.add(name);
        visit(inner);
      }
    } else if (type instanceof z.ZodArray) visit(type.element);
    else if (type instanceof z.ZodNullable || type instanceof z.ZodOptional) visit(type.unwrap());
    else if (type instanceof z.ZodUnion || type instanceof z.ZodDiscriminatedUnion) {
      for (const option of type.options) visit(option);
    }
  };
  visit(schema);
  return found;
}
