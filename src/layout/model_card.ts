/**
 * The model card of a folder for transformers.js: front matter for the Hugging Face Hub, the files
 * with sizes and measured errors, and how to load them. Names and texts of the source are data: in
 * YAML they are quoted, in Markdown they stand in code spans, in JavaScript they are literals.
 */
import { type Dtype, DTYPES } from "./dtypes.ts";
import type { Measurement } from "./measure.ts";
import type { SourceCard } from "./source_card.ts";
import type { Pooling } from "./tasks.ts";
import { VERSION } from "../version.ts";

/** A model file, for the card. */
export interface CardFile {
  readonly dtype: Dtype;
  /** Names relative to the folder, the model file first. */
  readonly files: readonly string[];
  readonly byteLength: number;
  /** Of the weights that were converted: scales, zero points and padding included. */
  readonly bitsPerWeight: number;
  /** Per cent of weight bytes that were converted. */
  readonly convertedShare: number;
  /** Null where nothing was measured. */
  readonly measured: Measurement | null;
}

/** Where the model comes from. */
export interface Origin {
  /** The repository that this is another form of; null where it is not known. */
  readonly repository: string | null;
  /** Repositories that the source names as what it was made from. */
  readonly madeFrom: readonly string[];
}

/** What a card tells. */
export interface CardFacts {
  /** Name of the folder. */
  readonly name: string;
  readonly origin: Origin;
  readonly card: SourceCard;
  readonly task: string;
  readonly pooling: Pooling | null;
  readonly modelType: string;
  /** The dtypes that are loaded where a program names none. */
  readonly defaults: { readonly wasm: Dtype; readonly other: Dtype };
  readonly files: readonly CardFile[];
  /** Bytes of the float32 model that all were made from. */
  readonly sourceBytes: number;
  /** Names of the licence files that were copied. */
  readonly licenceFiles: readonly string[];
  /** What was compared, in a sentence; null where nothing was. */
  readonly comparison: string | null;
}

/** What stands in every card, and tells it from a person's. */
export const CARD_MARK = "It was converted by modelcast ";

/** The text of the card, README.md. */
export function modelCard(facts: CardFacts): string {
  return [
    ...frontMatter(facts),
    "",
    `# ${code(facts.name)} for transformers.js`,
    "",
    `${origin(facts)} ${CARD_MARK}${VERSION}: ONNX files for ` +
    "[transformers.js](https://huggingface.co/docs/transformers.js), quantized without calibration " +
    "data; the activations are not quantized.",
    "",
    ...licence(facts),
    "",
    "## Files",
    "",
    ...table(facts),
    "",
    ...explanation(facts),
    "",
    "## Use",
    "",
    ...usage(facts),
    "",
  ].join("\n");
}

function frontMatter({ origin, card, task }: CardFacts): string[] {
  const { repository, madeFrom } = origin;
  const list = (key: string, values: readonly string[]) =>
    values.length === 0
      ? []
      : values.length === 1
      ? [`${key}: ${yaml(values[0]!)}`]
      : [`${key}:`, ...values.map((value) => `- ${yaml(value)}`)];
  return [
    "---",
    "library_name: transformers.js",
    `pipeline_tag: ${task}`,
    ...list("base_model", repository === null ? madeFrom : [repository]),
    ...(repository === null ? [] : ["base_model_relation: quantized"]),
    ...list("license", card.licences),
    ...list("license_name", card.licenceName === null ? [] : [card.licenceName]),
    ...list("license_link", card.licenceLink === null ? [] : [card.licenceLink]),
    ...list("language", card.languages),
    "tags:",
    "- onnx",
    "- transformers.js",
    "---",
  ];
}

function origin({ origin: { repository, madeFrom }, modelType }: CardFacts): string {
  const kind = `a model of the type ${code(modelType)}`;
  if (repository !== null) return `This is ${link(repository)}, ${kind}.`;
  const from = madeFrom.map(link).join(" and ");
  return madeFrom.length === 0
    ? `This is ${kind}; its source does not say what it was made from.`
    : `This is ${kind}; its source says that it was made from ${from}.`;
}

function licence({ card, licenceFiles }: CardFacts): string[] {
  const names = [...card.licences, ...(card.licenceName === null ? [] : [card.licenceName])];
  const files = licenceFiles.map((name) => `[${code(name)}](./${encodeURIComponent(name)})`);
  const said = names.length === 0
    ? files.length === 0
      ? "The source states no licence: ask its authors before you use it."
      : "The licence is in"
    : `Licence, as the source states it: ${names.map(code).join(", ")}${
      files.length === 0 ? "." : ", in"
    }`;
  return [`${said}${files.length === 0 ? "" : ` ${files.join(", ")}.`}`];
}

function table({ files }: CardFacts): string[] {
  return [
    "| dtype | file | what it is | size | bits per weight | relative L2 error | cosine |",
    "| --- | --- | --- | --: | --: | --: | --: |",
    ...files.map(({ dtype, files, byteLength, bitsPerWeight, measured }) => {
      const data = files.length === 1
        ? ""
        : ` and ${files.length - 1} data ${files.length === 2 ? "file" : "files"}`;
      const bits = bitsPerWeight === 0 ? "32" : bitsPerWeight.toFixed(2);
      const cells = [
        code(dtype),
        `${code(files[0]!)}${data}`,
        DTYPES[dtype].about,
        megabytes(byteLength),
        bits,
        error(measured?.relativeL2 ?? null),
        cosine(measured?.cosine ?? null),
      ];
      return `| ${cells.join(" | ")} |`;
    }),
  ];
}

/** Bytes in millions. */
function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;
}

/** A relative error with two digits. */
function error(value: number | null): string {
  return value === null ? "-" : value === 0 ? "0" : value.toPrecision(2);
}

/** A cosine with as many digits as tell it from 1. */
function cosine(value: number | null): string {
  return value === null ? "-" : value.toFixed(value > 0.999 ? 6 : 4);
}

function explanation({ files, sourceBytes, comparison }: CardFacts): string[] {
  const partly = files.filter(({ dtype, convertedShare }) =>
    dtype !== "fp32" && convertedShare < 99.95
  );
  return [
    `The float32 model that they were made from has ${
      megabytes(sourceBytes)
    }. Bits per weight are ` +
    "those of the converted weights, scales, zero points and padding included.",
    ...(partly.length === 0 ? [] : [
      "",
      `Not all weights were converted: ${
        partly.map(({ files, convertedShare }) =>
          `${convertedShare.toFixed(1)} % of the bytes in ${code(files[0]!)}`
        ).join(", ")
      }.`,
    ]),
    "",
    comparison ?? "The errors were not measured.",
  ];
}

function usage({ name, task, pooling, defaults, files }: CardFacts): string[] {
  const dtypes = [...new Set(files.map(({ dtype }) => dtype))];
  const shown = dtypes.find((dtype) => dtype === "q4") ?? defaults.other;
  const sentences = task === "feature-extraction" && pooling !== null;
  return [
    "```js",
    'import { env, pipeline } from "@huggingface/transformers";',
    "",
    "// The folder that holds this one; without this line the name is looked up on the Hub.",
    'env.localModelPath = "./";',
    `const run = await pipeline(${JSON.stringify(task)}, ${literal(name)}, { dtype: ${
      JSON.stringify(shown)
    } });`,
    ...(sentences
      ? [
        `const vectors = await run(texts, ${`{ pooling: ${
          JSON.stringify(pooling.pooling)
        }, normalize: ${pooling.normalize} }`});`,
      ]
      : []),
    "```",
    "",
    `Without ${code("dtype")} it is ${code(defaults.other)}${
      defaults.wasm === defaults.other
        ? ""
        : `, and ${code(defaults.wasm)} on the device ${code("wasm")}`
    }.`,
  ];
}

/** A link to a repository on the Hub, whose name is of plain characters. */
function link(repository: string): string {
  return `[${code(repository)}](https://huggingface.co/${repository})`;
}

/** `text` as a code span that ends where it should, on one line, also within a table. */
function code(text: string): string {
  const plain = visible(text).replaceAll("`", "'").replaceAll("|", "\u00a6").trim();
  return `\`${plain === "" ? "?" : plain}\``;
}

/** `text` as a JavaScript literal that can't end the code around it. */
function literal(text: string): string {
  return JSON.stringify(visible(text).replaceAll("`", "'"));
}

/** `text` as a YAML scalar: JSON's strings are YAML's, too. */
function yaml(text: string): string {
  return /^[a-z][a-z0-9]*(-[a-z0-9.]+)+$/.test(text) ? text : JSON.stringify(visible(text));
}

/** One line of at most 200 characters without controls and marks of direction. */
function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, "\ufffd").slice(0, 200);
}
