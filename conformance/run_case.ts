/** Runs one test: reads it, makes its model ready, computes every data set and compares. */
import { basename } from "node:path";
import { ModelcastError } from "../src/error.ts";
import type { Model } from "../src/ir.ts";
import { readModel } from "../src/onnx/reader.ts";
import { dataSets, notNumeric, readDataSet, readTolerance } from "./cases.ts";
import { compare } from "./compare.ts";
import { type Candidate, type Target, Unsupported } from "./target.ts";

/** What became of a test. "unsupported": the target refused the model, and said why. */
export type Status = "passed" | "failed" | "unsupported" | "not numeric";

/** What became of one test. */
export interface Result {
  readonly name: string;
  /** The operator that the test is about; "several" for a graph of different ones. */
  readonly operator: string;
  readonly status: Status;
  /** Why it did not pass; null where it did. */
  readonly reason: string | null;
  /** What computed tensor values outside the target. */
  readonly hostNodes: readonly string[];
  /** Worst relative L2 error of a float output; null where that is not what the test asks for. */
  readonly relativeL2: number | null;
  readonly seconds: number;
}

/** Runs the test in `folder` on `target`. Never rejects: what goes wrong is the result. */
export async function runCase(target: Target, folder: string): Promise<Result> {
  const begin = performance.now();
  let operator = "unknown";
  let hostNodes: readonly string[] = [];
  let relativeL2: number | null = null;
  const result = (status: Status, reason: string | null): Result => ({
    name: basename(folder),
    operator,
    status,
    reason,
    hostNodes,
    relativeL2,
    seconds: (performance.now() - begin) / 1000,
  });
  try {
    const model = await readModel(`${folder}/model.onnx`);
    operator = operatorOf(model);
    const other = notNumeric(model);
    if (other !== null) return result("not numeric", other);
    const tolerance = await readTolerance(folder);
    const sets = await dataSets(folder);
    let candidate: Candidate;
    try {
      candidate = await target.prepare(model);
    } catch (error) {
      const refused = error instanceof Unsupported || error instanceof ModelcastError;
      return result(refused ? "unsupported" : "failed", describe(error, folder));
    }
    await using _ = candidate;
    hostNodes = candidate.hostNodes;
    for (const set of sets) {
      const { inputs, outputs } = await readDataSet(model, set);
      const results = await candidate.run(inputs);
      const where = sets.length > 1 ? `${set.name}: ` : "";
      for (const [name, expected] of outputs) {
        const value = results.get(name);
        if (value === undefined) return result("failed", `${where}there is no output "${name}"`);
        const comparison = compare(name, value, expected, tolerance);
        if (comparison.relativeL2 !== null && "relativeL2" in tolerance) {
          relativeL2 = Math.max(relativeL2 ?? 0, comparison.relativeL2);
        }
        if (comparison.difference !== null) {
          return result("failed", `${where}${comparison.difference}`);
        }
      }
    }
    return result("passed", null);
  } catch (error) {
    return result(error instanceof Unsupported ? "unsupported" : "failed", describe(error, folder));
  }
}

function operatorOf(model: Model): string {
  const names = new Set(
    model.graph.nodes.map(({ domain, opType }) => domain === "" ? opType : `${domain}:${opType}`),
  );
  const [first] = names;
  return names.size === 1 && first !== undefined ? first : "several";
}

const LONGEST_REASON = 400;

/** An error on one line without the path of `folder`; its class too where it was not on purpose. */
function describe(error: unknown, folder: string): string {
  if (!(error instanceof Error)) return String(error);
  const deliberate = error instanceof ModelcastError || error instanceof Unsupported;
  const text = (deliberate ? error.message : `${error.name}: ${error.message}`)
    .replaceAll(`${folder}/`, "").replace(/[\s\p{Cc}]+/gu, " ").trim();
  return text.length > LONGEST_REASON ? `${text.slice(0, LONGEST_REASON)}...` : text;
}
