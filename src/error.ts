/**
 * The errors that modelcast raises on purpose. Each knows the exit code of the command line, so
 * that `main.ts` needs no table: 2 bad input or usage, 3 verification failed, 4 a missing tool,
 * 130 interrupted. Anything else that reaches `main.ts` is a bug and exits with 1.
 *
 * A message reads "Cannot <act> <the quoted thing>: <state>", names the file, the node and the op
 * where there is one, and ends with what to do.
 */

/** Base of every deliberate error. */
export abstract class ModelcastError extends Error {
  /** Exit code of the process when this error ends a command. */
  abstract readonly exitCode: 2 | 3 | 4 | 130;
}

/** Bad input or bad usage: a hostile or broken file, an option that can't be served. */
export class InputError extends ModelcastError {
  override readonly name: string = "InputError";
  readonly exitCode = 2;
}

/** A result was compared with its original and lies outside the stated tolerance. */
export class VerificationError extends ModelcastError {
  override readonly name: string = "VerificationError";
  readonly exitCode = 3;
}

/** A program or library that the command needs is not installed or not permitted. */
export class MissingToolError extends ModelcastError {
  override readonly name: string = "MissingToolError";
  readonly exitCode = 4;
}

/** The person interrupted the command. */
export class InterruptedError extends ModelcastError {
  override readonly name: string = "InterruptedError";
  readonly exitCode = 130;
}

/** What is wrong with a value that a program gave; of a choice of kinds, with each of them. */
export interface OptionIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly errors?: readonly (readonly OptionIssue[])[];
}

/** The error that what a program gave in order to `act` can't be used: it names the option. */
export function optionError(act: string, issue: OptionIssue): InputError {
  const option = issue.path.length === 0 ? "the options" : `"${issue.path.map(String).join(".")}"`;
  return new InputError(`Cannot ${act}: ${option} can't be used: ${stateOf(issue)}.`);
}

function stateOf({ message, errors = [] }: OptionIssue): string {
  const kinds = errors.flatMap(([first]) => first === undefined ? [] : [first]);
  // A kind that fits as such, and fails further inside, is the one that is meant.
  const inner = kinds.find(({ path }) => path.length > 0);
  if (inner !== undefined) return `${inner.path.map(String).join(".")}: ${stateOf(inner)}`;
  if (kinds.length > 0) return [...new Set(kinds.map(stateOf))].join(", or ");
  return message.replace(/^Invalid (input|option): /, "");
}

/** Characters of a name that are compared: names come from models, and may be of any length. */
const COMPARED = 128;

/** The names of `candidates` nearest to `name` by edit distance, best first, for "did you mean". */
export function nearestNames(name: string, candidates: Iterable<string>, most = 3): string[] {
  return [...candidates]
    .map((candidate) => ({
      candidate,
      distance: editDistance(name.slice(0, COMPARED), candidate.slice(0, COMPARED)),
    }))
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, most)
    .map((entry) => entry.candidate);
}

/** Levenshtein distance over UTF-16 units. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}
