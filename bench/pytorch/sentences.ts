/**
 * What 4 bits cost a trained sentence encoder on its way to OpenVINO: how its cosines of twenty pairs
 * of sentences rank beside PyTorch's.
 */
import { ALL_MINILM, ensureAllMiniLm, ensurePython, ROOT } from "../../tests/install.ts";
import { embedSentences } from "../../tests/python/sentences.ts";
import { pairCosines, rankCorrelation } from "../../tests/sentence_pairs.ts";
import type { Part, Row } from "../harness.ts";
import { CONVERT, measure } from "../measure.ts";

const BAR = 0.95;
const FOLDER = `${ROOT}/.cache/bench/sentences`;

/** Rank correlation with PyTorch. */
export const sentences: Part = {
  name: "sentences",
  async run(): Promise<Row[]> {
    await ensurePython("pytorch");
    await ensureAllMiniLm();
    await Deno.mkdir(FOLDER, { recursive: true });
    try {
      const wanted = pairCosines(await embedSentences(null));
      const rows: Row[] = [];
      for (const precision of ["8bit", "4bit", "2bit"]) {
        const ir = `${FOLDER}/${precision}.xml`;
        await measure("deno", [
          ...CONVERT,
          ...["--source", ALL_MINILM, "--output", ir, "--precision", precision, "--quiet"],
        ]);
        const ratio = rankCorrelation(wanted, pairCosines(await embedSentences(ir)));
        const { size } = await Deno.stat(`${FOLDER}/${precision}.bin`);
        rows.push({
          name: `rank correlation with PyTorch, all-MiniLM-L6-v2 in OpenVINO, ${precision}`,
          ours: size / 1e6,
          rival: null,
          unit: "MB",
          ratio,
          bar: precision === "4bit" ? `at least ${BAR}` : "",
          pass: precision === "4bit" ? ratio >= BAR : null,
          note: "Spearman's, of the cosines of 20 pairs of sentences; folder to ONNX to IR",
        });
      }
      return rows;
    } finally {
      await Deno.remove(FOLDER, { recursive: true }).catch(() => undefined);
    }
  },
};
