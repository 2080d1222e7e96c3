/**
 * Subprocesses: what a child sees, its limits, and its end with the parent. Runs Deno itself as the
 * child, so that nothing else has to be installed.
 */
import assert from "node:assert/strict";
import { InterruptedError, MissingToolError } from "../../src/error.ts";
import { ProcessError, run, start } from "../../src/process.ts";

const DENO = Deno.execPath();
const install = "Install it.";
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A command that evaluates `code` in a child. */
const evaluate = (code: string) => ({
  program: DENO,
  args: ["eval", "--no-lock", "--no-config", code],
  install,
});

Deno.test("a child gets the stated environment, its input and its folder", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const result = await run({
      ...evaluate(`
        const input = await new Response(Deno.stdin.readable).text();
        const { HOME, GREETING } = Deno.env.toObject();
        console.log(JSON.stringify({ input, HOME, GREETING, cwd: Deno.cwd() }));
        console.error("noise");
        Deno.exit(7);`),
      env: { GREETING: "hello" },
      cwd: folder,
      stdin: "one\ntwo",
    });
    assert.equal(result.code, 7);
    assert.equal(result.success, false);
    assert.equal(result.stderr, "noise\n");
    const seen = JSON.parse(text(result.stdout));
    assert.deepEqual(seen, {
      input: "one\ntwo",
      GREETING: "hello",
      cwd: await Deno.realPath(folder),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("inherited variables are handed on where they may be read", async () => {
  Deno.env.set("MODELCAST_TEST_HANDED_ON", "yes");
  const command = {
    ...evaluate(`console.log(Deno.env.get("MODELCAST_TEST_HANDED_ON"))`),
    inheritEnv: ["MODELCAST_TEST_HANDED_ON", "MODELCAST_TEST_NOT_SET"],
  };
  assert.equal(text((await run(command)).stdout), "yes\n");
  const { inheritEnv: _, ...alone } = command;
  assert.equal(text((await run(alone)).stdout), "undefined\n");
});

Deno.test("an absent program says how to install it", async () => {
  await assert.rejects(
    run({ program: "./no-such-program", install: "Install it with: apt install nothing" }),
    (error) =>
      error instanceof MissingToolError &&
      /Cannot run ".\/no-such-program": it is not installed\. Install it with/.test(
        error.message,
      ),
  );
  await assert.rejects(
    run({ ...evaluate("0"), cwd: "/no/such/folder" }),
    (error) => error instanceof MissingToolError && /no such folder/.test(error.message),
  );
});

Deno.test("a program that is not permitted is a missing tool", {
  permissions: { run: false },
}, async () => {
  await assert.rejects(
    run(evaluate("0")),
    (error) => error instanceof MissingToolError && /--allow-run=/.test(error.message),
  );
});

Deno.test("a child that runs too long is ended", async () => {
  await assert.rejects(
    run({ ...evaluate("setInterval(() => 0, 1000)"), timeoutMs: 300 }),
    (error) => error instanceof ProcessError && /longer than 0.3 s/.test(error.message),
  );
});

Deno.test("a child that prints too much is killed", async () => {
  await assert.rejects(
    run({
      ...evaluate(`while (true) console.log("x".repeat(1000))`),
      maxOutputBytes: 100_000,
    }),
    (error) => error instanceof ProcessError && /more than 100000 bytes/.test(error.message),
  );
});

Deno.test("standard error keeps its tail only", async () => {
  const { stderr } = await run(
    evaluate(`for (let i = 0; i < 20000; i++) console.error("line " + i)`),
  );
  assert.ok(stderr.length <= 65536);
  assert.ok(stderr.endsWith("line 19999\n"));
});

Deno.test("an abort ends the child", async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 200);
  await assert.rejects(
    run({ ...evaluate("setInterval(() => 0, 1000)"), signal: controller.signal }),
    InterruptedError,
  );
  await assert.rejects(run({ ...evaluate("0"), signal: controller.signal }), InterruptedError);
});

Deno.test("a dialog goes line by line", async () => {
  await using child = start(evaluate(`
    let rest = "";
    for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\\n");
      rest = lines.pop();
      for (const line of lines) console.log(line.toUpperCase());
    }
    console.log("no newline at the end".slice(0, 10));
    await Deno.stdout.write(new TextEncoder().encode("tail"));`));
  for (const word of ["first", "second", "third ä"]) {
    await child.send(word);
    assert.equal(await child.receive(), word.toUpperCase());
  }
  assert.equal((await child.finish()).code, 0);
});

Deno.test("a dialog with a child that is gone ends in null and an error", async () => {
  await using child = start(evaluate(`console.log("bye"); console.error("no more")`));
  assert.equal(await child.receive(), "bye");
  assert.equal(await child.receive(), null);
  await assert.rejects(async () => {
    for (let i = 0; i < 100; i++) {
      await child.send("x".repeat(70_000));
    }
  }, (error) => error instanceof ProcessError && /no more/.test(error.message));
});

Deno.test("disposing of a dialog kills a child that never ends", async () => {
  const child = start(evaluate(`console.log("up"); setInterval(() => 0, 1000)`));
  assert.equal(await child.receive(), "up");
  await child[Symbol.asyncDispose]();
});

for (const ending of ["exit", "signal"] as const) {
  Deno.test(`a child does not outlive its parent's end by ${ending}`, async () => {
    const folder = await Deno.makeTempDir();
    const heartbeat = `${folder}/heartbeat`;
    try {
      const parent = start({
        program: DENO,
        args: [
          "run",
          "--no-lock",
          "--no-config",
          "--quiet",
          `--allow-run=${DENO}`,
          new URL("process_parent.ts", import.meta.url).pathname,
          DENO,
          ending,
          heartbeat,
        ],
        install,
      });
      assert.equal(await parent.receive(), "the child is up");
      assert.equal(await beats(heartbeat), true);
      await parent.send("end now");
      const { code } = await parent.finish();
      assert.equal(code, ending === "exit" ? 5 : 130);
      await pause(100);
      assert.equal(await beats(heartbeat), false);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

/** Whether a process changes the file at `path` every now and then. */
async function beats(path: string): Promise<boolean> {
  const before = await Deno.readTextFile(path);
  for (let i = 0; i < 40; i++) {
    await pause(10);
    if (await Deno.readTextFile(path) !== before) return true;
  }
  return false;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}
