/**
 * Speaks as a child of the conformance tests does, and misbehaves in the tests that are named after
 * it: "hang", "die", and "once", which dies the first time. The argument is a scratch folder, or
 * "absent" for a target that can't be had.
 */
import { basename } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";

const [scratch = ""] = Deno.args;

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

if (scratch === "absent") {
  console.log(JSON.stringify({ ready: false, reason: "there is no adapter" }));
} else {
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const name = basename(String(JSON.parse(line)));
    if (name === "hang") await new Promise((resolve) => setTimeout(resolve, 60_000));
    if (name === "die" || (name === "once" && !exists(`${scratch}/once`))) {
      if (name === "once") Deno.writeTextFileSync(`${scratch}/once`, "");
      console.error("these are my last words");
      Deno.exit(9);
    }
    console.log(JSON.stringify({
      name,
      operator: "Add",
      status: name === "bad" ? "failed" : "passed",
      reason: name === "bad" ? "it is wrong" : null,
      hostNodes: name === "better" ? ["Shape"] : [],
      relativeL2: null,
      seconds: 0,
      ...(name === "lost" ? { last: true } : {}),
    }));
    if (name === "lost") break;
  }
}
