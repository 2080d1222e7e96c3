/**
 * `--layout transformers.js` without ONNX Runtime: which files are written and under which names, what
 * the card says, and that an output appears whole or stays as it was.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError, InterruptedError } from "../../src/error.ts";
import {
  checkLayout,
  type Dtype,
  dtypesOfPrecisions,
  type LayoutRequest,
  type LayoutResult,
  parseDtype,
  writeTransformersJsLayout,
} from "../../src/layout/transformers_js.ts";
import type { Task } from "../../src/converters/options.ts";
import { readModel } from "../../src/onnx/reader.ts";
import {
  decoderModel,
  ENCODER_FILES,
  encoderModel,
  type Files,
  namesBelow,
  writeFiles,
  writeOnnx,
} from "../layout_folders.ts";
import { makeLink, namesIn, withFolder } from "./onnx_models.ts";

const WINDOWS = Deno.build.os === "windows";

/** A source with a model in a new folder, and what lays it out as `out` beside them. */
interface Setting {
  readonly root: string;
  readonly output: string;
  write(
    dtypes: readonly Dtype[],
    more?: Partial<LayoutRequest>,
    signal?: AbortSignal,
  ): Promise<LayoutResult>;
  readonly warnings: string[];
}

async function withSource(
  files: Files,
  use: (setting: Setting) => Promise<void>,
  model = encoderModel(),
): Promise<void> {
  await withFolder(async (root) => {
    const source = writeFiles(join(root, "source"), files);
    const path = await writeOnnx(model, join(root, "float32.onnx"));
    const output = join(root, "out");
    const warnings: string[] = [];
    const events = {
      progress: () => {},
      stage: () => {},
      warn: (text: string) => void warnings.push(text),
      note: () => {},
    };
    await use({
      root,
      output,
      warnings,
      write: (dtypes, more = {}, signal = new AbortController().signal) =>
        writeTransformersJsLayout(
          {
            source,
            models: [{ path, role: "model" }],
            output,
            dtypes,
            engine: "reference",
            verify: false,
            ...more,
          },
          events,
          signal,
        ),
    });
  });
}

async function refused(act: () => Promise<unknown>, pattern: RegExp): Promise<void> {
  await assert.rejects(act, (error: Error) => {
    assert.ok(error instanceof InputError, `${error.stack}`);
    assert.match(error.message, pattern);
    return true;
  });
}

Deno.test("each dtype is a file of the name that transformers.js looks for", async () => {
  await withSource({ ...ENCODER_FILES, LICENSE: "free" }, async ({ write, output, root }) => {
    const dtypes: Dtype[] = ["uint8", "fp32", "q4", "int8", "q2f16", "q8", "fp16", "q4f16", "q2"];
    const { files, models } = await write(dtypes);
    assert.deepEqual(files, namesBelow(output));
    assert.deepEqual(files, [
      "LICENSE",
      "README.md",
      "config.json",
      ...["", "_fp16", "_int8", "_q2", "_q2f16", "_q4", "_q4f16", "_quantized", "_uint8"]
        .map((suffix) => `onnx/model${suffix}.onnx`),
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    assert.deepEqual(namesIn(root), ["float32.onnx", "out", "source"]);
    for (const { conversion } of models) {
      for (const { path, byteLength } of conversion.files) {
        assert.equal(Deno.statSync(path).size, byteLength);
      }
      await readModel(conversion.files[0]!.path);
    }
    const options = (dtype: Dtype) => {
      const { conversion } = models.find((model) => model.dtype === dtype)!;
      const { precision, symmetric, activations } = JSON.parse(conversion.options);
      return [precision, symmetric, activations];
    };
    assert.deepEqual(options("int8"), ["8bit", true, "float32"]);
    assert.deepEqual(options("uint8"), ["8bit", false, "float32"]);
    assert.deepEqual(options("q4f16"), ["4bit", false, "float16"]);
    // Whatever is computed in, programs hand over and get float32.
    for (const { conversion } of models) {
      const { graph } = await readModel(conversion.files[0]!.path);
      assert.equal(graph.outputs[0]!.dtype, "float32");
    }
  });
});

Deno.test("an encoder and a decoder get the names of their sessions", async () => {
  await withSource(ENCODER_FILES, async ({ write, root }) => {
    const encoder = { path: join(root, "float32.onnx"), role: "encoder" } as const;
    const decoder = await writeOnnx(decoderModel("batch_size"), join(root, "decoder.onnx"));
    const { files } = await write(["fp32", "q4"], {
      models: [encoder, { path: decoder, role: "decoder" }],
    });
    assert.deepEqual(files.filter((name) => name.startsWith("onnx/")), [
      "onnx/decoder_model_merged.onnx",
      "onnx/decoder_model_merged_q4.onnx",
      "onnx/encoder_model.onnx",
      "onnx/encoder_model_q4.onnx",
    ]);
    await refused(
      () => write(["q4"], { models: [encoder] }),
      /takes model, or encoder and decoder/,
    );
    await refused(() => write(["q4"], { models: [encoder, encoder] }), /encoder, encoder/);
    await refused(() => write(["q4"], { models: [] }), /\(none\)/);
  });
});

Deno.test("a decoder that transformers.js would run wrongly is refused", async () => {
  const config = JSON.stringify({ model_type: "gpt2", architectures: ["GPT2LMHeadModel"] });
  const files = { ...ENCODER_FILES, "config.json": config };
  const laidOut = (model: ReturnType<typeof decoderModel>) =>
    withSource(files, async ({ write }) => void await write(["q4"]), model);
  await refused(() => laidOut(decoderModel(null)), /no input past_key_values.*causal-lm-with-past/);
  await refused(() => laidOut(decoderModel("batch")), /not called "batch_size"/);
  await refused(() => laidOut(decoderModel(2)), /not called "batch_size"/);
  await laidOut(decoderModel("batch_size"));
  await laidOut(decoderModel(1));
});

Deno.test("what is wrong shows before the export, and a decoder is exported with its cache", async () => {
  await withSource(ENCODER_FILES, async ({ root, output }) => {
    const source = join(root, "source");
    assert.equal(checkLayout(source, output), "auto");
    for (const name of ["GPT2LMHeadModel", "LlamaForCausalLM"]) {
      const config = JSON.stringify({ model_type: "any", architectures: [name] });
      writeFiles(source, { "config.json": config });
      assert.equal(checkLayout(source, output), "causal-lm-with-past");
    }
    const early = (source: string, output: string, task?: Task) => () =>
      Promise.resolve().then(() => checkLayout(source, output, task));
    await refused(early(source, output, "causal-lm"), /no input past.*causal-lm-with-past/);
    assert.equal(checkLayout(source, output, "base"), "base");
    const config = { model_type: "t5", architectures: ["T5ForConditionalGeneration"] };
    writeFiles(source, { "config.json": JSON.stringify({ ...config, is_encoder_decoder: true }) });
    await refused(early(source, output), /no input past.*encoder-decoder models without one/);
    await refused(early(source, output, "seq2seq"), /encoder-decoder models without one/);
    assert.equal(checkLayout(source, output, "base"), "base");
    await refused(early(source, source), /which is read/);
    writeFiles(output, { "thesis.doc": "mine" });
    await refused(early(source, output), /someone else's work/);
    await refused(early(root, join(root, "new")), /no config\.json/);
  });
});

Deno.test("large weights lie in data files that config.json counts", async () => {
  await withSource(ENCODER_FILES, async ({ write, output }) => {
    const { files } = await write(["fp32", "q8"], {
      modelFileBytes: 20_000,
      dataFileBytes: 20_000,
    });
    assert.deepEqual(files.filter((name) => name.startsWith("onnx/")), [
      "onnx/model.onnx",
      "onnx/model.onnx_data",
      "onnx/model.onnx_data_1",
      "onnx/model_quantized.onnx",
    ]);
    const config = JSON.parse(Deno.readTextFileSync(join(output, "config.json")));
    const settings = { use_external_data_format: { "model.onnx": 2 } };
    assert.deepEqual(config["transformers.js_config"], settings);
    const { graph } = await readModel(join(output, "onnx", "model.onnx"));
    assert.equal(graph.initializers.length, 2);
  });
});

Deno.test("a model that needs a newer runtime is still written", async () => {
  await withSource(
    ENCODER_FILES,
    async ({ write }) => assert.equal((await write(["q4"])).models.length, 1),
    encoderModel(24),
  );
});

Deno.test("the card tells files, sizes and origin, and quotes what others wrote", async () => {
  const hostile = "x` | <script>alert(1)</script>\n---\n# Free!\n[a](javascript:b) \u202e";
  const card =
    `---\nlicense: mit\nlanguage: en\nbase_model: owner/base\npipeline_tag: "a\\nb"\n---\n`;
  const files = {
    ...ENCODER_FILES,
    "README.md": card + hostile,
    "LICENSE": hostile,
    "config.json": JSON.stringify({ model_type: hostile, architectures: [hostile] }),
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}',
    "modules.json": '[{"type": "sentence_transformers.models.Normalize"}]',
  };
  await withSource(files, async ({ write, output }) => {
    await write(["fp32", "q4"]);
    const text = Deno.readTextFileSync(join(output, "README.md"));
    const [, front, body] = text.split(/^---$/m);
    assert.equal(
      front,
      '\nlibrary_name: transformers.js\npipeline_tag: feature-extraction\nbase_model: "owner/base"\n' +
        'license: "mit"\nlanguage: "en"\ntags:\n- onnx\n- transformers.js\n',
    );
    const outside = body!.replace(/`[^`\n]*`/g, "").replace(/```[\s\S]*?```/g, "");
    for (const bad of ["<script", "javascript:", "Free!", "\u202e"]) {
      assert.ok(!outside.includes(bad), `${bad} in:\n${outside}`);
    }
    assert.ok(!/^# Free/m.test(text));
    assert.match(text, /\[`LICENSE`\]\(\.\/LICENSE\)/);
    assert.match(text, /\| `q4` \| `onnx\/model_q4\.onnx` \| .* MB \| 4\.\d\d \| - \| - \|/);
    assert.match(text, /\{ pooling: "mean", normalize: true \}/);
    assert.match(text, /The errors were not measured/);
  });
  await withSource(files, async ({ write, output }) => {
    await write(["q4"], { repository: "owner/this" });
    const text = Deno.readTextFileSync(join(output, "README.md"));
    assert.match(text, /^base_model: "owner\/this"\nbase_model_relation: quantized$/m);
    await refused(() => write(["q4"], { repository: "a/b\nx: y" }), /owner\/name/);
  });
});

Deno.test("an older layout is replaced; anything else is left alone", async () => {
  await withSource(ENCODER_FILES, async ({ write, output, root }) => {
    Deno.mkdirSync(output);
    await write(["fp32", "q8"]);
    const { files } = await write(["q4"]);
    assert.deepEqual(namesBelow(output), files);
    assert.ok(!files.includes("onnx/model.onnx"));

    const stays = async (pattern: RegExp) => {
      const before = namesBelow(root);
      await refused(() => write(["q8"]), pattern);
      assert.deepEqual(namesBelow(root), before);
    };
    for (const name of ["thesis.doc", "onnx/other.onnx", "onnx/model_q9.onnx", ".git/HEAD"]) {
      writeFiles(output, { [name]: "mine" });
      await stays(/someone else's work/);
      Deno.removeSync(join(output, name.split("/")[0] === ".git" ? ".git" : name), {
        recursive: true,
      });
    }
    Deno.writeTextFileSync(join(output, "README.md"), "# my model");
    await stays(/README\.md is not modelcast's/);
    Deno.removeSync(output, { recursive: true });
    Deno.writeTextFileSync(output, "a file");
    await stays(/it is a file/);
    Deno.removeSync(output);
    if (!WINDOWS) {
      await makeLink("source", output);
      await stays(/it is a link/);
      Deno.removeSync(output);
    }
    await refused(() => write(["q4"], { output: join(root, "no", "out") }), /no folder/);
    await refused(() => write(["q4"], { output: root }), /which is read, lies in it/);
    await refused(() => write(["q4"], { output: join(root, "source") }), /which is read/);
  });
});

Deno.test("what fails on the way leaves nothing behind", async () => {
  await withSource({ ...ENCODER_FILES }, async ({ write, root, output }) => {
    await write(["q8"]);
    const before = namesBelow(root);
    await refused(() => write(["q4"], { exclude: ["nothing-like-it"] }), /Cannot exclude/);
    await refused(() => write([]), /no dtype is asked for/);
    await refused(() => write(["q4"], { runtimes: ["onnxruntime-9.9"] }), /not known/);
    assert.deepEqual(namesBelow(root), before);
    const controller = new AbortController();
    controller.abort();
    await assert.rejects(write(["q4"], {}, controller.signal), InterruptedError);
    assert.deepEqual(namesBelow(root), before);
    const later = new AbortController();
    const running = write(["fp32", "q4", "q2"], {}, later.signal);
    setTimeout(() => later.abort(), 5);
    await running.catch((error) => assert.ok(error instanceof InterruptedError, String(error)));
    assert.deepEqual(namesIn(root), ["float32.onnx", "out", "source"]);
    assert.ok(namesBelow(output).length > 0);
  });
});

Deno.test("a full disk is an error of the output, and leaves it as it was", async () => {
  await withSource(ENCODER_FILES, async ({ write, root }) => {
    await write(["q8"]);
    const before = namesBelow(root);
    const full = () => {
      throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
    };
    const { writeTextFileSync, renameSync } = Deno;
    const stubs = [
      { writeTextFileSync: full },
      {
        renameSync: (from: string, to: string) =>
          from.endsWith("layout") ? full() : renameSync(from, to),
      },
    ];
    for (const stub of stubs) {
      Object.assign(Deno, stub);
      try {
        await refused(() => write(["q4"]), /out": No space left.*space on its disk/);
      } finally {
        Object.assign(Deno, { writeTextFileSync, renameSync });
      }
      assert.deepEqual(namesBelow(root), before);
    }
    const { truncateSync } = Deno.FsFile.prototype;
    Object.assign(Deno.FsFile.prototype, { truncateSync: full });
    try {
      await refused(() => write(["q4"]), /out\/onnx\/model_q4\.onnx": no space left/);
    } finally {
      Object.assign(Deno.FsFile.prototype, { truncateSync });
    }
    assert.deepEqual(namesBelow(root), before);
  });
});

Deno.test("what transformers.js will miss is said", async () => {
  const { "tokenizer.json": _, ...files } = ENCODER_FILES;
  await withSource(files, async ({ write, warnings }) => {
    await write(["q4"]);
    assert.match(warnings.join(), /has no tokenizer\.json/);
  });
  const model = encoderModel();
  model.graph.inputs[0]!.name = "pixel_ids";
  model.graph.nodes[0]!.inputs[1] = "pixel_ids";
  await withSource(ENCODER_FILES, async ({ write, warnings }) => {
    await write(["q4"]);
    assert.match(warnings.join(), /no preprocessor_config\.json/);
  }, model);
});

Deno.test("dtypes are named by transformers.js's names, or by precisions", () => {
  assert.equal(parseDtype("q4f16"), "q4f16");
  for (
    const [name, pattern] of [
      ["bnb4", /bitsandbytes/],
      ["q1", /1-bit/],
      ["q3", /no such dtype.*q2/],
      ["constructor", /no such dtype/],
    ] as const
  ) {
    assert.throws(() => parseDtype(name), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, pattern);
      return true;
    });
  }
  const all = ["float32", "float16", "8bit", "4bit", "2bit"] as const;
  assert.deepEqual(dtypesOfPrecisions(all, "float32"), ["fp32", "fp16", "q8", "q4", "q2"]);
  const half = dtypesOfPrecisions(["float16", "4bit", "2bit"], "float16");
  assert.deepEqual(half, ["fp16", "q4f16", "q2f16"]);
  for (const [precision, activations] of [["3bit", "float32"], ["8bit", "float16"]] as const) {
    assert.throws(() => dtypesOfPrecisions([precision], activations), /no name for such a file/);
  }
  assert.throws(() => dtypesOfPrecisions(["bfloat16"], "float32"), InputError);
});
