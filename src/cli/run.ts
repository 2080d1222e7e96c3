/**
 * Runs one command line from arguments to exit code. Commands are loaded when they are needed, so
 * that `--help` costs no more than the argument parser.
 */
import { ModelcastError } from "../error.ts";
import { parseArguments } from "./arguments.ts";
import { printAside, printResult } from "./streams.ts";

/**
 * Runs the command that `args` name and returns the exit code: 0 success, 1 a bug, 2 bad input or
 * usage, 3 verification failed, 4 a missing tool, 130 interrupted. Prints errors to stderr.
 */
export async function run(args: readonly string[]): Promise<number> {
  try {
    const command = await parseArguments(args);
    switch (command.kind) {
      case "print":
        (command.exitCode === 0 ? printResult : printAside)(command.text.trimEnd());
        return command.exitCode;
      case "convert":
        return await (await import("./convert" + ".ts") as typeof import("./convert.ts"))
          .convertCommand(command);
      case "layout":
        return await (await import("./layout" + ".ts") as typeof import("./layout.ts"))
          .layoutCommand(command);
      case "serve":
        return await (await import("./serve" + ".ts") as typeof import("./serve.ts"))
          .serveCommand(command);
      default:
        return command satisfies never;
    }
  } catch (error) {
    return await printError(error);
  }
}

/** Prints `error` for a person and returns its exit code. */
async function printError(error: unknown): Promise<number> {
  if (error instanceof ModelcastError) {
    await say(`error: ${error.message}`);
    return error.exitCode;
  }
  if (isRefusal(error)) {
    await say(
      `error: ${error.message}\n` +
        "Deno refused the permission. Run modelcast with the flags that the README lists for this " +
        "command, or add the flag named above for this path.",
    );
    return 2;
  }
  await say("error: this is a bug in modelcast; please report it with the lines below");
  await say(Deno.inspect(error));
  return 1;
}

/** Whether Deno refused a permission; of one to read modelcast's own files imports tell by a TypeError. */
function isRefusal(error: unknown): error is Error {
  return error instanceof Deno.errors.NotCapable ||
    error instanceof TypeError && error.message.startsWith("Requires read access to ");
}

/** Prints lines to stderr. Only the first begins at the margin, so that no name can forge one. */
async function say(text: string): Promise<void> {
  let printable = (line: string) => line.replace(/\p{C}/gu, "\ufffd");
  try {
    ({ printable } = await import("../report" + ".ts") as typeof import("../report.ts"));
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  printAside(text.split("\n").map((line) => printable(withoutLength(line))).join("\n  "));
}

/** Characters of a word, and of a line: a path is shorter, and a name in a model may have any number. */
const LONGEST = { word: 1000, line: 10_000 };

/** `line` without the middle of what would fill the screen with one name. */
function withoutLength(line: string): string {
  const shortened = (text: string, most: number) =>
    text.length <= most ? text : `${text.slice(0, most / 2)}...${text.slice(-most / 2)}`;
  return shortened(line.replace(/\S+/g, (word) => shortened(word, LONGEST.word)), LONGEST.line);
}
