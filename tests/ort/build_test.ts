/** The bundled program: runs from an empty folder and writes what the repository's program writes. */
import assert from "node:assert/strict";
import { build } from "../../scripts/build.ts";
import { type ProcessResult, run } from "../../src/process.ts";
import { ROOT } from "../install.ts";
import { NPM_MODELS } from "../real_models.ts";

const SOURCE = NPM_MODELS[0]!.path;
const VARIABLES =
  "--allow-env=MODELCAST_CACHE,XDG_RUNTIME_DIR,NO_COLOR,FORCE_COLOR,CLICOLOR_FORCE,DENO_WEBGPU_BACKEND,PATH,HOME";

/** Runs a program of ours in `cwd` with the permissions for a conversion that is verified. */
function convert(
  program: string,
  cwd: string,
  options: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ProcessResult> {
  const home = program.replace(/\/[^/]*$/, "");
  return run({
    program: "deno",
    args: [
      ...["run", "--quiet", "--no-prompt", "--no-remote", VARIABLES],
      ...[`--allow-read=${cwd},${home},${SOURCE}`, `--allow-write=${cwd}`],
      ...["--allow-run=deno", program, "convert", "--source", SOURCE],
      ...["--precision", "4bit", "--engine", "wasm", ...options],
    ],
    cwd,
    env,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    install: "See https://deno.com",
  });
}

Deno.test("the bundled program converts and verifies in an empty folder", async () => {
  const folder = await Deno.makeTempDir();
  const [dist, empty] = [`${folder}/dist`, `${folder}/empty`];
  try {
    await build(dist);
    await Deno.mkdir(empty);
    const bundled = await convert(`${dist}/modelcast.js`, empty, [
      ...["--output", "bundled.onnx", "--verify"],
    ]);
    assert.equal(bundled.code, 0, bundled.stderr);
    assert.match(new TextDecoder().decode(bundled.stdout), /verified on cpu/);
    const plain = await convert(`${ROOT}/main.ts`, empty, ["--output", "plain.onnx"]);
    assert.equal(plain.code, 0, plain.stderr);
    assert.deepEqual(
      await Deno.readFile(`${empty}/bundled.onnx`),
      await Deno.readFile(`${empty}/plain.onnx`),
    );
    // A module needs kernels, the runtime and the page, which the bundle holds as texts.
    const modules = [];
    for (const program of [`${dist}/modelcast.js`, `${ROOT}/main.ts`]) {
      const made = await convert(program, empty, ["--output", "model.webgpu.js"]);
      assert.equal(made.code, 0, made.stderr);
      modules.push(
        ["js", "html", "d.ts"].map((end) => Deno.readTextFileSync(`${empty}/model.webgpu.${end}`)),
      );
      for (const { name } of Deno.readDirSync(empty)) {
        if (name.startsWith("model.webgpu.")) Deno.removeSync(`${empty}/${name}`);
      }
    }
    assert.deepEqual(modules[0], modules[1]);
    // What runs a module is there too; of an adapter it is not allowed to see it says that there is none.
    const unseen = await convert(`${dist}/modelcast.js`, empty, [
      ...["--output", "model.webgpu.js", "--verify"],
    ], { DENO_WEBGPU_BACKEND: Deno.build.os === "windows" ? "metal" : "dx12" });
    assert.equal(unseen.code, 4, unseen.stderr);
    assert.match(unseen.stderr, /this machine has no adapter/);
    assert.deepEqual(
      [...Deno.readDirSync(empty)].map((entry) => entry.name).sort(),
      ["bundled.onnx", "plain.onnx"],
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
