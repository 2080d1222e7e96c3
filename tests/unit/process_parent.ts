/**
 * A parent for `process_test.ts`: starts a child that would never end, prints its process number,
 * and ends by Deno.exit (`exit`) or waits for a signal (`signal`).
 */
import { InterruptedError } from "../../src/error.ts";
import { run, start } from "../../src/process.ts";

const [program, ending] = Deno.args;
if (program === undefined) throw new Error("Usage: process_parent.ts PROGRAM exit|signal");
const command = {
  program,
  args: ["eval", "--no-lock", "--no-config", "console.log(Deno.pid); setInterval(() => 0, 1000)"],
  install: "",
};
if (ending === "exit") {
  console.log(await start(command).receive());
  Deno.exit(5);
}
try {
  await run({ ...command, stdout: "inherit" });
} catch (error) {
  if (error instanceof InterruptedError) Deno.exit(error.exitCode);
  throw error;
}
