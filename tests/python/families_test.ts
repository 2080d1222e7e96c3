/**
 * The 14 model families from PyTorch to ONNX, static and dynamic: what comes out computes the same,
 * bears transformers' names, has open dimensions where it should, and is the same to the byte on
 * every run; and OpenVINO computes the same of it. And the exporter's other promises, on small models (export_checks.py).
 */
import assert from "node:assert/strict";
import { readModel } from "../../src/onnx/reader.ts";
import type { Dim } from "../../src/ir.ts";
import { pythonLines } from "./lines.ts";

const TOLERANCE = 1e-4;

/** Inputs and outputs of each file of the fixtures; `present` and `past` are counted, not listed. */
const NAMES: Readonly<Record<string, readonly [inputs: string, outputs: string]>> = {
  bert: ["input_ids attention_mask token_type_ids", "last_hidden_state pooler_output"],
  distilbert: ["input_ids attention_mask", "logits"],
  roberta: ["input_ids attention_mask token_type_ids", "last_hidden_state pooler_output"],
  gpt2: ["input_ids attention_mask", "logits"],
  "gpt2-with-past": ["input_ids attention_mask position_ids", "logits"],
  "t5-encoder": ["input_ids attention_mask", "last_hidden_state"],
  "t5-decoder": ["input_ids encoder_hidden_states encoder_attention_mask", "logits"],
  vit: ["pixel_values", "last_hidden_state pooler_output"],
  clip: [
    "input_ids pixel_values attention_mask",
    "logits_per_image logits_per_text text_embeds image_embeds",
  ],
  resnet: ["pixel_values", "logits"],
  densenet: ["pixel_values", "logits"],
  efficientnet: ["pixel_values", "logits"],
  mobilenet: ["pixel_values", "logits"],
  "whisper-encoder": ["input_features", "last_hidden_state"],
  "whisper-decoder": ["input_ids encoder_hidden_states", "logits"],
  wav2vec2: ["input_values", "logits"],
  hubert: ["input_values", "last_hidden_state"],
};

/** Open dimensions of the first input of a dynamic file. */
const OPEN: Readonly<Record<string, string>> = {
  clip: "text_batch_size sequence_length",
  vit: "batch_size",
  mobilenet: "batch_size",
  resnet: "batch_size height width",
  densenet: "batch_size height width",
  efficientnet: "batch_size height width",
  "whisper-encoder": "batch_size",
  wav2vec2: "batch_size audio_length",
  hubert: "batch_size audio_length",
};

interface Line {
  readonly family: string;
  readonly form: "static" | "dynamic";
  readonly exporters: readonly string[];
  readonly errors: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
}

/** Generates fixtures below `folder`; of all families where none is named. */
async function generate(folder: string, ...families: string[]): Promise<Line[]> {
  const lines: Line[] = [];
  for await (const line of pythonLines("fixtures/generate.py", [folder, "0", ...families])) {
    lines.push(line as unknown as Line);
  }
  return lines;
}

/** Every file below a folder with its SHA-256, by path. */
async function digests(folder: string, prefix = ""): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const entry of Deno.readDir(`${folder}/${prefix}`)) {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory) {
      for (const [name, digest] of await digests(folder, `${path}/`)) found.set(name, digest);
    } else {
      const hash = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${folder}/${path}`));
      found.set(path, new Uint8Array(hash).toHex());
    }
  }
  return found;
}

const symbols = (dims: readonly Dim[] | undefined): string =>
  (dims ?? []).filter((dim) => typeof dim !== "number").map(String).join(" ");

Deno.test("the 14 families, static and dynamic", async (test) => {
  const folder = await Deno.makeTempDir();
  try {
    const lines = await generate(folder);
    assert.equal(lines.length, 30);
    for (const { family, form, exporters, errors, failures } of lines) {
      await test.step(`${family}, ${form}`, () => {
        assert.deepEqual(failures, []);
        assert.ok(Object.keys(errors).length > 0);
        for (const [output, error] of Object.entries(errors)) {
          assert.ok(error <= TOLERANCE, `${output}: ${error}`);
        }
        // The older exporter is for what the new one can't do: none of these.
        assert.ok(exporters.every((exporter) => exporter === "dynamo"), exporters.join());
      });
    }
    for (const [part, [inputs, outputs]] of Object.entries(NAMES)) {
      for (const form of ["static", "dynamic"] as const) {
        await test.step(`the interface of ${part}, ${form}`, async () => {
          const { graph } = await readModel(`${folder}/${part}-${form}/model.onnx`);
          const isCache = (name: string) => /^(present|past_key_values)\./.test(name);
          const names = (values: readonly { name: string }[]) =>
            values.map(({ name }) => name).filter((name) => !isCache(name)).join(" ");
          assert.equal(names(graph.inputs), inputs);
          assert.equal(names(graph.outputs), outputs);
          const cached = part === "gpt2-with-past" ? 4 : 0;
          assert.equal(graph.inputs.filter(({ name }) => isCache(name)).length, cached);
          assert.equal(graph.outputs.filter(({ name }) => isCache(name)).length, cached);
          const open = form === "static" ? "" : OPEN[part] ?? "batch_size sequence_length";
          assert.equal(symbols(graph.inputs[0]?.shape ?? undefined), open);
          const sets = [...Deno.readDirSync(`${folder}/${part}-${form}`)]
            .filter(({ isDirectory }) => isDirectory);
          assert.equal(sets.length, form === "static" ? 1 : 3);
        });
      }
    }
    let inOpenVino = 0;
    for await (const line of pythonLines("tests/python/openvino_fixtures.py", [folder])) {
      inOpenVino++;
      await test.step(`${line.name} in OpenVINO`, () => {
        assert.equal(line.failure, undefined);
        // ONNX Runtime's outputs are as near to PyTorch's as the steps above say.
        assert.ok(typeof line.error === "number" && line.error <= TOLERANCE / 2, `${line.error}`);
      });
    }
    assert.equal(inOpenVino, 2 * Object.keys(NAMES).length);
    await test.step("another process writes the same bytes", async () => {
      const other = await Deno.makeTempDir();
      try {
        await generate(other, "t5", "resnet", "gpt2-with-past");
        const again = await digests(other);
        const first = await digests(folder);
        assert.ok(again.size > 80, String(again.size));
        for (const [path, digest] of again) assert.equal(first.get(path), digest, path);
      } finally {
        await Deno.remove(other, { recursive: true });
      }
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what the exporter promises", async (test) => {
  const folder = await Deno.makeTempDir();
  try {
    let checks = 0;
    for await (const { name, failure } of pythonLines("tests/python/export_checks.py", [folder])) {
      checks++;
      await test.step(String(name).replaceAll("_", " "), () => assert.equal(failure, null));
    }
    assert.equal(checks, 15);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
