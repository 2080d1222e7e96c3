/**
 * `deno task bench NAME [--json] [--only=PART,...]`: runs a named benchmark. Prints a line a row as
 * it goes and, with `--json`, `{ machine, rows }` as the last line. Fails when a bar is missed.
 */
import { InputError } from "../src/error.ts";
import type { Part, Row } from "./harness.ts";
import { printRow } from "./harness.ts";
import { pytorch } from "./pytorch.ts";
import { quantize } from "./quantize.ts";
import { webgpu } from "./webgpu.ts";
import { ensureAssembly, ensurePackages, ensurePython, ROOT } from "../tests/install.ts";

/** The benchmarks by name: their parts, in order. */
const BENCHMARKS: Readonly<Record<string, readonly Part[]>> = { quantize, pytorch, webgpu };

/** The machine that figures come from, without anything that names it or its owner. */
function machine(): Record<string, string | number> {
  return {
    os: Deno.build.target,
    cores: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    deno: Deno.version.deno,
  };
}

async function main(args: readonly string[]): Promise<boolean> {
  const name = args.find((arg) => !arg.startsWith("--"));
  const parts = name === undefined ? undefined : BENCHMARKS[name];
  if (parts === undefined) {
    const names = Object.keys(BENCHMARKS).join(", ");
    throw new InputError(
      name === undefined
        ? `Cannot run a benchmark: none is named. Give one of ${names}.`
        : `Cannot run the benchmark "${name}": there is none of that name. Give one of ${names}.`,
    );
  }
  const only = args.find((arg) => arg.startsWith("--only="))?.slice("--only=".length).split(",");
  const unknown = only?.filter((part) => !parts.some((entry) => entry.name === part)) ?? [];
  if (unknown.length > 0) {
    throw new InputError(
      `Cannot run the part "${unknown.join('", "')}": the parts are ${
        parts.map((part) => part.name).join(", ")
      }.`,
    );
  }
  await Deno.mkdir(`${ROOT}/.cache`, { recursive: true });
  await ensurePackages();
  await ensureAssembly();
  await ensurePython();
  const rows: Row[] = [];
  for (const part of parts) {
    if (only !== undefined && !only.includes(part.name)) continue;
    for (const row of await part.run({ anyAdapter: args.includes("--any-adapter") })) {
      printRow(row);
      rows.push(row);
    }
  }
  if (args.includes("--json")) console.log(JSON.stringify({ machine: machine(), rows }));
  return rows.every((row) => row.pass !== false);
}

try {
  Deno.exitCode = (await main(Deno.args)) ? 0 : 1;
} catch (error) {
  if (!(error instanceof InputError)) throw error;
  console.error(`error: ${error.message}`);
  Deno.exitCode = error.exitCode;
}
