/** `--verify` at the command line: what is printed, and the exit codes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeLargeModel } from "../../bench/large_model.ts";
import { makeNode, makeTensor, type Model } from "../../src/ir.ts";
import { formatVerification, type VerifiedConversion, verifyModels } from "../../mod.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { command, type CommandResult, conversionsIn, spawnCommand } from "../command.ts";
import { mixedModel } from "../convert_models.ts";
import { encode, noise, simpleModel } from "../encoding_models.ts";

/** Hands `run` a new folder, which is gone afterwards. */
async function withFolder<Result>(run: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await Deno.makeTempDir();
  try {
    return await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Converts `model` with `args`; `left` says which files were in the folder afterwards. */
async function verified(
  model: Model,
  ...args: readonly string[]
): Promise<CommandResult & { readonly left: readonly string[] }> {
  return await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    await writeModel(model, source);
    const result = await command([
      ...["convert", "--source", source, "--output", join(folder, "result.onnx"), "--verify"],
      ...["--engine", "wasm", "--method", "rtn", ...args],
    ], { folder, permissions: "convert-verify" });
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    return { ...result, left };
  });
}

/** What two products have in common cancels out, so that what is left is mostly rounding. */
function cancellingModel(): Model {
  const values = noise(5, 64 * 64);
  const weight = (name: string, of: number[]) =>
    makeTensor(name, "float32", [64, 64], { kind: "memory", bytes: encode("float32", of) });
  return simpleModel(
    [
      makeNode("MatMul", "", ["x", "plus"], ["a"]),
      makeNode("MatMul", "", ["x", "minus"], ["b"]),
      makeNode("Add", "", ["a", "b"], ["y"]),
    ],
    [
      weight("plus", values),
      weight("minus", values.map((value, at) => -value + 1e-4 * Math.sin(at))),
    ],
    [{ name: "x", dtype: "float32", dims: [3, 64], values: [] }],
    2,
  );
}

Deno.test("a result that passes is reported as such", async () => {
  const { code, stdout, stderr, left } = await verified(mixedModel(), "--precision", "8bit");
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^verified on cpu, ONNX Runtime .* passed/m);
  assert.match(stdout, /output "logits" float32 \[5, 90\]: SQNR \d/);
  assert.deepEqual(left, ["result.onnx", "source.onnx"]);
});

Deno.test("a result outside the tolerance is exit code 3, and is kept aside", async () => {
  const { code, stdout, stderr, left } = await verified(
    cancellingModel(),
    "--precision",
    "8bit",
    "--json",
  );
  assert.equal(code, 3, stderr);
  assert.match(stderr, /Cannot vouch for ".*result\.onnx": .*"y"/);
  const [{ verification, files }] = conversionsIn(stdout) as [VerifiedConversion];
  assert.equal(verification!.passed, false);
  assert.ok(files[0]!.path.endsWith("result.onnx.unverified"));
  assert.deepEqual(JSON.parse(stdout).files, files.map(({ path }) => path));
  assert.deepEqual(left, ["result.onnx.unverified", "source.onnx"]);
});

Deno.test("--max-error decides where it is given, at every precision", async () => {
  const four = ["--precision", "4bit", "--json"];
  const unlimited = await verified(mixedModel(), ...four, "--verify");
  const [{ verification }] = conversionsIn(unlimited.stdout) as [VerifiedConversion];
  assert.equal(verification!.tolerance, null);
  const worst = Math.max(
    ...verification!.outputs.map(({ float }) => float?.pooledRelativeL2 ?? 0),
  );
  assert.ok(worst > 0.001, String(worst));
  const above = await verified(mixedModel(), ...four, "--max-error", String(1.01 * worst));
  assert.equal(above.code, 0, above.stderr);
  assert.equal(JSON.parse(above.stdout).steps[0].conversions[0].verification.passed, true);
  const below = await verified(mixedModel(), ...four, "--max-error", String(0.99 * worst));
  assert.equal(below.code, 3, below.stderr);
  assert.match(below.stderr, /relative L2 error \S+ over all inputs, past the limit of/);
  assert.deepEqual(below.left, ["result.onnx.unverified", "source.onnx"]);
  // It takes the place of a wider limit, and of a narrower one.
  const eight = ["--precision", "8bit", "--max-error"];
  assert.equal((await verified(mixedModel(), ...eight, "1e-9")).code, 3);
  assert.equal((await verified(cancellingModel(), ...eight, "1e9")).code, 0);
});

Deno.test("a result that is kept aside loads, its data lying beside it", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source.onnx");
    await writeModel(cancellingModel(), source, { externalData: "always" });
    const output = join(folder, "result.onnx");
    const { code, stdout, stderr } = await command([
      ...["convert", "--source", source, "--output", output, "--verify", "--precision", "8bit"],
      ...["--engine", "wasm", "--method", "rtn", "--json", "--sha256"],
    ], { folder, permissions: "convert-verify" });
    assert.equal(code, 3, stderr);
    const [{ files, totals }] = conversionsIn(stdout) as [VerifiedConversion];
    const aside = ["result.onnx.unverified", "result.onnx.data.unverified"];
    assert.deepEqual(files.map(({ path }) => path), aside.map((name) => join(folder, name)));
    for (const { path, byteLength, sha256 } of files) {
      const bytes = Deno.readFileSync(path);
      assert.equal(byteLength, bytes.length);
      assert.equal(sha256, createHash("sha256").update(bytes).digest("hex"));
    }
    assert.equal(totals.fileBytesAfter, files.reduce((sum, file) => sum + file.byteLength, 0));
    // ONNX Runtime finds the data by what the model calls them.
    const report = await verifyModels({ original: source, result: files[0]!.path, perOp: true });
    assert.equal(report.outputs[0]!.name, "y");
    const lines = formatVerification(report);
    assert.ok(lines.some((line) => line.startsWith("  per op: ")), lines.join("\n"));
    // What has been written down and read is still a report, and what has lost a part is none.
    const { outputs, ...rest } = JSON.parse(JSON.stringify(report));
    assert.deepEqual(formatVerification({ outputs, ...rest }), lines);
    assert.throws(() => formatVerification(rest), /"outputs" can't be used: expected array/);
    const again = await command(
      ["convert", "--source", source, "--output", output, "--precision", "8bit"],
      { folder },
    );
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stderr, /removed ".*result\.onnx\.unverified", which failed its verif/);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
      ...["result.onnx", "result.onnx.data"],
      ...["source.onnx", "source.onnx.data"],
    ]);
  });
});

Deno.test("a provider or inputs that are not there end the command before the work", async () => {
  for (
    const [args, pattern] of [
      [["--provider", "cup"], /Did you mean cpu/],
      [["--inputs", "absent.npz"], /"absent\.npz": no such file/],
    ] as const
  ) {
    const { code, stdout, stderr, left } = await verified(
      mixedModel(),
      "--precision",
      "4bit",
      ...args,
    );
    assert.equal(code, 2, stderr);
    assert.match(stderr, pattern);
    assert.equal(stdout, "");
    assert.deepEqual(left, ["source.onnx"]);
  }
});

Deno.test("a signal while verifying ends the command; nothing is written", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { model: source } = await writeLargeModel(0.125, join(folder, "large"));
    const output = join(folder, "result.onnx");
    const child = spawnCommand([
      ...["convert", "--source", source, "--output", output, "--verify", "--precision", "8bit"],
      ...["--engine", "wasm", "--method", "rtn"],
    ], { folder, permissions: "convert-verify" });
    const done = child.output();
    // It is complete, but not yet at its place.
    const complete = () =>
      [...Deno.readDirSync(folder)].some(({ name, isDirectory }) =>
        isDirectory && name.endsWith(".partial") &&
        [...Deno.readDirSync(join(folder, name))].some((step) =>
          step.isDirectory &&
          [...Deno.readDirSync(join(folder, name, step.name))].some((file) =>
            file.name === "result.onnx"
          )
        )
      );
    while (!complete()) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGINT");
    const { code, stdout, stderr } = await done;
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert.equal(code, 130, text(stdout) + text(stderr));
    assert.match(text(stderr), /interrupted; the target is as it was/);
    assert.equal(text(stdout), "");
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["large"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
