/**
 * A trained sentence encoder from its Hugging Face folder to a page at 4 bits by one conversion: two
 * sentences that are typed are as similar as ONNX Runtime finds them on the equally quantized model.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { convert } from "../../mod.ts";
import { ALL_MINILM } from "../install.ts";
import { SENTENCE_PAIRS } from "../sentence_pairs.ts";
import { withFolder } from "../unit/onnx_models.ts";
import {
  closePage,
  openPage,
  takeScreenshot,
  untilReady,
  withBrowser,
  withServeCommand,
} from "./browser.ts";

/** The most that a similarity may differ by. */
const BAR = 0.02;

/** A sentence's vector: the mean of its tokens' vectors, as the model's 1_Pooling asks for. */
async function embed(session: InferenceSession, tokenizer: Tokenizer, sentence: string) {
  const { ids } = tokenizer.encode(sentence);
  const row = (value: (id: number) => number) =>
    new Tensor("int64", BigInt64Array.from(ids, (id) => BigInt(value(id))), [1, ids.length]);
  const { last_hidden_state: tokens } = await session.run({
    input_ids: row((id) => id),
    attention_mask: row(() => 1),
    token_type_ids: row(() => 0),
  });
  const [, count, width] = tokens!.dims as [number, number, number];
  const values = tokens!.data as Float32Array;
  return Float64Array.from({ length: width }, (_, column) => {
    let sum = 0;
    for (let token = 0; token < count; token++) sum += values[token * width + column]!;
    return sum / count;
  });
}

function cosine(a: Float64Array, b: Float64Array): number {
  const dot = (x: Float64Array, y: Float64Array) =>
    x.reduce((sum, value, index) => sum + value * y[index]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

Deno.test("a sentence encoder at 4 bits compares sentences in its page as ONNX Runtime does", async () => {
  await withFolder(async (folder) => {
    const options = {
      modelPath: ALL_MINILM,
      precision: "4bit",
      engine: "wasm",
      verify: false,
    } as const;
    for (const name of ["sentences.onnx", "sentences.webgpu.js"]) {
      const converted = await convert({ ...options, outputPath: join(folder, name) });
      if (!converted.success) throw converted.error;
    }
    const size = (end: string) => Deno.statSync(join(folder, `sentences.webgpu.${end}`)).size;
    assert.ok(size("js") + size("html") <= 200_000);
    const file = (name: string) =>
      JSON.parse(Deno.readTextFileSync(join(ALL_MINILM, name))) as Record<string, unknown>;
    const tokenizer = new Tokenizer(file("tokenizer.json"), file("tokenizer_config.json"));
    const session = await InferenceSession.create(join(folder, "sentences.onnx"));
    await withBrowser((browser) =>
      withServeCommand(folder, async (address) => {
        const watched = await openPage(browser, `${address}sentences.webgpu.html`);
        const { page } = watched;
        await untilReady(watched);
        const shown = page.locator("#similarity");
        let before = "";
        for (const [first, second] of [SENTENCE_PAIRS[1]!, SENTENCE_PAIRS.at(-1)!]) {
          await page.getByLabel("First sentence").fill(first);
          await page.getByLabel("Second sentence").fill(second);
          await page.getByRole("button", { name: "Compare", exact: true }).click();
          await shown.filter({ hasNotText: before === "" ? /^$/ : before }).waitFor({
            timeout: 60_000,
          });
          before = await shown.innerText();
          const wanted = cosine(
            await embed(session, tokenizer, first),
            await embed(session, tokenizer, second),
          );
          assert.ok(Math.abs(Number(before) - wanted) <= BAR, `${before} for ${wanted}`);
        }
        await takeScreenshot(watched, "all-minilm");
        await closePage(watched);
      })
    );
    await session.release();
  });
});
