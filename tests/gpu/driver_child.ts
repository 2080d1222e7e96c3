/** Programs of this folder run on a driver, each in a process of its own, and what they print. */
import assert from "node:assert/strict";
import { run } from "../../src/process.ts";
import type { Feed } from "../encoding_models.ts";
import { ROOT } from "../install.ts";
import { type Driver, driverEnvironment, drivers } from "./adapters.ts";

/**
 * Runs `program` on `driver` and gives the JSON of its last line, and what it said on standard error.
 * It may read what is here, and whatever `permissions` add.
 */
export async function answerOn<T>(
  driver: Driver,
  program: readonly [path: string, ...args: string[]],
  { permissions = [], timeoutMs = 300_000 }: {
    readonly permissions?: readonly string[];
    readonly timeoutMs?: number;
  } = {},
): Promise<{ readonly answer: T; readonly stderr: string }> {
  const { stdout, stderr } = await run({
    program: Deno.execPath(),
    args: [
      ...["run", "--quiet", "--no-prompt", `--allow-read=${ROOT}`, ...permissions],
      ...program,
    ],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "DENO_DIR"],
    env: driverEnvironment(driver),
    install: "See https://deno.com",
    timeoutMs,
  });
  const last = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
  assert.match(last, /^\{/, stderr);
  return { answer: JSON.parse(last) as T, stderr };
}

/** A model to run on ONNX Runtime's WebGPU provider, and what it is compared with on the CPU. */
export interface Pair {
  readonly label: string;
  readonly model: string;
  readonly expected: string;
  readonly feeds: readonly Feed[];
}

/**
 * Runs pairs of models, whose files lie in `folder`, on the provider and SwiftShader. Gives for each
 * pair the largest difference in units of the largest output, and the operators that ran elsewhere.
 */
export async function compareOnProvider(
  folder: string,
  pairs: readonly Pair[],
): Promise<
  { readonly label: string; readonly difference: number; readonly misplaced: string[] }[]
> {
  const { found } = await drivers();
  const driver = found.find(({ name }) => name === "swiftshader");
  assert.ok(driver !== undefined, "SwiftShader is needed");
  await Deno.writeTextFile(`${folder}/pairs.json`, JSON.stringify(pairs));
  const { stdout, stderr } = await new Deno.Command("deno", {
    args: [
      ...["run", "--no-prompt", "--config", `${ROOT}/deno.json`],
      ...[`--allow-read=${ROOT},${folder}`, `--allow-write=${folder}`],
      ...[`--allow-ffi=${ROOT}/node_modules`, "--allow-env=ORT_DISABLE_TELEMETRY"],
      ...[`${ROOT}/tests/gpu/encodings_child.ts`, `${folder}/pairs.json`, folder],
    ],
    env: { ...driverEnvironment(driver), TMPDIR: folder },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.notEqual(text, "", new TextDecoder().decode(stderr));
  const answers: { difference: number; misplaced: string[]; error: string | null }[] = JSON.parse(
    text,
  );
  assert.equal(answers.length, pairs.length);
  return answers.map(({ difference, misplaced, error }, i) => {
    const { label } = pairs[i]!;
    assert.equal(error, null, `${label}: ${error}`);
    return { label, difference, misplaced };
  });
}
