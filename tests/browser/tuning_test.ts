/**
 * Kernels in a browser, whose compiler is stricter and whose clock is coarser: all of them compile,
 * tuning changes no result beyond rounding, and a second page remembers what it found.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compileModel } from "../../src/codegen/mod.ts";
import { NO_WEIGHTS } from "../gpu/runtime_tables.ts";
import {
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Tensor,
} from "../../src/ir.ts";
import { withFolder } from "../unit/onnx_models.ts";
import { closePage, openPage, withBrowser, withPolicy } from "./browser.ts";

const scalar = (name: string, dims: readonly number[], value: bigint): Tensor =>
  makeTensor(name, "int64", dims, {
    kind: "memory",
    bytes: new Uint8Array(BigInt64Array.of(value).buffer),
  });

/** A product, its running sums along rows, and the 3 greatest of each row of them. */
async function javaScript(): Promise<string> {
  const graph = makeGraph("kernels", {
    nodes: [
      makeNode("MatMul", "", ["x", "w"], ["product"]),
      makeNode("CumSum", "", ["product", "axis"], ["sums"]),
      makeNode("TopK", "", ["sums", "k"], ["y", "places"], [int("axis", 1)]),
    ],
    initializers: [scalar("axis", [], 1n), scalar("k", [1], 3n)],
    inputs: [
      makeValueInfo("x", "float32", ["rows", 1100]),
      makeValueInfo("w", "float32", [1100, 300]),
    ],
    outputs: [makeValueInfo("y", "float32", null), makeValueInfo("places", "int64", null)],
  });
  const model = makeModel("kernels.onnx", 14, new Map([["", 28]]), graph);
  const compiled = await compileModel(model);
  assert.ok(compiled.kernels.some(({ candidates }) => candidates.length > 3));
  return compiled.javaScript("kernels.safetensors", NO_WEIGHTS);
}

const SCRIPT = `import { load } from "./kernels.js";
const wave = (count, step) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * step));
const inputs = {
  x: { data: wave(5 * 1100, 0.7), dims: [5, 1100] },
  w: { data: wave(1100 * 300, 1.3), dims: [1100, 300] },
};
async function results(options) {
  const model = await load(options);
  const first = await model.run(inputs);
  const { buffers } = model.stats();
  await model.tuned();
  const later = await model.run(inputs);
  const { tuned, pipelines, buffers: left } = model.stats();
  model.dispose();
  return {
    values: [first, later].map(({ y, places }) => [[...y.data], [...places.data].map(Number)]),
    tuned, pipelines, kept: left === buffers,
  };
}
const tell = (value) => document.getElementById("told").textContent = JSON.stringify(value);
try {
  const plain = await results({ adapter: "software" });
  const tuned = await results({ adapter: "hardware", tune: true, cache: true });
  const again = await results({ adapter: "hardware", tune: true, cache: true });
  tell({ plain, tuned, again });
} catch (error) {
  tell({ failure: String(error) });
}
`;

interface Results {
  readonly values: readonly [readonly number[], readonly number[]][];
  readonly tuned: number;
  readonly pipelines: number;
  readonly kept: boolean;
}

Deno.test("kernels are tuned in a browser, and remembered there", async () => {
  await withFolder(async (folder) => {
    const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title></title>
<link rel="icon" href="data:,"><output id="told"></output><script type="module" src="./main.js"></script></html>`;
    const files = { "kernels.js": await javaScript(), "main.js": SCRIPT, "index.html": html };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(join(folder, name), text);
    }
    await withBrowser(async (browser) => {
      await withPolicy(
        folder,
        "default-src 'none'; script-src 'self'; img-src data:",
        async (address) => {
          const watched = await openPage(browser, address);
          await watched.page.waitForSelector("#told:not(:empty)", { timeout: 240_000 });
          const { failure, plain, tuned, again }: {
            failure?: string;
            plain: Results;
            tuned: Results;
            again: Results;
          } = JSON.parse(await watched.page.innerText("#told"));
          assert.equal(failure, undefined);
          assert.equal(plain.tuned, 0);
          assert.ok(tuned.pipelines > plain.pipelines);
          assert.ok(tuned.tuned > 0);
          assert.equal(again.tuned, tuned.tuned);
          const [[wanted, places]] = plain.values as [[readonly number[], readonly number[]]];
          for (const { values, kept } of [plain, tuned, again]) {
            assert.ok(kept);
            for (const [found, at] of values) {
              assert.deepEqual(at, places);
              found.forEach((value, i) =>
                assert.ok(Math.abs(value - wanted[i]!) <= 1e-2, `${value}`)
              );
            }
          }
          await closePage(watched);
        },
      );
    });
  });
});
