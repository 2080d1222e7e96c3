/**
 * What is taken out of a source folder: files with known names that lie in it or in the Hugging Face
 * cache that it is a snapshot of; what its configuration and its card may say.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { InputError } from "../../src/error.ts";
import { configText, readConfig } from "../../src/layout/config.ts";
import { readSourceCard } from "../../src/layout/source_card.ts";
import { copyFile, SourceFolder } from "../../src/layout/source_folder.ts";
import { ENCODER_FILES, writeFiles } from "../layout_folders.ts";
import { makeLink, withFolder } from "./onnx_models.ts";

const WINDOWS = Deno.build.os === "windows";

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof InputError, String(error));
    return error.message;
  }
  assert.fail("it was not refused");
}

Deno.test("only files with known names go along, licences among them", async () => {
  await withFolder((folder) => {
    const licences = ["COPYING", "LICENSE", "LICENSE-MODEL.md", "Notice.txt", "licence.rst"];
    writeFiles(folder, {
      ...ENCODER_FILES,
      "1_Pooling/config.json": "{}",
      "chat_template.jinja": "{{ x }}",
      ...Object.fromEntries(licences.map((name) => [name, name])),
      "LICENSED_CODE.py": "",
      "license/inner.txt": "",
    });
    Deno.removeSync(join(folder, "license"), { recursive: true });
    assert.deepEqual(new SourceFolder(folder).companions().map(({ name }) => name), [
      "tokenizer.json",
      "tokenizer_config.json",
      "chat_template.jinja",
      "1_Pooling/config.json",
      ...licences,
    ]);
    return Promise.resolve();
  });
});

Deno.test(
  "a link out of the folder is refused, wherever it stands",
  { ignore: WINDOWS },
  async () => {
    await withFolder(async (root) => {
      writeFiles(root, { "secret.txt": "secret", "elsewhere/config.json": "{}" });
      for (
        const [name, target] of [
          ["tokenizer.json", "../secret.txt"],
          ["LICENSE", "/etc/passwd"],
          ["vocab.txt", "../source-more/vocab.txt"],
          ["config.json", "/dev/zero"],
          ["README.md", "/proc/self/environ"],
          ["1_Pooling", "../elsewhere"],
          ["merges.txt", "no-such-file"],
        ] as const
      ) {
        const folder = writeFiles(join(root, "source"), ENCODER_FILES);
        writeFiles(join(root, "source-more"), { "vocab.txt": "a" });
        if (name === "config.json") Deno.removeSync(join(folder, name));
        if (name === "tokenizer.json") Deno.removeSync(join(folder, name));
        await makeLink(target, join(folder, name));
        const message = refusal(() => {
          const source = new SourceFolder(folder);
          source.companions();
          readConfig(source);
          source.readText("README.md");
        });
        assert.match(message, /a link to a place outside|permission|no such file/);
        assert.ok(message.includes(name), message);
        Deno.removeSync(folder, { recursive: true });
      }
    });
  },
);

Deno.test("what is no regular file is refused", { ignore: WINDOWS }, async () => {
  await withFolder((root) => {
    const folder = writeFiles(join(root, "a"), ENCODER_FILES);
    Deno.mkdirSync(join(folder, "vocab.txt"));
    assert.match(refusal(() => new SourceFolder(folder).companions()), /not a regular file/);
    assert.match(refusal(() => new SourceFolder(join(folder, "config.json"))), /it is a file/);
    assert.match(refusal(() => new SourceFolder(join(folder, "b"))), /no such file or folder/);
    return Promise.resolve();
  });
});

Deno.test("a snapshot in a Hugging Face cache is read through its links", {
  ignore: WINDOWS,
}, async () => {
  await withFolder(async (root) => {
    const repository = join(root, "models--owner--some.model");
    const snapshot = join(repository, "snapshots", "0123abc");
    writeFiles(root, {
      "models--owner--some.model/blobs/aaaa": ENCODER_FILES["config.json"]!,
      "models--owner--some.model/blobs/deep/bbbb": "deep",
      "models--owner--some.model/snapshots/0123abc/vocab.txt": "a",
    });
    await makeLink("../../blobs/aaaa", join(snapshot, "config.json"));
    const source = new SourceFolder(snapshot);
    assert.equal(source.repository, "owner/some.model");
    assert.equal(readConfig(source).modelType, "bert");
    await makeLink("../../blobs/deep/bbbb", join(snapshot, "LICENSE"));
    assert.match(refusal(() => source.companions()), /LICENSE.*outside/);
  });
});

Deno.test("a file that is far too large is refused before it is read", async () => {
  await withFolder((folder) => {
    writeFiles(folder, ENCODER_FILES);
    for (
      const [name, bytes] of [["vocab.txt", 2 ** 28 + 1], ["config.json", 2 ** 24 + 1]] as const
    ) {
      using file = Deno.openSync(join(folder, name), { write: true, create: true });
      file.truncateSync(bytes);
    }
    const source = new SourceFolder(folder);
    assert.match(refusal(() => source.companions()), /vocab\.txt.*268435457 bytes/);
    assert.match(refusal(() => readConfig(source)), /config\.json.*16777217 bytes/);
    Deno.removeSync(join(folder, "vocab.txt"));
    writeFiles(folder, { LICENSE: "x".repeat(2 ** 20 + 1) });
    assert.match(refusal(() => source.companions()), /LICENSE.*1048577 bytes/);
    const many = Array.from({ length: 33 }, (_, index) => [`LICENSE.${index}`, ""]);
    writeFiles(folder, { ...Object.fromEntries(many), LICENSE: "" });
    assert.match(refusal(() => source.companions()), /there are 34 of them/);
    return Promise.resolve();
  });
});

Deno.test("a copy has the bytes of the file, and replaces nothing", async () => {
  await withFolder((folder) => {
    const text = "abc".repeat(1_000_000);
    writeFiles(folder, { ...ENCODER_FILES, "vocab.txt": text });
    const file = new SourceFolder(folder).find("vocab.txt")!;
    copyFile(file, join(folder, "copy"));
    assert.equal(Deno.readTextFileSync(join(folder, "copy")), text);
    assert.throws(() => copyFile(file, join(folder, "copy")), Deno.errors.AlreadyExists);
    return Promise.resolve();
  });
});

Deno.test("a configuration that transformers.js can't use is refused", async () => {
  await withFolder((folder) => {
    for (
      const [text, pattern] of [
        ["{", /not JSON/],
        ["[]", /does not hold a JSON object/],
        ["null", /does not hold a JSON object/],
        ['{"a": NaN}', /not JSON/],
        ['{"architectures": []}', /no "model_type"/],
        ['{"model_type": 7}', /no "model_type"/],
        ['{"model_type": "bert", "architectures": [1]}', /not a list of names/],
        ['{"model_type": "bert", "architectures": "BertModel"}', /not a list of names/],
      ] as const
    ) {
      writeFiles(folder, { "config.json": text });
      assert.match(refusal(() => readConfig(new SourceFolder(folder))), pattern);
    }
    Deno.writeFileSync(join(folder, "config.json"), new Uint8Array([0xff, 0xfe]));
    assert.match(refusal(() => readConfig(new SourceFolder(folder))), /not UTF-8/);
    Deno.removeSync(join(folder, "config.json"));
    assert.match(refusal(() => readConfig(new SourceFolder(folder))), /no config\.json/);
    const deep = `{"model_type": "bert", "a": ${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
    writeFiles(folder, { "config.json": deep });
    assert.match(
      refusal(() => configText(readConfig(new SourceFolder(folder)), [])),
      /nested too deeply|not JSON/,
    );
    return Promise.resolve();
  });
});

Deno.test("settings for transformers.js are those of the written files alone", async () => {
  await withFolder((folder) => {
    const config = {
      model_type: "bert",
      _name_or_path: "/secret/place",
      hidden_size: 8,
      "transformers.js_config": { dtype: "q1", use_external_data_format: 50 },
    };
    writeFiles(folder, { "config.json": JSON.stringify(config) });
    const read = readConfig(new SourceFolder(folder));
    const text = (...sessions: Parameters<typeof configText>[1]) =>
      JSON.parse(configText(read, sessions));
    const plain = { model_type: "bert", hidden_size: 8 };
    const fp32 = { dtype: "fp32", files: ["onnx/model.onnx"] } as const;
    const q8 = { dtype: "q8", files: ["onnx/model_quantized.onnx"] } as const;
    const q4 = { dtype: "q4", files: ["onnx/model_q4.onnx", "onnx/model_q4.onnx_data"] } as const;
    const settings = "transformers.js_config";
    assert.deepEqual(text(fp32, q8), plain);
    assert.deepEqual(text(fp32), {
      ...plain,
      [settings]: { device_config: { wasm: { dtype: "fp32" } } },
    });
    assert.deepEqual(text(q8), { ...plain, [settings]: { dtype: "q8" } });
    assert.deepEqual(text(q8, q4), {
      ...plain,
      [settings]: { dtype: "q8", use_external_data_format: { "model_q4.onnx": 1 } },
    });
    assert.deepEqual(text(fp32, q4)[settings].device_config, { wasm: { dtype: "q4" } });
    return Promise.resolve();
  });
});

Deno.test("a card's front matter gives plain scalars and lists", () => {
  const card = readSourceCard(
    "---\nlicense: other # see below\nlicense_name: 'my licence'\nlanguage:\n- en\n- \"de\"\n" +
      "tags:\n- x\nbase_model: [a/b, c/d]\nnested:\n  license: mit\n---\nlicense: gpl\n",
  );
  assert.deepEqual(card, {
    licences: ["other"],
    licenceName: "my licence",
    licenceLink: null,
    languages: ["en", "de"],
    baseModels: ["a/b", "c/d"],
  });
  assert.deepEqual(readSourceCard("license: mit").licences, []);
  assert.deepEqual(readSourceCard("---\nlicense: |\n  a\n  b\n---").licences, []);
  assert.deepEqual(readSourceCard("---\nlicense: [mit](javascript:x) <b>\n---").licences, []);
});

Deno.test("any text is read as a card, however long its lines", () => {
  const spaces = " ".repeat(60_000);
  const started = performance.now();
  readSourceCard(`---\nlicense: a${spaces}b\nbase_model:${spaces}\u2028\n- ${spaces}\u2028\n---\n`);
  assert.ok(performance.now() - started < 1000);
  const line = fc.oneof(
    fc.constantFrom(
      "---",
      "license:",
      "- a",
      "license: mit",
      "base_model: [",
      "  - b",
      "language: en",
    ),
    fc.array(fc.integer({ min: 0, max: 0x2100 }), { maxLength: 20 })
      .map((codes) => String.fromCodePoint(...codes)),
  );
  fc.assert(fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
    const card = readSourceCard(["---", ...lines, "---"].join("\n"));
    for (const value of [...card.licences, ...card.languages, ...card.baseModels]) {
      assert.match(value, /^[\p{L}\p{N}][\p{L}\p{N} ._:/@+()-]*$/u);
    }
  }));
});
