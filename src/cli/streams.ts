/**
 * The standard streams, which may lead to a full disk. What can't be said on stderr is left unsaid: it
 * is no reason to give up the work.
 */
import { InputError } from "../error.ts";

/** Prints a result on stdout. Throws an `InputError` where it can't be written. */
export function printResult(text: string): void {
  try {
    console.log(text);
  } catch (cause) {
    if (!(cause instanceof Error) || !/\(os error \d+\)/.test(cause.message)) throw cause;
    throw new InputError(
      `Cannot print the result: ${cause.message}. Check where stdout goes; what was written stays.`,
      { cause },
    );
  }
}

/** Prints what goes beside the result on stderr, if that can be written. */
export function printAside(text: string): void {
  try {
    console.error(text);
  } catch {
    // There is no third stream.
  }
}
