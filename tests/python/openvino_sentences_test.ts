/**
 * A trained sentence encoder from its Hugging Face folder to OpenVINO at few bits, by one command: it
 * ranks pairs of sentences as PyTorch does.
 */
import assert from "node:assert/strict";
import { command } from "../command.ts";
import { ALL_MINILM } from "../install.ts";
import { pairCosines, rankCorrelation } from "../sentence_pairs.ts";
import { embedSentences } from "./sentences.ts";

/** Lowest rank correlation with PyTorch, and the most bytes of the weights' file. */
const BARS = [["4bit", 0.95, 14e6], ["2bit", 0.8, 8.5e6]] as const;

Deno.test("a sentence encoder in OpenVINO ranks sentences as PyTorch does", async (test) => {
  const folder = await Deno.makeTempDir();
  try {
    const wanted = pairCosines(await embedSentences(null));
    for (const [precision, least, bytes] of BARS) {
      await test.step(precision, async () => {
        const ir = `${folder}/${precision}.xml`;
        const { code, stderr } = await command(
          ["convert", "--source", ALL_MINILM, "--output", ir, "--precision", precision, "--quiet"],
          { folder, permissions: "convert-python" },
        );
        assert.equal(code, 0, stderr);
        // As the runtime compiles it unasked, not as verification does.
        const correlation = rankCorrelation(wanted, pairCosines(await embedSentences(ir)));
        assert.ok(correlation >= least, `rank correlation ${correlation}`);
        assert.ok(Deno.statSync(`${folder}/${precision}.bin`).size < bytes);
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
