/**
 * Finds the process in which a command runs ONNX Runtime, on Linux: a program for `deno run -A`, since
 * tests may neither read /proc nor send signals.
 *
 *   args PID                      waits until the process PID has one, and prints its arguments
 *   kill PID SIGNAL FOLDER NAME   the same once NAME is written below FOLDER/*.partial; sends it SIGNAL
 *                                 when it has taken memory for a model
 *   alive PID                     prints whether there is a process PID
 *
 * The first two print `{ pid, args }` as JSON.
 */
import { basename } from "node:path";

/** Content of a file of /proc, or "" where its process has ended. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

/** The process that `parent` started and that runs ONNX Runtime. */
function childOf(parent: string): { pid: number; args: string[] } | null {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    if (/^PPid:\s*(\d+)$/m.exec(read(`/proc/${name}/status`))?.[1] !== parent) continue;
    const args = read(`/proc/${name}/cmdline`).split("\0");
    if (args.some((arg) => basename(arg) === "runtime_child.ts")) {
      return { pid: Number(name), args };
    }
  }
  return null;
}

/** Kilobytes of memory that a process has only with a model: ONNX Runtime and Deno take 55,000. */
const LOADED = 80_000;

/** Kilobytes of memory that a process has; endless for one that has ended. */
function memoryOf(pid: number): number {
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? Infinity);
}

/** Whether there is a file `name` below `folder`, in an unfinished folder. */
function holds(folder: string, name: string, unfinished = false): boolean {
  try {
    return [...Deno.readDirSync(folder)].some((entry) =>
      (unfinished && entry.name === name) ||
      (entry.isDirectory &&
        holds(`${folder}/${entry.name}`, name, unfinished || entry.name.endsWith(".partial")))
    );
  } catch {
    return false;
  }
}

const [action, pid, signal, folder, name] = Deno.args as [
  string,
  string,
  ...(string | undefined)[],
];
if (action === "alive") console.log(read(`/proc/${pid}/status`) !== "");
else {
  let child = null;
  while (child === null) {
    if (read(`/proc/${pid}/status`) === "") throw new Error("the command has ended");
    if (folder === undefined || holds(folder, name!)) child = childOf(pid);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  if (action === "kill") {
    while (memoryOf(child.pid) < LOADED) await new Promise((resolve) => setTimeout(resolve, 2));
    Deno.kill(child.pid, signal as Deno.Signal);
  }
  console.log(JSON.stringify(child));
}
