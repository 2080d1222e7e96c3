/**
 * The folder that a layout is written to: it appears whole or not at all, and takes the place of an
 * older one only where nothing but a layout of modelcast's would be lost.
 */
import { dirname, join, relative, resolve, sep } from "node:path";
import { InputError, ModelcastError } from "../error.ts";
import { uncreatable } from "../onnx/files.ts";
import { DTYPE_NAMES, DTYPES } from "./dtypes.ts";
import { CARD_MARK } from "./model_card.ts";
import { ROLE_FILES } from "./roles.ts";
import { isCompanion } from "./source_folder.ts";

/** Names that are looked at before a folder counts as someone else's. */
const MOST_NAMES = 1000;
/** Bytes of the old card in which its mark is looked for. */
const CARD_BYTES = 256 * 1024;

/**
 * Checks that the folder `output` can be written: it is absent, empty, or an older layout, in a folder
 * that exists, and holds none of `sources`.
 *
 * @throws InputError where it can't; nothing is changed then or otherwise.
 */
export function checkOutput(output: string, sources: readonly string[]): void {
  const parent = dirname(resolve(output));
  if (!stat(parent)?.isDirectory) {
    throw new InputError(
      `Cannot write "${output}": there is no folder "${parent}". Create it first.`,
    );
  }
  const info = stat(output);
  if (info === null) return;
  if (info.isSymlink || !info.isDirectory) {
    throw new InputError(
      `Cannot write "${output}": it is ${info.isSymlink ? "a link" : "a file"}, and a folder is ` +
        "written. Name another output.",
    );
  }
  const root = Deno.realPathSync(output);
  for (const source of sources) {
    const real = Deno.realPathSync(source);
    if (real !== root && !real.startsWith(root + sep)) continue;
    throw new InputError(
      `Cannot write "${output}": "${source}", which is read, lies in it. Name another output.`,
    );
  }
  const names = namesIn(output);
  if (names.length === 0) return;
  const stranger = names.find((name) => !isOfLayout(name));
  if (stranger === undefined && hasMark(join(output, "README.md"))) return;
  const reason = stranger === undefined
    ? "its README.md is not modelcast's"
    : `it holds "${relative(".", join(output, stranger))}"`;
  throw new InputError(
    `Cannot replace the folder "${output}": ${reason}, so it may be someone else's work. Name ` +
      "another output, or remove the folder.",
  );
}

/**
 * Gives the complete folder `made` the name `output`, in the place of what {@link checkOutput} let
 * pass. When it throws, what was there is there again.
 */
export function publishFolder(made: string, output: string): void {
  const old = `${made}.old`;
  const had = stat(output) !== null;
  try {
    if (had) Deno.renameSync(output, old);
    try {
      Deno.renameSync(made, output);
    } catch (error) {
      if (had) Deno.renameSync(old, output);
      throw error;
    }
  } catch (cause) {
    throw unwritable(output, cause);
  }
}

/**
 * Takes away the layout that lies in the folder `aside`, to a place beside `made` that goes with it, and
 * tells whether there was one that may go: nothing else that {@link checkOutput} lets pass.
 */
export function dropAside(aside: string, made: string, sources: readonly string[]): boolean {
  try {
    checkOutput(aside, sources);
    if (stat(join(aside, "README.md")) === null) return false;
    Deno.renameSync(aside, `${made}.aside`);
    return true;
  } catch {
    // It may be someone else's, or someone holds it: nothing depends on its absence.
    return false;
  }
}

/** `cause` as an error of the output, where it is the system's: a full disk, a missing right. */
export function unwritable(output: string, cause: unknown): unknown {
  if (!(cause instanceof Error) || cause instanceof ModelcastError) return cause;
  if (cause instanceof Deno.errors.NotCapable) return uncreatable(output, cause);
  if (!/\(os error \d+\)/.test(cause.message)) return cause;
  return new InputError(
    `Cannot write "${output}": ${cause.message}. Check the folder and the space on its disk.`,
    { cause },
  );
}

/** Names of all files below `folder`, with `/`, as far as they are looked at. */
function namesIn(folder: string): string[] {
  const names: string[] = [];
  const visit = (prefix: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(join(folder, ...prefix.split("/")))) {
      if (names.length > MOST_NAMES) return;
      const path = prefix === "" ? name : `${prefix}/${name}`;
      if (isDirectory) visit(path);
      else names.push(path);
    }
  };
  visit("");
  return names;
}

const PARTS = Object.values(ROLE_FILES).join("|");
const SUFFIXES = DTYPE_NAMES.map((name) => DTYPES[name].suffix).join("|");
const MODEL_FILE = new RegExp(`^onnx/(${PARTS})(${SUFFIXES})\\.onnx(_data(_\\d+)?)?$`);

/** Whether a layout may have written a file of this name. */
function isOfLayout(name: string): boolean {
  return name === "README.md" || name === "config.json" || isCompanion(name) ||
    MODEL_FILE.test(name);
}

function hasMark(path: string): boolean {
  const info = stat(path);
  if (info === null || !info.isFile || info.size > CARD_BYTES) return false;
  return Deno.readTextFileSync(path).includes(CARD_MARK);
}

function stat(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    throw uncreatable(path, cause);
  }
}
