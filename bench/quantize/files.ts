/**
 * From file to file: the whole command, its start included, against `cp` of the same files. Both
 * read from the page cache; `cp` writes every byte anew, the command an eighth of them.
 */
import assert from "node:assert/strict";
import { DENO_VARIABLES } from "../../scripts/build.ts";
import { run } from "../../src/process.ts";
import { ROOT } from "../../tests/install.ts";
import { inTurns, type Part, type Row, speedRow, timed } from "../harness.ts";
import { writeLargeModel } from "../large_model.ts";

const GIBIBYTES = 2;
const TURNS = 7;

/** What is run, from the root of the repository. */
const PROGRAMS = [
  ["dist/modelcast.js", "as it is built"],
  ["main.ts", "from its sources"],
] as const;

/** Conversion of a large model by the command line. */
export const files: Part = {
  name: "files",
  async run(): Promise<Row[]> {
    const folder = `${ROOT}/.cache/bench/large-${GIBIBYTES}`;
    const command = async (program: string, args: readonly string[]): Promise<number> => {
      const seconds = await timed(async () => {
        const { code, stderr } = await run({
          program,
          args,
          cwd: ROOT,
          inheritEnv: ["HOME", "PATH", "DENO_DIR"],
          install: "",
        });
        assert.equal(code, 0, stderr);
      });
      // Neither pays for the other's dirty pages, nor for replacing a file of an earlier turn.
      await Deno.remove(`${folder}/out`, { recursive: true });
      await Deno.mkdir(`${folder}/out`);
      await run({ program: "sync", args: [], install: "" });
      return seconds;
    };
    try {
      const { code, stderr } = await run({
        program: "deno",
        args: ["task", "--quiet", "build"],
        cwd: ROOT,
        inheritEnv: DENO_VARIABLES,
        install: "",
      });
      assert.equal(code, 0, stderr);
      const large = await writeLargeModel(GIBIBYTES, folder);
      await Deno.mkdir(`${folder}/out`);
      const rows: Row[] = [];
      for (const [script, what] of PROGRAMS) {
        const pair = await inTurns(
          TURNS,
          () =>
            command("deno", [
              ...[
                "run",
                "-q",
                "--no-prompt",
                "--allow-read=.",
                "--allow-write=.",
                script,
                "convert",
              ],
              ...["--source", large.model, "--output", `${folder}/out/model.onnx`, "--quiet"],
              ...["--precision", "4bit", "--method", "rtn", "--engine", "wasm"],
            ]),
          () => command("cp", ["--reflink=never", large.model, large.data, `${folder}/out/`]),
        );
        rows.push(speedRow(
          `file to file, ${GIBIBYTES} GiB model, 4-bit rtn, ${what}, against cp --reflink=never`,
          pair,
          large.bytes,
          1,
          `whole processes, warm page cache; neither waits for the disk; ${TURNS} turns`,
        ));
      }
      return rows;
    } finally {
      await Deno.remove(folder, { recursive: true }).catch(() => undefined);
    }
  },
};
