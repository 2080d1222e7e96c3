/**
 * A trained sentence encoder from its Hugging Face folder to OpenVINO at 4 bits, by one command: it
 * ranks pairs of sentences as PyTorch does.
 */
import assert from "node:assert/strict";
import { command } from "../command.ts";
import { ALL_MINILM } from "../install.ts";
import { pairCosines, rankCorrelation } from "../sentence_pairs.ts";
import { embedSentences } from "./sentences.ts";

Deno.test("a sentence encoder at 4 bits in OpenVINO ranks sentences as PyTorch does", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const ir = `${folder}/minilm.xml`;
    const { code, stderr } = await command(
      ["convert", "--source", ALL_MINILM, "--output", ir, "--precision", "4bit", "--quiet"],
      { folder, permissions: "convert-python" },
    );
    assert.equal(code, 0, stderr);
    const wanted = pairCosines(await embedSentences(null));
    const got = pairCosines(await embedSentences(ir));
    const correlation = rankCorrelation(wanted, got);
    assert.ok(correlation >= 0.95, `rank correlation ${correlation}`);
    assert.ok(Deno.statSync(`${folder}/minilm.bin`).size < 14e6);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
