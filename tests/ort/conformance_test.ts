/**
 * `deno task conformance` from folder to summary, on tests whose outcome is known: ONNX Runtime runs
 * right, wrong, refused and foreign ones.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Summary } from "../../conformance/summary.ts";
import { encodeValue, type Value } from "../../conformance/values.ts";
import type { DType } from "../../src/dtype.ts";
import { makeGraph, makeModel, makeNode, makeValueInfo } from "../../src/ir.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { run } from "../../src/process.ts";
import { ROOT } from "../install.ts";

const floats = (...values: number[]): Value => ({
  dtype: "float32",
  dims: [values.length],
  data: Float32Array.from(values),
});

/** What a test is made of: the operator of its one node, data sets and a tolerance. */
interface Parts {
  readonly operator?: string;
  readonly dtype?: DType;
  readonly sets: readonly (readonly [input: Value, output: Value])[];
  readonly tolerance?: string;
}

async function writeTest(folder: string, name: string, parts: Parts): Promise<void> {
  const { operator = "Neg", dtype = "float32", sets, tolerance } = parts;
  const graph = makeGraph("test", {
    inputs: [makeValueInfo("x", dtype, ["n"])],
    outputs: [makeValueInfo("y", dtype, ["n"])],
    nodes: [makeNode(operator, "", ["x"], ["y"])],
  });
  await Deno.mkdir(join(folder, name));
  const path = join(folder, name, "model.onnx");
  await writeModel(makeModel(path, 8, new Map([["", 13]]), graph), path);
  for (const [index, [input, output]] of sets.entries()) {
    const data = join(folder, name, `test_data_set_${index}`);
    await Deno.mkdir(data);
    await Deno.writeFile(join(data, "input_0.pb"), encodeValue("x", input));
    await Deno.writeFile(join(data, "output_0.pb"), encodeValue("y", output));
  }
  if (tolerance !== undefined) {
    await Deno.writeTextFile(join(folder, name, "tolerance.json"), tolerance);
  }
}

async function conformance(
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await run({
    program: "deno",
    args: ["task", "--quiet", "conformance", ...args],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"],
    install: "See https://deno.com",
  });
  return { code, stdout: new TextDecoder().decode(stdout), stderr };
}

Deno.test("conformance: every test gets its outcome and its reason", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const right = [floats(1, -2), floats(-1, 2)] as const;
    await writeTest(folder, "test_right", { sets: [right, [floats(NaN), floats(NaN)]] });
    await writeTest(folder, "test_near", {
      sets: [[floats(1000), floats(-1000.5)]],
      tolerance: '{"rtol": 1e-3, "atol": 0}',
    });
    await writeTest(folder, "test_far", {
      sets: [[floats(1000), floats(-1000.5)]],
      tolerance: '{"relativeL2": 1e-4}',
    });
    await writeTest(folder, "test_second", { sets: [right, [floats(1), floats(1)]] });
    await writeTest(folder, "test_type", {
      sets: [[floats(1), { dtype: "int32", dims: [1], data: Int32Array.of(-1) }]],
    });
    await writeTest(folder, "test_refused", { operator: "NoSuchOperator", sets: [right] });
    await writeTest(folder, "test_random", { operator: "RandomNormalLike", sets: [right] });
    await writeTest(folder, "test_text", {
      operator: "Identity",
      dtype: "string",
      sets: [],
    });
    await writeTest(folder, "test_empty", { sets: [] });
    await writeTest(folder, "test_tolerance", { sets: [right], tolerance: '{"rtol": "large"}' });
    await Deno.mkdir(join(folder, "no_test"));

    const { code, stdout, stderr } = await conformance(
      "--target",
      "onnx",
      "--json",
      "--data",
      folder,
    );
    assert.equal(code, 3, stderr);
    const lines = stdout.trimEnd().split("\n");
    const found = JSON.parse(lines.at(-1) ?? "") as Summary;
    assert.deepEqual(
      [found.passed, found.failed, found.unsupported, found.hostNodes],
      [2, 5, 1, 0],
    );
    const reasons = Object.fromEntries(found.failures.map(({ name, reason }) => [name, reason]));
    assert.match(reasons["test_far"] ?? "", /relative L2 error of 5\.00e-4/);
    assert.match(reasons["test_second"] ?? "", /^test_data_set_1: output "y" differs in 1 of 1/);
    assert.match(reasons["test_type"] ?? "", /is float32 instead of int32/);
    assert.match(reasons["test_refused"] ?? "", /NoSuchOperator/);
    assert.match(reasons["test_empty"] ?? "", /has no folder test_data_set_0/);
    assert.match(
      reasons["test_tolerance"] ?? "",
      /^Cannot read "tolerance.json": rtol is no number/,
    );
    assert.deepEqual(found.notNumeric.map(({ name }) => name), ["test_random", "test_text"]);
    assert.deepEqual(found.operators["NoSuchOperator"], { tests: 1, passed: 0, onTarget: 0 });
    assert.deepEqual(found.errors, { test_far: 0.0005 });
    // What a machine reads, a person reads above it.
    const text = lines.slice(0, -1).join("\n");
    for (const { name, reason } of found.failures) assert.ok(text.includes(`${name}: ${reason}`));

    const only = await conformance(
      "--target=onnx",
      `--data=${folder}`,
      "--only=test_n*r",
      "--json",
    );
    assert.equal(only.code, 0, only.stderr);
    assert.equal((JSON.parse(only.stdout.trimEnd().split("\n").at(-1) ?? "") as Summary).passed, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("conformance: wrong usage is told", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (
      const [args, message] of [
        [["--data", folder], /Cannot run the tests on "": the targets are /],
        [["--target", "onnx"], /no folder is named/],
        [["--target", "onnx", "--data", `${folder}/absent`], /there is no such folder/],
        [["--target", "onnx", "--data", folder], /none of its folders holds a model\.onnx/],
        [["--target", "onnx", "--data", folder, "--jobs", "0"], /--jobs 0: it is no whole number/],
        [["--target", "onnx", "--data", folder, "--record", "nodes"], /Cannot record "nodes"/],
        [["--target", "onnx", "--data", folder, "--colour"], /'--colour'/],
      ] as const
    ) {
      const { code, stderr } = await conformance(...args);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
