/** The lines of JSON that a Python program of the tests prints, as they come. */
import { start } from "../../src/process.ts";
import { pythonPath, ROOT } from "../install.ts";

/**
 * Runs `script`, a path in the repository, in the program's own Python environment. Throws what it
 * printed where it ends with another exit code than 0 or 1.
 */
export async function* pythonLines(
  script: string,
  args: readonly string[],
): AsyncGenerator<Record<string, unknown>> {
  await using child = start({
    program: pythonPath("pytorch"),
    args: [`${ROOT}/${script}`, ...args],
    inheritEnv: ["HOME", "PATH", "TMPDIR"],
    install: "Run the tests with: deno task test",
  });
  for (let line = await child.receive(); line !== null; line = await child.receive()) {
    yield JSON.parse(line);
  }
  const { code, stderr } = await child.finish();
  if (code > 1) throw new Error(stderr);
}
