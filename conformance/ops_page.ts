/**
 * The page `docs/ops.md`: every op that is compiled, from the ops' records and the conformance record,
 * and every op of ONNX that isn't, with the reason. Types of elements are in `op_types.json`, which
 * `scripts/op_types.py` writes. Run, it writes the page anew.
 */
import { fileURLToPath } from "node:url";
import { type DType, DTYPES } from "../src/dtype.ts";
import { opRecords } from "../src/ops/mod.ts";
import type { OpRecord } from "../src/ops/op.ts";
import { CODES_DOMAIN } from "../src/ops/packed_codes.ts";
import { table } from "./page.ts";
import opTypes from "./op_types.json" with { type: "json" };
import { type ConformanceRecord, readRecord } from "./record.ts";

/** Path of the page. */
export const OPS_PAGE: string = fileURLToPath(new URL("../docs/ops.md", import.meta.url));

const TYPES: Readonly<Record<string, string>> = opTypes;

const INTEGERS: readonly DType[] = [
  "int8",
  "int16",
  "int32",
  "int64",
  "uint8",
  "uint16",
  "uint32",
  "uint64",
];

/** Names for several types, those of most types first. */
const GROUPS: readonly (readonly [name: string, types: readonly DType[]])[] = [
  ["integers", INTEGERS],
  ["floats", ["float16", "bfloat16", "float32", "float64"]],
  ["float8", ["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"]],
  ["float6", ["float6e2m3", "float6e3m2"]],
  ["4 and 2-bit integers", ["int4", "uint4", "int2", "uint2"]],
  ["int4, uint4", ["int4", "uint4"]],
];

/** The types of numbers that an op takes, by ONNX's schema or ONNX Runtime's. */
function typesOf(name: string, domain: string): string {
  const left = new Set((TYPES[`${domain}:${name}`] ?? TYPES[`:${name}`] ?? "").split(" "));
  const parts: string[] = [];
  for (const [group, types] of GROUPS) {
    if (!types.every((type) => left.has(type))) continue;
    parts.push(group);
    for (const type of types) left.delete(type);
  }
  const others = [...left].filter((type) =>
    Object.hasOwn(DTYPES, type) && !["string", "complex"].includes(DTYPES[type as DType].kind)
  );
  return [...parts, ...others].join(", ");
}

const SEQUENCE = "sequences are no tensors: a GPU has no place for a list of any length";
const RANDOM = "it draws random numbers, which no other runtime would draw alike";
const TEXT = "text is no tensor of numbers";
const OPTIONAL = "an optional that is made in the model is known only when it runs";

/** The ops of ONNX's default domain that are not compiled, and why. */
export const REFUSED: Readonly<Record<string, string>> = {
  ConcatFromSequence: SEQUENCE,
  ImageDecoder: "pictures are decoded by the page, which hands over their pixels",
  Multinomial: RANDOM,
  Optional: OPTIONAL,
  RegexFullMatch: TEXT,
  SequenceAt: SEQUENCE,
  SequenceConstruct: SEQUENCE,
  SequenceEmpty: SEQUENCE,
  SequenceErase: SEQUENCE,
  SequenceInsert: SEQUENCE,
  SequenceLength: SEQUENCE,
  SequenceMap: SEQUENCE,
  SplitToSequence: SEQUENCE,
  StringConcat: TEXT,
  StringNormalizer: TEXT,
  StringSplit: TEXT,
};

/** Forms of ops that are refused though the op is compiled. */
export const PARTLY: Readonly<Record<string, string>> = {
  Attention:
    "com.microsoft's with rotary embeddings of its own or a buffer that past and present share",
  BitCast: "types of 64 bits: GPUs compute in 32",
  CausalConvWithState: "com.microsoft's with gaps, windows of states, or channels last",
  GroupQueryAttention: "a quantized cache, one of a window, padded prompts, the output of scores",
  LinearAttention: "com.microsoft's with windows of states, or with fewer queries than keys",
  MatMulNBits: "weights packed for a device; codes of other than 8, 4 and 2 bits",
  MultiHeadAttention: "a shared buffer of past and present, beams",
  RotaryEmbedding: "com.microsoft's with a scale or with packed batches",
  SwiGLU: "com.microsoft's with a rounded activation",
  TfIdfVectorizer: "pools of text",
};

/** The ops that lowering itself compiles: their graphs become the program's own. */
export const CONTROL_FLOW: Readonly<Record<string, number>> = { If: 25, Loop: 25, Scan: 25 };

/** Ops of older versions that the upgrade replaces. */
export const REPLACED: Readonly<Record<string, string>> = {
  Scatter: "ScatterElements",
  Upsample: "Resize",
};

const INTRODUCTION = `# Ops

The ops that modelcast compiles to WebGPU, and since which version of their domain they are as they
are compiled; models of older versions, from opset 7 on, are raised first. This page is made from
the ops' records and from \`conformance/record.json\` by \`deno task docs:ops\`; a test holds that.

"Host inputs" are read by the program before it can go on: shapes, axes, counts. They are constants
of the model or follow from its shapes, else they are read back from the GPU. "Host function" is an
op whose result's shape depends on data. Tests are ONNX's node tests that are about the op alone, on
lavapipe ([conformance.md](conformance.md)).

"Types" are those of numbers that ONNX's schema, or ONNX Runtime's, has for the first operand that
has a choice of them. "floats" are float16, bfloat16, float32 and float64, "integers" those of 8 to
64 bits with and without a sign, "float8" the four of 8 bits that have a fraction, "float6" the two
of 6 bits.
`;

/** The text of the page. */
export function renderOps(record: ConformanceRecord): string {
  const nodes = record.nodes?.lavapipe;
  const onHost = new Set(
    (nodes?.hosts ?? []).flatMap((entry) => entry.nodes.map((name) => name.split(" ")[0]!)),
  );
  const tests = (name: string, domain: string): string => {
    const counts = domain === "com.microsoft" ? undefined : nodes?.operators[name];
    return counts === undefined ? "" : `${counts.passed} of ${counts.tests}`;
  };
  const place = (entry: OpRecord): string => {
    if (entry.domain === "" && onHost.has(entry.name)) return "host function";
    const inputs = entry.hostInputs ?? [];
    if (inputs.length === 0) return "yes";
    return `yes; host input${inputs.length === 1 ? "" : "s"} ${inputs.join(", ")}`;
  };
  const head = ["op", "domain", "since", "types", "WebGPU", "tests passed"];
  const rows = [
    ...opRecords().filter(({ domain }) => domain !== CODES_DOMAIN).map((entry) => ({
      name: entry.name,
      domain: entry.domain,
      since: entry.since,
      place: place(entry),
    })),
    ...Object.entries(CONTROL_FLOW).map(([name, since]) => ({
      name,
      domain: "",
      since,
      place: "yes; as branches and loops of the program",
    })),
  ].sort((a, b) => a.domain === b.domain ? a.name < b.name ? -1 : 1 : a.domain < b.domain ? -1 : 1);
  return [
    INTRODUCTION,
    table(
      head,
      rows.map(({ name, domain, since, place }) => [
        name,
        domain === "" ? "ai.onnx" : domain,
        String(since),
        typesOf(name, domain),
        place,
        tests(name, domain),
      ]),
      [2],
    ),
    "## Replaced\n\nOps that newer versions of ONNX have no more, and what models get instead.\n",
    table(["op", "becomes"], Object.entries(REPLACED)),
    "## Refused\n\nA model that uses one of these ends with a message that names the node.\n",
    table(
      ["op", "why"],
      Object.entries(REFUSED).filter(([name]) =>
        !opRecords().some((entry) => entry.domain === "" && entry.name === name)
      ),
    ),
    "## Refused in part\n\nForms of ops that are compiled otherwise.\n",
    table(["op", "which forms"], Object.entries(PARTLY)),
    "Of the ops that are compiled, elements of 64 bits are held in 32: integers that pass their range are\n" +
    "refused where they come in, float64 is rounded. Strings and complex types are refused.\n",
  ].join("\n");
}

if (import.meta.main) await Deno.writeTextFile(OPS_PAGE, renderOps(await readRecord()));
