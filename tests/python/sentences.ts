/** Vectors of the pairs' sentences by all-MiniLM-L6-v2. */
import assert from "node:assert/strict";
import { run } from "../../src/process.ts";
import { findInterpreter } from "../../src/python/environment.ts";
import { ALL_MINILM, ROOT } from "../install.ts";
import { SENTENCES } from "../sentence_pairs.ts";

/** The vectors by PyTorch, or by the OpenVINO IR at `ir`. */
export async function embedSentences(ir: string | null): Promise<number[][]> {
  const { signal } = new AbortController();
  const { command } = await findInterpreter({ python: null, note: () => {}, signal });
  const [program = "uv", ...before] = command;
  const { code, stdout, stderr } = await run({
    program,
    args: [...before, `${ROOT}/tests/python/embed_sentences.py`],
    cwd: ROOT,
    inheritEnv: ["HOME", "PATH", "LANG", "TMPDIR"],
    env: { HF_HUB_OFFLINE: "1" },
    stdin: `${JSON.stringify({ folder: ALL_MINILM, sentences: SENTENCES, ir })}\n`,
    install: "Run the tests with: deno task test",
  });
  assert.equal(code, 0, stderr);
  return JSON.parse(new TextDecoder().decode(stdout)) as number[][];
}
