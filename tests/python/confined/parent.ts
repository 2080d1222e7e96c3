/**
 * A parent that is killed while its Python runs: `parent.ts SANDBOX PROGRAM WRITABLE LOCK`. Says
 * "held" when the Python holds the file LOCK, and kills itself when it reads a line.
 */
import { runConfined, SANDBOXES } from "../../../src/python/confined.ts";
import { findInterpreter } from "../../../src/python/environment.ts";
import { run } from "../../../src/process.ts";

const [name, program = "", writable = "", path = ""] = Deno.args;
const { signal } = new AbortController();
const interpreter = await findInterpreter({ python: null, note: console.error, signal });
const work = runConfined(
  {
    program,
    request: { action: "hold", argument: path },
    readable: [],
    writable,
    allowHub: false,
    timeoutSeconds: 60,
    maxMemoryBytes: null,
    interpreter,
    sandboxes: SANDBOXES.filter((sandbox) => sandbox === name),
  },
  { progress: () => console.log("held"), warn: console.error, note: console.error },
  signal,
);
work.catch((error) => console.error(error));
await Deno.stdin.read(new Uint8Array(64));
await run({ program: "sh", args: ["-c", "kill -9 $PPID"], install: "" });
