/**
 * Runs one command line from arguments to exit code. Commands are loaded when they are needed, so
 * that `--help` costs no more than the argument parser.
 */
import { ModelcastError } from "../error.ts";
import { parseArguments } from "./arguments.ts";

/**
 * Runs the command that `args` name and returns the exit code: 0 success, 1 a bug, 2 bad input or
 * usage, 3 verification failed, 4 a missing tool, 130 interrupted. Prints errors to stderr.
 */
export async function run(args: readonly string[]): Promise<number> {
  try {
    const command = parseArguments(args);
    switch (command.kind) {
      case "print":
        (command.exitCode === 0 ? console.log : console.error)(command.text.trimEnd());
        return command.exitCode;
      case "convert":
        return await (await import("./convert.ts")).convertCommand(command);
      default:
        return command satisfies never;
    }
  } catch (error) {
    return printError(error);
  }
}

/** Prints `error` for a person and returns its exit code. */
function printError(error: unknown): number {
  if (error instanceof ModelcastError) {
    console.error(`error: ${error.message}`);
    return error.exitCode;
  }
  if (error instanceof Deno.errors.NotCapable) {
    console.error(`error: ${error.message}`);
    console.error(
      "Deno refused the permission. Run modelcast with the flags that the README lists for this " +
        "command, or add the flag named above for this path.",
    );
    return 2;
  }
  console.error("error: this is a bug in modelcast; please report it with the lines below");
  console.error(error);
  return 1;
}
