/**
 * The shared list of matrices at the edges of quantization as jobs for the comparison of engines.
 */
import { ALL_BLOCK_SIZES, formatsOf, jobOf, METHODS, QUANTIZE_CASES } from "../quantize_cases.ts";
import type { RandomJob } from "./random_jobs.ts";

/** One in `every` of all cases in every format, method and order. */
export function* edgeJobs(every: number): Generator<RandomJob> {
  let index = 0;
  for (const entry of QUANTIZE_CASES) {
    for (const method of METHODS) {
      for (const blockSize of ALL_BLOCK_SIZES) {
        for (const format of formatsOf(blockSize)) {
          for (const order of ["rows", "columns"] as const) {
            if (index++ % every !== 0) continue;
            const text = `${method} ${JSON.stringify(format)} of ${entry.name} by ${order}`;
            yield { job: jobOf(entry, order, format, method), text };
          }
        }
      }
    }
  }
}
