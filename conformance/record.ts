/**
 * What was found when the tests were last run on each adapter: `conformance/record.json`, which
 * `--record SUITE` writes, `docs/conformance.md` is made from, and later runs are held to.
 */
import { fileURLToPath } from "node:url";
import type { Summary } from "./summary.ts";

/** The tests that are recorded: ONNX's node tests, and whole models. */
export const SUITES = ["nodes", "models"] as const;

/** Name of a suite. */
export type Suite = typeof SUITES[number];

/** The adapters that results are recorded of. */
export const ADAPTERS = ["lavapipe", "swiftshader"] as const;

/** Name of an adapter. */
export type AdapterName = typeof ADAPTERS[number];

/** What is kept of a run. */
export type Entry = Omit<Summary, "retried">;

/** The runs by suite and adapter. */
export type ConformanceRecord = { readonly [S in Suite]?: { readonly [A in AdapterName]?: Entry } };

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Path of the record. */
export const RECORD: string = here("record.json");
/** Path of the page that is made from it. */
export const PAGE: string = here("../docs/conformance.md");

/** Reads the record; empty where nothing has been recorded. */
export async function readRecord(): Promise<ConformanceRecord> {
  try {
    return JSON.parse(await Deno.readTextFile(RECORD)) as ConformanceRecord;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
}

/** Replaces what is recorded of a suite on an adapter, and keeps the record's order. */
export async function writeEntry(
  suite: Suite,
  adapter: AdapterName,
  summary: Summary,
): Promise<ConformanceRecord> {
  const { retried: _, ...entry } = summary;
  const old = await readRecord();
  const changed: ConformanceRecord = { ...old, [suite]: { ...old[suite], [adapter]: entry } };
  const ordered: ConformanceRecord = Object.fromEntries(SUITES.flatMap((name) => {
    const entries = changed[name];
    if (entries === undefined) return [];
    const kept = ADAPTERS.flatMap((key) => entries[key] === undefined ? [] : [[key, entries[key]]]);
    return [[name, Object.fromEntries(kept)]];
  }));
  await Deno.writeTextFile(RECORD, JSON.stringify(ordered, null, 2) + "\n");
  return ordered;
}
