/**
 * Every way to hold a weight, in every form, in the Python releases of the runtimes: what the
 * capability table allows loads and computes with the quantized weights, and what it refuses on
 * grounds of an operator really fails there.
 */
import assert from "node:assert/strict";
import { InputError } from "../../src/error.ts";
import { run } from "../../src/process.ts";
import type { QuantizationOptions } from "../../src/quantization/planner.ts";
import { convertCase, QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES, type EncodingCase } from "../encoding_models.ts";
import { type PythonEnvironment, pythonPath, ROOT } from "../install.ts";

/** What `compare_models.py` reports of a pair. */
interface Answer {
  readonly name: string;
  readonly error: string | null;
  readonly difference: number;
  readonly unsupported: boolean;
}

const RUNTIMES: readonly {
  readonly environment: PythonEnvironment;
  readonly name: string;
  readonly blockSizes: readonly QuantizationOptions["blockSize"][];
}[] = [
  { environment: "onnxruntime-1.22", name: "onnxruntime-1.22", blockSizes: [16, 32, "channel"] },
  { environment: "onnxruntime-1.24", name: "onnxruntime-1.24", blockSizes: [16, 32, "channel"] },
  { environment: "main", name: "onnxruntime-1.32", blockSizes: [16, 32, "channel", "tensor"] },
  // Compiling takes OpenVINO ten times as long.
  {
    environment: "openvino-2026.4",
    name: "openvino-2026.4",
    blockSizes: [32, "channel", "tensor"],
  },
];

for (const { environment, name, blockSizes } of RUNTIMES) {
  for (const encoding of ["auto", "matmulnbits", "qdq"] as const) {
    if (encoding === "matmulnbits" && environment === "openvino-2026.4") continue;
    Deno.test(`${name} computes with the quantized weights, encoding ${encoding}`, async () => {
      await withFolder(async (folder) => {
        const pairs: Pair[] = [];
        const refused: string[] = [];
        for (const example of ENCODING_CASES) {
          // OpenVINO knows no functions of a model's own, and ends the process where it gathers no
          // rows and computes with them.
          const isRefused = example.build().functions.length > 0 ||
            example.feeds[0]!.dims.includes(0);
          if (environment === "openvino-2026.4" && isRefused) continue;
          for (const options of formats(blockSizes, encoding, name)) {
            const label = `${example.name}, ${options.bits} bits, ` +
              `${options.symmetric ? "symmetric" : "asymmetric"}, ${options.blockSize}`;
            const pair = await convert(example, options, folder, label, pairs.length);
            if (pair instanceof InputError) refused.push(`${label}: ${pair.message}`);
            else if (pair !== null) pairs.push(pair);
          }
        }
        const answers = await compare(environment, folder, pairs);
        answers.forEach((answer, i) => {
          const { label, forms, tolerance } = pairs[i]!;
          assert.equal(answer.error, null, `${label} as ${forms}: ${answer.error}`);
          assert.ok(answer.difference <= tolerance, `${label} as ${forms}: ${answer.difference}`);
        });
        // auto always finds a form; the others are refused for what an older runtime lacks.
        const unexplained = refused.filter((reason) =>
          // MatMulNBits takes no activations but float32 and float16, in no release.
          !reason.startsWith("float64 matmul") || encoding !== "matmulnbits"
        );
        if (encoding === "auto" || name === "onnxruntime-1.32") {
          assert.deepEqual(unexplained, []);
        }
        assert.ok(pairs.length >= 100, `${pairs.length} models`);
        for (const reason of refused) assert.match(reason, /The nearest form that .* is "\w/);
      });
    });
  }
}

/** Forms that the table refuses, made for a newer runtime and given to an older one. */
const REFUSED: readonly {
  readonly environment: PythonEnvironment;
  readonly example: string;
  readonly options: Partial<QuantizationOptions>;
  readonly says: RegExp;
}[] = [
  {
    environment: "onnxruntime-1.22",
    example: "matmul of whole blocks",
    options: { bits: 8, encoding: "matmulnbits" },
    says: /MatMulNBits/,
  },
  {
    environment: "onnxruntime-1.22",
    example: "matmul of whole blocks",
    options: { bits: 2, encoding: "matmulnbits" },
    says: /matmul_nbits/,
  },
  {
    environment: "onnxruntime-1.22",
    example: "embedding",
    options: { bits: 8 },
    says: /GatherBlockQuantized/,
  },
  {
    environment: "onnxruntime-1.22",
    example: "convolution",
    options: { bits: 2, encoding: "qdq" },
    says: /opset|IR|model/i,
  },
  {
    environment: "onnxruntime-1.24",
    example: "float16 matmul",
    options: { bits: 2, encoding: "matmulnbits" },
    says: /MatMulNBits/,
  },
  {
    environment: "openvino-2026.4",
    example: "matmul of whole blocks",
    options: { bits: 3, encoding: "matmulnbits" },
    says: /MatMulNBits/,
  },
  {
    environment: "openvino-2026.4",
    example: "embedding",
    options: { bits: 4 },
    says: /GatherBlockQuantized/,
  },
  {
    environment: "openvino-2026.4",
    example: "convolution",
    options: { bits: 2, encoding: "qdq" },
    says: /type/i,
  },
];

for (const { environment, example: name, options: some, says } of REFUSED) {
  const title = `${environment} fails on what is refused for it: ${name}, ${some.bits} bits, ` +
    `${some.encoding ?? "auto"}`;
  Deno.test(title, async () => {
    await withFolder(async (folder) => {
      const example = ENCODING_CASES.find((entry) => entry.name === name)!;
      const options = { ...QUANTIZATION, runtimes: ["onnxruntime-1.32"], ...some };
      const pair = await convert(example, options, folder, name, 0);
      assert.ok(pair !== null && !(pair instanceof InputError));
      const [answer] = await compare(environment, folder, [pair]);
      assert.equal(answer!.unsupported, false);
      assert.match(answer!.error ?? "nothing", says);
    });
  });
}

/** A converted model and what it is compared with. */
interface Pair {
  readonly label: string;
  readonly forms: string;
  readonly tolerance: number;
  readonly case: Record<string, unknown>;
}

/** Converts; null where no weight shrinks; the error where the encoding is refused. */
async function convert(
  example: EncodingCase,
  options: QuantizationOptions,
  folder: string,
  label: string,
  number: number,
): Promise<Pair | InputError | null> {
  try {
    const made = await convertCase(example.build, options, folder, `m${number}`);
    if (made.weights.length === 0) return null;
    return {
      label,
      forms: made.weights.map((weight) => weight.form).join(", "),
      tolerance: example.tolerance,
      case: { name: label, model: made.path, expected: made.expectedPath, feeds: example.feeds },
    };
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
}

async function compare(
  environment: PythonEnvironment,
  folder: string,
  pairs: readonly Pair[],
): Promise<Answer[]> {
  const list = `${folder}/pairs.json`;
  await Deno.writeTextFile(list, JSON.stringify(pairs.map((pair) => pair.case)));
  const result = await run({
    program: pythonPath(environment),
    args: [`${ROOT}/tests/python/compare_models.py`, list],
    install: "Run the tests with: deno task test",
    timeoutMs: 600_000,
  });
  assert.ok(result.success, result.stderr);
  return JSON.parse(new TextDecoder().decode(result.stdout));
}

function* formats(
  blockSizes: readonly QuantizationOptions["blockSize"][],
  encoding: QuantizationOptions["encoding"],
  name: string,
): Generator<QuantizationOptions> {
  for (const bits of [8, 4, 3, 2] as const) {
    for (const symmetric of [true, false]) {
      for (const blockSize of blockSizes) {
        const scaleType = blockSize === 16 ? "float32" : "float16";
        const runtimes = [name];
        yield { ...QUANTIZATION, bits, symmetric, blockSize, scaleType, encoding, runtimes };
      }
    }
  }
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
