/**
 * `deno task conformance:data [--output DIR]`: writes ONNX's official backend node tests to DIR, or to
 * `.cache/onnx-node-tests`, by the onnx package of the program's own Python environment.
 */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { MissingToolError } from "../src/error.ts";
import { run } from "../src/process.ts";
import { findInterpreter, INSTALL_UV, type Interpreter } from "../src/python/environment.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const PROGRAM = here("node_tests.py");
const LOCK = here("../python/requirements.lock");
const MINUTES = 10;

/** Where the tests are kept. */
export const NODE_TESTS: string = here("../.cache/onnx-node-tests");

/**
 * Writes the tests to `folder` by `interpreter`, which is replaced; nothing where they are there already.
 */
export async function writeNodeTests(folder: string, interpreter: Interpreter): Promise<void> {
  const wanted = createHash("sha256").update(await Deno.readFile(PROGRAM))
    .update(await Deno.readFile(LOCK)).digest("hex");
  const stamp = `${folder}.sha256`;
  if (await exists(folder) && await readOr(stamp) === wanted) return;
  const [program, ...before] = interpreter.command;
  const { success, stdout, stderr } = await run({
    program,
    args: [...before, PROGRAM, folder],
    inheritEnv: ["PATH", "HOME", "TMPDIR"],
    timeoutMs: MINUTES * 60_000,
    install: INSTALL_UV,
  });
  if (!success) {
    throw new MissingToolError(`Cannot write ONNX's node tests to "${folder}":\n${stderr.trim()}`);
  }
  console.error(`${folder}: ${new TextDecoder().decode(stdout).trim()}`);
  await Deno.writeTextFile(stamp, wanted);
}

async function readOr(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return null;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ args: Deno.args, options: { output: { type: "string" } } });
  const interpreter = await findInterpreter({
    python: null,
    note: (text) => console.error(text),
    signal: new AbortController().signal,
  });
  const folder = values.output === undefined ? NODE_TESTS : resolve(values.output);
  await writeNodeTests(folder, interpreter);
  console.log(folder);
}
