/**
 * The float conversion on the models of ONNX's own operator tests, some nine hundred that take
 * float32: onnx's checker accepts the types of every result, and ONNX Runtime runs it.
 */
import assert from "node:assert/strict";
import { run } from "../../src/process.ts";
import { convertFile } from "../float_models.ts";
import { pythonPath, ROOT } from "../install.ts";

async function python(command: string, folder: string): Promise<string> {
  const { success, stdout, stderr } = await run({
    program: pythonPath(),
    args: [`${ROOT}/tests/python/float16_operators.py`, command, folder],
    install: "Run the tests with: deno task test",
  });
  if (!success) throw new Error(stderr);
  return new TextDecoder().decode(stdout);
}

Deno.test("every operator's test model converts to float16, is well typed and runs", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await python("write", folder);
    await Deno.mkdir(`${folder}/half`);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
    for (const name of names.filter((one) => one.endsWith(".onnx"))) {
      const options = { to: "float16", form: "compute" } as const;
      await convertFile(`${folder}/${name}`, `${folder}/half/${name}`, options);
    }
    const lines = (await python("check", folder)).trim().split("\n");
    const results = lines.map((line): { name: string; problem: string | null } => JSON.parse(line));
    assert.ok(results.length > 900, `${results.length} models`);
    assert.deepEqual(results.filter(({ problem }) => problem !== null), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
