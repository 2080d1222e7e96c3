/**
 * What a person asks of a conversion to a module besides the module: sizes before the work, every
 * precision at once, and names that files may have. No GPU is needed.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { convert, type ConvertOptions, type StepReport } from "../../mod.ts";
import { makeGraph, makeModel, makeNode, makeValueInfo, type Model } from "../../src/ir.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { command } from "../command.ts";
import { floats } from "../encoding_models.ts";
import { ROOT } from "../install.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

/** table[ids] w + b of "input_ids" [batch, sequence]: a page of text where a tokenizer is beside it. */
function textModel(): Model {
  const graph = makeGraph("text", {
    nodes: [
      makeNode("Gather", "", ["table", "input_ids"], ["rows"]),
      makeNode("MatMul", "", ["rows", "w"], ["product"]),
      makeNode("Add", "", ["product", "bias"], ["last_hidden_state"]),
    ],
    initializers: [floats("table", [500, 128]), floats("w", [128, 96]), floats("bias", [96])],
    inputs: [makeValueInfo("input_ids", "int64", ["batch", "sequence"])],
    outputs: [makeValueInfo("last_hidden_state", "float32", ["batch", "sequence", 96])],
  });
  return makeModel("text.onnx", 8, new Map([["", 17]]), graph);
}

/** Writes the model, and a tokenizer beside it where `words` are wanted. */
async function writeText(folder: string, words = 0): Promise<string> {
  const path = join(folder, "text.onnx");
  await writeModel(textModel(), path);
  const vocab = Object.fromEntries(Array.from({ length: words }, (_, i) => [`word${i}`, i]));
  if (words > 0) {
    const tokenizer = { model: { type: "WordLevel", unk_token: "word0", vocab } };
    await Deno.writeTextFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  }
  return path;
}

/** Files and sizes that the last steps of `steps` tell. */
function filesOf(steps: readonly StepReport[]): [name: string, bytes: number][] {
  return steps.flatMap((step) =>
    step.kind !== "webgpu" ? [] : step.files.map(({ path, byteLength }): [string, number] => [
      basename(path),
      byteLength,
    ])
  ).sort(([a], [b]) => a < b ? -1 : 1);
}

const CASES: readonly Partial<ConvertOptions>[] = [
  {},
  { precision: "float16" },
  { precision: "4bit" },
  { precision: "3bit", method: "rtn", symmetric: true, blockSize: 64 },
  { precision: ["8bit", "2bit"] },
  { dims: { batch: 2 }, maxDims: { sequence: 7 } },
];

Deno.test("a dry run knows all sizes to the byte, and leaves nothing", async () => {
  for (const words of [0, 3000]) {
    for (const [index, options] of CASES.entries()) {
      await withFolder(async (folder) => {
        const request = {
          modelPath: await writeText(folder, words),
          outputPath: join(folder, "text.webgpu.js"),
          engine: "reference",
          ...options,
        } as const;
        const before = namesIn(folder);
        const planned = await convert({ ...request, dryRun: true, sha256: true });
        assert.ok(planned.success, String(planned.error));
        assert.deepEqual(namesIn(folder), before, `case ${index}`);
        assert.deepEqual(planned.files, []);
        const sizes = filesOf(planned.steps);
        assert.equal(
          sizes.length,
          (words > 0 ? 6 : 5) * (Array.isArray(options.precision) ? 2 : 1),
        );
        const made = await convert(request);
        assert.ok(made.success, String(made.error));
        assert.deepEqual(sizes, filesOf(made.steps), `case ${index}`);
        for (const [name, bytes] of sizes) {
          assert.equal(Deno.statSync(join(folder, name)).size, bytes, name);
        }
      });
    }
  }
});

Deno.test("a dry run is printed, and asks for no name", async () => {
  await withFolder(async (folder) => {
    const source = await writeText(folder);
    const base = ["convert", "--source", source, "--target-format", "webgpu", "--dry-run"];
    const plain = await command([...base, "--max-dim", "batch=4"], { folder });
    assert.equal(plain.code, 0, plain.stderr);
    assert.match(plain.stdout, /^would write .*text\.converted\.webgpu\.js \(\d+ bytes\)$/m);
    assert.match(plain.stdout, /^dims +each run sets batch up to 4, sequence$/m);
    assert.match(plain.stdout, /^program 3 nodes, \d+ kernels, \d+ dispatches$/m);
    assert.doesNotMatch(plain.stdout, /^wrote|not checked: what the model computes/m);
    const json = await command([...base, "--json", "--precision", "4bit"], { folder });
    assert.equal(json.code, 0, json.stderr);
    const { success, files, steps } = JSON.parse(json.stdout);
    assert.deepEqual([success, files], [true, []]);
    assert.equal(steps.at(-1).dryRun, true);
    assert.deepEqual(namesIn(folder), ["text.onnx"]);
    const quiet = await command([...base, "--quiet"], { folder });
    assert.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, "", ""]);
  });
});

Deno.test("every precision is a module of its own, from one read", async () => {
  await withFolder(async (folder) => {
    const source = await writeText(folder);
    const output = join(folder, "text.webgpu.js");
    const made = await command(
      ["convert", "--source", source, "--output", output, "--all-precisions", "--json"],
      { folder },
    );
    assert.equal(made.code, 0, made.stderr);
    const precisions = ["bfloat16", "float16", "8bit", "4bit", "3bit", "2bit"];
    const modules = namesIn(folder).filter((name) => name.endsWith(".js"));
    assert.deepEqual(modules, precisions.map((name) => `text.${name}.webgpu.js`).sort());
    const { files } = JSON.parse(made.stdout);
    assert.equal(files.length, 5 * precisions.length);
    const sizes = precisions.map((name) =>
      Deno.statSync(join(folder, `text.${name}.webgpu.safetensors`)).size
    );
    assert.ok(sizes.slice(1).every((size, index) => size <= sizes[index]!), sizes.join());
    // What is there under one of the names, and is no older result, is left alone.
    Deno.removeSync(join(folder, "text.4bit.webgpu.js"));
    const again = await command(
      ["convert", "--source", source, "--output", output, "--all-precisions"],
      { folder },
    );
    assert.equal(again.code, 2);
    assert.match(again.stderr, /"[^"]*text\.4bit\.webgpu\.d\.ts", which goes with it, is there/);
  });
});

Deno.test("files may have any name", async () => {
  const names = [
    "two words.webgpu.js",
    'it\'s "quoted".js',
    "größe 模型.webgpu.js",
    "a#b?c%20d&e+f,g;h=i@j.webgpu.js",
    "<b>`${x}`.webgpu.js",
    "-dash.webgpu.js",
    "dots...js",
    `${"long".repeat(50)}.js`,
  ].filter((name) => Deno.build.os !== "windows" || !/["?<>]/.test(name));
  await withFolder(async (folder) => {
    const modelPath = await writeText(folder);
    for (const name of names) {
      const result = await convert({
        modelPath,
        outputPath: join(folder, name),
        targetFormat: "webgpu",
        dims: { batch: 1 },
      });
      assert.ok(result.success, String(result.error));
      const module = await import(pathToFileURL(join(folder, name)).href);
      assert.equal(module.inputs[0].name, "input_ids");
      const stem = basename(name, ".js");
      const text = Deno.readTextFileSync(join(folder, name));
      const [, address] = /new URL\("([^"]+)", import\.meta\.url\)/.exec(text)!;
      const weights = new URL(address!, pathToFileURL(join(folder, name)));
      assert.equal(fileURLToPath(weights), join(folder, `${stem}.safetensors`));
      assert.ok(Deno.statSync(weights).isFile);
    }
    assert.equal(namesIn(folder).length, 1 + 5 * names.length);
  });
});

Deno.test("an output that can't be is refused before the work", async () => {
  await withFolder(async (folder) => {
    const source = await writeText(folder);
    for (const name of ["taken.webgpu.safetensors", "folder.js"]) {
      Deno.mkdirSync(join(folder, name));
    }
    const wrong: readonly [output: string, pattern: RegExp][] = [
      [join(folder, "absent", "x.webgpu.js"), /there is no folder ".*absent"/],
      [join(source, "x.webgpu.js"), /is not a folder/],
      [join(folder, "x.mjs"), /ends in \.js. Name it ".*x\.webgpu\.js"/],
      [join(folder, "folder.js"), /is a directory/],
      [source, /ends in \.js|is ".*", which the model is read from/],
      [join(folder, "taken.webgpu.js"), /taken\.webgpu\.safetensors": it is a directory/],
    ];
    for (const [output, pattern] of wrong) {
      const { code, stderr } = await command(
        ["convert", "--source", source, "--target-format", "webgpu", "--output", output],
        { folder },
      );
      assert.equal(code, 2, stderr);
      assert.match(stderr, pattern);
    }
    assert.deepEqual(namesIn(folder), ["folder.js", "taken.webgpu.safetensors", "text.onnx"]);
  });
});

Deno.test("what lies beside a model and may not be read is told once", async () => {
  await withFolder(async (outer) => {
    // As in repositories for transformers.js: the tokenizer lies one folder above.
    const folder = join(outer, "onnx");
    Deno.mkdirSync(folder);
    const source = await writeText(folder, 3);
    Deno.renameSync(join(folder, "tokenizer.json"), join(outer, "tokenizer.json"));
    const args = ["convert", "--source", source, "--output", join(folder, "text.webgpu.js")];
    // Folders for temporary files may lie in modelcast's own, which is therefore not named as a whole.
    const own = ["main.ts", "src", "kernels", "node_modules", "build", "deno.json"].join();
    const convertWith = async (readable: string) => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-q", "--no-prompt", "--no-check", "--frozen", "-P=convert"],
          ...[`--allow-read=${own},${readable}`, `--allow-write=${folder}`, "main.ts", ...args],
        ],
        cwd: ROOT,
      }).output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      assert.equal(code, 0, text(stderr));
      return { stdout: text(stdout), stderr: text(stderr) };
    };
    const without = await convertWith(folder);
    assert.match(without.stdout, /^page +for arrays/m);
    assert.equal(without.stderr.match(/^warning: ".*" may not be read; a tokenizer/mg)?.length, 1);
    for (const readable of [outer, `${folder},${join(outer, "tokenizer.json")}`]) {
      const allowed = await convertWith(readable);
      assert.match(allowed.stdout, /^page +for similarity of texts/m);
      assert.doesNotMatch(allowed.stderr, /warning/);
    }
  });
});

Deno.test("two conversions into one folder don't disturb each other", async () => {
  await withFolder(async (folder) => {
    const modelPath = await writeText(folder);
    const results = await Promise.all(
      ["a", "b", "b.c"].map((name) =>
        convert({ modelPath, outputPath: join(folder, `${name}.webgpu.js`), dims: { batch: 1 } })
      ),
    );
    for (const { error } of results) assert.equal(error, null);
    assert.equal(namesIn(folder).length, 1 + 3 * 5);
  });
});
