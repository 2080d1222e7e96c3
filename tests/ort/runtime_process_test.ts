/** The process that runs ONNX Runtime: what becomes of a command when it dies, and when it must end. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeLargeModel } from "../../bench/large_model.ts";
import { InputError, VerificationError } from "../../src/error.ts";
import { int, makeNode, type Tensor } from "../../src/ir.ts";
import { verifyModels } from "../../src/verify.ts";
import { startRuntime } from "../../src/verify/runtime_process.ts";
import { RuntimeCrash } from "../../src/verify/session.ts";
import { command, spawnCommand } from "../command.ts";
import { ROOT } from "../install.ts";
import { chain, constant, op, type Parts, value, WEIGHTS, write } from "./verify_small_models.ts";

/** Runs `body` with a folder that is removed afterwards. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The output of `tests/ort/processes.ts`. */
async function processes(...args: readonly (string | number)[]): Promise<unknown> {
  const { stdout, stderr, code } = await new Deno.Command("deno", {
    args: ["run", "-A", "--no-check", `${ROOT}/tests/ort/processes.ts`, ...args.map(String)],
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Names in `folder`. */
const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

/** A constant of 32-bit integers. */
function integers(name: string, ...values: number[]): Tensor {
  const bytes = new Uint8Array(Int32Array.from(values).buffer);
  return {
    ...constant(name, [values.length], []),
    dtype: "int32",
    data: { kind: "memory", bytes },
  };
}

/** Three parts of a Split that says it has two: ONNX Runtime 1.30 aborts when it loads that. */
const SPLIT: Parts = {
  nodes: [makeNode("Split", "", ["x"], ["y", "second", "third"], [int("num_outputs", 2)])],
  inputs: [value("x", "float32", 4)],
  outputs: [value("y", "float32", null)],
};

/** The least integer of 32 bits, made at run time, over `divisor`: by -1, x86 processors trap. */
const division = (divisor: number): Parts => ({
  nodes: [
    op("Mul", ["x", "zero"], "none"),
    op("Add", ["none", "least"], "sum"),
    op("Div", ["sum", "divisor"], "y"),
  ],
  initializers: [
    integers("zero", 0),
    integers("least", -(2 ** 31)),
    integers("divisor", divisor),
  ],
  inputs: [value("x", "int32", 1)],
  outputs: [value("y", "int32", 1)],
});

/** The message of the error that `promise` rejects with, which must be of `type`. */
async function rejection(
  promise: Promise<unknown>,
  type: new (message: string) => Error,
): Promise<string> {
  const error: unknown = await promise.then(() => null, (reason) => reason);
  assert.ok(error instanceof type, `${error}`);
  return error.message;
}

Deno.test("a model that ONNX Runtime dies over when it loads it is an error, and the next one loads", () =>
  inFolder(async (folder) => {
    const bad = await write(folder, "bad.onnx", SPLIT);
    const good = await write(folder, "good.onnx", {
      nodes: [op("Neg", ["x"], "y")],
      inputs: [value("x", "float32", 4)],
      outputs: [value("y", "float32", 4)],
    });
    const original = verifyModels({ original: bad, result: good, runs: 0 });
    assert.match(
      await rejection(original, InputError),
      /^Cannot run original ".*bad\.onnx": ONNX Runtime itself crashed with signal SIGABRT while loading it.*convert it without --verify\.$/,
    );
    const result = verifyModels({ original: good, result: bad, runs: 0 });
    assert.match(
      await rejection(result, VerificationError),
      /^Cannot run result ".*bad\.onnx": ONNX Runtime 1\.\S+ on "cpu" itself crashed with signal SIGABRT while loading it.*another --encoding/,
    );

    await using runtime = await startRuntime();
    for (let round = 0; round < 2; round++) {
      await assert.rejects(runtime.open(bad, "cpu"), RuntimeCrash);
      await using session = await runtime.open(good, "cpu");
      const x = { dtype: "float32" as const, dims: [4], data: Float32Array.of(1, 2, 3, 4) };
      const outputs = await session.run(new Map([["x", x]]), ["y"]);
      assert.deepEqual(outputs.get("y")!.data, Float32Array.of(-1, -2, -3, -4));
    }
  }));

Deno.test("a model that ONNX Runtime dies over when it runs it is an error", {
  ignore: Deno.build.arch !== "x86_64" || Deno.build.os === "windows",
}, () =>
  inFolder(async (folder) => {
    const original = await write(folder, "a.onnx", division(2));
    const result = await write(folder, "b.onnx", division(-1));
    assert.match(
      await rejection(verifyModels({ original, result, runs: 0 }), VerificationError),
      /^Cannot run result ".*b\.onnx": .* itself crashed with signal SIGFPE while running it/,
    );
    assert.match(
      await rejection(verifyModels({ original: result, result: original }), InputError),
      /^Cannot run original ".*b\.onnx": .* itself crashed with signal SIGFPE while running it/,
    );
  }));

Deno.test("a value that ONNX Runtime dies over as an output is left out per op", {
  ignore: Deno.build.arch !== "x86_64" || Deno.build.os === "windows",
}, () =>
  inFolder(async (folder) => {
    // Nothing but its shape is read, which ONNX Runtime knows when it loads the model.
    const { nodes, ...parts } = division(-1);
    const path = await write(folder, "idle.onnx", {
      ...parts,
      nodes: [...nodes, op("Shape", ["y"], "extents"), op("Neg", ["x"], "z")],
      outputs: [value("extents", "int64", 1), value("z", "int32", 1)],
    });
    const { perOp, passed } = await verifyModels({
      original: path,
      result: path,
      runs: 0,
      perOp: true,
    });
    assert.ok(passed);
    assert.deepEqual(perOp!.skipped.map((entry) => entry.value), ["y"]);
    assert.match(perOp!.skipped[0]!.reason, /crashed with signal SIGFPE while/);
    const compared = perOp!.values.map((entry) => entry.value);
    assert.deepEqual(compared, ["none", "sum", "extents", "z"]);
  }));

Deno.test("a command whose original ONNX Runtime dies over ends in an error and leaves nothing", () =>
  inFolder(async (folder) => {
    const source = await write(folder, "bad.onnx", SPLIT);
    const output = join(folder, "result.onnx");
    await Deno.writeTextFile(output, "as it was");
    const { code, stdout, stderr } = await command([
      ...["convert", "--source", source, "--output", output, "--verify", "--precision", "float16"],
    ], { folder, permissions: "convert-verify" });
    assert.equal(code, 2, stderr);
    assert.match(
      stderr,
      /Cannot run original ".*bad\.onnx": ONNX Runtime itself crashed with signal SIGABRT/,
    );
    assert.equal(stdout, "");
    assert.deepEqual(names(folder), ["bad.onnx", "result.onnx"]);
    assert.equal(await Deno.readTextFile(output), "as it was");
  }));

/** Starts the conversion of a model of 128 MB, verified by many runs. */
async function longVerification(folder: string): Promise<Deno.ChildProcess> {
  const { model: source } = await writeLargeModel(0.125, join(folder, "large"));
  return spawnCommand([
    ...["convert", "--source", source, "--output", join(folder, "result.onnx"), "--verify"],
    ...["--precision", "8bit", "--engine", "wasm", "--method", "rtn"],
  ], { folder, permissions: "convert-verify" });
}

Deno.test("a process that dies while it has the result fails the verification", {
  ignore: Deno.build.os !== "linux",
}, () =>
  inFolder(async (folder) => {
    const output = join(folder, "result.onnx");
    await Deno.writeTextFile(output, "as it was");
    const started = await longVerification(folder);
    const ended = started.output();
    const killed = processes("kill", started.pid, "SIGABRT", folder, "result.onnx");
    const [{ code, stderr }] = await Promise.all([ended, killed]);
    const said = new TextDecoder().decode(stderr);
    assert.equal(code, 3, said);
    assert.match(said, /Cannot run result ".*": .* itself crashed with signal SIGABRT while /);
    assert.deepEqual(
      names(folder).filter((name) => name.startsWith("result.onnx")),
      ["result.onnx", "result.onnx.data.unverified", "result.onnx.unverified"],
    );
    assert.equal(await Deno.readTextFile(output), "as it was");
  }));

Deno.test("the process may load ONNX Runtime and nothing else, and ends with its command", {
  ignore: Deno.build.os !== "linux",
}, () =>
  inFolder(async (folder) => {
    for (const [signal, code] of [["SIGINT", 130], ["SIGKILL", 137]] as const) {
      const started = await longVerification(folder);
      const ended = started.output();
      const found = await processes("args", started.pid) as { pid: number; args: string[] };
      assert.deepEqual(found.args.filter((arg) => arg.startsWith("--allow")), [
        `--allow-ffi=${Deno.realPathSync(`${ROOT}/node_modules/onnxruntime-node`)}`,
        "--allow-env=ORT_DISABLE_TELEMETRY,XDG_RUNTIME_DIR",
      ]);
      started.kill(signal);
      assert.equal((await ended).code, code);
      while (await processes("alive", found.pid)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      if (signal === "SIGINT") assert.deepEqual(names(folder), ["large"]);
      await Deno.remove(join(folder, "large"), { recursive: true });
    }
  }));

Deno.test("an aborted signal ends the process in the middle of its runs", () =>
  inFolder(async (folder) => {
    const path = await write(folder, "a.onnx", chain(WEIGHTS, WEIGHTS));
    const reason = new Error("enough");
    const controller = new AbortController();
    const runs = 1e9;
    const verified = verifyModels({
      ...{ original: path, result: path, runs, signal: controller.signal },
    });
    const timer = setTimeout(() => controller.abort(reason), 700);
    await assert.rejects(verified, reason);
    clearTimeout(timer);
  }));
