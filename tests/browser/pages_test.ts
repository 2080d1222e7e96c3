/** Pages in a browser: they load their module, run it, and show what comes out. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import type { PageAssets } from "../../src/codegen/page/assets.ts";
import { withFolder } from "../unit/onnx_models.ts";
import {
  closePage,
  openPage,
  takeScreenshot,
  untilReady,
  type WatchedPage,
  withBrowser,
  withServeCommand,
} from "./browser.ts";
import {
  colors,
  type HandWritten,
  lookup,
  lookupTable,
  scaling,
  stripes,
  tones,
  wordTokenizer,
  writeModule,
} from "./modules.ts";

/** Writes `modules` and serves them to a browser while `use` runs. */
async function withModules(
  modules: readonly HandWritten[],
  use: (browser: Browser, address: string, folder: string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    for (const module of modules) await writeModule(folder, module);
    await withBrowser((browser) =>
      withServeCommand(folder, (address) => use(browser, address, folder))
    );
  });
}

/** The numbers in the first table of outputs that a page shows. */
async function tableOf({ page }: WatchedPage): Promise<number[]> {
  await page.waitForSelector(".output td");
  const cells = await page.locator(".output tbody td").allInnerTexts();
  return cells.map(Number);
}

/** An uncompressed bitmap of columns with these colors, a picture that every browser reads. */
function bitmap(height: number, columns: readonly (readonly [number, number, number])[]): Buffer {
  const stride = Math.ceil(columns.length * 3 / 4) * 4;
  const bytes = new Uint8Array(54 + stride * height);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(2, bytes.length, true);
  view.setUint32(10, 54, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, columns.length, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  for (let row = 0; row < height; row++) {
    columns.forEach(([red, green, blue], column) =>
      bytes.set([blue, green, red], 54 + row * stride + column * 3)
    );
  }
  return Buffer.from(bytes.buffer);
}

function assets(json: Record<string, unknown>, keys: string[] | null = null): PageAssets {
  return { json: new Map(Object.entries(json)), keys };
}

Deno.test("a page loads its module and runs it on numbers", async () => {
  await withModules([scaling("scale")], async (browser, address, folder) => {
    const watched = await openPage(browser, `${address}scale.html`);
    const { page, requests } = watched;
    await untilReady(watched);
    const values = Array.from({ length: 128 }, (_, index) => index / 4 - 3);
    await page.fill("textarea", `[${values.slice(0, 64).join(", ")}]\n[${values.slice(64)}]`);
    assert.equal(await page.inputValue('input[type="number"]'), "2");
    await page.getByRole("button", { name: "Run", exact: true }).click();
    const shown = (row: number) =>
      values.slice(64 * row, 64 * row + 10).map((x, i) => x * i / 8 + 1);
    assert.deepEqual(
      await tableOf(watched),
      [...shown(0), ...shown(1)].map((value) => Number(value.toPrecision(5))),
    );
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Download .npy" }).click(),
    ]);
    const path = join(folder, "downloaded.npy");
    await download.saveAs(path);
    const file = Deno.readFileSync(path);
    const expected = Float32Array.from(values, (x, i) => x * (i % 64) / 8 + 1);
    assert.deepEqual(new Float32Array(file.slice(-512).buffer), expected);
    assert.match(await page.innerText("#times"), /^First run .* after the page was opened$/);

    await page.setInputFiles(".drop input", path);
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.getByText(/^Run 2 took/).waitFor();
    assert.equal((await tableOf(watched))[1], Number((expected[1]! / 8 + 1).toPrecision(5)));
    await takeScreenshot(watched, "numbers");

    const weights = () => requests.filter((path) => path.endsWith(".safetensors")).length;
    assert.equal(weights(), 1);
    await page.reload();
    await untilReady(watched);
    assert.equal(weights(), 1, "a second load takes the weights from the cache");
    await closePage(watched);
  });
});

Deno.test("a page says what is wrong with what was typed", async () => {
  await withModules([scaling("scale")], async (browser, address) => {
    const watched = await openPage(browser, `${address}scale.html`, { colorScheme: "dark" });
    const { page } = watched;
    await untilReady(watched);
    const run = page.getByRole("button", { name: "Run", exact: true });
    for (
      const [text, message] of [["1 2 three", /"three"/], ["1 2 3", /"x".*3 values.*64/s]] as const
    ) {
      await page.fill("textarea", text);
      await run.click();
      assert.match(await page.innerText("[role=alert]"), message);
    }
    await page.getByRole("button", { name: "Ones", exact: true }).click();
    await run.click();
    assert.equal((await tableOf(watched))[8], 2);
    assert.equal(await page.locator("[role=alert]").isVisible(), false);
    await takeScreenshot(watched, "numbers-dark");
    await closePage(watched);
  });
});

const WORDS = ["a", "cat", "sits", "on", "the", "mat", "dog", "good", "bad"];

Deno.test("pages of text", async () => {
  const tokenizer = wordTokenizer(WORDS);
  const rows = WORDS.length + 2;
  const sentences = assets({
    "tokenizer.json": tokenizer,
    "1_Pooling/config.json": { pooling_mode_mean_tokens: true },
  });
  const labels = Object.fromEntries(["NOUN <b>", "VERB", "OTHER"].map((label, id) => [id, label]));
  const modules = [
    lookup("similar", { rows, columns: 8, output: "last_hidden_state" }, sentences),
    lookup(
      "tokens",
      { rows, columns: 3, output: "logits" },
      assets({
        "tokenizer.json": tokenizer,
        "config.json": { architectures: ["TinyForTokenClassification"], id2label: labels },
      }),
    ),
    lookup(
      "gap",
      { rows, columns: rows, output: "logits" },
      assets({
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": { mask_token: { content: "[MASK]" } },
        "config.json": { architectures: ["TinyForMaskedLM"] },
      }),
    ),
    lookup(
      "next",
      { rows, columns: rows, output: "logits" },
      assets({
        "tokenizer.json": tokenizer,
        "config.json": { architectures: ["TinyForCausalLM"] },
      }),
    ),
  ];
  await withModules(modules, async (browser, address) => {
    const open = async (name: string) => {
      const watched = await openPage(browser, `${address}${name}.html`);
      await untilReady(watched);
      return watched;
    };
    const click = ({ page }: WatchedPage, name: string) =>
      page.getByRole("button", { name }).click();
    const names = ({ page }: WatchedPage) => page.locator(".ranking .name").allInnerTexts();

    const similar = await open("similar");
    await similar.page.getByLabel("First sentence").fill("A cat sits");
    await similar.page.getByLabel("Second sentence").fill("the dog on the mat");
    await click(similar, "Compare");
    const table = lookupTable(rows, 8);
    const embedding = (ids: number[]) =>
      Array.from({ length: 8 }, (_, k) => ids.reduce((sum, id) => sum + table[id * 8 + k]!, 0));
    const [a, b] = [embedding([2, 3, 4]), embedding([6, 8, 5, 6, 7])];
    const dot = (x: number[], y: number[]) => x.reduce((sum, value, k) => sum + value * y[k]!, 0);
    const expected = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    const shown = Number(await similar.page.innerText("#similarity"));
    assert.ok(Math.abs(shown - expected) < 1e-4, `${shown} for ${expected}`);
    await takeScreenshot(similar, "sentences");
    await closePage(similar);

    const tokens = await open("tokens");
    await tokens.page.getByLabel("Text").fill("cat sits");
    await click(tokens, "Classify");
    await tokens.page.locator(".ranking").waitFor();
    assert.deepEqual(await names(tokens), ["cat: VERB", "sits: OTHER"]);
    await closePage(tokens);

    const gap = await open("gap");
    await gap.page.getByLabel("Text with [MASK]").fill("the [MASK] sits");
    await click(gap, "Fill the gap");
    await gap.page.locator(".ranking").waitFor();
    assert.equal((await names(gap))[0], '"a"');
    await gap.page.getByLabel("Text with [MASK]").fill("no gap");
    await click(gap, "Fill the gap");
    assert.match(await gap.page.innerText("[role=alert]"), /no \[MASK\]/);
    await closePage(gap);

    const next = await open("next");
    await next.page.getByLabel("Text").fill("the cat");
    await click(next, "Next token");
    await next.page.locator(".ranking").waitFor();
    assert.equal((await names(next))[0], '"sits"');
    await click(next, "Continue by 20 tokens");
    await next.page.getByRole("button", { name: "Continue by 20 tokens" }).waitFor();
    // Each word is followed by the next of the vocabulary; after the last comes a special token.
    assert.equal(
      await next.page.getByLabel("Text").inputValue(),
      "the cat sits on the mat dog good bad",
    );
    await takeScreenshot(next, "continuation");
    await closePage(next);
  });
});

Deno.test("pages of pictures", async () => {
  const half = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
  const modules = [
    colors(
      "colors",
      assets({
        "preprocessor_config.json": { size: { height: 16, width: 16 }, ...half },
        "config.json": { id2label: { 0: "red", 1: "green", 2: "blue" } },
      }),
    ),
    stripes("stripes", assets({}, ["r", "g", "b"])),
  ];
  await withModules(modules, async (browser, address) => {
    const give = async ({ page }: WatchedPage, buffer: Buffer) =>
      await page.setInputFiles(".drop input", { name: "a.bmp", mimeType: "image/bmp", buffer });
    const [red, green, blue, white] = [
      [250, 10, 10],
      [10, 200, 10],
      [10, 10, 250],
      [255, 255, 255],
    ] as const;

    const labels = await openPage(browser, `${address}colors.html`);
    await untilReady(labels);
    await give(labels, bitmap(30, Array.from({ length: 40 }, () => green)));
    await labels.page.locator(".ranking").waitFor();
    assert.equal(await labels.page.locator(".ranking .name").first().innerText(), "green");
    // Means of the channels, (byte / 255 - 0.5) / 0.5, through a softmax.
    const [other, best] = [10, 200].map((byte) => Math.exp((byte / 255 - 0.5) / 0.5));
    const share = `${(100 * best! / (best! + 2 * other!)).toFixed(1)} %`;
    assert.equal(await labels.page.locator(".ranking .share").first().innerText(), share);
    await takeScreenshot(labels, "labels");
    await give(labels, Buffer.from("no picture"));
    await labels.page.getByText(/Cannot read "a.bmp"/).waitFor();
    await closePage(labels);

    const line = await openPage(browser, `${address}stripes.html`);
    await untilReady(line);
    const steps = [white, red, red, white, red, green, blue, blue, white, green];
    await give(line, bitmap(48, steps.flatMap((color) => Array.from({ length: 8 }, () => color))));
    await line.page.locator("#text").waitFor();
    assert.equal(await line.page.innerText("#text"), "rrgbg");
    await takeScreenshot(line, "line");
    await closePage(line);
  });
});

/** A WAV file of 16-bit samples, one channel. */
function wave(rate: number, samples: readonly number[]): Buffer {
  const bytes = Buffer.alloc(44 + 2 * samples.length);
  bytes.write("RIFF", 0, "latin1");
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write("WAVEfmt ", 8, "latin1");
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(2 * rate, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36, "latin1");
  bytes.writeUInt32LE(2 * samples.length, 40);
  samples.forEach((sample, index) =>
    bytes.writeInt16LE(Math.round(30_000 * sample), 44 + 2 * index)
  );
  return bytes;
}

Deno.test("a page of sound resamples what it is given and writes down what it hears", async () => {
  const listener = tones(
    "tones",
    assets({
      "preprocessor_config.json": {
        feature_extractor_type: "Wav2Vec2FeatureExtractor",
        sampling_rate: 16_000,
        do_normalize: true,
      },
      "config.json": { architectures: ["TinyForCTC"], pad_token_id: 0 },
      "vocab.json": { "<pad>": 0, L: 1, H: 2 },
    }),
  );
  // Tenths of a second of a low tone, silence and a high tone, at half the model's rate.
  const rate = 8000;
  const pitches = [200, 0, 1000, 0, 200, 0, 200, 1000];
  const samples = Array.from({ length: pitches.length * 800 }, (_, index) => {
    const pitch = pitches[Math.floor(index / 800)]!;
    return Math.sin(2 * Math.PI * pitch * index / rate);
  });
  await withModules([listener], async (browser, address) => {
    const watched = await openPage(browser, `${address}tones.html`);
    const { page } = watched;
    await untilReady(watched);
    const file = { name: "a.wav", mimeType: "audio/wav", buffer: wave(rate, samples) };
    await page.setInputFiles(".drop input", file);
    await page.locator("#text").waitFor();
    assert.equal(await page.innerText("#text"), "LHLLH");
    await takeScreenshot(watched, "sound");
    await page.setInputFiles(".drop input", { ...file, buffer: Buffer.from("no sound") });
    await page.getByText(/Cannot read the sound/).waitFor();
    await closePage(watched);
  });
});
