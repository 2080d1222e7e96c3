/** A program's time and memory, every process below it counted. */
import assert from "node:assert/strict";
import { run } from "../src/process.ts";
import { pythonPath, ROOT } from "../tests/install.ts";

/** What a program took. */
export interface Taken {
  readonly seconds: number;
  /** Sum over its processes of the most that each held, in bytes. */
  readonly peakBytes: number;
  readonly processes: number;
}

/** Runs a program, which has to succeed. */
export async function measure(program: string, args: readonly string[]): Promise<Taken> {
  const { stdout, stderr, code } = await run({
    program: pythonPath(),
    args: [`${ROOT}/bench/python/peak_memory.py`, program, ...args],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    env: { HF_HUB_OFFLINE: "1" },
    install: "",
  });
  assert.equal(code, 0, stderr);
  const taken = JSON.parse(new TextDecoder().decode(stdout)) as Taken & { code: number };
  assert.equal(taken.code, 0, stderr);
  return taken;
}

/** The arguments of `deno` that run the command line with Python. */
export const CONVERT: readonly string[] = [
  ...["run", "-q", "--no-prompt", "-P=convert-python", "main.ts", "convert"],
];
