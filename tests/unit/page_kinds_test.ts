/** Which page a model gets, by what it takes and gives and what lies beside it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { DeclaredValue } from "../../src/codegen/declarations.ts";
import { NO_ASSETS, type PageAssets, readAssets } from "../../src/codegen/page/assets.ts";
import { PAGE_KINDS, type PageSubject } from "../../src/codegen/page/kinds.ts";
import { buildPage } from "../../src/codegen/page/mod.ts";
import { withFolder } from "./onnx_models.ts";

const float = (name: string, ...dims: DeclaredValue["dims"]): DeclaredValue => ({
  name,
  dtype: "float32",
  dims,
});
const whole = (name: string, ...dims: DeclaredValue["dims"]): DeclaredValue => ({
  ...float(name, ...dims),
  dtype: "int64",
});

const IDS = [whole("input_ids", "batch", "sequence"), whole("attention_mask", "batch", "sequence")];
const PIXELS = [float("pixel_values", "batch", 3, "height", "width")];
const TOKENIZER = { "tokenizer.json": { model: { type: "WordLevel" } } };
const SOUND = { feature_extractor_type: "Wav2Vec2FeatureExtractor", sampling_rate: 16_000 };

/** What is beside a model whose config.json names an architecture. */
const beside = (architecture: string | null, more: Record<string, unknown> = {}) => ({
  ...more,
  ...(architecture === null ? {} : { "config.json": { architectures: [architecture] } }),
});

function pageOf(subject: PageSubject): { name: string; settings: object | null } {
  for (const { name, detect } of PAGE_KINDS) {
    const settings = detect(subject);
    if (settings !== null) return { name, settings };
  }
  return { name: "arrays", settings: null };
}

interface Row {
  readonly kind: string;
  readonly inputs?: readonly DeclaredValue[];
  readonly outputs: readonly DeclaredValue[];
  readonly json?: Record<string, unknown>;
  readonly keys?: readonly string[];
}

const HIDDEN = [float("last_hidden_state", "batch", "sequence", 32)];
const LOGITS = [float("logits", "batch", "sequence", 100)];

const ROWS: readonly Row[] = [
  { kind: "arrays", outputs: HIDDEN },
  { kind: "similarity of texts", outputs: HIDDEN, json: TOKENIZER },
  { kind: "similarity of texts", outputs: HIDDEN, json: beside("BertForMaskedLM", TOKENIZER) },
  { kind: "similarity of texts", outputs: HIDDEN, json: beside("GPT2LMHeadModel", TOKENIZER) },
  {
    kind: "classes of text",
    outputs: [float("logits", "batch", 2)],
    json: beside("BertForSequenceClassification", TOKENIZER),
  },
  { kind: "classes of text", outputs: LOGITS, json: beside("XForTokenClassification", TOKENIZER) },
  { kind: "gap in a text", outputs: LOGITS, json: beside("BertForMaskedLM", TOKENIZER) },
  { kind: "continuation of a text", outputs: LOGITS, json: beside("GPT2LMHeadModel", TOKENIZER) },
  {
    kind: "continuation of a text",
    inputs: [...IDS, float("past_key_values.0.key", "batch", 4, "past", 8)],
    outputs: LOGITS,
    json: beside("LlamaForCausalLM", TOKENIZER),
  },
  // A page of text can't make up what a decoder hears.
  {
    kind: "arrays",
    inputs: [...IDS, float("encoder_hidden_states", "batch", "time", 8)],
    outputs: LOGITS,
    json: beside("XForCausalLM", TOKENIZER),
  },
  { kind: "arrays", outputs: LOGITS, json: TOKENIZER },
  { kind: "arrays", outputs: LOGITS, json: { "tokenizer.json": [] } },
  {
    kind: "labels of a picture",
    inputs: PIXELS,
    outputs: [float("logits", "batch", 10)],
    json: { "preprocessor_config.json": { size: 224, image_mean: [0.5, 0.5, 0.5] } },
  },
  {
    kind: "labels of a picture",
    inputs: PIXELS,
    outputs: [float("logits", "batch", 10)],
    json: {
      "config.json": {
        pretrained_cfg: { input_size: [3, 224, 224], mean: [0, 0, 0], std: [1, 1, 1] },
      },
    },
  },
  { kind: "arrays", inputs: PIXELS, outputs: [float("logits", "batch", 10)] },
  {
    kind: "line of text in a picture",
    inputs: [float("x", "n", 3, 48, "width")],
    outputs: [float("y", "n", "steps", 5)],
    keys: ["a", "b", "c"],
  },
  // These keys are of another recognizer.
  {
    kind: "arrays",
    inputs: [float("x", "n", 3, 48, "width")],
    outputs: [float("y", "n", "steps", 50)],
    keys: ["a", "b", "c"],
  },
  {
    kind: "sound",
    inputs: [float("input_values", "batch", "samples")],
    outputs: [float("logits", "batch", "steps", 32)],
    json: { "preprocessor_config.json": SOUND },
  },
  {
    kind: "arrays",
    inputs: [float("input_features", "batch", 80, 3000)],
    outputs: LOGITS,
    json: { "preprocessor_config.json": { ...SOUND, feature_size: 80 } },
  },
];

Deno.test("a model gets the page of the first kind that fits", async () => {
  for (const { kind, inputs = IDS, outputs, json = {}, keys = null } of ROWS) {
    const assets: PageAssets = { json: new Map(Object.entries(json)), keys };
    assert.equal(pageOf({ inputs, outputs, assets }).name, kind, JSON.stringify({ inputs, json }));
    const { kind: built } = await buildPage({ name: "model", inputs, outputs, assets });
    assert.equal(built, kind);
  }
});

Deno.test("how pictures are prepared is read in every form that it is written in", () => {
  const labels = ["a", "b"];
  const id2label = Object.fromEntries(labels.map((label, index) => [index, label]));
  const prepared = (preprocessor: unknown, input = PIXELS[0]!) =>
    pageOf({
      inputs: [input],
      outputs: [float("logits", "batch", 2)],
      assets: {
        json: new Map<string, unknown>([
          ["config.json", { id2label }],
          ["preprocessor_config.json", preprocessor],
        ]),
        keys: null,
      },
    }).settings;
  const common = {
    scale: 1 / 255,
    mean: [0.5, 0.5, 0.5],
    deviation: [0.25, 0.25, 0.25],
    blueFirst: false,
    labels,
  };
  const moments = { image_mean: [0.5, 0.5, 0.5], image_std: [0.25, 0.25, 0.25] };
  assert.deepEqual(prepared({ size: { height: 32, width: 48 }, ...moments }), {
    ...common,
    height: 32,
    width: 48,
    shortestEdge: null,
  });
  assert.deepEqual(
    prepared({
      size: { shortest_edge: 256 },
      do_center_crop: true,
      crop_size: { height: 224, width: 200 },
      ...moments,
    }),
    { ...common, height: 224, width: 200, shortestEdge: 256 },
  );
  assert.deepEqual(prepared({ size: { shortest_edge: 224 }, crop_pct: 0.875, ...moments }), {
    ...common,
    height: 224,
    width: 224,
    shortestEdge: 256,
  });
  assert.deepEqual(
    prepared({ size: 224, do_rescale: false, do_normalize: false, ...moments }),
    { ...common, scale: 1, mean: [], deviation: [], height: 224, width: 224, shortestEdge: null },
  );
  assert.deepEqual(prepared({ size: 224, ...moments }, float("x", 1, 64, 96, 3)), {
    ...common,
    height: 64,
    width: 96,
    shortestEdge: null,
  });
});

Deno.test("files beside a model that are not what they seem are left out with a warning", async () => {
  await withFolder(async (folder) => {
    const write = (name: string, text: string) => Deno.writeTextFile(join(folder, name), text);
    const warnings: string[] = [];
    const read = async (path = join(folder, "model.onnx")) => {
      warnings.length = 0;
      return await readAssets(path, (text) => warnings.push(text));
    };
    assert.deepEqual(await read(), NO_ASSETS);
    await write("config.json", '{"id2label": {"0": "a"}}');
    await write("en_dict.txt", "a\r\nb\nc\n");
    const found = await read();
    assert.deepEqual([...found.json.keys()], ["config.json"]);
    assert.deepEqual(found.keys, ["a", "b", "c"]);
    assert.deepEqual(warnings, []);

    await Deno.mkdir(join(folder, "onnx"));
    assert.deepEqual(await read(join(folder, "onnx", "model.onnx")), found);
    assert.deepEqual(await read(folder), found);

    await write("tokenizer.json", '{"model": ');
    await write("labels.txt", "x");
    await Deno.mkdir(join(folder, "vocab.json"));
    const file = await Deno.open(join(folder, "preprocessor_config.json"), {
      create: true,
      write: true,
    });
    await file.truncate(65 * 2 ** 20);
    file.close();
    const less = await read();
    assert.deepEqual([...less.json.keys()], ["config.json"]);
    assert.equal(less.keys, null);
    assert.equal(warnings.length, 3);
    assert.match(warnings.join("\n"), /"[^"]*tokenizer\.json" is not JSON/);
    assert.match(warnings.join("\n"), /several label files, en_dict\.txt, labels\.txt/);
    assert.match(warnings.join("\n"), /preprocessor_config\.json" has more than/);
  });
});

Deno.test("configs of the wrong types are as good as none", async () => {
  const odd: unknown[] = [null, 1, "x", [], {}, { id2label: 5, size: "big", mean: {} }, {
    id2label: { x: "y", "99999999": "z" },
    architectures: "BertForMaskedLM",
    size: { shortest_edge: -1 },
    image_mean: ["red"],
    sampling_rate: 1e9,
    feature_extractor_type: 3,
    pretrained_cfg: { input_size: [3] },
    model_max_length: 1e30,
    mask_token: 4,
  }];
  const names = ["config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json"];
  for (const value of odd) {
    for (const inputs of [IDS, PIXELS, [float("input_values", 1, "samples")]]) {
      const assets: PageAssets = {
        json: new Map([...names, "tokenizer_config.json", "1_Pooling/config.json"]
          .map((name) => [name, value])),
        keys: null,
      };
      const { html } = await buildPage({ name: "odd", inputs, outputs: LOGITS, assets });
      assert.match(html, /^<!doctype html>/);
    }
  }
});
