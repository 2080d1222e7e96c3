/**
 * `deno task conformance --target onnx|webgpu --data DIR [--json] [--only PATTERN]
 * [--adapter lavapipe|swiftshader] [--jobs N] [--timeout SECONDS] [--record nodes|models]`: runs the tests in DIR, which are
 * in the layout of ONNX's backend tests, and says which passed. With `--json` the last line is a
 * `Summary` (summary.ts). PATTERN is part of a name, `*` being any text. Exits with 3 where a test
 * failed; a model that the target refuses fails nothing. `--record` keeps the results of a WebGPU
 * adapter in `record.json` and writes `docs/conformance.md` and `docs/ops.md` anew.
 */
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { InputError, MissingToolError, ModelcastError } from "../src/error.ts";
import { driverEnvironment, drivers } from "../tests/gpu/adapters.ts";
import { listCases, matches } from "./cases.ts";
import { OPS_PAGE, renderOps } from "./ops_page.ts";
import { renderPage } from "./page.ts";
import { runAll } from "./pool.ts";
import { type AdapterName, ADAPTERS, PAGE, type Suite, SUITES, writeEntry } from "./record.ts";
import { formatSummary, summarize } from "./summary.ts";
import { type TargetName, TARGETS } from "./target.ts";

const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));
const CACHE = fileURLToPath(new URL("../.cache", import.meta.url));
const TESTS_PER_CHILD = 300;
const DEFAULT_SECONDS = 120;
/** Tests whose time is told. */
const SLOWEST = 5;

interface Arguments {
  readonly target: TargetName;
  readonly data: string;
  readonly json: boolean;
  readonly only: string | null;
  readonly adapter: string | null;
  readonly jobs: number;
  readonly timeout: number;
  readonly record: { readonly suite: Suite; readonly adapter: AdapterName } | null;
}

function parse(args: readonly string[]): Arguments {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        target: { type: "string" },
        data: { type: "string" },
        json: { type: "boolean", default: false },
        only: { type: "string" },
        adapter: { type: "string" },
        jobs: { type: "string", default: String(Math.min(8, navigator.hardwareConcurrency)) },
        timeout: { type: "string", default: String(DEFAULT_SECONDS) },
        record: { type: "string" },
      },
    }));
  } catch (cause) {
    throw new InputError(`Cannot run the tests: ${(cause as Error).message}`, { cause });
  }
  const target = TARGETS.find((name): name is TargetName => name === values.target);
  if (target === undefined) {
    throw new InputError(
      `Cannot run the tests on "${values.target ?? ""}": the targets are ${TARGETS.join(", ")}. ` +
        "Name one with --target.",
    );
  }
  if (values.data === undefined) {
    throw new InputError(
      "Cannot run the tests: no folder is named. Write ONNX's own with deno task " +
        "conformance:data, and name the folder with --data.",
    );
  }
  const positive = (name: "jobs" | "timeout"): number => {
    const number = Number(values[name]);
    if (Number.isInteger(number) && number > 0) return number;
    throw new InputError(
      `Cannot run the tests with --${name} ${values[name]}: it is no whole number above 0.`,
    );
  };
  return {
    target,
    data: resolve(values.data),
    json: values.json,
    only: values.only ?? null,
    adapter: values.adapter ?? null,
    jobs: positive("jobs"),
    timeout: positive("timeout"),
    record: values.record === undefined ? null : recordOf(values.record, values),
  };
}

/** What `--record` names; whole runs on a named WebGPU adapter alone are worth keeping. */
function recordOf(
  name: string,
  { target, adapter: named, only }: { target?: string; adapter?: string; only?: string },
): NonNullable<Arguments["record"]> {
  const suite = SUITES.find((entry) => entry === name);
  const adapter = ADAPTERS.find((entry) => entry === named);
  if (suite !== undefined && adapter !== undefined && target === "webgpu" && only === undefined) {
    return { suite, adapter };
  }
  throw new InputError(
    `Cannot record "${name}": what is recorded is a whole run of ${SUITES.join(" or ")} on ` +
      `--target webgpu with --adapter ${ADAPTERS.join(" or ")}, without --only.`,
  );
}

/** The variables that make a child see the named adapter alone. */
async function adapterEnvironment(name: string): Promise<Record<string, string>> {
  const { found, missing } = await drivers();
  const driver = found.find((entry) => entry.name === name);
  if (driver !== undefined) return driverEnvironment(driver);
  const state = missing.find((entry) => entry.startsWith(name));
  if (state !== undefined) throw new MissingToolError(`Cannot run the tests on ${state}.`);
  throw new InputError(
    `Cannot run the tests on the adapter "${name}": it is none of lavapipe, swiftshader.`,
  );
}

async function main(): Promise<number> {
  const options = parse(Deno.args);
  const all = await listCases(options.data);
  const { only } = options;
  const names = only === null ? all : all.filter((name) => matches(only, name));
  if (names.length === 0) {
    throw new InputError(
      `Cannot run the tests "${only}": none of the ${all.length} tests in "${options.data}" has a ` +
        "name like that.",
    );
  }
  const env = options.adapter === null ? {} : await adapterEnvironment(options.adapter);
  let done = 0;
  const live = Deno.stderr.isTerminal();
  await Deno.mkdir(CACHE, { recursive: true });
  const scratch = await Deno.makeTempDir({ dir: CACHE, prefix: "conformance-" });
  const pool = runAll(names.map((name) => join(options.data, name)), {
    command: [
      "deno",
      ...["run", "--quiet", "--no-prompt", "--frozen", "-P=conformance-child", CHILD],
      ...[options.target, scratch],
    ],
    env,
    jobs: options.jobs,
    timeout: options.timeout,
    testsPerChild: TESTS_PER_CHILD,
    onResult({ name }) {
      done++;
      if (live) process.stderr.write(`\r\x1b[K${done} of ${names.length}: ${name.slice(0, 60)}`);
    },
  });
  const { results, retried } = await pool.finally(() => Deno.remove(scratch, { recursive: true }));
  if (live) process.stderr.write("\r\x1b[K");
  const summary = summarize(results, retried);
  if (options.record !== null) {
    const { suite, adapter } = options.record;
    const recorded = await writeEntry(suite, adapter, summary);
    await Deno.writeTextFile(PAGE, renderPage(recorded));
    await Deno.writeTextFile(OPS_PAGE, renderOps(recorded));
  }
  for (const line of formatSummary(summary)) console.log(line);
  const slowest = results.toSorted((a, b) => b.seconds - a.seconds).slice(0, SLOWEST);
  console.log(
    `slowest: ${slowest.map(({ name, seconds }) => `${name} ${seconds.toFixed(1)} s`).join(", ")}`,
  );
  if (options.json) console.log(JSON.stringify(summary));
  return summary.failed > 0 ? 3 : 0;
}

try {
  Deno.exitCode = await main();
} catch (error) {
  if (!(error instanceof ModelcastError)) throw error;
  console.error(`error: ${error.message}`);
  Deno.exitCode = error.exitCode;
}
