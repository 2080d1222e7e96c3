/**
 * `deno task fixtures [FAMILY...]`: small exports with random weights of the 14 model families, or
 * of those that are named, in `fixtures/generated/FAMILY-{static,dynamic}/` in the layout of the
 * ONNX backend tests, with ONNX Runtime's outputs. Equal bytes on every run of one machine.
 */
import { fileURLToPath } from "node:url";
import { run } from "../src/process.ts";
import { findInterpreter, INSTALL_UV } from "../src/python/environment.ts";

const FOLDER = fileURLToPath(new URL("../fixtures/generated", import.meta.url));
const PROGRAM = fileURLToPath(new URL("../fixtures/generate.py", import.meta.url));
const SEED = "0";
const MINUTES = 30;

const { command } = await findInterpreter({
  python: null,
  note: (text) => console.error(text),
  signal: new AbortController().signal,
});
const [program = "uv", ...before] = command;
const { code } = await run({
  program,
  args: [...before, PROGRAM, FOLDER, SEED, ...Deno.args],
  inheritEnv: ["PATH", "HOME", "TMPDIR"],
  stdout: "inherit",
  stderr: "inherit",
  timeoutMs: MINUTES * 60_000,
  install: INSTALL_UV,
});
Deno.exitCode = code;
