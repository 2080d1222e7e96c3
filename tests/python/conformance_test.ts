/**
 * ONNX's official node tests on the GPU's software adapter: nothing that passed when the record was
 * written fails, and the bars are reached.
 */
import assert from "node:assert/strict";
import { readRecord } from "../../conformance/record.ts";
import type { Summary } from "../../conformance/summary.ts";
import { run } from "../../src/process.ts";
import { ROOT } from "../install.ts";

/** Numeric tests of onnx 1.23.2; how many have to pass, and with every value computed by WGSL. */
const NUMERIC = 1812;
const OTHERS = 72;
const PASSING = 1600;
const ON_GPU = 1400;

async function task(name: string, ...args: string[]): Promise<{ code: number; last: string }> {
  const { code, stdout, stderr } = await run({
    program: "deno",
    args: ["task", "--quiet", name, ...args],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"],
    install: "See https://deno.com",
  });
  const last = new TextDecoder().decode(stdout).trimEnd().split("\n").at(-1) ?? "";
  assert.ok(code === 0 || code === 3, stderr);
  return { code, last };
}

Deno.test("ONNX's node tests pass as recorded", async () => {
  const { last: folder } = await task("conformance:data");
  const { code, last } = await task(
    "conformance",
    ...["--target", "webgpu", "--adapter", "lavapipe", "--data", folder, "--json"],
  );
  const found = JSON.parse(last) as Summary;
  assert.equal(found.passed + found.failed + found.unsupported, NUMERIC);
  assert.equal(found.notNumeric.length, OTHERS);
  assert.equal(code, found.failed === 0 ? 0 : 3);
  assert.deepEqual(found.retried, []);

  const recorded = (await readRecord()).nodes?.lavapipe;
  assert.ok(recorded !== undefined);
  const known = new Set(recorded.failures.map(({ name }) => name));
  assert.deepEqual(found.failures.filter(({ name }) => !known.has(name)), []);
  const hosts = new Set(recorded.hosts.map(({ name }) => name));
  assert.deepEqual(found.hosts.filter(({ name }) => !hosts.has(name) && !known.has(name)), []);

  assert.ok(found.passed >= PASSING, `${found.passed}`);
  assert.ok(found.passed - found.hosts.length >= ON_GPU, `${found.hosts.length} on the host`);
});
