/**
 * A parent for `process_test.ts`: starts a child that would never end and rewrites a file every few
 * milliseconds; once a line comes in, ends by Deno.exit (`exit`) or by a signal (`signal`).
 */
import { InterruptedError } from "../../src/error.ts";
import { run } from "../../src/process.ts";

const [program, ending, heartbeat] = Deno.args;
if (program === undefined || heartbeat === undefined) {
  throw new Error("Usage: process_parent.ts PROGRAM exit|signal FILE");
}
const command = {
  program,
  args: [
    "eval",
    "--no-lock",
    "--no-config",
    `let count = 0;
    const beat = () => Deno.writeTextFileSync(Deno.args[0], String(count++));
    beat();
    setInterval(beat, 5);
    console.log("the child is up");`,
    heartbeat,
  ],
  install: "",
};
const ended = run({ ...command, stdout: "inherit" });
Deno.stdin.read(new Uint8Array(1)).then(() => {
  if (ending === "exit") Deno.exit(5);
  Deno.kill(Deno.pid, "SIGTERM");
});
try {
  await ended;
} catch (error) {
  if (error instanceof InterruptedError) Deno.exit(error.exitCode);
  throw error;
}
