/**
 * `--verify` for modules, at the command line: what is printed and kept, exit codes, and that a module
 * runs with no permission but to read its own folder.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { StepReport, VerificationReport } from "../../mod.ts";
import { makeTensor } from "../../src/ir.ts";
import { runModule } from "../../src/verify.ts";
import { command, type CommandResult, spawnCommand } from "../command.ts";
import { PRINTED } from "../json_schema.ts";
import { constant, op, type Parts, value, write } from "../ort/verify_small_models.ts";
import { namesIn, withFolder } from "../unit/onnx_models.ts";
import { type Driver, driverEnvironment, drivers } from "./adapters.ts";

const FILES = ["d.ts", "html", "js", "report.json", "safetensors"].map((end) =>
  `model.webgpu.${end}`
);

/** relu(x w) and its sum, both "x" [rows, 64]. */
const GOOD: Parts = {
  nodes: [
    op("MatMul", ["x", "w"], "product"),
    op("Relu", ["product"], "y"),
    op("ReduceSum", ["y"], "total"),
  ],
  initializers: [
    constant("w", [64, 64], Float64Array.from({ length: 4096 }, (_, i) => Math.sin(i)) as never),
  ],
  inputs: [value("x", "float32", "rows", 64)],
  outputs: [value("y", "float32", "rows", 64), value("total", "float32", 1, 1)],
};

/** Integers past 32 bits, which modules don't compute: "wide" is where they part. */
const WIDE: Parts = {
  nodes: [
    op("Abs", ["x"], "positive"),
    op("Mul", ["positive", "million"], "some"),
    op("Mul", ["some", "million"], "wide"),
    op("Div", ["wide", "million"], "y"),
  ],
  initializers: [
    makeTensor("million", "int64", [1], {
      kind: "memory",
      bytes: new Uint8Array(BigInt64Array.of(1_000_000n).buffer),
    }),
  ],
  inputs: [value("x", "int64", "rows", 64)],
  outputs: [value("y", "int64", "rows", 64)],
};

interface Verified extends CommandResult {
  readonly left: readonly string[];
}

async function verified(
  parts: Parts,
  args: readonly string[],
  options: { env?: Record<string, string>; before?: (folder: string) => void } = {},
): Promise<Verified> {
  let result: Verified | null = null;
  await withFolder(async (folder) => {
    const source = await write(folder, "model.onnx", parts);
    options.before?.(folder);
    const ended = await command([
      ...["convert", "--source", source, "--output", join(folder, "model.webgpu.js"), ...args],
    ], { folder, permissions: "convert-verify", env: options.env ?? {} });
    result = { ...ended, left: namesIn(folder) };
  });
  return result!;
}

function verificationIn(stdout: string): VerificationReport | null {
  const printed: unknown = JSON.parse(stdout);
  PRINTED.parse(printed);
  const last = (printed as { steps: readonly StepReport[] }).steps.at(-1)!;
  assert.equal(last.kind, "webgpu");
  return last.kind === "webgpu" ? last.verification : null;
}

async function driver(name: Driver["name"]): Promise<Record<string, string>> {
  const found = (await drivers()).found.find((entry) => entry.name === name);
  assert.ok(found !== undefined, `${name} is needed`);
  return driverEnvironment(found);
}

for (const [name, pattern] of [["lavapipe", /llvmpipe/], ["swiftshader", /SwiftShader/]] as const) {
  Deno.test(`a module that passes is reported with the adapter it ran on: ${name}`, async () => {
    const env = await driver(name);
    const { code, stdout, stderr, left } = await verified(GOOD, ["--verify", "--json"], { env });
    assert.equal(code, 0, stderr);
    const report = verificationIn(stdout)!;
    assert.match(report.adapter!.name, pattern);
    assert.equal(report.adapter!.software, true);
    assert.match(report.adapter!.runtime, /^Deno \d/);
    assert.deepEqual([report.provider, report.runtime.name], ["cpu", "onnxruntime-node"]);
    assert.equal(report.passed, true);
    assert.deepEqual(report.outputs.map((output) => output.name), ["y", "total"]);
    for (const { float } of report.outputs) {
      assert.ok(float!.pooledRelativeL2! <= 1e-4);
      assert.ok(float!.cosine! > 0.9999);
    }
    assert.ok(report.time.result.run! > 0);
    assert.deepEqual(left, ["model.onnx", ...FILES].sort());
  });
}

Deno.test("a person reads adapter, limits and errors, and quantized weights are their own original", async () => {
  const { code, stdout, stderr } = await verified(GOOD, [
    ...["--verify", "--precision", "4bit", "--engine", "wasm", "--max-dim", "rows=3"],
  ]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^verified on cpu, ONNX Runtime .* compared/m);
  assert.match(
    stdout,
    /^verified on ".+", which is software, by WebGPU in Deno .+, against ONNX Runtime .+ on cpu, .+ passed \(limit on relative L2: 0\.001\)/m,
  );
  // What may be at most 3 is not 16.
  assert.match(stdout, /input "x" float32 \[[123], 64\]/);
  assert.match(stdout, /^dims +each run sets rows up to 3$/m);
});

Deno.test("a quiet verification says nothing, and neither do graphics libraries", async () => {
  const { code, stdout, stderr } = await verified(GOOD, ["--verify", "--quiet"]);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
});

Deno.test("a module that computes something else is exit code 3, and is kept aside whole", async () => {
  const old = "what was there";
  const { code, stdout, stderr, left } = await verified(WIDE, ["--per-op", "--json"], {
    before: (folder) => {
      for (const name of FILES) Deno.writeTextFileSync(join(folder, name), old);
    },
  });
  assert.equal(code, 3, stderr);
  assert.match(stderr, /Cannot vouch for ".*model\.webgpu\.js": output "y": .* of its elements/);
  assert.match(stderr, /kept as ".*model\.webgpu\.js\.unverified", its data under that ending too/);
  const report = verificationIn(stdout)!;
  assert.equal(report.passed, false);
  assert.deepEqual(report.perOp!.values.map((entry) => entry.value), [
    ...["positive", "some", "wide", "y"],
  ]);
  assert.equal(report.perOp!.first!.value, "wide");
  assert.deepEqual(
    left,
    ["model.onnx", ...FILES, ...FILES.map((name) => `${name}.unverified`)].sort(),
  );
  assert.deepEqual(
    JSON.parse(stdout).files.map((path: string) => path.split("/").at(-1)).sort(),
    FILES.map((name) => `${name}.unverified`),
  );
});

Deno.test("a precision that fails on the way keeps no other from its module", async () => {
  // What the weights have in common cancels out: what is left of float16 is mostly rounding.
  const values = Array.from({ length: 4096 }, (_, i) => Math.sin(7 * i));
  const parts: Parts = {
    nodes: [
      op("MatMul", ["x", "plus"], "a"),
      op("MatMul", ["x", "minus"], "b"),
      op("Add", ["a", "b"], "y"),
    ],
    initializers: [
      constant("plus", [64, 64], values),
      constant("minus", [64, 64], values.map((value, at) => -value + 1e-4 * Math.sin(at))),
    ],
    inputs: [value("x", "float32", 2, 64)],
    outputs: [value("y", "float32", 2, 64)],
  };
  const { code, stderr, left } = await verified(parts, [
    ...["--all-precisions", "--verify", "--engine", "wasm", "--method", "rtn", "--json"],
  ]);
  assert.equal(code, 3, stderr);
  assert.deepEqual(
    stderr.match(/Cannot vouch for "[^"]*"/g)?.map((text) => text.split(".").at(-2)),
    [
      ...["bfloat16", "float16", "8bit"],
    ],
  );
  assert.deepEqual(left.filter((name) => /\.(js|unverified)$/.test(name)), [
    ...["2bit", "3bit", "4bit"].map((name) => `model.${name}.webgpu.js`),
    ...["8bit", "bfloat16", "float16"].map((name) => `model.webgpu.${name}.onnx.unverified`),
  ]);
});

Deno.test("inputs of a person's own are taken, and must fit what is fixed", async () => {
  const npy = (rows: number) => (folder: string) => {
    const head = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, 64), }`.padEnd(117) +
      "\n";
    const bytes = new Uint8Array(10 + head.length + 256 * rows);
    bytes.set([0x93, 78, 85, 77, 80, 89, 1, 0, head.length, 0]);
    bytes.set(new TextEncoder().encode(head), 10);
    Deno.writeFileSync(join(folder, "x.npy"), bytes);
  };
  await withFolder(async (outer) => {
    npy(5)(outer);
    const own = ["--inputs", join(outer, "x.npy"), "--json"];
    const all = await withInputs(outer, own);
    assert.equal(all.code, 0, all.stderr);
    assert.deepEqual(verificationIn(all.stdout)!.inputs[0]!.dims, [5, 64]);
    const fixed = await withInputs(outer, [...own, "--dim", "rows=2"]);
    assert.equal(fixed.code, 2);
    assert.match(fixed.stderr, /"x" is \[5, 64\] where the model wants \[2, 64\]/);
    assert.deepEqual(namesIn(outer).filter((name) => name.includes("partial")), []);
  });
});

async function withInputs(folder: string, args: readonly string[]): Promise<CommandResult> {
  const source = await write(folder, "model.onnx", GOOD);
  const output = join(folder, "model.webgpu.js");
  return await command(["convert", "--source", source, "--output", output, ...args], {
    folder,
    permissions: "convert-verify",
  });
}

Deno.test("without an adapter nothing is begun, and the error says what to do", async () => {
  // Deno looks for nothing but Direct3D then, which no machine but those with Windows has.
  const { code, stdout, stderr, left } = await verified(GOOD, ["--verify"], {
    env: { DENO_WEBGPU_BACKEND: Deno.build.os === "windows" ? "metal" : "dx12" },
  });
  assert.equal(code, 4, stderr);
  assert.match(stderr, /no adapter\. Install a driver for Vulkan/);
  assert.equal(stdout, "");
  assert.deepEqual(left, ["model.onnx"]);
});

Deno.test("a module runs with no permission but to read its own folder", async () => {
  await withFolder(async (folder) => {
    const inner = join(folder, "mine");
    Deno.mkdirSync(inner);
    Deno.writeTextFileSync(join(folder, "secret.txt"), "secret");
    const path = join(inner, "a b#?%'\"ü,.js");
    const job = {
      path,
      name: "hostile.js",
      samples: [new Map()],
      runs: 0,
      timeoutMs: 20_000,
      signal: undefined,
    };
    const tries: readonly [string, RegExp][] = [
      [`Deno.readTextFileSync("../secret.txt")`, /NotCapable.*read/],
      [`Deno.writeTextFileSync("x", "x")`, /NotCapable.*write/],
      [`new Deno.Command("sh").outputSync()`, /NotCapable.*run/],
      [`Deno.env.get("HOME")`, /NotCapable.*env/],
      [`await fetch("http://127.0.0.1:8123/")`, /Requires net access|NotCapable.*net/],
      [`Deno.dlopen("libc.so.6", {})`, /NotCapable.*ffi/],
      [`await import("https://127.0.0.1:8123/x.js")`, /Requires import access/],
      [`await import("https://jsr.io/x.js")`, /no-remote/],
      [`Deno.exit(7)`, /its process ended with code 7/],
      [`Deno.exit(0)`, /its process ended with code 0: it said nothing/],
      [`throw "a text"`, /a text/],
      [`Deno.stdout.writeSync(new Uint8Array(99)); Deno.exit(0)`, /answered in no JSON/],
    ];
    for (const [code, pattern] of tries) {
      Deno.writeTextFileSync(
        path,
        `export async function load() { ${code}; throw "it went through"; }`,
      );
      const error = await runModule(job).then(() => null, (error: unknown) => error);
      assert.ok(error instanceof Error, code);
      assert.equal(error.name, "VerificationError", `${code}: ${error.message}`);
      assert.match(error.message, pattern, code);
    }
    Deno.writeTextFileSync(path, `export async function load() { for (;;); }`);
    await assert.rejects(runModule({ ...job, timeoutMs: 1500 }), /longer than 1\.5 s.*--timeout/);
  });
});

Deno.test("who interrupts the verification finds the target as it was", async () => {
  await withFolder(async (folder) => {
    const source = await write(folder, "model.onnx", GOOD);
    const output = join(folder, "model.webgpu.js");
    const child = spawnCommand(
      ["convert", "--source", source, "--output", output, "--verify"],
      { folder, permissions: "convert-verify" },
    );
    const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    while (!said.includes("verifying")) {
      const { value, done } = await reader.read();
      assert.ok(!done, said);
      said += value;
    }
    child.kill("SIGINT");
    while (!(await reader.read()).done);
    await child.stdout.cancel();
    assert.equal((await child.status).code, 130);
    assert.deepEqual(namesIn(folder), ["model.onnx"]);
  });
});
