/** From opening a page to its first result, against onnxruntime-web: see `page_child.ts`. */
import { run } from "../../src/process.ts";
import { ROOT } from "../../tests/install.ts";
import { notMeasured, type Part, type Row } from "../harness.ts";

/** Time to the first result, in a process of its own: Playwright wants every permission. */
export const pageLoad: Part = {
  name: "page-load",
  async run(): Promise<Row[]> {
    const { code, stdout, stderr } = await run({
      program: "deno",
      args: ["run", "-q", "--no-prompt", "--allow-all", `${ROOT}/bench/webgpu/page_child.ts`],
      cwd: ROOT,
      inheritEnv: ["HOME", "PATH", "DENO_DIR", "TMPDIR"],
      install: "See https://deno.com",
      timeoutMs: 30 * 60_000,
    });
    const [line] = new TextDecoder().decode(stdout).trim().split("\n").slice(-1);
    if (code === 0 && line !== undefined) return JSON.parse(line) as Row[];
    const reason = stderr.trim().split("\n").at(-1) ?? "";
    return [{ ...notMeasured("from opening a page to its first result", "", reason), pass: false }];
  },
};
