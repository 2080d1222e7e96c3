/**
 * A child process that runs tests on one target: a line of JSON says which folder, a line of JSON
 * answers. It says `{"ready": true}` first, or why it can't run anything, and ends once its input
 * does, or once its target is lost, which the last answer's `last` says.
 *
 *   child.ts TARGET SCRATCH_FOLDER
 */
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { runCase } from "./run_case.ts";
import { type Target, type TargetName, TARGETS } from "./target.ts";

function say(answer: unknown): void {
  const bytes = new TextEncoder().encode(JSON.stringify(answer) + "\n");
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Makes the target `name` ready; `scratch` is a folder for what it writes, which may not exist. */
async function openTarget(name: TargetName, scratch: string): Promise<Target> {
  switch (name) {
    case "onnx":
      return await (await import("./onnx.ts")).openOnnx();
    case "webgpu": {
      const { compileInto } = await import("./compile.ts");
      return await (await import("./webgpu.ts")).openWebGpu(compileInto(scratch));
    }
    default:
      return name satisfies never;
  }
}

/** The target that the arguments name; null, and the reason said, where it can't be had. */
async function target([name, scratch]: readonly string[]): Promise<Target | null> {
  try {
    const known = TARGETS.find((entry): entry is TargetName => entry === name);
    if (known === undefined || scratch === undefined) {
      throw new Error(`there is no target "${name}"`);
    }
    return await openTarget(known, join(scratch, String(Deno.pid)));
  } catch (error) {
    say({ ready: false, reason: error instanceof Error ? error.message : String(error) });
    return null;
  }
}

// Standard output is for answers: what runs in the tests may not write there.
console.log = console.info = console.debug = console.error;
const opened = await target(Deno.args);
if (opened !== null) {
  let lost: string | null = null;
  opened.lost.then((reason) => lost = reason);
  say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    const result = await runCase(opened, String(JSON.parse(line)));
    // What was lost in the middle of a test may be heard of a moment later.
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (lost === null) say(result);
    else {
      say({ ...result, status: "failed", reason: `the target was lost: ${lost}`, last: true });
      break;
    }
  }
}
