/**
 * The command line over PyTorch sources and to OpenVINO: chains, the files that are left, what is
 * printed, and the exit codes. The models are tiny ones with made-up weights.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { build } from "../../scripts/build.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { run } from "../../src/process.ts";
import type { StepReport } from "../../mod.ts";
import { command, type CommandResult, spawnCommand } from "../command.ts";
import { pythonPath, ROOT } from "../install.ts";
import { PRINTED } from "../json_schema.ts";
import { NPM_MODELS } from "../real_models.ts";

const BERT = {
  architectures: ["BertModel"],
  model_type: "bert",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  vocab_size: 99,
  max_position_embeddings: 40,
};

const T5 = {
  architectures: ["T5ForConditionalGeneration"],
  model_type: "t5",
  d_model: 32,
  d_kv: 16,
  d_ff: 64,
  num_layers: 1,
  num_decoder_layers: 1,
  num_heads: 2,
  vocab_size: 99,
  decoder_start_token_id: 0,
};

/** Writes the folder of a model without weights. */
function writeConfig(folder: string, config: Readonly<Record<string, unknown>>): string {
  const source = join(folder, "source");
  Deno.mkdirSync(source);
  Deno.writeTextFileSync(join(source, "config.json"), JSON.stringify(config));
  return source;
}

/** What lies in `folder` beside the source. */
function left(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name !== "source")
    .sort();
}

async function withFolder(action: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await action(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function convert(
  folder: string,
  source: string,
  output: string,
  ...args: readonly string[]
): Promise<CommandResult> {
  return command(
    ["convert", "--source", source, "--output", join(folder, output), ...args],
    { folder, permissions: "convert-python" },
  );
}

function stepsIn({ stdout }: CommandResult): readonly StepReport[] {
  const printed: unknown = JSON.parse(stdout);
  PRINTED.parse(printed);
  return (printed as { steps: StepReport[] }).steps;
}

Deno.test("one command exports, quantizes and converts to OpenVINO, checked at each step", async () => {
  await withFolder(async (folder) => {
    const source = writeConfig(folder, BERT);
    const args = ["--random-weights", "--precision", "4bit", "--verify", "--json"];
    const result = await convert(folder, source, "bert.xml", ...args);
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(left(folder), ["bert.bin", "bert.xml"]);
    const [exported, quantized, converted] = stepsIn(result);
    assert.ok(exported?.kind === "pytorch" && exported.verification?.passed);
    assert.ok(quantized?.kind === "onnx" && quantized.conversions[0]!.verification?.passed);
    assert.ok(converted?.kind === "openvino" && converted.verification?.passed);
    assert.ok(converted.weights.every(({ element }) => element === "u4"));
    assert.deepEqual(
      JSON.parse(result.stdout).files.sort(),
      ["bert.bin", "bert.xml"].map((name) => join(folder, name)),
    );
    // The bytes depend on nothing but the source and the options.
    const bytes = ["bert.bin", "bert.xml"].map((name) => Deno.readFileSync(join(folder, name)));
    const again = await convert(folder, source, "bert.xml", ...args);
    assert.equal(again.code, 0, again.stderr);
    assert.deepEqual(
      ["bert.bin", "bert.xml"].map((name) => Deno.readFileSync(join(folder, name))),
      bytes,
    );
  });
});

Deno.test("a folder becomes a module with a page that tokenizes, checked at each step", async () => {
  await withFolder(async (folder) => {
    const source = writeConfig(folder, BERT);
    const vocab = Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`word-${i}`, i]));
    Deno.writeTextFileSync(
      join(source, "tokenizer.json"),
      JSON.stringify({ model: { type: "WordLevel", unk_token: "word-0", vocab } }),
    );
    const args = ["--random-weights", "--precision", "8bit", "--verify", "--json"];
    const result = await convert(folder, source, "bert.webgpu.js", ...args);
    assert.equal(result.code, 0, result.stderr);
    const files = ["d.ts", "html", "js", "report.json", "safetensors"].map((end) =>
      `bert.webgpu.${end}`
    );
    assert.deepEqual(left(folder), files);
    const steps = stepsIn(result);
    assert.deepEqual(steps.map(({ kind }) => kind), ["pytorch", "onnx", "webgpu"]);
    const module = steps[2]!;
    assert.ok(module.kind === "webgpu" && module.verification?.passed);
    assert.equal(module.module.page, "similarity of texts");
    assert.match(Deno.readTextFileSync(join(folder, "bert.webgpu.html")), /"word-98":98/);
  });
});

Deno.test("what --verify lacks shows before the export", async () => {
  await withFolder(async (folder) => {
    const source = writeConfig(folder, BERT);
    const all = ["--source", source, "--random-weights"];
    for (
      const [output, ...more] of [
        ["bert.onnx", "--verify", "--precision", "8bit"],
        ["bert.webgpu.js", "--verify", "--precision", "8bit"],
        ["bert-js", "--layout", "transformers.js"],
      ] as const
    ) {
      const child = new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-q", "--no-prompt", "--no-check", "--frozen", "-P=convert-python"],
          ...[
            "--allow-run=uv,bwrap",
            `--allow-read=.,${folder}`,
            `--allow-write=.,${folder}`,
            "main.ts",
          ],
          ...["convert", ...all, ...more, "--output", join(folder, output)],
        ],
        cwd: ROOT,
      });
      const { code, stderr } = await child.output();
      const said = new TextDecoder().decode(stderr);
      assert.equal(code, 4, said);
      assert.match(said, /--allow-run=deno/);
      assert.doesNotMatch(said, /export/i);
      assert.deepEqual(left(folder), []);
    }
  });
});

Deno.test("an encoder and a decoder go through every step", async () => {
  await withFolder(async (folder) => {
    const source = writeConfig(folder, T5);
    const args = ["--random-weights", "--precision", "8bit"];
    const result = await convert(folder, source, "t5.webgpu.js", ...args);
    assert.equal(result.code, 0, result.stderr);
    const modules = left(folder).filter((name) => name.endsWith(".js"));
    assert.deepEqual(modules, ["t5.decoder.webgpu.js", "t5.encoder.webgpu.js"]);
    assert.match(result.stdout, /^made {4}.*t5\.webgpu\.encoder\.onnx on the way/m);
    assert.match(result.stdout, /^wrote {3}.*t5\.encoder\.webgpu\.js/m);
    // Unasked what Python and ONNX Runtime computed is checked, and the modules, which takes a GPU, aren't.
    assert.match(result.stdout, /^verified with ONNX Runtime: passed/m);
    assert.match(result.stdout, /^verified on cpu, ONNX Runtime .* passed/m);
    assert.match(result.stdout, /^not checked: what the module computes/m);
  });
});

Deno.test("an export that computes something else is kept aside, and is exit code 3", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "noise.pt");
    const { code, stderr } = await run({
      program: pythonPath("pytorch"),
      args: ["-c", NOISE, source],
      inheritEnv: ["HOME"],
      install: "",
    });
    assert.equal(code, 0, stderr);
    Deno.writeTextFileSync(join(folder, "out.onnx"), "before");
    const result = await convert(folder, source, "out.onnx");
    assert.equal(result.code, 3, result.stderr + result.stdout);
    assert.match(
      result.stderr,
      /Cannot vouch for ".*out\.onnx".*kept as ".*out\.onnx\.unverified"/,
    );
    assert.equal(Deno.readTextFileSync(join(folder, "out.onnx")), "before");
    assert.deepEqual(left(folder), ["noise.pt", "out.onnx", "out.onnx.unverified"]);
    const apart = await convert(folder, source, "out.onnx", "--external-data", "always");
    assert.equal(apart.code, 3, apart.stderr + apart.stdout);
    const aside = ["out.onnx.data.unverified", "out.onnx.unverified"];
    assert.deepEqual(left(folder), ["noise.pt", "out.onnx", ...aside]);
    // It finds its data beside it.
    assert.equal((await readModel(join(folder, aside[1]!))).external, true);
  });
});

/** A TorchScript model whose output is never the same. */
const NOISE = `
import sys, torch

class Noise(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.ones(512))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table[x.abs().long() % 512] + torch.rand_like(x)

torch.jit.trace(Noise(), torch.ones(2, 8), check_trace=False).save(sys.argv[1])
`;

Deno.test("bad input is one line, exit code 2, and nothing is left", async () => {
  const cases: readonly (readonly [Readonly<Record<string, unknown>>, string[], RegExp])[] = [
    [{ ...BERT, auto_map: { AutoModel: "code.Model" } }, ["--random-weights"], /auto_map/],
    [{ ...BERT, model_type: "bret" }, ["--random-weights"], /"bret".*bert/],
    [BERT, [], /no weights/],
  ];
  for (const [config, args, says] of cases) {
    await withFolder(async (folder) => {
      const result = await convert(folder, writeConfig(folder, config), "out.onnx", ...args);
      assert.equal(result.code, 2, result.stderr);
      assert.equal(result.stdout, "");
      const lines = result.stderr.trimEnd().split("\n");
      assert.match(lines.at(-1)!, /^error: Cannot /);
      assert.match(lines.at(-1)!, says);
      assert.doesNotMatch(result.stderr, /Traceback/);
      assert.deepEqual(left(folder), []);
    });
  }
});

Deno.test("a full disk is an error of the output, for PyTorch and for OpenVINO", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const { path: recognizer } = NPM_MODELS.find(({ label }) => label === "recognizer")!;
  await withFolder(async (folder) => {
    const made = writeConfig(folder, BERT);
    for (const [source, output] of [[made, "out.onnx"], [recognizer, "out.xml"]] as const) {
      const target = join(folder, output);
      const child = spawnCommand(
        ["convert", "--source", source, "--output", target]
          .concat(source === made ? ["--random-weights"] : []),
        // Blocks of 512 bytes. The signal of the limit is ignored.
        { folder, permissions: "convert-python", shell: "trap '' XFSZ; ulimit -f 80" },
      );
      const { code, stderr } = await child.output();
      const text = new TextDecoder().decode(stderr);
      assert.equal(code, 2, text);
      assert.ok(text.includes(`\nerror: Cannot write "${target}": `), text);
      assert.match(text, /no space left, or .* Free some, or write to another disk\.\n$/);
      assert.deepEqual(left(folder), []);
    }
  });
});

Deno.test("without the permission to run programs the error names the flag", async () => {
  await withFolder(async (folder) => {
    const source = writeConfig(folder, BERT);
    const result = await command(
      ["convert", "--source", source, "--output", join(folder, "out.onnx"), "--random-weights"],
      { folder },
    );
    assert.equal(result.code, 4, result.stderr);
    assert.match(result.stderr, /--allow-run=/);
    const named = await convert(
      folder,
      source,
      "out.onnx",
      ...["--random-weights", "--python", pythonPath("pytorch")],
    );
    assert.equal(named.code, 4, named.stderr);
    assert.ok(named.stderr.includes(pythonPath("pytorch")), named.stderr);
    assert.deepEqual(left(folder), []);
  });
});

Deno.test("an interrupt ends Python too, and leaves nothing", {
  ignore: Deno.build.os === "windows",
}, async () => {
  await withFolder(async (folder) => {
    const source = writeConfig(folder, BERT);
    const child = spawnCommand(
      ["convert", "--source", source, "--output", join(folder, "out.onnx"), "--random-weights"],
      { folder, permissions: "convert-python" },
    );
    const staging = () => left(folder).length > 0;
    while (!staging()) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    assert.equal(code, 130, new TextDecoder().decode(stderr));
    assert.deepEqual(left(folder), []);
  });
});

Deno.test("the bundled program runs Python too", async () => {
  await withFolder(async (folder) => {
    const dist = join(folder, "dist");
    await build(dist);
    const source = writeConfig(folder, BERT);
    const { code, stdout, stderr } = await run({
      program: "deno",
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-remote", "--allow-env"],
        ...[`--allow-read=${folder},${ROOT}/.cache`, `--allow-write=${folder},${ROOT}/.cache`],
        ...["--allow-run=uv,bwrap", `${dist}/modelcast.js`, "convert", "--source", source],
        ...["--output", join(folder, "out.onnx"), "--random-weights"],
      ],
      cwd: folder,
      inheritEnv: ["HOME", "PATH", "DENO_DIR"],
      env: { MODELCAST_CACHE: `${ROOT}/.cache` },
      install: "See https://deno.com",
    });
    assert.equal(code, 0, stderr);
    assert.match(new TextDecoder().decode(stdout), /verified with ONNX Runtime: passed/);
    assert.deepEqual(left(folder), ["dist", "out.onnx"]);
  });
});
