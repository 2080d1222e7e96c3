/**
 * What holds a Python program, by each of the three means: a program that tries what it must not,
 * floods, dies, hangs, or outlives its parent. Namespaces are also tried without the audit hook,
 * which would otherwise hide what they hold. Where a means does not work on the machine its tests are
 * reported as skipped, with the reason.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  InputError,
  InterruptedError,
  MissingToolError,
  VerificationError,
} from "../../src/error.ts";
import { run, start } from "../../src/process.ts";
import { type PythonSettings, runPython } from "../../src/python/child.ts";
import {
  type ConfinedJob,
  type PythonAnswer,
  PythonError,
  runConfined,
  type Sandbox,
  SANDBOXES,
} from "../../src/python/confined.ts";
import { findInterpreter } from "../../src/python/environment.ts";

const PROGRAM = fileURLToPath(new URL("confined/probe.py", import.meta.url));
const PARENT = fileURLToPath(new URL("confined/parent.ts", import.meta.url));
const never = new AbortController().signal;
const interpreter = await findInterpreter({ python: null, note: console.log, signal: never });

/** Folders of one test. */
interface Folders {
  readonly readable: string;
  readonly writable: string;
  /** Neither readable nor writable. */
  readonly outside: string;
}

/** What a run told while it ran. */
interface Told {
  readonly stages: string[];
  readonly warnings: string[];
}

/** Runs the probe by `sandbox`. */
async function probe(
  sandbox: Sandbox,
  folders: Folders,
  action: string,
  argument: unknown,
  options: Partial<ConfinedJob> & {
    signal?: AbortSignal;
    told?: Told;
    onProgress?: () => void;
  } = {},
): Promise<PythonAnswer> {
  const { signal = never, told, onProgress, ...rest } = options;
  return await runConfined(
    {
      program: PROGRAM,
      request: { action, argument },
      readable: [folders.readable],
      writable: folders.writable,
      allowHub: false,
      timeoutSeconds: 60,
      maxMemoryBytes: null,
      interpreter,
      sandboxes: [sandbox],
      ...rest,
    },
    {
      progress: (stage) => {
        told?.stages.push(stage);
        onProgress?.();
      },
      warn: (text) => told?.warnings.push(text),
      note: () => {},
    },
    signal,
  );
}

/** What came of each attempt: "done", or an error. */
async function attempt(
  sandbox: Sandbox,
  folders: Folders,
  attempts: readonly (readonly [string, unknown])[],
  options: Partial<ConfinedJob> = {},
): Promise<string[]> {
  const { value } = await probe(sandbox, folders, "attempt", attempts, options);
  assert.ok(typeof value === "object" && value !== null && "done" in value);
  assert.ok(Array.isArray(value.done));
  return value.done.map(String);
}

/** Why a means does not work on this machine, or else what it says that it holds. */
async function trial(sandbox: Sandbox): Promise<{ reason: string | null; held: string }> {
  return await inFolders(async (folders) => {
    try {
      const { held } = await probe(sandbox, folders, "echo", "");
      return { reason: null, held };
    } catch (error) {
      if (error instanceof MissingToolError) return { reason: error.message, held: "nothing" };
      throw error;
    }
  });
}

async function inFolders<T>(use: (folders: Folders) => Promise<T>): Promise<T> {
  const root = await Deno.realPath(await Deno.makeTempDir());
  const folders = {
    readable: `${root}/readable`,
    writable: `${root}/writable`,
    outside: `${root}/outside`,
  };
  for (const folder of Object.values(folders)) await Deno.mkdir(folder);
  await Deno.writeTextFile(`${folders.readable}/weights`, "weights");
  await Deno.writeTextFile(`${folders.outside}/secret`, "secret");
  try {
    return await use(folders);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** Waits until nobody holds a lock of the file; how many milliseconds that took. */
async function unlocked(path: string): Promise<number> {
  using file = await Deno.open(path, { write: true });
  const begin = performance.now();
  while (!file.tryLockSync(true)) {
    assert.ok(performance.now() - begin < 10_000, "the program is still alive");
    await pause(10);
  }
  return performance.now() - begin;
}

/** Deno makes links for those only who may read and write everything. */
async function link(target: string, path: string): Promise<void> {
  const { success } = await run({ program: "ln", args: ["-s", target, path], install: "" });
  assert.ok(success);
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

for (const sandbox of SANDBOXES) {
  const { reason, held } = await trial(sandbox);
  const shown = reason === null ? sandbox : `${sandbox} (does not work here: ${reason})`;
  const test = (name: string, body: (folders: Folders) => Promise<void>): void => {
    Deno.test(`${shown}: ${name}`, { ignore: reason !== null }, () => inFolders(body));
  };

  test("the program gets its request, a stated environment and a folder of its own", async (folders) => {
    const told = { stages: [], warnings: [] };
    const { value, ...answer } = await probe(sandbox, folders, "echo", "ä", { told });
    assert.deepEqual(answer, { sandbox, held });
    assert.match(held, /only the output writable.*no network/);
    assert.deepEqual(told, { stages: ["echo"], warnings: ["a warning"] });
    assert.ok(typeof value === "object" && value !== null);
    assert.ok("argument" in value && "environment" in value && "folder" in value);
    assert.equal(value.argument, "ä");
    assert.equal(value.folder, `${folders.writable}/.work`);
    assert.ok(typeof value.environment === "object" && value.environment !== null);
    const variables = Object.keys(value.environment).sort();
    const expected = "CUDA_VISIBLE_DEVICES DO_NOT_TRACK HF_DATASETS_OFFLINE HF_HOME " +
      "HF_HUB_DISABLE_IMPLICIT_TOKEN HF_HUB_DISABLE_PROGRESS_BARS HF_HUB_DISABLE_TELEMETRY " +
      "HF_HUB_OFFLINE HOME LANG LOGNAME NO_COLOR OPENBLAS_NUM_THREADS ORT_DISABLE_TELEMETRY PATH " +
      "PYTHONDONTWRITEBYTECODE PYTHONHASHSEED PYTHONUTF8 TMPDIR TOKENIZERS_PARALLELISM " +
      "TORCHINDUCTOR_CACHE_DIR TRANSFORMERS_OFFLINE TRITON_CACHE_DIR USER XDG_CACHE_HOME";
    assert.equal(variables.join(" "), expected);
    assert.deepEqual(names(folders.writable), [], "its folder is left");
  });

  test("what libraries print is not taken for an answer", async (folders) => {
    assert.deepEqual((await probe(sandbox, folders, "print", "")).value, {});
  });

  test("what a conversion needs is let through", async (folders) => {
    const { readable, writable } = folders;
    const done = await attempt(sandbox, folders, [
      ["read", `${readable}/weights`],
      ["make", `${writable}/folder`],
      ["write", `${writable}/folder/a`],
      ["rename", [`${writable}/folder/a`, `${writable}/b`]],
      ["mode", `${writable}/b`],
      ["write", `${writable}/c`],
      ["remove", `${writable}/c`],
      ["temporary", null],
      ["write", "/dev/null"],
    ]);
    assert.deepEqual(done, done.map(() => "done"));
    assert.deepEqual(names(writable), ["b", "folder"]);
  });

  // Whether there is a wall behind the hook.
  const walls = /namespaces|bubblewrap|Landlock/.test(held) ? [true, false] : [true];
  for (const hook of walls) {
    const by = hook ? "" : ", without the audit hook";
    test(`writes outside the output come to nothing${by}`, async (folders) => {
      const { readable, writable, outside } = folders;
      const done = await attempt(sandbox, folders, [
        ["write", `${outside}/new`],
        ["write", `${outside}/secret`],
        ["write", `${readable}/weights`],
        ["write", `${readable}/new`],
        ["write", `${writable}/../new`],
        ["write", "/tmp/modelcast-test-of-the-sandbox"],
        ["write", "/dev/shm/modelcast-test-of-the-sandbox"],
        ["make", `${outside}/folder`],
        ["remove", `${outside}/secret`],
        ["remove", `${readable}/weights`],
        ["rename", [`${readable}/weights`, `${writable}/weights`]],
        ["rename", [PROGRAM, `${writable}/program`]],
        // Of a file's attributes only the hook and namespaces know.
        ...(hook || sandbox !== "audit hook" ? [["mode", `${readable}/weights`] as const] : []),
        ["hard link", [`${readable}/weights`, `${writable}/weights`]],
      ], { hook });
      assert.equal(done.includes("done"), false);
      assert.equal(await Deno.readTextFile(`${outside}/secret`), "secret");
      assert.equal(await Deno.readTextFile(`${readable}/weights`), "weights");
      assert.deepEqual(names(outside), ["secret"]);
      assert.deepEqual(names(readable), ["weights"]);
      assert.deepEqual(names(writable), []);
    });

    test(`links lead nowhere${by}`, async (folders) => {
      const { writable, outside } = folders;
      const done = await attempt(sandbox, folders, [
        ["link", [outside, `${writable}/out`]],
        ["write", `${writable}/out/new`],
        ["link", [`${outside}/secret`, `${writable}/file`]],
        ["write", `${writable}/file`],
      ], { hook });
      assert.notEqual(done[1], "done");
      assert.equal(done.length, 4);
      assert.equal(await Deno.readTextFile(`${outside}/secret`), "secret");
      assert.deepEqual(names(outside), ["secret"]);
    });

    test(`there is no network${by}`, async (folders) => {
      using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      assert.ok(server.addr.transport === "tcp");
      let connections = 0;
      const accepting = (async () => {
        for await (const connection of server) {
          connections++;
          connection.close();
        }
      })();
      const done = await attempt(sandbox, folders, [
        ["connect", `127.0.0.1:${server.addr.port}`],
        ["connect", "192.0.2.1:80"],
        ["look up", "localhost.example"],
      ], { hook });
      if (hook) { for (const one of done) assert.match(one, /the sandbox refuses it/); }
      assert.equal(done.includes("done"), false);
      await (await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port })).readable
        .cancel();
      server.close();
      await accepting;
      assert.equal(connections, 1, "it reached the server");
    });

    test(`no process outlives it${by}`, async (folders) => {
      const beat = `${folders.writable}/beat`;
      const done = await attempt(sandbox, folders, [["outlive", beat]], { hook });
      if (hook) return assert.match(done.join(), /Cannot start a process/);
      assert.match(done.join(), sandbox === "audit hook" ? /not permitted/ : /^done$/);
      const read = () => Deno.readTextFile(beat).catch(() => "none");
      const before = await read();
      await pause(300);
      assert.equal(await read(), before);
    });
  }

  test("--allow-hub opens the network and nothing else", async (folders) => {
    using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    assert.ok(server.addr.transport === "tcp");
    const accepted = server.accept().then((connection) => connection.close());
    const attempts = [
      ["connect", `127.0.0.1:${server.addr.port}`],
      ["write", `${folders.outside}/new`],
      ["run", ["/bin/echo"]],
    ] as const;
    const done = await attempt(sandbox, folders, attempts, { allowHub: true });
    await accepted;
    assert.equal(done[0], "done");
    for (const one of done.slice(1)) assert.match(one, /the sandbox refuses it/);
  });

  if (sandbox !== "audit hook") {
    test("only what is listed is there to be read", async (folders) => {
      const { readable, outside } = folders;
      const attempts = [
        ["read", `${readable}/weights`],
        ["read", "/etc/passwd"],
        ["read", "/etc/shadow"],
        ["read", `${outside}/secret`],
        ["list", outside],
        ["list", "/root"],
        ["list", "/home"],
        ["list", "/var"],
        ["read", "/proc/1/environ"],
      ] as const;
      const [first, ...others] = await attempt(sandbox, folders, attempts, { hook: false });
      assert.equal(first, "done");
      for (const one of others.slice(0, 3)) assert.match(one, /FileNotFoundError/);
      const { value } = await probe(sandbox, folders, "processes", "", { hook: false });
      assert.ok(typeof value === "object" && value !== null && "processes" in value);
      assert.ok(Number(value.processes) <= 3, "processes of others are seen");
    });

    test("there are no privileges to use", async (folders) => {
      const { value } = await probe(sandbox, folders, "privileges", "", { hook: false });
      assert.deepEqual(value, {
        CapInh: "0000000000000000",
        CapPrm: "0000000000000000",
        CapEff: "0000000000000000",
        CapBnd: "0000000000000000",
        NoNewPrivs: "1",
      });
    });

    test("links of a Hugging Face cache are followed, other ways out of a model are not", async (folders) => {
      const { readable, outside } = folders;
      const snapshot = `${readable}/models--a--b/snapshots/0123`;
      await Deno.mkdir(snapshot, { recursive: true });
      await Deno.mkdir(`${readable}/models--a--b/blobs`);
      await Deno.writeTextFile(`${readable}/models--a--b/blobs/abc`, "{}");
      await link("../../blobs/abc", `${snapshot}/config.json`);
      await link(`${outside}/secret`, `${snapshot}/tokenizer.json`);
      await link(readable, `${readable}/../linked`);
      const given = `${readable}/../linked/models--a--b/snapshots/0123`;
      const warnings: string[] = [];
      for (const folder of [snapshot, given]) {
        const done = await attempt(
          sandbox,
          folders,
          [["read", `${folder}/config.json`], ["read", `${folder}/tokenizer.json`]],
          { readable: [folder] },
        );
        assert.equal(done[0], "done");
        assert.match(done[1] ?? "", /FileNotFoundError/);
      }
      await probe(sandbox, folders, "echo", "", {
        readable: [snapshot],
        told: { stages: [], warnings },
      });
      assert.match(warnings[0] ?? "", /tokenizer\.json" is a link out of the model's folder/);
    });
  }

  for (
    const [action, argument, attempted] of [
      ["connect", "127.0.0.1:9", "look up the host|open a socket"],
      ["listen", null, "open a socket"],
      ["write", "/etc/modelcast", 'write "/etc/modelcast"'],
      ["run", ["/bin/echo"], 'run the program "/bin/echo"'],
      ["shell", "echo", 'run the command "echo"'],
      ["fork", null, "start a process"],
      ["native", "system", 'call the system\'s function "system"'],
      ["library", "/tmp/hostile.so", 'load the library "/tmp/hostile.so"'],
      ["signal parent", null, "signal the process"],
      ["raise limit", null, "raise a limit"],
    ] as const
  ) {
    test(`${action}: an error that names what was attempted`, async (folders) => {
      await assert.rejects(
        probe(sandbox, folders, "raise", [action, argument]),
        (error) =>
          error instanceof InputError &&
          new RegExp(`^Cannot (${attempted}).*: the sandbox refuses it`).test(error.message),
      );
    });
  }

  test("what is refused and passed over in silence is told", async (folders) => {
    const warnings: string[] = [];
    const told = { stages: [], warnings };
    await probe(sandbox, folders, "attempt", [["shell", "echo"], ["shell", "echo"]], { told });
    assert.deepEqual(warnings, ['Refused to run the command "echo".']);
  });

  test("an allocation past the limit is an error, one below it is not", async (folders) => {
    const options = { maxMemoryBytes: 2 ** 28 };
    const { value } = await probe(sandbox, folders, "allocate", 2 ** 26, options);
    assert.deepEqual(value, { held: 2 ** 26 });
    await assert.rejects(
      probe(sandbox, folders, "allocate", 2 ** 29, options),
      (error) =>
        error instanceof InputError && /memory limit of 0\.27 GB.*--max-memory/.test(error.message),
    );
  });

  test("memory that PyTorch is refused is the same error", async (folders) => {
    const options = { maxMemoryBytes: 4 * 2 ** 30 };
    const told = { stages: [], warnings: [] };
    await assert.rejects(
      probe(sandbox, folders, "allocate with torch", [2 ** 30, 2 ** 33], { ...options, told }),
      (error) => error instanceof InputError && /memory limit of 4\.29 GB/.test(error.message),
    );
    assert.deepEqual(told, { stages: [`held ${2 ** 30}`], warnings: [] });
  });

  test("a program that runs too long is ended, even one that holds the interpreter", async (folders) => {
    const path = `${folders.writable}/lock`;
    await Deno.writeTextFile(path, "");
    const told = { stages: [], warnings: [] };
    for (const [action, argument, seconds] of [["sleep", 100, 0.5], ["hold", path, 3]] as const) {
      const begin = performance.now();
      await assert.rejects(
        probe(sandbox, folders, action, argument, { timeoutSeconds: seconds, told }),
        (error) =>
          error instanceof InputError && error.message.includes(`longer than ${seconds} s`) &&
          /--timeout/.test(error.message),
      );
      assert.ok(performance.now() - begin < 1000 * seconds + 5_000);
    }
    assert.deepEqual(told.stages, ["hold"]);
    await unlocked(path);
  });

  test("an abort ends it", async (folders) => {
    const path = `${folders.writable}/lock`;
    await Deno.writeTextFile(path, "");
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    await assert.rejects(
      probe(sandbox, folders, "hold", path, { signal: controller.signal, onProgress }),
      InterruptedError,
    );
    await unlocked(path);
    assert.deepEqual(names(folders.writable), ["lock"]);
  });

  test("a program that is killed or crashes is an error that says so", async (folders) => {
    const saying = (text: RegExp) => (error: unknown) =>
      error instanceof InputError && text.test(error.message);
    await assert.rejects(probe(sandbox, folders, "kill", 9), saying(/was killed.*more memory/));
    await assert.rejects(probe(sandbox, folders, "kill", 11), saying(/crashed with signal 11/));
    await assert.rejects(probe(sandbox, folders, "kill", 6), saying(/crashed with signal 6/));
    await assert.rejects(probe(sandbox, folders, "kill", 15), InterruptedError);
    await assert.rejects(
      probe(sandbox, folders, "exit", 7),
      (error) => error instanceof PythonError && /exit code 7 and no answer/.test(error.message),
    );
    await assert.rejects(
      probe(sandbox, folders, "exit", 0),
      (error) => error instanceof PythonError && /exit code 0 and no answer/.test(error.message),
    );
  });

  test("errors come with their kind, a bug with its traceback and its last words", async (folders) => {
    const cannot = 'Cannot read "x": it is y. Do z.';
    for (
      const [kind, type] of [
        ["input", InputError],
        ["verification", VerificationError],
        ["missing-tool", MissingToolError],
      ] as const
    ) {
      await assert.rejects(
        probe(sandbox, folders, "refuse", [kind, cannot]),
        (error) => error instanceof type && error.message === cannot,
      );
    }
    await assert.rejects(
      probe(sandbox, folders, "bug", ""),
      (error) =>
        error instanceof PythonError && /KeyError: 'an oversight'/.test(error.message) &&
        /some last words/.test(error.message) && /line \d+, in _serve/.test(error.traceback ?? ""),
    );
    await assert.rejects(
      probe(sandbox, folders, "import", "no_such_package"),
      (error) => error instanceof MissingToolError && /"no_such_package"/.test(error.message),
    );
  });

  test("garbage, floods of bytes and floods of lines end it", async (folders) => {
    await assert.rejects(
      probe(sandbox, folders, "garbage", ""),
      (error) =>
        error instanceof PythonError && /sent a line that is no message/.test(error.message),
    );
    await assert.rejects(
      probe(sandbox, folders, "flood", ""),
      (error) => error instanceof InputError && /a line of more than/.test(error.message),
    );
    await assert.rejects(
      probe(sandbox, folders, "lines", ""),
      (error) => error instanceof InputError && /more than 50000 lines/.test(error.message),
    );
  });

  test("a program that closes its input still answers", async (folders) => {
    assert.deepEqual((await probe(sandbox, folders, "close input", 0.2)).value, {});
  });

  test("it does not outlive a parent that is killed", async (folders) => {
    const path = `${folders.writable}/lock`;
    await Deno.writeTextFile(path, "");
    await using parent = start({
      program: Deno.execPath(),
      args: ["run", "--frozen", "--quiet", "-A", PARENT, sandbox, PROGRAM]
        .concat(folders.writable, path),
      inheritEnv: ["PATH", "HOME", "DENO_DIR", "MODELCAST_CACHE"],
      install: "",
      stderr: "inherit",
    });
    assert.equal(await parent.receive(), "held");
    using file = await Deno.open(path, { write: true });
    for (let waited = 0; file.tryLockSync(true); waited += 10) {
      file.unlockSync();
      assert.ok(waited < 5_000, "the program does not hold its lock");
      await pause(10);
    }
    await parent.send("die");
    assert.equal(await parent.receive(), null);
    await unlocked(path);
  });
}

Deno.test("the strongest means that works is taken", () =>
  inFolders(async (folders) => {
    const trials = await Promise.all(SANDBOXES.map(trial));
    const strongest = SANDBOXES[trials.findIndex(({ reason }) => reason === null)];
    const { sandbox, held } = await probe("audit hook", folders, "echo", "", {
      sandboxes: SANDBOXES,
    });
    assert.equal(sandbox, strongest);
    console.log(held);
  }));

/** The error of an export that is refused before Python starts. */
async function refusal(settings: Partial<PythonSettings>): Promise<Error> {
  const defaults = { python: null, allowHub: false, timeoutSeconds: 10, maxMemoryBytes: null };
  const refused = await inFolders(async ({ writable }) => {
    const job = { program: "export.py", request: {}, readable: [], writable } as const;
    const events = { progress: () => {}, warn: () => {}, note: () => {} };
    const answer = runPython({ ...job, settings: { ...defaults, ...settings } }, events, never);
    return await answer.then(() => null, (error: unknown) => error);
  });
  assert.ok(refused instanceof Error, "it was not refused");
  return refused;
}

Deno.test("a memory limit that the libraries alone would use up is refused", async () => {
  const error = await refusal({ maxMemoryBytes: 10 ** 9 });
  assert.ok(error instanceof InputError);
  assert.match(error.message, /1\.0 GB.*--max-memory 1\.5GB/);
});

Deno.test("an interpreter that is not permitted is a missing tool that prints the flag", async () => {
  const error = await refusal({ python: "/usr/bin/no-python" });
  assert.ok(error instanceof MissingToolError);
  assert.match(error.message, /--allow-run=uv,bwrap,deno,\/usr\/bin\/no-python/);
});
