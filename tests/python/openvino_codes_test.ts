/**
 * Every way to hold a weight, in every form that modelcast writes for any runtime, taken over into
 * OpenVINO IR: the IR computes with the quantized weights, and holds their codes in the type that has
 * their bits.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { InputError } from "../../src/error.ts";
import { run } from "../../src/process.ts";
import { findInterpreter } from "../../src/python/environment.ts";
import type { QuantizationOptions } from "../../src/quantization/planner.ts";
import { convertCase, QUANTIZATION } from "../encoding_conversion.ts";
import { ENCODING_CASES } from "../encoding_models.ts";

const PROGRAM = fileURLToPath(new URL("openvino_codes.py", import.meta.url));
const MODULES = fileURLToPath(new URL("../../python", import.meta.url));
const signal = new AbortController().signal;
const interpreter = await findInterpreter({ python: null, note: console.log, signal });

/** What `openvino_codes.py` reports of a model. */
interface Answer {
  readonly name: string;
  readonly error: string | null;
  readonly difference: number;
  readonly elements: readonly string[];
  readonly bytes: number;
  readonly floats: number;
}

/** A quantized model and what is known of it. */
interface Pair {
  readonly options: QuantizationOptions;
  readonly forms: string;
  readonly tolerance: number;
  /** Bytes of codes, scales and zero points in ONNX. */
  readonly bytes: number;
  readonly count: number;
  readonly case: Record<string, unknown>;
}

/** Forms differ most by encoding, their extents by block. */
const SELECTED = {
  auto: [16, 32, "channel", "tensor"],
  qdq: [32, "channel"],
  matmulnbits: [32],
} as const;

for (const encoding of ["auto", "qdq", "matmulnbits"] as const) {
  for (const blockSize of SELECTED[encoding]) {
    Deno.test(`OpenVINO IR holds the codes of ${encoding}, block ${blockSize}`, async () => {
      const folder = await Deno.makeTempDir();
      try {
        const pairs = await makePairs(folder, encoding, blockSize);
        assert.ok(pairs.length >= 50, `${pairs.length} models`);
        const answers = await takeOver(folder, pairs);
        const wrong = answers.flatMap((answer, i) => {
          const reason = fault(answer, pairs[i]!);
          return reason === null ? [] : [`${answer.name} as ${pairs[i]!.forms}: ${reason}`];
        });
        assert.deepEqual(wrong, []);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
}

/** What is wrong with an IR; null where nothing is. */
function fault(answer: Answer, pair: Pair): string | null {
  if (answer.error !== null) return answer.error;
  if (!(answer.difference <= pair.tolerance)) return `off by ${answer.difference}`;
  const { bits, symmetric } = pair.options;
  const centred = bits === 4 || bits === 8;
  // A single zero point may happen to be the middle.
  const allowed = symmetric && centred
    ? [`i${bits}`]
    : [`u${bits}`, ...(centred ? [`i${bits}`] : [])];
  if (answer.elements.length === 0 || answer.elements.some((name) => !allowed.includes(name))) {
    return `holds "${answer.elements}" instead of ${allowed.join(" or ")}`;
  }
  // Zero points of 3 bits and few codes lie in ONNX in more bits than here; shared ones here once.
  if (answer.bytes > pair.bytes + 16 * pair.count) {
    return `takes ${answer.bytes} bytes instead of ${pair.bytes}`;
  }
  return null;
}

async function makePairs(
  folder: string,
  encoding: QuantizationOptions["encoding"],
  blockSize: QuantizationOptions["blockSize"],
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (const example of ENCODING_CASES) {
    // OpenVINO takes an extent of 0 for one to keep, and may end the process where it has no rows.
    if (example.feeds[0]!.dims.includes(0)) continue;
    // A function is put in the place of its calls only where its opset is the model's.
    const { functions, opsets } = example.build();
    if (functions.some((entry) => entry.opsets.get("") !== opsets.get(""))) continue;
    for (const bits of [8, 4, 3, 2] as const) {
      for (const symmetric of [true, false]) {
        const scaleType = blockSize === 16 ? "float32" : "float16";
        const runtimes = ["onnxruntime-1.32"];
        const options: QuantizationOptions = {
          ...QUANTIZATION,
          ...{ bits, symmetric, blockSize, scaleType, encoding, runtimes },
        };
        const name = `${example.name}, ${bits} bits, ${symmetric ? "symmetric" : "asymmetric"}`;
        try {
          const made = await convertCase(example.build, options, folder, `m${pairs.length}`);
          if (made.weights.length === 0) continue;
          pairs.push({
            options,
            forms: made.weights.map(({ form }) => form).join(", "),
            tolerance: Math.max(example.tolerance, 1e-5),
            bytes: made.weights.reduce((sum, { bytesAfter }) => sum + bytesAfter, 0),
            count: made.weights.length,
            case: {
              name,
              model: made.path,
              expected: made.expectedPath,
              feeds: example.feeds,
            },
          });
        } catch (error) {
          // An encoding that some operator can't have.
          if (!(error instanceof InputError)) throw error;
        }
      }
    }
  }
  return pairs;
}

async function takeOver(folder: string, pairs: readonly Pair[]): Promise<Answer[]> {
  const list = `${folder}/pairs.json`;
  await Deno.writeTextFile(list, JSON.stringify(pairs.map((pair) => pair.case)));
  const [program, ...args] = interpreter.command;
  const result = await run({
    program,
    args: [...args, PROGRAM, MODULES, list],
    env: { ORT_DISABLE_TELEMETRY: "1" },
    inheritEnv: ["PATH", "HOME"],
    install: "Run the tests with: deno task test",
    timeoutMs: 600_000,
  });
  assert.ok(result.success, result.stderr);
  return JSON.parse(new TextDecoder().decode(result.stdout));
}
