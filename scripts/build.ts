/**
 * `deno task build`: makes `dist/`, a copy of the program that runs with Deno alone, without this
 * repository and without packages to install: bundled scripts, the compiled SIMD kernels, and ONNX
 * Runtime for this platform.
 *
 *   dist/modelcast.js        the program
 *   dist/lib/js/             its parts, and the scripts of the wasm engine's workers and of ONNX Runtime
 *   dist/lib/js/python/      what runs in Python, and the lock file of its packages
 *   dist/build/              the SIMD kernels, and the shader check where it was built
 *   dist/node_modules/       ONNX Runtime, which `--verify` loads, and the tokenizers of pages
 */
import { basename, dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { run } from "../src/process.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");
/** Scripts that are started by the name that they have in the repository. */
const STARTED = ["quantization/wasm_worker", "verify/runtime_child"];

/** The variables that Deno looks up its caches and its way to the registry by. */
export const DENO_VARIABLES: readonly string[] = [
  ...["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE", "TMPDIR"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NPM_CONFIG_REGISTRY"],
  ...["DENO_CERT", "DENO_TLS_CA_STORE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"],
];

/** Makes the program in `folder`, which is replaced, with the kernels as they were compiled last. */
export async function build(folder: string): Promise<void> {
  const unfinished = `${folder}.tmp`;
  await remove(unfinished);
  const scripts = `${unfinished}/lib/js`;
  await bundle(scripts, ["--code-splitting"], "main.ts");
  for (const script of STARTED) {
    await bundle(scripts, [], `src/${script}.ts`);
    const name = basename(script);
    await Deno.rename(`${scripts}/${name}.js`, `${scripts}/${name}.ts`);
  }
  // What runs in a process of its own lies beside the script that starts it.
  await Deno.copyFile(`${ROOT}/src/verify/module_child.js`, `${scripts}/module_child.js`);
  await copyFolder(
    `${ROOT}/python`,
    `${scripts}/python`,
    (path) => !path.endsWith("__pycache__"),
  );
  await Deno.mkdir(`${unfinished}/build`);
  await Deno.copyFile(`${ROOT}/build/quantize.wasm`, `${unfinished}/build/quantize.wasm`);
  if (await isFolder(`${ROOT}/build/shader-check`)) {
    await copyFolder(`${ROOT}/build/shader-check`, `${unfinished}/build/shader-check`, () => true);
  }
  await Deno.copyFile(`${ROOT}/LICENSE`, `${unfinished}/LICENSE`);
  // Packages are those beside it, whatever configuration lies in folders above.
  await Deno.writeTextFile(
    `${unfinished}/deno.json`,
    JSON.stringify({ nodeModulesDir: "manual" }) + "\n",
  );
  await Deno.writeTextFile(`${unfinished}/modelcast.js`, `import "./lib/js/main.js";\n`);
  await copyRuntime(unfinished);
  await copyTokenizers(unfinished);
  await remove(folder);
  await Deno.rename(unfinished, folder);
}

async function bundle(folder: string, options: readonly string[], entry: string): Promise<void> {
  const { success, stderr } = await run({
    program: "deno",
    args: [
      ...["bundle", "--quiet", "--platform=deno", "--external=onnxruntime-node", ...options],
      ...[`--outdir=${folder}`, entry],
    ],
    cwd: ROOT,
    inheritEnv: DENO_VARIABLES,
    install: "See https://deno.com",
  });
  if (!success) throw new Error(`Cannot bundle "${entry}":\n${stderr}`);
}

/** Copies onnxruntime-node and what it loads, for this platform only. */
async function copyRuntime(folder: string): Promise<void> {
  const packages = `${folder}/node_modules`;
  const source = await Deno.realPath(`${ROOT}/node_modules/onnxruntime-node`);
  const { platform, arch } = process;
  for (const name of ["onnxruntime-node", "onnxruntime-common"]) {
    // Binaries lie in bin/napi-v6/PLATFORM/ARCHITECTURE.
    await copyFolder(`${dirname(source)}/${name}`, `${packages}/${name}`, (path) => {
      const [, system, processor] = /\/bin\/napi-v\d+\/([^/]+)(?:\/([^/]+))?/.exec(path) ?? [];
      return (system ?? platform) === platform && (processor ?? arch) === arch;
    });
  }
  const { version } = JSON.parse(await Deno.readTextFile(`${source}/package.json`));
  await Deno.writeTextFile(
    `${folder}/package.json`,
    JSON.stringify({ type: "module", dependencies: { "onnxruntime-node": version } }) + "\n",
  );
}

/** Copies the library that becomes a part of pages for text. */
async function copyTokenizers(folder: string): Promise<void> {
  const name = "node_modules/@huggingface/tokenizers";
  await copyFolder(
    await Deno.realPath(`${ROOT}/${name}`),
    `${folder}/${name}`,
    (path) => /\/(dist|LICENSE|package\.json|tokenizers\.min\.mjs)$/.test(path),
  );
}

/** Copies the files and folders that `wanted` says yes to. */
async function copyFolder(
  source: string,
  target: string,
  wanted: (path: string) => boolean,
): Promise<void> {
  await Deno.mkdir(target, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(source)) {
    const [from, to] = [`${source}/${name}`, `${target}/${name}`];
    if (!wanted(from)) continue;
    if (isDirectory) await copyFolder(from, to, wanted);
    else await Deno.copyFile(from, to);
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
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

if (import.meta.main) {
  await build(`${ROOT}/dist`);
  console.log("dist/modelcast.js; run it with: deno run dist/modelcast.js --help");
}
