/**
 * Builds `shader-check/`, which validates the shaders that modelcast writes, to
 * `build/shader-check/`, unless that is newer than all that it is made of. It takes a Rust compiler
 * that knows WebAssembly from the machine, or Debian's, and installs wasm-pack and wasm-bindgen
 * into `.cache/rust`: minutes, the first time. Run it as `deno task build:shader-check`.
 */
import { delimiter } from "node:path";
import { fileURLToPath } from "node:url";
import { MissingToolError } from "../src/error.ts";
import { type ProcessResult, run, type RunCommand } from "../src/process.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");
const CRATE = `${ROOT}/shader-check`;
const BUILD = `${ROOT}/build`;
const CACHE = `${ROOT}/.cache/rust`;
const TARGET = "wasm32-unknown-unknown";

/** The tools, as wasm-bindgen's versions in `Cargo.lock` and here must be the same. */
const TOOLS = { "wasm-bindgen-cli": "0.2.126", "wasm-pack": "0.15.1" };
/** Debian's compiler for WebAssembly (firefox needs it too), its sources and a linker. */
const PACKAGES = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const LINKER = "/usr/bin/lld-22";
const DEBIAN_PATH = "/usr/bin:/bin:/usr/sbin:/sbin";
/** The tools run for a second each: to compile them well takes longer than they run. */
const QUICK = {
  CARGO_PROFILE_RELEASE_OPT_LEVEL: "0",
  CARGO_PROFILE_RELEASE_DEBUG: "0",
  CARGO_PROFILE_RELEASE_LTO: "off",
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16",
};
/** What cargo finds its caches and its registry by. */
const VARIABLES = [
  ...["HOME", "USERPROFILE", "PATH", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"],
  ...["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "SSL_CERT_FILE", "SSL_CERT_DIR"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"],
  ...["http_proxy", "https_proxy", "all_proxy", "no_proxy"],
];
const BY_HAND =
  "Install Rust (https://rustup.rs) and run: rustup target add wasm32-unknown-unknown";
const STEP_MINUTES = 30;

/** A Rust compiler for WebAssembly, as the environment of what uses it. */
interface Toolchain {
  readonly cargo: string;
  readonly env: Readonly<Record<string, string>>;
  /** Arguments of cargo that make it build the standard library too. */
  readonly std: readonly string[];
}

/** Whether the built module is newer than its sources and than this script. */
async function isFresh(): Promise<boolean> {
  const changed = async (path: string) => (await Deno.stat(path)).mtime?.getTime() ?? Infinity;
  const built = await changed(`${BUILD}/shader-check/shader_check_bg.wasm`).catch(() => -Infinity);
  const sources = [
    fileURLToPath(import.meta.url),
    `${CRATE}/Cargo.toml`,
    `${CRATE}/Cargo.lock`,
    ...[...Deno.readDirSync(`${CRATE}/src`)].map(({ name }) => `${CRATE}/src/${name}`),
  ];
  return (await Promise.all(sources.map(changed))).every((time) => time < built);
}

async function findToolchain(): Promise<Toolchain> {
  const path = Deno.env.get("PATH") ?? "";
  if (await knowsTarget("rustc")) return { cargo: "cargo", env: { PATH: path }, std: [] };
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64" || !await exists("/usr/bin/dpkg")) {
    throw new MissingToolError(
      `Cannot build "shader-check": no Rust compiler for WebAssembly is there. ${BY_HAND}`,
    );
  }
  const needed = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/rustlib/src/rust", LINKER];
  if (!(await Promise.all(needed.map(exists))).every(Boolean)) {
    say(PACKAGES.join(" "), "the Rust compiler, its library's sources and a linker");
    await apt();
  }
  const env = {
    PATH: `${await placeSysroot()}:${DEBIAN_PATH}`,
    // The standard library is built by a flag that only unstable compilers take.
    RUSTC_BOOTSTRAP: "1",
  };
  return { cargo: "/usr/bin/cargo", env, std: ["-Zbuild-std=std,panic_abort"] };
}

/** Whether the compiler can compile an empty library for WebAssembly. */
async function knowsTarget(rustc: string): Promise<boolean> {
  const args = ["-", "--crate-type=lib", "--emit=metadata", `--target=${TARGET}`]
    .concat("-o", `${CACHE}/probe.rmeta`);
  try {
    return (await call({ program: rustc, args, stdin: "", install: "" })).success;
  } catch (error) {
    if (error instanceof MissingToolError) return false;
    throw error;
  }
}

/**
 * Puts a folder together that Debian's compiler takes for its own, with the linker by the name that
 * it looks for and a place for the target. Returns the folder of the compiler that uses it.
 */
async function placeSysroot(): Promise<string> {
  const [own, installed] = [`${CACHE}/sysroot/lib/rustlib`, "/usr/lib/rustlib"];
  const host = "x86_64-unknown-linux-gnu";
  const links = {
    [`${host}/lib`]: `${installed}/${host}/lib`,
    [`${host}/bin/rust-lld`]: LINKER,
    src: `${installed}/src`,
  };
  for (const folder of [`${own}/${host}/bin`, `${own}/${TARGET}/lib`, `${CACHE}/bin`]) {
    await Deno.mkdir(folder, { recursive: true });
  }
  for (const [name, target] of Object.entries(links)) {
    // Deno makes a link only for a program that may read and write everything.
    await must({ program: "ln", args: ["-sfn", target, `${own}/${name}`], install: "" });
  }
  const quoted = `'${`${CACHE}/sysroot`.replaceAll("'", `'\\''`)}'`;
  await Deno.writeTextFile(
    `${CACHE}/bin/rustc`,
    `#!/bin/sh\nexec /usr/bin/rustc --sysroot ${quoted} "$@"\n`,
    { mode: 0o755 },
  );
  return `${CACHE}/bin`;
}

/** Installs Debian's packages, as root or by sudo without a password. */
async function apt(): Promise<void> {
  const root = Deno.uid() === 0;
  const env = { DEBIAN_FRONTEND: "noninteractive", PATH: DEBIAN_PATH };
  const install = `Install them by hand: apt-get install ${PACKAGES.join(" ")}. Or: ${BY_HAND}`;
  const steps = [
    ["update", "-qq"],
    ["install", "-y", "-qq", "--no-install-recommends", ...PACKAGES],
  ];
  for (const step of steps) {
    const args = root ? step : ["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...step];
    await must({ program: root ? "apt-get" : "sudo", args, env, stdout: "keep", install });
  }
}

/** Compiles wasm-pack and wasm-bindgen where they are missing or of other versions. */
async function installTools({ cargo, env }: Toolchain): Promise<void> {
  for (const [name, version] of Object.entries(TOOLS)) {
    const stamp = `${CACHE}/tools/${name}-${version}`;
    if (await exists(stamp)) continue;
    say(`${name} ${version} into .cache/rust`, "it builds the shader check; takes a minute or two");
    await must({
      program: cargo,
      args: ["install", "--quiet", "--locked", "--force", `--root=${CACHE}/tools`]
        .concat(`${name}@${version}`),
      env: { ...env, ...QUICK, CARGO_TARGET_DIR: `${CACHE}/target` },
      install: BY_HAND,
    });
    await Deno.writeTextFile(stamp, "");
  }
}

/** Compiles the crate. The old module stays until the new one is complete. */
async function build(): Promise<void> {
  await Deno.mkdir(CACHE, { recursive: true });
  await Deno.mkdir(BUILD, { recursive: true });
  const toolchain = await findToolchain();
  await installTools(toolchain);
  const tools = `${CACHE}/tools/bin`;
  const unfinished = await Deno.makeTempDir({ dir: BUILD, prefix: "shader-check-" });
  try {
    await must({
      program: `${tools}/wasm-pack`,
      args: [
        ...["--quiet", "build", "--release", "--target", "bundler"],
        ...["--mode", "no-install", "--no-pack", "--out-dir", unfinished, CRATE],
        ...["--", "--locked", ...toolchain.std],
      ],
      env: {
        ...toolchain.env,
        PATH: `${tools}${delimiter}${toolchain.env.PATH ?? ""}`,
        CARGO_TARGET_DIR: `${CACHE}/target`,
      },
      install: "",
    });
    await remove(`${BUILD}/shader-check`);
    await Deno.rename(unfinished, `${BUILD}/shader-check`);
  } finally {
    await remove(unfinished);
  }
}

/** Runs a step; its failure is an error with its own words. */
async function must(command: RunCommand): Promise<void> {
  const { success, code, stdout, stderr } = await call(command);
  if (success) return;
  throw new MissingToolError(
    `Cannot run "${command.program} ${command.args?.join(" ") ?? ""}": exit code ${code}.\n` +
      `${(stderr + new TextDecoder().decode(stdout)).trim()}\n${command.install}`.trimEnd(),
  );
}

function call(command: RunCommand): Promise<ProcessResult> {
  return run({ inheritEnv: VARIABLES, cwd: ROOT, timeoutMs: STEP_MINUTES * 60_000, ...command });
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function say(what: string, why: string): void {
  console.log(`Installing ${what} (${why})`);
}

if (!(await isFresh())) {
  try {
    await build();
    console.log("Built shader-check/ to build/shader-check");
  } catch (error) {
    if (!(error instanceof MissingToolError)) throw error;
    console.error(error.message);
    Deno.exitCode = error.exitCode;
  }
}
