/**
 * Whether the engines give the same bytes: random matrices of all formats, methods and shapes, on
 * every software adapter, each in a process of its own, against the reference engine.
 */
import { run } from "../../src/process.ts";
import { driverEnvironment, drivers } from "../../tests/gpu/adapters.ts";
import { ensureVulkan, ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";

const COUNT = 10_000;

/** What tests/gpu/identical.ts prints at its end. */
interface Answer {
  readonly adapter: string;
  readonly count: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** WebGPU and wasm against reference. */
export const identical: Part = {
  name: "identical",
  async run(): Promise<Row[]> {
    await ensureVulkan();
    const { found, missing } = await drivers();
    const rows: Row[] = [];
    for (const driver of found) {
      const { stdout, stderr } = await run({
        program: "deno",
        args: [
          ...["run", "-q", "--no-prompt", `--allow-read=${ROOT}`, "--allow-env"],
          ...["tests/gpu/identical.ts", `--count=${COUNT}`, "--engines=webgpu,wasm"],
        ],
        cwd: ROOT,
        inheritEnv: ["HOME", "PATH", "DENO_DIR"],
        env: driverEnvironment(driver),
        install: "See https://deno.com",
      });
      const last = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
      if (!last.startsWith("{")) throw new Error(`Cannot compare on ${driver.name}:\n${stderr}`);
      const answer = JSON.parse(last) as Answer;
      const different = Object.values(answer.counts).reduce((sum, count) => sum + count, 0);
      rows.push({
        ...notMeasured(
          `WebGPU on ${driver.name}, wasm and reference: results that differ`,
          `none of ${COUNT} random tensors`,
          `${answer.adapter}; all formats and methods; ` +
            Object.entries(answer.counts).map((entry) => entry.join(" ")).join(", "),
        ),
        ours: different,
        unit: `of ${answer.count}`,
        ratio: different,
        pass: different === 0 && answer.count === COUNT,
      });
    }
    for (const reason of missing) {
      rows.push(notMeasured("WebGPU, wasm and reference: results that differ", "none", reason));
    }
    return rows;
  },
};
