/** Which engine `auto` takes, and that it measures only once. */
import assert from "node:assert/strict";
import { cacheFolder, readEntry } from "../../src/cache.ts";
import { detectAdapter } from "../../src/hardware.ts";
import type { QuantizeJob } from "../../src/quantization/engine.ts";
import { openByTrial, openEngine } from "../../src/quantization/engines.ts";

const options = { engine: "auto", method: "rtn", workers: 1, allowInexact: false } as const;
const silent = { warn: () => {} };

Deno.test("auto takes wasm where the adapter is a software GPU, and says so", async () => {
  const adapter = await detectAdapter();
  assert.ok(adapter?.software, "this test expects lavapipe or SwiftShader");
  const { engine, reason } = await openEngine(options, silent);
  assert.equal(engine.name, "wasm");
  assert.match(reason, /software GPU/);
  engine.dispose();
});

Deno.test("a trial measures both engines once and remembers", async () => {
  const found = await detectAdapter();
  assert.ok(found !== null);
  // A name of its own, so that the entry is this test's.
  const adapter = { ...found, name: `trial ${crypto.randomUUID()}`, software: false };
  const before = entries();
  const devices = countDevices();
  const first = await openByTrial(adapter, options, silent);
  assert.equal(devices.end(), 1);
  // What the trial has left open works.
  const result = await first.engine.quantize(TWO_BLOCKS);
  assert.equal(result.nonFinite, 0);
  result.release();
  first.engine.dispose();
  const second = await openByTrial(adapter, options, silent);
  second.engine.dispose();
  assert.match(first.reason, /GB\/s, measured now$/);
  assert.equal(second.reason, first.reason.replace("measured now", "measured before"));
  assert.equal(second.engine.name, first.engine.name);
  const [, webgpu, wasm] = /" ([0-9.]+) GB\/s, on the processor ([0-9.]+) GB/.exec(first.reason)!;
  assert.equal(first.engine.name, Number(webgpu) > Number(wasm) ? "webgpu" : "wasm");

  const made = entries().filter((name) => !before.includes(name));
  assert.equal(made.length, 1);
  const speeds = await readEntry(made[0]!) as Record<string, unknown>;
  assert.deepEqual(Object.keys(speeds).sort(), ["wasm", "webgpu"]);
  assert.ok(Object.values(speeds).every((speed) => typeof speed === "number" && speed > 0));
  await Deno.remove(`${cacheFolder()}/${made[0]}.json`);
});

const TWO_BLOCKS: QuantizeJob = {
  weights: new Uint8Array(Float32Array.from({ length: 64 }, (_, i) => i - 30).buffer),
  weightType: "float32",
  rows: 1,
  columns: 64,
  order: "rows",
  format: { bits: 4, symmetric: true, blockSize: 32, scaleType: "float16" },
  method: "rtn",
  measure: false,
};

/** Counts the devices that adapters are asked for, until `end`. */
function countDevices(): { end(): number } {
  const { prototype } = GPUAdapter;
  const real = prototype.requestDevice;
  let count = 0;
  prototype.requestDevice = function (descriptor) {
    count++;
    return real.call(this, descriptor);
  };
  return {
    end() {
      prototype.requestDevice = real;
      return count;
    },
  };
}

/** Names of the measurements in the cache folder. */
function entries(): string[] {
  return [...Deno.readDirSync(cacheFolder()!)].map(({ name }) => name)
    .filter((name) => /^engine-[0-9a-f]+\.json$/.test(name))
    .map((name) => name.replace(".json", ""));
}
