/**
 * The functions that printed shaders call, in a browser, whose compiler of shaders is another than
 * Deno's: the comparisons of tests/gpu/prelude_test.ts.
 */
import assert from "node:assert/strict";
import type { JSHandle } from "playwright-core";
import { pointsOf, preludeFunctions } from "../gpu/prelude_cases.ts";
import { compare, compute, shaderOf } from "../gpu/prelude_child.ts";
import { deviceIn, withBrowser } from "./browser.ts";

Deno.test("every function of the prelude is near enough in a browser", async () => {
  await withBrowser(async (browser) => {
    const device = await deviceIn(browser);
    const failures: string[] = [];
    for (const one of preludeFunctions()) {
      const points = pointsOf(one);
      const results = await computeIn(device, shaderOf(one), points);
      failures.push(...compare(one, points, results).failures);
    }
    assert.deepEqual(failures, []);
  });
});

/** Runs a shader in the page of `device`; arguments and results travel as arrays of numbers. */
async function computeIn(
  device: JSHandle<GPUDevice>,
  code: string,
  points: readonly Uint32Array[],
): Promise<Uint32Array> {
  const results = await device.evaluate(
    async (device, [source, code, points]) => {
      const run = new Function(`return ${source}`)() as typeof compute;
      return [...await run(device, code, points)];
    },
    [String(compute), code, points.map((values) => [...values])] as [string, string, number[][]],
  );
  return Uint32Array.from(results);
}
