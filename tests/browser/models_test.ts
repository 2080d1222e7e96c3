/**
 * Trained models, converted and opened: each runs in its own page on the arrays that ONNX Runtime runs
 * on, and gives the same numbers.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { Browser } from "playwright-core";
import { convert } from "../../mod.ts";
import { parseNpy } from "../../src/verify/numpy.ts";
import { REAL_MODELS, type RealModel } from "../real_models.ts";
import { withFolder } from "../unit/onnx_models.ts";
import {
  closePage,
  openPage,
  takeScreenshot,
  untilReady,
  withBrowser,
  withServeCommand,
} from "./browser.ts";
import { npyOf } from "./npy.ts";

/** Relative L2 distance from ONNX Runtime at most, in float32. */
const BAR = 1e-4;

/** Numbers between -1 and 1 that look random and are always the same. */
function numbers(...dims: number[]): Tensor {
  let state = 12345;
  const count = dims.reduce((product, dim) => product * dim, 1);
  const data = Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return new Tensor("float32", data, dims);
}

/** A picture of dark marks in lines: of noise the detector finds nothing, to sixteen digits. */
function lines(height: number, width: number): Tensor {
  const data = Float32Array.from({ length: 3 * height * width }, (_, index) => {
    const [row, column] = [Math.floor(index / width) % height, index % width];
    const inLine = row % 32 > 8 && row % 32 < 24 && column > 8 && column < width - 8;
    return inLine && (column * 7 + Math.floor(row / 5) * 3) % 11 < 4 ? -1.5 : 1.5;
  });
  return new Tensor("float32", data, [1, 3, height, width]);
}

function tokens(make: (index: number) => number): Tensor {
  return new Tensor("int64", BigInt64Array.from({ length: 12 }, (_, i) => BigInt(make(i))), [
    1,
    12,
  ]);
}

/** Inputs by the model's label. */
const INPUTS: Readonly<Record<RealModel["label"], () => Readonly<Record<string, Tensor>>>> = {
  classifier: () => ({ x: numbers(1, 3, 48, 192) }),
  detector: () => ({ x: lines(96, 64) }),
  recognizer: () => ({ x: numbers(1, 3, 48, 160) }),
  silero: () => ({
    input: numbers(1, 512),
    state: numbers(2, 1, 128),
    sr: new Tensor("int64", BigInt64Array.of(16000n), []),
  }),
  minilm: () => ({
    input_ids: tokens((index) => index === 0 ? 101 : index === 11 ? 102 : 2000 + 37 * index),
    attention_mask: tokens(() => 1),
  }),
};

/** Runs the page at `address` on `inputs`; outputs by name. */
async function runPage(
  browser: Browser,
  address: string,
  inputs: Readonly<Record<string, Tensor>>,
  screenshot: string,
): Promise<Map<string, { dims: readonly number[]; data: ArrayLike<number | bigint> }>> {
  const watched = await openPage(browser, address);
  const { page } = watched;
  page.setDefaultTimeout(120_000);
  await untilReady(watched);
  const details = page.locator("main > details > summary");
  if (await details.count() > 0) await details.click();
  for (const [name, tensor] of Object.entries(inputs)) {
    const legend = page.locator("legend").getByText(name, { exact: true });
    await page.locator("fieldset", { has: legend }).locator("input[type=file]").setInputFiles({
      name: `${name}.npy`,
      mimeType: "application/octet-stream",
      buffer: npyOf(tensor),
    });
  }
  await page.getByRole("button", { name: "Run", exact: true }).click();
  const outputs = page.locator(".output");
  const alert = page.locator("[role=alert]:not([hidden])");
  await outputs.first().or(alert).waitFor();
  assert.equal(await alert.count(), 0, (await alert.allInnerTexts()).join());
  const results = new Map<string, { dims: readonly number[]; data: ArrayLike<number | bigint> }>();
  for (const output of await outputs.all()) {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      output.getByRole("button", { name: "Download .npy" }).click(),
    ]);
    const path = await download.path();
    const { dims, data } = parseNpy(await Deno.readFile(path), path);
    assert.ok(ArrayBuffer.isView(data));
    results.set(await output.locator("h3").innerText(), {
      dims,
      data: data as unknown as ArrayLike<number | bigint>,
    });
  }
  await takeScreenshot(watched, screenshot);
  await closePage(watched);
  return results;
}

function relativeDistance(
  found: ArrayLike<number | bigint>,
  wanted: ArrayLike<number | bigint>,
): number {
  let [distance, norm] = [0, 0];
  for (let index = 0; index < wanted.length; index++) {
    distance += (Number(found[index]) - Number(wanted[index])) ** 2;
    norm += Number(wanted[index]) ** 2;
  }
  return Math.sqrt(distance / (norm || 1));
}

Deno.test("trained models give ONNX Runtime's numbers, each in its own page", async (test) => {
  await withFolder(async (folder) => {
    await withBrowser((browser) =>
      withServeCommand(folder, async (address) => {
        for (const { label, path } of REAL_MODELS) {
          await test.step(label, async () => {
            const outputPath = join(folder, `${label}.webgpu.js`);
            const converted = await convert({ modelPath: path, outputPath });
            if (!converted.success) throw converted.error;
            const names = converted.files.map((file) => basename(file));
            for (const extension of ["js", "d.ts", "html", "safetensors", "report.json"]) {
              assert.ok(names.includes(`${label}.webgpu.${extension}`), names.join(", "));
            }
            const size = (name: string) => Deno.statSync(join(folder, name)).size;
            const code = size(`${label}.webgpu.js`) + size(`${label}.webgpu.html`);
            assert.ok(code <= 200_000, `module and page have ${code} bytes`);

            const inputs = INPUTS[label]();
            const session = await InferenceSession.create(path);
            const wanted = await session.run(inputs);
            const page = `${address}${label}.webgpu.html`;
            const found = await runPage(browser, page, inputs, label);
            assert.deepEqual([...found.keys()].sort(), session.outputNames.toSorted());
            for (const name of session.outputNames) {
              const { dims, data } = found.get(name)!;
              assert.deepEqual([...dims], [...wanted[name]!.dims], name);
              const distance = relativeDistance(data, wanted[name]!.data as Float32Array);
              assert.ok(distance <= BAR, `${name}: ${distance}`);
            }
            await session.release();
          });
        }
      })
    );
  });
});

Deno.test("the recognizer's page reads the line in a picture", async () => {
  const { path } = REAL_MODELS.find(({ label }) => label === "recognizer")!;
  await withFolder(async (folder) => {
    const converted = await convert({
      modelPath: path,
      outputPath: join(folder, "line.webgpu.js"),
    });
    if (!converted.success) throw converted.error;
    await withBrowser((browser) =>
      withServeCommand(folder, async (address) => {
        const watched = await openPage(browser, `${address}line.webgpu.html`);
        await untilReady(watched);
        await watched.page.setInputFiles(".drop input", join("fixtures", "line.png"));
        await watched.page.locator("#text").waitFor({ timeout: 60_000 });
        assert.equal(await watched.page.innerText("#text"), "Quantize once, run anywhere 2026");
        await takeScreenshot(watched, "recognizer-line");
        await closePage(watched);
      })
    );
  });
});
