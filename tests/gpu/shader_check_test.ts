/**
 * Who checks shaders where naga was not built: a software adapter's compiler, and nobody where
 * there is no adapter. The same shaders are given to naga, so that both are seen to agree.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { ShaderChecker, ShaderProblem } from "../../src/codegen/shader_check.ts";
import { run } from "../../src/process.ts";
import { driverEnvironment, drivers } from "./adapters.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BUILT = `${ROOT}build/shader-check`;
const { found } = await drivers();

/** Shaders and the lines of their problems, null where there is none. A type has its function's. */
const SHADERS: readonly (readonly [code: string, line: number | null])[] = [
  ["@compute @workgroup_size(1) fn main() {}", null],
  ["fn f() {\n  let a = b;\n}", 2],
  ["fn f() -> f32 {\n  return 1u;\n}", 1],
  ["fn f(", 1],
  ["@compute @workgroup_size(1) fn main() {}", null],
];

/** What the child prints. */
interface Answer {
  readonly checker: ShaderChecker;
  readonly problems: readonly (ShaderProblem | null)[];
}

/** Checks all shaders in a child; it may lack what was built of naga, or WebGPU. */
async function check(
  { naga, gpu, env = {} }: { naga: boolean; gpu: boolean; env?: Record<string, string> },
): Promise<Answer> {
  const program = `
    if (!${gpu}) Object.defineProperty(navigator, "gpu", { value: undefined });
    import { checkShader, shaderChecker } from "./src/codegen/shader_check.ts";
    const problems = [];
    for (const code of ${JSON.stringify(SHADERS.map(([code]) => code))}) {
      problems.push(await checkShader(code));
    }
    console.log(JSON.stringify({ checker: await shaderChecker(), problems }));`;
  const flags = ["--no-prompt", "--quiet", `--allow-read=${ROOT}`];
  if (!naga) flags.push(`--deny-read=${BUILT}`);
  const { stdout, stderr } = await run({
    program: Deno.execPath(),
    args: ["run", ...flags, "--ext=ts", "-"],
    stdin: program,
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    env,
    install: "See https://deno.com",
    timeoutMs: 60_000,
  });
  const text = new TextDecoder().decode(stdout).trim();
  assert.match(text, /^\{/, stderr);
  return JSON.parse(text) as Answer;
}

for (const driver of found) {
  Deno.test(`where naga is not built, ${driver.name}'s compiler checks shaders`, async () => {
    const { checker, problems } = await check({
      naga: false,
      gpu: true,
      env: driverEnvironment(driver),
    });
    assert.equal(checker, "adapter");
    const lines = SHADERS.map(([, line]) => line);
    assert.deepEqual(problems.map((problem) => problem?.line ?? null), lines);
    for (const problem of problems) if (problem !== null) assert.ok(problem.message !== "");
  });
}

Deno.test("where naga is built, it checks and the adapter is left alone", async () => {
  const { checker, problems } = await check({ naga: true, gpu: false });
  assert.equal(checker, "naga");
  assert.deepEqual(
    problems.map((problem) => problem !== null),
    SHADERS.map(([, line]) => line !== null),
  );
});

Deno.test("where there is neither, nobody checks, and that is said", async () => {
  const { checker, problems } = await check({ naga: false, gpu: false });
  assert.equal(checker, "none");
  assert.deepEqual(problems, SHADERS.map(() => null));
});
