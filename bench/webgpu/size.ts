/** Bytes of a module and its page beside the weights, for every trained model; the largest counts. */
import { buildPage } from "../../src/codegen/page/mod.ts";
import { NO_ASSETS } from "../../src/codegen/page/assets.ts";
import type { InputTable, OutputTable } from "../../src/codegen/module.ts";
import { REAL_MODELS } from "../../tests/real_models.ts";
import { ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";
import { compileInto } from "./compiled.ts";

const MOST_KILOBYTES = 200;

/** The module's text and its page. */
export const size: Part = {
  name: "size",
  async run(): Promise<Row[]> {
    const folder = `${ROOT}/.cache/bench/webgpu-size`;
    const rows: Row[] = [];
    try {
      for (const { label, path } of REAL_MODELS) {
        const name = `module and page of ${label}, without weights`;
        try {
          const { bytes, inputs, outputs } = await compileInto(path, `${folder}/${label}`);
          const page = await pageBytes(label, inputs, outputs);
          const kilobytes = (bytes + page) / 1000;
          rows.push({
            ...notMeasured(
              name,
              `at most ${MOST_KILOBYTES} KB`,
              `module ${(bytes / 1000).toFixed(0)} KB, page ${(page / 1000).toFixed(0)} KB, ` +
                "uncompressed; the weights' chunks with their SHA-256 are in the module",
            ),
            ours: kilobytes,
            unit: "KB",
            ratio: kilobytes,
            pass: kilobytes <= MOST_KILOBYTES,
          });
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error);
          rows.push({
            ...notMeasured(name, `at most ${MOST_KILOBYTES} KB`, reason),
            pass: false,
          });
        }
      }
    } finally {
      await Deno.remove(folder, { recursive: true }).catch(() => undefined);
    }
    return rows;
  },
};

/** Bytes of the page for arrays in and out. */
async function pageBytes(
  name: string,
  inputs: readonly InputTable[],
  outputs: readonly OutputTable[],
): Promise<number> {
  const { html, settings } = await buildPage({ name, inputs, outputs, assets: NO_ASSETS });
  return new TextEncoder().encode(html + (settings ?? "")).length;
}
