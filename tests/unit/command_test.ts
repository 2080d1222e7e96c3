/**
 * The command line as a process: exit codes, what goes to which stream, permissions, signals, and a
 * disk that is full.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeLargeModel } from "../../bench/large_model.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import {
  command,
  type CommandResult,
  conversionsIn,
  convertCommand,
  spawnCommand,
} from "../command.ts";
import { mixedModel } from "../convert_models.ts";
import { floats, simpleModel } from "../encoding_models.ts";
import { makeNode } from "../../src/ir.ts";
import { NPM_MODELS } from "../real_models.ts";
import { namesIn, withFolder } from "./onnx_models.ts";

const POSIX = Deno.build.os !== "windows";
const WASM = ["--engine", "wasm"] as const;
const FOUR_BITS = ["--precision", "4bit", "--method", "rtn", ...WASM] as const;

// deno-lint-ignore no-control-regex -- what a terminal acts on, newline aside
const CONTROL = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;

/** Asserts the exit code, and that nothing printed makes a terminal do anything. */
function ended(result: CommandResult, code: number): void {
  assert.equal(result.code, code, result.stderr + result.stdout);
  assert.doesNotMatch(result.stdout, CONTROL);
  assert.doesNotMatch(result.stderr, CONTROL);
}

async function withSource(
  use: (source: string, output: string, folder: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    await writeModel(mixedModel(), source);
    await use(source, join(folder, "result.onnx"), folder);
  });
}

Deno.test("help and version are answers, usage errors are errors", async () => {
  for (const args of [["--help"], ["convert", "--help"], ["--version"], []]) {
    const result = await command(args);
    ended(result, 0);
    assert.match(result.stdout, /modelcast|^\d+\.\d+\.\d+/);
    assert.equal(result.stderr, "");
  }
  const wrong: [string[], RegExp][] = [
    [["convret"], /convert/],
    [["convert"], /--source/],
    [["convert", "--source", "a.onnx", "--outptu", "b.onnx"], /--output/],
    [["convert", "--source", "a.onnx", "--output", "b.onnx"], /--precision.*--all-precisions/],
    [["convert", "--source", "a.onnx", "--precision", "4bit"], /--output/],
    [["convert", "--source", "", "--output", "b.onnx", "--precision", "4bit"], /empty/],
    [["convert", "--source", "a.onnx", "--output", "b.onnx", "--precision", "4bits"], /"4bit"/],
    [["convert", "--source", "a.onnx", "--output", "b.onnx", "--precision", "flaot16"], /float16/],
    [["convert", "--source", "a.onnx", "--output", "b.onnx", "--precision", "int5"], /"8bit"/],
    [["convert", "--source", "a.onnx", "--output", "b", "--block-size", "48"], /16, 32, 64/],
    [["convert", "--source", "a.onnx", "--output", "b", "--workers", "-1"], /"-1"/],
    [["convert", "--source", "a.onnx", "--output", "b", "--workers", "257"], /no more than 256/],
    [["convert", "--source", "a", "--precision", "4bit", "--precision", "8bit"], /given twice/],
    [["convert", "--source", "a", "--output", "b.onnx", "--python", ""], /--python is empty/],
    [["convert", "--source", "a", "--output", "b.onnx", "--model-type", ""], /--model-type is/],
    [["convert", "--source", "a.onnx", "--output", "b.pt", "--precision", "4bit"], /"b\.pt"/],
    [["convert", "--source", "a.onnx", "--output", "b.js", "--precision", "4bit"], /\.webgpu\.js/],
    [["convert", "--source", "a.onnx", "--output", "b", "--method", "mes"], /"mse"/],
  ];
  for (const [args, pattern] of wrong) {
    const result = await command(args);
    ended(result, 2);
    assert.match(result.stderr, pattern);
    assert.equal(result.stdout, "");
  }
});

Deno.test("streams that can't be written are no bug, and no reason to give up", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  await withSource(async (source, output, folder) => {
    const args = ["convert", "--source", source, "--output", output, ...FOUR_BITS];
    for (const more of [[], ["--json"]]) {
      const unread = await command([...args, ...more], { folder, shell: "exec >/dev/full" });
      ended(unread, 2);
      assert.match(unread.stderr, /^error: Cannot print the result: No space left on device/m);
      assert.ok(Deno.statSync(output).isFile);
      Deno.removeSync(output);
    }
    ended(await command(["--help"], { folder, shell: "exec >/dev/full" }), 2);
    const unheard = await command([...args, "--exclude", "*"], {
      folder,
      shell: "exec 2>/dev/full",
    });
    ended(unheard, 0);
    assert.match(unheard.stdout, /^wrote /m);
    const absent = ["convert", "--source", `${source}.absent`, "--output", output, ...FOUR_BITS];
    ended(await command(absent, { folder, shell: "exec 2>/dev/full" }), 2);
  });
});

Deno.test("the report is on stdout, chatter on stderr, JSON alone where asked", async () => {
  await withSource(async (source, output, folder) => {
    const plain = await convertCommand(source, output, ...FOUR_BITS);
    ended(plain, 0);
    assert.match(plain.stdout, /^wrote .*result\.onnx/m);
    assert.match(plain.stdout, /^embedding +Gather\+MatMul +90x48 /m);
    assert.match(plain.stdout, /nominal for 4bit: 87\.5 %/);
    assert.match(plain.stdout, /bits per weight/);
    assert.match(plain.stdout, /a vector/);
    assert.match(plain.stdout, /not checked/);
    const bytes = Deno.readFileSync(output);

    const json = await convertCommand(source, output, ...FOUR_BITS, "--json");
    ended(json, 0);
    const record = conversionsIn(json.stdout)[0]!;
    assert.equal(record.files[0]!.path, output);
    assert.equal(record.files[0]!.byteLength, bytes.length);
    assert.equal(record.precision, "4bit");
    assert.equal(record.weights.length, 7);
    assert.deepEqual(JSON.parse(json.stdout).files, [output]);
    assert.equal(json.stdout.trim().split("\n").length, 1);
    assert.deepEqual(Deno.readFileSync(output), bytes);

    const dry = await convertCommand(source, output, ...FOUR_BITS, "--json", "--dry-run");
    ended(dry, 0);
    assert.equal(conversionsIn(dry.stdout)[0]!.files[0]!.byteLength, bytes.length);

    const quiet = await convertCommand(source, output, ...FOUR_BITS, "--quiet");
    ended(quiet, 0);
    assert.equal(quiet.stdout + quiet.stderr, "");

    const all = await convertCommand(source, output, "--all-precisions", ...WASM, "--json");
    ended(all, 0);
    assert.deepEqual(
      conversionsIn(all.stdout).map(({ precision, files }) => [precision, files[0]!.path]),
      ["bfloat16", "float16", "8bit", "4bit", "3bit", "2bit"]
        .map((name) => [name, join(folder, `result.${name}.onnx`)]),
    );
  });
});

Deno.test("a failure under --json is one line of JSON, and the error is in it", async () => {
  await withFolder(async (folder) => {
    const output = join(folder, "out.onnx");
    const layout = ["--layout", "transformers.js"];
    for (const more of [["--precision", "4bit"], layout]) {
      const source = join(folder, "absent.onnx");
      const result = await command(
        ["convert", "--source", source, "--output", output, "--json", ...more],
        { folder },
      );
      ended(result, 2);
      const { success, error, outputPath, files, steps } = JSON.parse(result.stdout);
      assert.deepEqual({ success, outputPath, files, steps }, {
        success: false,
        outputPath: output,
        files: [],
        steps: [],
      });
      assert.equal(result.stderr, `error: ${error}\n`);
      assert.ok(error.includes(source));
    }
  });
});

Deno.test("a layout refuses the options that it has no use for", async () => {
  const layout = ["convert", "--source", "a", "--layout", "transformers.js"];
  for (
    const [options, named] of [
      [["--dry-run"], "--dry-run"],
      [["--output", "b", "--static"], "--static"],
      [["--output", "b", "--io-f16"], "--io-f16"],
      [["--output", "b", "--compile", "CPU"], "--compile"],
      [["--output", "b", "--per-op"], "--per-op"],
      [["--output", "b", "--inputs", "x.npz"], "--inputs"],
      [["--output", "b", "--sha256"], "--sha256"],
      [["--output", "b", "--list-weights"], "--list-weights"],
      [["--output", "b", "--max-error", "0.1"], "--max-error"],
      [["--output", "b", "--external-data", "always"], "--external-data"],
      [["--output", "b", "--encoding", "qdq"], "--encoding"],
      [["--output", "b", "--runtime", "openvino-2026.4"], "--runtime"],
      [["--output", "b", "--method", "nncf"], "--method nncf"],
      [["--output", "b", "--target-format", "openvino"], "--target-format"],
      [["--output", "b", "--source-format", "onnx"], "--source-format"],
      [["--output", "b", "--dtypes", "q4", "--precision", "8bit"], "--precision"],
      [["--output", "b", "--dtypes", "q4", "--activations", "float16"], "--activations"],
    ] as const
  ) {
    const result = await command([...layout, ...options]);
    ended(result, 2);
    assert.ok(result.stderr.startsWith(`error: Cannot use ${named} `), result.stderr);
    assert.equal(result.stdout, "");
  }
});

Deno.test("a trained model is planned with the permission set alone", async () => {
  const { path } = NPM_MODELS.find(({ label }) => label === "recognizer")!;
  const args = ["convert", "--source", path, "--dry-run", "--all-precisions", "--json"];
  const result = await command(args);
  ended(result, 0);
  const reductions = conversionsIn(result.stdout).map(({ totals }) => totals.fileReduction);
  assert.ok(reductions.every((value, index) => value > 0 && value >= (reductions[index - 1] ?? 0)));
});

Deno.test("a permission that is missing is named as a flag", async () => {
  const outside = POSIX ? "/no-such-folder" : "C:\\no-such-folder";
  const { path } = NPM_MODELS[0]!;
  const reading = await command([
    ...["convert", "--source", join(outside, "a.onnx"), "--dry-run", "--precision", "4bit"],
  ]);
  ended(reading, 2);
  assert.ok(reading.stderr.includes(`--allow-read=.,${outside}`), reading.stderr);
  const writing = await command([
    ...["convert", "--source", path, "--output", join(outside, "b.onnx"), ...FOUR_BITS],
  ]);
  ended(writing, 2);
  assert.ok(writing.stderr.includes(`--allow-read=.,${outside}`), writing.stderr);
  assert.ok(writing.stderr.includes(`--allow-write=.,${outside}`), writing.stderr);
});

Deno.test("without permission to read modelcast's own files the error says so", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", "--no-check", "main.ts", "serve", "."],
    stdout: "null",
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 2, said);
  assert.match(said, /^error: Requires read access to .*\n {2}Deno refused the permission\. Run/);
});

Deno.test("what --verify lacks shows before the work", async () => {
  await withSource(async (source, output, folder) => {
    const result = await convertCommand(source, output, ...FOUR_BITS, "--verify");
    ended(result, 4);
    assert.match(result.stderr, /--allow-run=deno/);
    assert.equal(result.stdout, "");
    assert.deepEqual(namesIn(folder), ["source.onnx"]);
  });
});

Deno.test("names in a model print nothing that a terminal acts on", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    const name = 'a\x1b[31mred\x07\x9b2J\r\nwrote x"\u202egnp/\x00*';
    const model = simpleModel(
      [
        makeNode("MatMul", "", ["x", name], [`${name}y`], [], `${name}node`),
        makeNode("Add", "", [`${name}y`, `${name}bias`], ["y"], [], `${name}add`),
      ],
      [floats(name, [64, 64]), floats(`${name}bias`, [64])],
      [{ name: "x", dtype: "float32", dims: [2, 64], values: [] }],
      2,
    );
    await writeModel(model, source);
    const output = join(folder, "result.onnx");
    const plain = await convertCommand(source, output, ...FOUR_BITS);
    ended(plain, 0);
    assert.equal(plain.stdout.match(/^wrote/mg)!.length, 1);
    const json = await convertCommand(source, output, ...FOUR_BITS, "--json");
    ended(json, 0);
    assert.equal(conversionsIn(json.stdout)[0]!.weights[0]!.name, name);
    ended(await convertCommand(source, output, ...FOUR_BITS, "--exclude", "none"), 2);
    ended(await convertCommand(source, output, "--precision", "float16"), 0);
    const nan = floats(name, [64, 64]);
    new Float32Array((nan.data as { bytes: Uint8Array }).bytes.buffer)[3] = NaN;
    model.graph.initializers[0] = nan;
    await writeModel(model, source);
    const poisoned = await convertCommand(source, output, ...FOUR_BITS);
    ended(poisoned, 2);
    assert.match(poisoned.stderr, /holds NaN or infinity/);
    assert.doesNotMatch(poisoned.stderr, /^wrote/m);
  });
});

Deno.test("an error shows the ends of names that would fill the screen", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    const name = "n".repeat(100_000);
    const model = simpleModel(
      [makeNode("MatMul", "", ["x", name], ["y"], [], `first${"-".repeat(90_000)}last`)],
      [floats(name, [64, 4096])],
      [{ name: "x", dtype: "float32", dims: [2, 64], values: [] }],
      2,
    );
    new Float32Array((model.graph.initializers[0]!.data as { bytes: Uint8Array }).bytes.buffer)[3] =
      NaN;
    await writeModel(model, source);
    const refused = await convertCommand(source, join(folder, "result.onnx"), ...FOUR_BITS);
    ended(refused, 2);
    assert.ok(refused.stderr.length < 5000, `${refused.stderr.length} characters`);
    assert.match(refused.stderr, /holds NaN or infinity/);
    assert.ok(refused.stderr.includes(source));
  });
});

Deno.test("a file-size limit, like a full disk, leaves the target as it was", {
  ignore: !POSIX,
}, async () => {
  await withFolder(async (folder) => {
    const { path: source } = NPM_MODELS.find(({ label }) => label === "recognizer")!;
    const output = join(folder, "result.onnx");
    Deno.writeTextFileSync(output, "the old target");
    const args = ["convert", "--source", source, "--output", output, ...FOUR_BITS];
    // Blocks of 512 bytes: a tenth of what the result takes. The signal of the limit is ignored.
    const result = await spawnCommand(args, { folder, shell: "trap '' XFSZ; ulimit -f 300" })
      .output();
    const stderr = new TextDecoder().decode(result.stderr);
    assert.equal(result.code, 2, stderr);
    assert.match(stderr, /Cannot write ".*result\.onnx": .*it takes 1\d{6} bytes/);
    assert.deepEqual(namesIn(folder), ["result.onnx"]);
    assert.equal(Deno.readTextFileSync(output), "the old target");
  });
});

Deno.test("signals leave the target as it was; what a kill leaves goes with the next run", {
  ignore: !POSIX,
}, async (t) => {
  await withFolder(async (folder) => {
    const large = join(folder, "large");
    const { model: source } = await writeLargeModel(0.125, large);
    const output = join(folder, "result.onnx");
    const litter = () => namesIn(folder).filter((name) => name.endsWith(".partial"));
    Deno.writeTextFileSync(`${output}.data`, "old data");
    Deno.writeTextFileSync(output, "the old target");
    const kept = ["large", "result.onnx", "result.onnx.data"];
    // About ten seconds of work, of which one is waited for.
    const args = ["convert", "--source", source, "--output", output, ...WASM]
      .concat("--precision", "2bit", "--method", "hqq", "--workers", "1", "--block-size", "16");
    for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
      await t.step(signal, async () => {
        const child = spawnCommand(args, { folder });
        const done = child.output();
        while (litter().length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
        await new Promise((resolve) => setTimeout(resolve, 300));
        child.kill(signal);
        const { code, stdout, stderr } = await done;
        assert.equal(stdout.length, 0);
        if (signal !== "SIGKILL") {
          assert.equal(code, 130);
          assert.match(new TextDecoder().decode(stderr), /interrupted; the target is as it was/);
          assert.deepEqual(namesIn(folder), kept);
        }
        assert.equal(Deno.readTextFileSync(output), "the old target");
        assert.equal(Deno.readTextFileSync(`${output}.data`), "old data");
      });
    }
    assert.ok(litter().length > 0, "the kill came too late");
    const next = await convertCommand(source, output, "--precision", "2bit", "--method", "rtn");
    ended(next, 0);
    assert.deepEqual(namesIn(folder), kept);
    assert.ok(Deno.statSync(`${output}.data`).size > 1e6);
  });
});

Deno.test("two conversions to one target at once leave one whole result", async () => {
  await withSource(async (source, output, folder) => {
    const results = await Promise.all(
      Array.from({ length: 3 }, () => convertCommand(source, output, ...FOUR_BITS)),
    );
    for (const result of results) ended(result, 0);
    assert.deepEqual(namesIn(folder), ["result.onnx", "source.onnx"]);
    const bytes = Deno.readFileSync(output);
    ended(await convertCommand(source, output, ...FOUR_BITS), 0);
    assert.deepEqual(Deno.readFileSync(output), bytes);
  });
});
