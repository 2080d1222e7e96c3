/** What the child process measures, and how it is started. */
import { run } from "../../src/process.ts";
import { driverEnvironment, drivers } from "../../tests/gpu/adapters.ts";
import { ROOT } from "../../tests/install.ts";
import type { RealModel } from "../../tests/real_models.ts";

/** The answers of `child.ts`, by what is asked. */
export interface Answers {
  /** Milliseconds a run, the median of ours / rival, and relative L2 errors to the CPU provider. */
  readonly latency: {
    readonly ours: number;
    readonly rival: number;
    readonly ratio: number;
    readonly errors: { readonly ours: number; readonly rival: number };
  };
  readonly arena: { readonly arenaBytes: number; readonly liveBytes: number };
  readonly memory: {
    /** Bytes after 100 and after 1,000 runs: of the process, and of GPU buffers. */
    readonly settled: { readonly resident: number; readonly gpu: number };
    readonly last: { readonly resident: number; readonly gpu: number };
    /** GPU buffers that exist after the model, and all that were loaded after it, are gone. */
    readonly live: number;
    readonly complaints: readonly string[];
  };
}

export type Measure = keyof Answers;

/** The environment in which a process sees SwiftShader alone; null where it can't be had. */
export async function swiftShader(): Promise<Record<string, string> | null> {
  const driver = (await drivers()).found.find(({ name }) => name === "swiftshader");
  return driver === undefined ? null : driverEnvironment(driver);
}

/** What a measure of a model gave, or why it gave nothing. */
export type Answered<M extends Measure> =
  | { readonly answer: Answers[M] }
  | { readonly failure: string };

/** Measures a model in a process of its own, with `environment` in its environment. */
export async function measureModel<M extends Measure>(
  measure: M,
  label: RealModel["label"],
  environment: Readonly<Record<string, string>>,
): Promise<Answered<M>> {
  const folder = `${ROOT}/.cache/bench/webgpu-${measure}-${label}`;
  await Deno.mkdir(folder, { recursive: true });
  try {
    const { code, stdout, stderr } = await run({
      program: "deno",
      args: [
        ...["run", "-q", "--no-prompt", "--v8-flags=--expose-gc", "-P=bench"],
        ...[`${ROOT}/bench/webgpu/child.ts`, measure, label, folder],
      ],
      cwd: ROOT,
      env: environment,
      inheritEnv: ["HOME", "PATH", "DENO_DIR"],
      install: "See https://deno.com",
      timeoutMs: 30 * 60_000,
    });
    if (code !== 0) {
      // deno-lint-ignore no-control-regex
      const text = stderr.replace(/\u001b\[[0-9;]*m/g, "");
      return { failure: /^error: .*$/m.exec(text)?.[0] ?? text.trim().split("\n").at(-1) ?? "" };
    }
    const [line] = new TextDecoder().decode(stdout).trim().split("\n").slice(-1);
    return { answer: JSON.parse(line!) as Answers[M] };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
