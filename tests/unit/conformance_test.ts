/**
 * The harness of the conformance tests: what counts as equal, how the bits of narrow types are read,
 * and that a test which hangs or dies takes no other with it.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { compare, type Tolerance } from "../../conformance/compare.ts";
import { runAll } from "../../conformance/pool.ts";
import { summarize } from "../../conformance/summary.ts";
import { encodeValue, toNumbers, unpack, type Value } from "../../conformance/values.ts";
import { readTensorFile } from "../../src/onnx/tensor_file.ts";
import { readValue } from "../../conformance/values.ts";
import { ROOT } from "../install.ts";

const TOLERANCE: Tolerance = { rtol: 1e-3, atol: 1e-5 };

const floats = (...values: number[]): Value => ({
  dtype: "float32",
  dims: [values.length],
  data: Float32Array.from(values),
});

const differs = (result: Value, expected: Value, tolerance: Tolerance = TOLERANCE) =>
  compare("y", result, expected, tolerance).difference;

Deno.test("floats are equal within the tolerance of the expected value", () => {
  assert.equal(differs(floats(1000.9, 0.000009), floats(1000, 0)), null);
  assert.match(differs(floats(1001.1), floats(1000)) ?? "", /1 of 1 elements/);
  assert.match(differs(floats(0, 0.00002), floats(0, 0)) ?? "", /most in \[1\]/);
  // Relative to what is expected, not to what came out.
  assert.notEqual(differs(floats(0), floats(1)), null);
});

Deno.test("NaN equals NaN, an infinity its own sign alone", () => {
  const all = floats(NaN, Infinity, -Infinity);
  assert.equal(differs(all, all), null);
  for (const tolerance of [TOLERANCE, { relativeL2: 1e-3 }]) {
    assert.notEqual(differs(floats(NaN), floats(1), tolerance), null);
    assert.notEqual(differs(floats(1), floats(NaN), tolerance), null);
    assert.notEqual(differs(floats(Infinity), floats(-Infinity), tolerance), null);
    assert.notEqual(differs(floats(3e38), floats(Infinity), tolerance), null);
  }
});

Deno.test("relative L2 is over the whole tensor", () => {
  const expected = floats(100, 0);
  assert.equal(differs(floats(100, 0.009), expected, { relativeL2: 1e-4 }), null);
  assert.match(
    differs(floats(100, 0.011), expected, { relativeL2: 1e-4 }) ?? "",
    /relative L2 error of 1\.10e-4/,
  );
  assert.notEqual(differs(floats(1e-9), floats(0), { relativeL2: 1e-4 }), null);
  assert.equal(compare("y", floats(101), floats(100), TOLERANCE).relativeL2, 0.01);
  const tolerance = { relativeL2: 1e-4, resolution: 1e-7 };
  assert.equal(differs(floats(9e-8), floats(0), tolerance), null);
  assert.notEqual(differs(floats(1.1e-7), floats(0), tolerance), null);
  assert.notEqual(differs(floats(9e-8, NaN), floats(0, 0), tolerance), null);
});

Deno.test("types and shapes have to be the same, integers equal", () => {
  const integers = (...values: number[]): Value => ({
    dtype: "int32",
    dims: [values.length],
    data: Int32Array.from(values),
  });
  assert.equal(differs(integers(1, 2), integers(1, 2)), null);
  assert.match(
    differs(integers(100000, 7), integers(100001, 7)) ?? "",
    /1 of 2 elements, first in \[0\]: 100000 instead of 100001/,
  );
  assert.match(differs(integers(1), floats(1)) ?? "", /is int32 instead of float32/);
  assert.match(
    differs({ ...floats(1, 2), dims: [1, 2] }, floats(1, 2)) ?? "",
    /has the shape \[1,2\] instead of \[2\]/,
  );
  assert.match(differs({ ...floats(1), dims: [2] }, floats(1, 2)) ?? "", /has 1 elements/);
  // Zero-dimensional and empty tensors are compared too.
  assert.equal(differs({ ...floats(1), dims: [] }, { ...floats(1), dims: [] }), null);
  assert.equal(differs(floats(), floats()), null);
});

Deno.test("the bits of narrow floats are the numbers that ONNX's pages say", () => {
  const numbers = (dtype: Value["dtype"], ...patterns: number[]): number[] => {
    const data = dtype.endsWith("16") ? Uint16Array.from(patterns) : Uint8Array.from(patterns);
    return [...toNumbers({ dtype, dims: [patterns.length], data })];
  };
  assert.deepEqual(numbers("float8e4m3fn", 0x7e, 0x7f, 0x01, 0x80), [448, NaN, 2 ** -9, -0]);
  assert.deepEqual(numbers("float8e4m3fnuz", 0x7f, 0x80, 0x01), [240, NaN, 2 ** -10]);
  assert.deepEqual(numbers("float8e5m2", 0x7b, 0x7c, 0xfc, 0x7d, 0x01), [
    57344,
    Infinity,
    -Infinity,
    NaN,
    2 ** -16,
  ]);
  assert.deepEqual(numbers("float8e5m2fnuz", 0x7f, 0x80, 0x01), [57344, NaN, 2 ** -17]);
  assert.deepEqual(numbers("float8e8m0", 0, 127, 254, 255), [2 ** -127, 1, 2 ** 127, NaN]);
  assert.deepEqual(numbers("float4e2m1", 0, 1, 2, 7, 15), [0, 0.5, 1, 6, -6]);
  assert.deepEqual(numbers("float6e2m3", 0x1f, 1), [7.5, 0.125]);
  assert.deepEqual(numbers("float6e3m2", 0x1f, 1), [28, 0.0625]);
  assert.deepEqual(numbers("bfloat16", 0x3f80, 0xff80, 0x7fc0), [1, -Infinity, NaN]);
  fc.assert(
    fc.property(fc.float({ noNaN: true }), (number) => {
      const half = new Float16Array([number]);
      const data = new Uint16Array(half.buffer);
      assert.deepEqual(toNumbers({ dtype: "float16", dims: [1], data }), Float64Array.from(half));
    }),
  );
});

Deno.test("2 and 4-bit integers lie lowest bits first", () => {
  assert.deepEqual(unpack("uint4", [3], Uint8Array.of(0x21, 0x0f)), Uint8Array.of(1, 2, 15));
  assert.deepEqual(unpack("int4", [3], Uint8Array.of(0x81, 0x0f)), Int8Array.of(1, -8, -1));
  assert.deepEqual(
    unpack("uint2", [5], Uint8Array.of(0b11100100, 1)),
    Uint8Array.of(0, 1, 2, 3, 1),
  );
  assert.deepEqual(unpack("int2", [4], Uint8Array.of(0b11100100)), Int8Array.of(0, 1, -2, -1));
  assert.throws(() => unpack("int4", [5], Uint8Array.of(1, 2)), RangeError);
});

Deno.test("a value is read as it was written", async () => {
  const path = await Deno.makeTempFile({ suffix: ".pb" });
  try {
    for (
      const value of [
        floats(1.5, -0, NaN),
        { dtype: "int64", dims: [2, 1], data: BigInt64Array.of(-1n, 1n << 62n) },
        { dtype: "bool", dims: [], data: Uint8Array.of(1) },
        { dtype: "float32", dims: [0, 3], data: new Float32Array(0) },
      ] satisfies Value[]
    ) {
      await Deno.writeFile(path, encodeValue("x", value));
      assert.deepEqual(await readValue(readTensorFile(path)), value);
    }
    await Deno.writeFile(path, Uint8Array.of(0x08, 0x02, 0x10, 0x01, 0x4a, 0x01, 0));
    assert.throws(() => readTensorFile(path), /raw_data at byte .* has 1 bytes/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a test that hangs or dies is told of, and the others run", async () => {
  const folders = ["a/good", "a/hang", "a/die", "a/once", "a/bad", "a/lost", "a/better"];
  const seen: string[] = [];
  const scratch = await Deno.makeTempDir();
  try {
    const { results, retried } = await runAll(folders, {
      command: [
        ...["deno", "run", "-q", "--no-prompt", `--allow-read=${scratch}`],
        ...[`--allow-write=${scratch}`, `${ROOT}/tests/conformance_child.ts`, scratch],
      ] as [string, ...string[]],
      env: {},
      jobs: 2,
      timeout: 3,
      testsPerChild: 2,
      onResult: ({ name }) => seen.push(name),
    });
    assert.deepEqual(results.map(({ name }) => `a/${name}`), folders);
    const status = Object.fromEntries(results.map(({ name, status }) => [name, status]));
    assert.deepEqual(status, {
      good: "passed",
      hang: "failed",
      die: "failed",
      once: "passed",
      bad: "failed",
      lost: "passed",
      better: "passed",
    });
    const reasons = Object.fromEntries(results.map(({ name, reason }) => [name, reason]));
    assert.match(reasons["hang"] ?? "", /no answer within 3 s/);
    assert.match(reasons["die"] ?? "", /ended with code 9: these are my last words/);
    assert.deepEqual(retried.map(({ name }) => name).sort(), ["die", "hang", "once"]);
    assert.equal(seen.length, folders.length);
    const summary = summarize(results, retried);
    assert.deepEqual(
      [summary.passed, summary.failed, summary.unsupported, summary.hostNodes],
      [4, 3, 0, 1],
    );
    assert.deepEqual(summary.failures.map(({ name }) => name), ["hang", "die", "bad"]);
    assert.deepEqual(summary.operators["Add"], { tests: 5, passed: 4, onTarget: 3 });
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
});

Deno.test("a target that can't be had is a missing tool", async () => {
  const options = {
    command: ["deno", "run", "-q", `${ROOT}/tests/conformance_child.ts`, "absent"] as const,
    env: {},
    jobs: 1,
    timeout: 3,
    testsPerChild: 2,
  };
  await assert.rejects(runAll(["a/good"], options), /Cannot run the tests: there is no adapter/);
});
