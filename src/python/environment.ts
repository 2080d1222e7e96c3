/**
 * The Python environment: made once by uv from `python/requirements.lock` in the cache folder, under
 * a name that says what it was made from, or the interpreter that `--python` names. An environment
 * is complete when its stamp is there, which is written last; while one process makes it, others
 * wait. What a killed one left is made anew.
 */
import { createHash } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../cache.ts";
import { InterruptedError, MissingToolError } from "../error.ts";
import { type ProcessResult, run } from "../process.ts";

/** A Python that has what the programs in `python/` import. */
export interface Interpreter {
  /** Its absolute path. */
  readonly program: string;
  /** Folders that it runs from: its own, its packages', those of the libraries it is linked to. */
  readonly folders: readonly string[];
  /** The command that starts it: itself, or uv where the permissions name only that. */
  readonly command: readonly [program: string, ...args: string[]];
}

/** Which Python is wanted, and what goes on while it is made. */
export interface EnvironmentRequest {
  /** Path of an interpreter to use instead of an environment of modelcast's own. */
  readonly python: string | null;
  /** Name or path of uv; "uv" if absent. */
  readonly uv?: string;
  /** Hears that something is installed, which takes minutes. */
  note(text: string): void;
  readonly signal: AbortSignal;
}

/** Pythons that the locked packages exist for. */
const PYTHON_VERSIONS = ">=3.11,<3.14";
/** What to do where there is no uv. */
export const INSTALL_UV =
  "Install uv (its page is https://docs.astral.sh/uv), which installs the " +
  "Python packages, or name a Python that has them with --python.";
const INSTALL_MINUTES = 60;
const SIZE = "6 GB";
const WINDOWS = Deno.build.os === "windows";
const STAMP = "modelcast.json";
const WAIT_MS = 200;

/** What uv needs of the parent's environment to reach a package index, its cache and Pythons. */
const UV_VARIABLES: readonly string[] = [
  ..."PATH HOME USERPROFILE LOCALAPPDATA APPDATA SYSTEMROOT TMPDIR TEMP TMP".split(" "),
  ..."XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME UV_CACHE_DIR UV_PYTHON_INSTALL_DIR"
    .split(" "),
  ..."UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_EXTRA_INDEX_URL UV_NATIVE_TLS".split(" "),
  ..."SSL_CERT_FILE SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY".split(" "),
  ..."http_proxy https_proxy all_proxy no_proxy".split(" "),
];

/** Prints where a Python runs from, as JSON: its folders and those of the libraries it has loaded. */
const DESCRIBE = `
import json, os, sys
for name in ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "zlib"):
    try:
        __import__(name)
    except ImportError:
        pass
folders = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
folders |= {os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))} - {"/"}
folders |= {path for path in sys.path if os.path.isdir(path)}
try:
    with open("/proc/self/maps") as maps:
        mapped = {line.split(None, 5)[5].strip() for line in maps if line.count("/")}
    folders |= {os.path.dirname(path) for path in mapped if ".so" in path}
except OSError:
    pass
print(json.dumps({"executable": sys.executable, "folders": sorted(folders)}))
`;

/**
 * Finds the interpreter, and makes its environment where there is none yet.
 *
 * @throws MissingToolError where uv, a Python, or the permission to run either is missing.
 */
export async function findInterpreter(request: EnvironmentRequest): Promise<Interpreter> {
  const { python, signal } = request;
  if (python !== null) {
    const known = described.get(python) ?? await describeNamed(python, signal);
    described.set(python, known);
    return known;
  }
  const folder = environmentFolder();
  return await readStamp(folder) ?? await makeOnce(folder, request);
}

/** Interpreters that were named before: each step of a chain asks, and it takes a process to answer. */
const described = new Map<string, Interpreter>();

/** Path of the interpreter of modelcast's own environment, made or not. */
export function ownInterpreter(): string {
  return programIn(environmentFolder());
}

function environmentFolder(): string {
  const root = cacheFolder();
  if (root === null) {
    throw new MissingToolError(
      `Cannot make the Python environment: there is no folder for it. Name one in the variable ` +
        `MODELCAST_CACHE, or a Python with --python.`,
    );
  }
  return join(root, `python-${digestOf(readLock())}`);
}

/** The folder of the programs that Python runs: `python` beside `src`, or beside a bundle. */
export function pythonFolder(): string {
  const here = new URL(import.meta.url);
  if (here.protocol !== "file:") {
    throw new MissingToolError(
      `Cannot run modelcast's Python programs: modelcast itself was not started from files. ` +
        `Download it first.`,
    );
  }
  const beside = here.pathname.endsWith("/src/python/environment.ts") ? "../../python" : "python";
  return fileURLToPath(new URL(beside, here));
}

function readLock(): string {
  const path = join(pythonFolder(), "requirements.lock");
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    throw new MissingToolError(
      `Cannot make the Python environment: "${path}" can't be read. Install modelcast again, with ` +
        `its folder "python".`,
      { cause },
    );
  }
}

/** What an environment's name tells: the locked packages, the Pythons it may have, the platform. */
function digestOf(lock: string): string {
  const { os, arch } = Deno.build;
  return createHash("sha256").update(`${os} ${arch} ${PYTHON_VERSIONS}\n${lock}`).digest("hex")
    .slice(0, 16);
}

/** The interpreter of a complete environment; null where it isn't, or its Python is gone. */
async function readStamp(folder: string): Promise<Interpreter | null> {
  const program = programIn(folder);
  try {
    const described = parseDescription(await Deno.readTextFile(join(folder, STAMP)));
    if (described === null || !(await Deno.stat(program)).isFile) return null;
    return startedByUv(program, described);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw unusable(folder, error);
  }
}

/** The error that a folder for an environment can't be read or written. */
function unusable(folder: string, cause: unknown): MissingToolError {
  const root = dirname(folder);
  const state = cause instanceof Deno.errors.NotCapable
    ? `Deno was not given the permission. Run with --allow-read=.,${root} ` +
      `--allow-write=.,${root}, which take the place of the permission set's`
    : cause instanceof Error
    ? cause.message
    : String(cause);
  return new MissingToolError(
    `Cannot use the Python environment "${folder}": ${state}, or name another folder in ` +
      "MODELCAST_CACHE.",
    { cause },
  );
}

/** Makes an environment unless another process does it first. */
async function makeOnce(folder: string, request: EnvironmentRequest): Promise<Interpreter> {
  let lock: Deno.FsFile;
  try {
    await Deno.mkdir(dirname(folder), { recursive: true });
    lock = await Deno.open(`${folder}.lock`, { create: true, write: true });
  } catch (cause) {
    throw unusable(folder, cause);
  }
  try {
    await acquire(lock, request);
    return await readStamp(folder) ?? await make(folder, request);
  } finally {
    lock.close();
  }
}

/** Waits until this process alone holds `lock`, which the system frees when its holder ends. */
async function acquire(lock: Deno.FsFile, { note, signal }: EnvironmentRequest): Promise<void> {
  for (let told = false; !lock.tryLockSync(true); told = true) {
    if (signal.aborted) {
      throw new InterruptedError("Interrupted while another modelcast installs Python packages.");
    }
    if (!told) note("Waiting for another modelcast that installs the Python packages");
    await new Promise((done) => setTimeout(done, WAIT_MS));
  }
}

async function make(folder: string, request: EnvironmentRequest): Promise<Interpreter> {
  const { note } = request;
  const program = programIn(folder);
  const lock = join(pythonFolder(), "requirements.lock");
  await Deno.remove(folder, { recursive: true }).catch(ignoreAbsence);
  await uv(
    ["venv", "--no-python-downloads", "--python", PYTHON_VERSIONS, folder],
    request,
    `A Python 3.11, 3.12 or 3.13 is needed: install one ("uv python install 3.12" does).`,
  );
  note(
    `Installing Python packages, once: torch, transformers, timm, onnx, onnxruntime, openvino, ` +
      `nncf and what they need, ${SIZE}, into ${folder}`,
  );
  await uv(
    ["pip", "sync", "--require-hashes", "--only-binary", ":all:", "--compile-bytecode"]
      .concat("--python", program, lock),
    request,
    "Check the network and the space on the disk, and try again.",
  );
  const described = await uv(
    ["run", "--no-project", "--offline", "--no-env-file", "--python", program, program]
      .concat("-P", "-s", "-c", DESCRIBE),
    request,
    "Remove the folder and try again.",
  );
  const text = new TextDecoder().decode(described.stdout);
  const description = parseDescription(text);
  if (description === null) {
    throw new Error(`"${program}" did not describe itself but said: ${text}`);
  }
  const stamp = join(folder, STAMP);
  await Deno.writeTextFile(`${stamp}.tmp`, text);
  await Deno.rename(`${stamp}.tmp`, stamp);
  return startedByUv(program, description);
}

function startedByUv(program: string, { folders }: Description): Interpreter {
  const flags = "--no-project --no-config --offline --no-env-file --no-cache --quiet --python";
  return { program, folders, command: ["uv", "run", ...flags.split(" "), program, program] };
}

/** Runs uv; its failure is an error that ends in `advice`. */
async function uv(
  args: string[],
  { uv: program = "uv", signal }: EnvironmentRequest,
  advice: string,
): Promise<ProcessResult> {
  const [command = "", ...rest] = args;
  const grouped = command === "pip" ? [command, rest.shift() ?? ""] : [command];
  const result = await run({
    program,
    args: [...grouped, "--quiet", "--no-config", ...rest],
    inheritEnv: UV_VARIABLES,
    install: INSTALL_UV,
    timeoutMs: INSTALL_MINUTES * 60_000,
    signal,
  });
  if (result.success) return result;
  throw new MissingToolError(
    `Cannot make the Python environment: "uv ${grouped.join(" ")}" failed. ${advice} It said: ${
      result.stderr.trim().slice(-2000)
    }`,
  );
}

/** The interpreter that a person named. */
async function describeNamed(named: string, signal: AbortSignal): Promise<Interpreter> {
  const python = /[/\\]/.test(named) ? resolve(named) : named;
  if (Deno.permissions.querySync({ name: "run", command: python }).state !== "granted") {
    throw new MissingToolError(
      `Cannot run "${named}": it is not there, or Deno was not given the permission. Run with ` +
        `--allow-run=uv,bwrap,deno,${named}, which takes the place of the permission set's.`,
    );
  }
  const result = await run({
    program: python,
    args: ["-P", "-s", "-B", "-c", DESCRIBE],
    env: { PYTHONHASHSEED: "0" },
    inheritEnv: WINDOWS ? ["SYSTEMROOT"] : [],
    install: "Name a Python 3.11 or later that has the packages of python/pyproject.toml.",
    timeoutMs: 60_000,
    signal,
  });
  const description = result.success
    ? parseDescription(new TextDecoder().decode(result.stdout))
    : null;
  if (description === null) {
    throw new MissingToolError(
      `Cannot use "${named}": it is no Python 3.11 or later. It said: ${
        result.stderr.trim().slice(-1000)
      }`,
    );
  }
  return { program: description.executable, folders: description.folders, command: [python] };
}

/** What {@link DESCRIBE} prints. */
interface Description {
  readonly executable: string;
  readonly folders: readonly string[];
}

/** Parses what {@link DESCRIBE} printed; null where it is nothing of the kind. */
function parseDescription(text: string): Description | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return null;
    if (!("folders" in value && "executable" in value)) return null;
    const { executable, folders } = value;
    const isText = (item: unknown): item is string => typeof item === "string";
    if (!isText(executable) || !Array.isArray(folders) || !folders.every(isText)) return null;
    return { executable, folders };
  } catch {
    return null;
  }
}

function programIn(folder: string): string {
  return join(folder, WINDOWS ? "Scripts/python.exe" : "bin/python");
}

function ignoreAbsence(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
