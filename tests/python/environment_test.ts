/**
 * The making of the Python environment, with a stand-in for uv: once for any number of makers, never
 * taken for complete when a maker was killed, and one sentence for what is missing.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { InterruptedError, MissingToolError } from "../../src/error.ts";
import { start } from "../../src/process.ts";
import { findInterpreter, type Interpreter } from "../../src/python/environment.ts";

const UV = "./tests/python/confined/uv";
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Asks for the environment in the cache folder, and returns it with what was noted. */
async function find(
  options: { uv?: string; signal?: AbortSignal } = {},
): Promise<{ interpreter: Interpreter; notes: string[] }> {
  const notes: string[] = [];
  const { uv = UV, signal = new AbortController().signal } = options;
  const interpreter = await findInterpreter({
    python: null,
    uv,
    note: (text) => notes.push(text),
    signal,
  });
  return { interpreter, notes };
}

/** Runs `body` with a fresh cache folder. */
function test(name: string, body: (cache: string) => Promise<void>): void {
  Deno.test(name, async () => {
    const cache = await Deno.makeTempDir();
    const before = Deno.env.get("MODELCAST_CACHE");
    Deno.env.set("MODELCAST_CACHE", cache);
    try {
      await body(cache);
    } finally {
      if (before === undefined) Deno.env.delete("MODELCAST_CACHE");
      else Deno.env.set("MODELCAST_CACHE", before);
      await Deno.remove(cache, { recursive: true });
    }
  });
}

async function installations(cache: string): Promise<number> {
  return (await Deno.readTextFile(`${cache}/count`)).trim().split("\n").length;
}

test("it is made once, with a note that says its size, and found again", async (cache) => {
  const made = await find();
  assert.match(made.notes.join(), /^Installing Python packages, once: torch.* GB, into /);
  assert.match(made.interpreter.program, /python-[0-9a-f]{16}\/bin\/python$/);
  assert.ok(made.interpreter.program.startsWith(cache));
  assert.deepEqual(made.interpreter.folders, ["/opt/python"]);
  assert.deepEqual(await find(), { interpreter: made.interpreter, notes: [] });
  assert.equal(await installations(cache), 1);
});

test("makers at the same time make one", async (cache) => {
  const found = await Promise.all([find(), find(), find()]);
  assert.equal(await installations(cache), 1);
  assert.equal(found.filter(({ notes }) => /^Installing/.test(notes.join())).length, 1);
  assert.equal(found.filter(({ notes }) => /^Waiting for another/.test(notes.join())).length, 2);
});

test("who waits can be interrupted", async () => {
  const controller = new AbortController();
  const first = find();
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(find({ signal: controller.signal }), InterruptedError);
  await first;
});

test("what a killed maker left is made anew", async (cache) => {
  await Deno.writeTextFile(`${cache}/wrong`, "killed");
  await using maker = start({
    program: "deno",
    args: ["run", "--frozen", "--quiet", "-A", "tests/python/confined/maker.ts", UV],
    cwd: ROOT,
    env: { MODELCAST_CACHE: cache },
    inheritEnv: ["PATH", "HOME", "DENO_DIR"],
    install: "",
  });
  assert.equal((await maker.finish()).code, 137);
  const folders = [...Deno.readDirSync(cache)].filter(({ isDirectory }) => isDirectory);
  assert.equal(folders.length, 1);
  await Deno.writeTextFile(`${cache}/${folders[0]!.name}/litter`, "");
  await Deno.remove(`${cache}/wrong`);
  const { interpreter } = await find();
  assert.equal(await installations(cache), 2);
  await assert.rejects(Deno.stat(`${interpreter.program}/../../litter`), Deno.errors.NotFound);
});

test("an environment whose Python is gone is made anew", async (cache) => {
  const { interpreter } = await find();
  await Deno.remove(interpreter.program);
  await find();
  assert.equal(await installations(cache), 2);
});

for (const [command, advice] of [["venv", "A Python 3.11, 3.12 or 3.13"], ["pip", "network"]]) {
  test(`a failing uv ${command} is a missing tool, and nothing is taken for complete`, async (cache) => {
    await Deno.writeTextFile(`${cache}/wrong`, command!);
    await assert.rejects(
      find(),
      (error) =>
        error instanceof MissingToolError && error.message.includes(advice!) &&
        error.message.endsWith(`It said: error: no ${command} today`),
    );
    await Deno.remove(`${cache}/wrong`);
    await find();
  });
}

test("without uv there is one sentence on what to install", async () => {
  await assert.rejects(
    find({ uv: "./no-such-program" }),
    (error) =>
      error instanceof MissingToolError &&
      /Cannot run ".\/no-such-program": it is not (installed|permitted)\. (Install uv|Allow it)/
        .test(error.message),
  );
});
