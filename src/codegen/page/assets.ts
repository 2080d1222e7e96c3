/**
 * Files beside a model that say what its inputs and outputs mean to people: a tokenizer, how pictures
 * or sound are prepared, labels. They are found by fixed names, and none of them is believed: one that
 * can't be read or is not what its name says is left out with a warning.
 */
import { basename, dirname, join } from "node:path";

/** What lies beside a model. */
export interface PageAssets {
  /** Parsed JSON files by name, such as "tokenizer.json" and "1_Pooling/config.json". */
  readonly json: ReadonlyMap<string, unknown>;
  /** Lines of the file that names the classes of a text recognizer; null where there is none. */
  readonly keys: readonly string[] | null;
}

/** A model without anything beside it. */
export const NO_ASSETS: PageAssets = { json: new Map(), keys: null };

const JSON_FILES = [
  "config.json",
  "preprocessor_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "vocab.json",
  "1_Pooling/config.json",
] as const;
/** Label files of text recognizers: ppocr_keys_v1.txt, en_dict.txt, labels.txt. */
const KEY_FILE = /^(.*(keys|dict).*|labels)\.txt$/i;
/** The largest tokenizers of published models have 35 MB. */
const MOST_BYTES = 64 * 2 ** 20;

/**
 * Reads what lies beside the model at `path`: in its folder, or the one above where it lies in a folder
 * named "onnx", as in repositories for transformers.js; in `path` itself where that is a folder.
 */
export async function readAssets(
  path: string,
  warn: (text: string) => void,
): Promise<PageAssets> {
  const own = isFolder(path) ? path : dirname(path);
  const folders = basename(own) === "onnx" ? [own, dirname(own)] : [own];
  const json = new Map<string, unknown>();
  let keys: string[] | null = null;
  for (const folder of folders) {
    if (!mayRead(folder)) {
      warn(
        `"${folder}" may not be read; a tokenizer and the like in it are not for the page. Add ` +
          "the folder to --allow-read.",
      );
      continue;
    }
    for (const name of JSON_FILES) {
      if (json.has(name)) continue;
      const text = await readSmall(join(folder, name), warn);
      if (text === null) continue;
      try {
        json.set(name, JSON.parse(text));
      } catch {
        warn(`"${join(folder, name)}" is not JSON; the page does without it`);
      }
    }
    const found: string[] = keys === null ? keyFiles(folder) : [];
    if (found.length > 1) {
      warn(`"${folder}" has several label files, ${found.join(", ")}; the page does without them`);
    } else if (found[0] !== undefined) {
      const lines: string[] | null =
        (await readSmall(join(folder, found[0]), warn))?.split(/\r?\n/) ?? null;
      if (lines?.at(-1) === "") lines.pop();
      keys = lines;
    }
  }
  return { json, keys };
}

/** Whether Deno lets `folder` be read, or any of the files that would be looked for in it. */
function mayRead(folder: string): boolean {
  return ["", ...JSON_FILES].some((name) =>
    Deno.permissions.querySync({ name: "read", path: join(folder, name) }).state === "granted"
  );
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

function keyFiles(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name)
      .filter((name) => KEY_FILE.test(name)).sort();
  } catch {
    return [];
  }
}

/** The text of a regular file; null where there is none to read. */
async function readSmall(path: string, warn: (text: string) => void): Promise<string | null> {
  try {
    const info = await Deno.stat(path);
    if (!info.isFile) return null;
    if (info.size <= MOST_BYTES) return await Deno.readTextFile(path);
    warn(`"${path}" has more than ${MOST_BYTES} bytes; the page does without it`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable)) {
      const reason = error instanceof Error ? error.message : String(error);
      warn(`"${path}" can't be read (${reason}); the page does without it`);
    }
  }
  return null;
}
