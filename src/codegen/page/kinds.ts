/**
 * Kinds of pages: what a model's inputs, outputs and the files beside it must be for a page that takes
 * text, pictures or sound, and what its panel is told. A kind is one row; the first that fits is taken,
 * and a model that none fits gets the page for arrays.
 */
import { z } from "zod";
import { DTYPES } from "../../dtype.ts";
import type { DeclaredOutput, DeclaredValue } from "../declarations.ts";
import type { PageAssets } from "./assets.ts";

/** What a kind looks at. */
export interface PageSubject {
  readonly inputs: readonly DeclaredValue[];
  readonly outputs: readonly DeclaredOutput[];
  readonly assets: PageAssets;
}

/** One kind of page. */
export interface PageKind {
  readonly name: string;
  /** Heading of its panel. */
  readonly title: string;
  /** The script that holds the panel. */
  readonly script: "text" | "picture" | "audio";
  /** The panel's function in that script. */
  readonly panel: string;
  /** What the panel is told; null where the model is not of this kind. */
  readonly detect: (subject: PageSubject) => object | null;
}

const COUNT = z.int().min(1).max(2 ** 20);
const ANYTHING = z.record(z.string(), z.unknown());

/** What is read of `config.json`. */
const CONFIG = z.object({
  architectures: z.array(z.string()).catch([]),
  id2label: z.record(z.string(), z.string()).catch({}),
  problem_type: z.string().catch(""),
  max_position_embeddings: COUNT.optional().catch(undefined),
  n_positions: COUNT.optional().catch(undefined),
  pad_token_id: z.int().min(0).optional().catch(undefined),
  pretrained_cfg: z.object({
    input_size: z.tuple([COUNT, COUNT, COUNT]),
    crop_pct: z.number().positive().max(1).catch(1),
    mean: z.array(z.number()),
    std: z.array(z.number()),
  }).optional().catch(undefined),
}).catch({
  architectures: [],
  id2label: {},
  problem_type: "",
});

/** What is read of `preprocessor_config.json`. */
const SIZE = z.union([
  COUNT.transform((side) => ({ height: side, width: side })),
  z.object({ height: COUNT, width: COUNT }),
]);
const PREPROCESSOR = z.object({
  feature_extractor_type: z.string().catch(""),
  sampling_rate: z.number().min(3000).max(384_000).catch(16_000),
  feature_size: z.number().catch(1),
  do_normalize: z.boolean().optional().catch(undefined),
  do_resize: z.boolean().optional().catch(undefined),
  do_rescale: z.boolean().catch(true),
  rescale_factor: z.number().catch(1 / 255),
  do_center_crop: z.boolean().optional().catch(undefined),
  size: z.union([SIZE, z.object({ shortest_edge: COUNT })]).optional().catch(undefined),
  crop_size: SIZE.optional().catch(undefined),
  crop_pct: z.number().positive().max(1).optional().catch(undefined),
  image_mean: z.array(z.number()).optional().catch(undefined),
  image_std: z.array(z.number()).optional().catch(undefined),
});

/** What is read of `tokenizer_config.json`: a token is its text or a record of it. */
const TOKEN = z.union([z.string(), z.object({ content: z.string() }).transform((t) => t.content)]);
const TOKENIZER_CONFIG = z.looseObject({
  model_max_length: COUNT.optional().catch(undefined),
  mask_token: TOKEN.optional().catch(undefined),
}).catch({});

const POOLING = z.object({
  pooling_mode_cls_token: z.boolean().catch(false),
  pooling_mode_lasttoken: z.boolean().catch(false),
}).catch({ pooling_mode_cls_token: false, pooling_mode_lasttoken: false });

function configOf({ assets }: PageSubject): z.infer<typeof CONFIG> {
  return CONFIG.parse(assets.json.get("config.json"));
}

/** Labels in order of their class; classes without one are numbered by the page. */
function labelsOf(subject: PageSubject): string[] {
  const labels: string[] = [];
  for (const [index, label] of Object.entries(configOf(subject).id2label)) {
    if (/^\d{1,6}$/.test(index)) labels[Number(index)] = label;
  }
  return Array.from(labels, (label, index) => label ?? `Class ${index}`);
}

/** Inputs that a page of text can fill; all but the first four only with an empty past. */
const TEXT_INPUT =
  /^(input_ids|attention_mask|token_type_ids|position_ids|past_key_values\..*|use_cache_branch)$/;
const EMBEDDINGS = /^(sentence_embedding|last_hidden_state|token_embeddings)$/;

/** What every page of text is told; null where the model takes no text. */
function textSettings(subject: PageSubject): object | null {
  const { inputs, assets } = subject;
  const tokenizer = ANYTHING.safeParse(assets.json.get("tokenizer.json"));
  if (!tokenizer.success || !inputs.some(({ name }) => name === "input_ids")) return null;
  if (!inputs.every(({ name }) => TEXT_INPUT.test(name))) return null;
  const config = configOf(subject);
  const given = ANYTHING.catch({}).parse(assets.json.get("tokenizer_config.json"));
  const { model_max_length, mask_token } = TOKENIZER_CONFIG.parse(given);
  const pooling = POOLING.parse(assets.json.get("1_Pooling/config.json"));
  return {
    tokenizer: tokenizer.data,
    tokenizerConfig: given,
    maxLength: Math.min(
      model_max_length ?? 2 ** 20,
      config.max_position_embeddings ?? config.n_positions ?? 2048,
    ),
    padId: config.pad_token_id ?? 0,
    pooling: pooling.pooling_mode_cls_token
      ? "first"
      : pooling.pooling_mode_lasttoken
      ? "last"
      : "mean",
    mask: mask_token ?? null,
    labels: labelsOf(subject),
    multiple: config.problem_type === "multi_label_classification",
  };
}

/** A kind of text by the end of the architecture's name, for models that give no embeddings. */
function textKind(architecture: RegExp) {
  return (subject: PageSubject): object | null => {
    const named = configOf(subject).architectures.some((name) => architecture.test(name));
    const embeds = subject.outputs.some(({ name }) => EMBEDDINGS.test(name));
    return named && !embeds ? textSettings(subject) : null;
  };
}

/** The only input of the model, where it is a picture. */
function pictureInput({ inputs }: PageSubject): DeclaredValue | null {
  const [input] = inputs;
  if (input === undefined || inputs.length > 1 || input.dims.length !== 4) return null;
  if (input.dims.some((dim) => dim === 0)) return null;
  return DTYPES[input.dtype].kind === "float" ? input : null;
}

/** Height and width that an input has fixed. */
function sidesOf({ dims }: DeclaredValue): { height: number | null; width: number | null } {
  const isLast = dims[3] === 3 && dims[1] !== 3;
  const [height, width] = isLast ? [dims[1], dims[2]] : [dims[2], dims[3]];
  const fixed = (dim: number | string | null | undefined) => typeof dim === "number" ? dim : null;
  return { height: fixed(height), width: fixed(width) };
}

/** Pictures as Hugging Face's image processors or timm prepare them. */
function labelledPicture(subject: PageSubject): object | null {
  const input = pictureInput(subject);
  if (input === null) return null;
  const fixed = sidesOf(input);
  const labels = labelsOf(subject);
  const timm = configOf(subject).pretrained_cfg;
  if (timm !== undefined) {
    const [, height, width] = timm.input_size;
    return {
      height: fixed.height ?? height,
      width: fixed.width ?? width,
      shortestEdge: Math.floor(Math.min(height, width) / timm.crop_pct),
      scale: 1 / 255,
      mean: timm.mean,
      deviation: timm.std,
      blueFirst: false,
      labels,
    };
  }
  const parsed = PREPROCESSOR.safeParse(subject.assets.json.get("preprocessor_config.json"));
  if (!parsed.success) return null;
  const { data } = parsed;
  if (data.image_mean === undefined && data.size === undefined) return null;
  const edge = data.size !== undefined && "shortest_edge" in data.size
    ? data.size.shortest_edge
    : null;
  const sides = data.size !== undefined && "height" in data.size ? data.size : null;
  const crop = data.do_center_crop === false ? sides : data.crop_size ?? sides;
  const height = fixed.height ?? crop?.height ?? edge;
  const width = fixed.width ?? crop?.width ?? edge;
  return {
    height,
    width,
    shortestEdge: edge === null
      ? null
      // ConvNeXT's way: a middle of this share of the side is cut out, of small pictures only.
      : data.crop_pct === undefined || edge >= 384
      ? edge
      : Math.floor(edge / data.crop_pct),
    scale: data.do_rescale ? data.rescale_factor : 1,
    mean: data.do_normalize === false ? [] : data.image_mean ?? [],
    deviation: data.do_normalize === false ? [] : data.image_std ?? [],
    blueFirst: false,
    labels,
  };
}

/** Lines of text as the PP-OCR recognizers take them. */
function textLine(subject: PageSubject): object | null {
  const input = pictureInput(subject);
  const { keys } = subject.assets;
  const classes = subject.outputs[0]?.dims?.at(-1);
  if (input === null || keys === null || subject.outputs[0]?.dims?.length !== 3) return null;
  if (typeof classes === "number" && classes !== keys.length + 1 && classes !== keys.length + 2) {
    return null;
  }
  return {
    ...sidesOf(input),
    shortestEdge: null,
    scale: 1 / 255,
    mean: [0.5, 0.5, 0.5],
    deviation: [0.5, 0.5, 0.5],
    blueFirst: true,
    labels: keys,
  };
}

/** Sound as samples, as Wav2Vec2 and its kin take it. */
function samples(subject: PageSubject): object | null {
  const [input] = subject.inputs;
  const parsed = PREPROCESSOR.safeParse(subject.assets.json.get("preprocessor_config.json"));
  if (!parsed.success || input === undefined || input.dims.length !== 2) return null;
  const { feature_extractor_type, feature_size, sampling_rate, do_normalize } = parsed.data;
  if (feature_extractor_type !== "Wav2Vec2FeatureExtractor" || feature_size !== 1) return null;
  if (input.name !== "input_values") return null;
  if (subject.inputs.slice(1).some(({ name }) => name !== "attention_mask")) return null;
  const config = configOf(subject);
  const vocabulary = z.record(z.string(), z.int().min(0).max(2 ** 20)).catch({})
    .parse(subject.assets.json.get("vocab.json"));
  const tokens: string[] = [];
  if (config.architectures.some((name) => name.endsWith("ForCTC"))) {
    for (const [token, index] of Object.entries(vocabulary)) tokens[index] = token;
  }
  return {
    rate: sampling_rate,
    normalize: do_normalize ?? true,
    labels: labelsOf(subject),
    tokens: Array.from(tokens, (token) => token ?? ""),
    blank: config.pad_token_id ?? vocabulary["<pad>"] ?? 0,
  };
}

/** The kinds, the most particular first. */
export const PAGE_KINDS: readonly PageKind[] = [
  {
    name: "classes of text",
    title: "Classify a text",
    script: "text",
    panel: "classesPanel",
    detect: textKind(/For(Sequence|Token)Classification$/),
  },
  {
    name: "gap in a text",
    title: "Fill a gap",
    script: "text",
    panel: "gapPanel",
    detect: textKind(/ForMaskedLM$/),
  },
  {
    name: "continuation of a text",
    title: "Continue a text",
    script: "text",
    panel: "continuationPanel",
    detect: textKind(/(ForCausalLM|LMHeadModel)$/),
  },
  {
    name: "similarity of texts",
    title: "Compare two sentences",
    script: "text",
    panel: "similarityPanel",
    detect: (subject) => {
      const [output] = subject.outputs;
      const isVector = output?.dims?.length === 2 || output?.dims?.length === 3;
      return isVector && output.name !== "logits" ? textSettings(subject) : null;
    },
  },
  {
    name: "line of text in a picture",
    title: "Read a line of text",
    script: "picture",
    panel: "linePanel",
    detect: textLine,
  },
  {
    name: "labels of a picture",
    title: "Label a picture",
    script: "picture",
    panel: "labelsPanel",
    detect: labelledPicture,
  },
  {
    name: "sound",
    title: "Listen",
    script: "audio",
    panel: "audioPanel",
    detect: samples,
  },
];
