/**
 * The folder that a model comes from, in the layout of Hugging Face: what is read and copied out of
 * it. A folder is untrusted: only files with known names are taken, only regular ones, and only those
 * that lie in the folder itself. A link may lead into the `blobs` of the Hugging Face cache that the
 * folder is a snapshot of, and nowhere else.
 */
import { basename, dirname, join, sep } from "node:path";
import { InputError } from "../error.ts";
import { folderFlag } from "../onnx/identify.ts";

/** Bytes of a file that is copied, at most; the largest tokenizers have some 40 MB. */
const COPIED_BYTES = 256 * 1024 * 1024;
/** Bytes of a licence, and licences, at most. */
const LICENCE_BYTES = 1024 * 1024;
const MOST_LICENCES = 32;
/** Bytes of a file that is read as text, at most. */
const TEXT_BYTES = 16 * 1024 * 1024;
/** Names of a folder that are looked at, at most. */
const MOST_NAMES = 10_000;
const PIECE = 1024 * 1024;

/** Files that go with a model, by the names that transformers and its relatives give them. */
const COMPANIONS: readonly string[] = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "vocab.txt",
  "merges.txt",
  "normalizer.json",
  "spiece.model",
  "tokenizer.model",
  "sentencepiece.bpe.model",
  "source.spm",
  "target.spm",
  "preprocessor_config.json",
  "processor_config.json",
  "video_preprocessor_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "modules.json",
  "config_sentence_transformers.json",
  "sentence_bert_config.json",
  "1_Pooling/config.json",
];

/** Names of licences and notices. */
const LICENCE =
  /^(LICEN[CS]E|COPYING|NOTICE|USE_POLICY)([-_.][A-Z0-9][A-Z0-9._-]{0,39})?(\.(txt|md|rst))?$/i;

/** A file of the folder that may be read. */
export interface SourceFile {
  /** Name relative to the folder, with `/`. */
  readonly name: string;
  /** Where it really lies. */
  readonly path: string;
  readonly byteLength: number;
}

/** A folder in the layout of Hugging Face. */
export class SourceFolder {
  /** As it was named. */
  readonly path: string;
  readonly #root: string;
  /** The cache's folder of contents, where this one is a snapshot in a cache; else null. */
  readonly #blobs: string | null;

  /** @throws InputError where there is no such folder, or it may not be read. */
  constructor(path: string) {
    this.path = path;
    try {
      this.#root = Deno.realPathSync(path);
      if (!Deno.statSync(this.#root).isDirectory) {
        throw new InputError(
          `Cannot read "${path}": it is a file. Name the folder that holds config.json.`,
        );
      }
    } catch (cause) {
      throw unreadable(path, path, cause);
    }
    const snapshots = dirname(this.#root);
    this.#blobs = basename(snapshots) === "snapshots" ? join(dirname(snapshots), "blobs") : null;
  }

  /**
   * The repository on the Hugging Face Hub that the folder is a cached snapshot of, such as
   * "org/name"; null where it is none.
   */
  get repository(): string | null {
    if (this.#blobs === null) return null;
    const match = /^models--([\w.-]+?)--([\w.-]+)$/.exec(basename(dirname(this.#blobs)));
    return match === null ? null : `${match[1]}/${match[2]}`;
  }

  /** The folder's own name. */
  get name(): string {
    return basename(this.#root);
  }

  /** Where the folder really lies. */
  get realPath(): string {
    return this.#root;
  }

  /**
   * The file `name`; null where there is none.
   *
   * @throws InputError where it is no regular file, or a link to somewhere else.
   */
  find(name: string): SourceFile | null {
    const path = join(this.#root, ...name.split("/"));
    try {
      Deno.lstatSync(path);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) {
        return null;
      }
      throw unreadable(path, this.path, cause);
    }
    try {
      const real = Deno.realPathSync(path);
      const inside = real.startsWith(this.#root + sep) ||
        (this.#blobs !== null && dirname(real) === Deno.realPathSync(this.#blobs));
      if (!inside) {
        throw new InputError(
          `Cannot read "${path}": it is a link to a place outside of "${this.path}". Put the file ` +
            "itself there.",
        );
      }
      const info = Deno.statSync(real);
      if (!info.isFile) {
        throw new InputError(`Cannot read "${path}": it is not a regular file. Remove it.`);
      }
      return { name, path: real, byteLength: info.size };
    } catch (cause) {
      throw unreadable(path, this.path, cause);
    }
  }

  /** The text of the file `name`; null where there is none. Errors as with {@link find}. */
  readText(name: string): string | null {
    const file = this.find(name);
    if (file === null) return null;
    if (file.byteLength > TEXT_BYTES) {
      throw new InputError(
        `Cannot read "${file.path}": it has ${file.byteLength} bytes, and no ${name} needs more ` +
          `than ${TEXT_BYTES}. Check the file.`,
      );
    }
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(file.path));
    } catch (cause) {
      if (!(cause instanceof TypeError)) throw unreadable(file.path, this.path, cause);
      throw new InputError(`Cannot read "${file.path}": it is not UTF-8 text. Check the file.`, {
        cause,
      });
    }
  }

  /**
   * The object in the JSON file `name`; null where there is no such file. Errors as with
   * {@link find}, and an `InputError` for what is not a JSON object.
   */
  readJson(name: string): Readonly<Record<string, unknown>> | null {
    const text = this.readText(name);
    if (text === null) return null;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new InputError(
        `Cannot read "${join(this.path, name)}": it is not JSON (${reason.slice(0, 200)}). ` +
          "Check the file.",
        { cause },
      );
    }
    if (isRecord(value)) return value;
    throw new InputError(
      `Cannot read "${join(this.path, name)}": it does not hold a JSON object. Check the file.`,
    );
  }

  /** The files that go with the model, licences last; `config.json` is not among them. */
  companions(): SourceFile[] {
    const licences: string[] = [];
    let count = 0;
    try {
      for (const { name } of Deno.readDirSync(this.#root)) {
        if (LICENCE.test(name)) licences.push(name);
        if (++count === MOST_NAMES) break;
      }
    } catch (cause) {
      throw unreadable(this.#root, this.path, cause);
    }
    if (licences.length > MOST_LICENCES) {
      throw new InputError(
        `Cannot copy the licences of "${this.path}": there are ${licences.length} of them. Leave at ` +
          `most ${MOST_LICENCES} there.`,
      );
    }
    const files = [...COMPANIONS, ...licences.sort()]
      .map((name) => this.find(name)).filter((file) => file !== null);
    for (const { name, path, byteLength } of files) {
      const most = LICENCE.test(name) ? LICENCE_BYTES : COPIED_BYTES;
      if (byteLength <= most) continue;
      throw new InputError(
        `Cannot copy "${path}": it has ${byteLength} bytes, and no such file needs more than ` +
          `${most}. Check the file.`,
      );
    }
    return files;
  }
}

/** Whether a name is that of a licence or a notice. */
export function isLicence(name: string): boolean {
  return LICENCE.test(name);
}

/** Every name that {@link SourceFolder.companions} can give. */
export function isCompanion(name: string): boolean {
  return COMPANIONS.includes(name) || LICENCE.test(name);
}

/** Copies `file` to the new file `target`; the copy has no more bytes than were found before. */
export function copyFile(file: SourceFile, target: string): void {
  const from = Deno.openSync(file.path);
  try {
    const to = Deno.openSync(target, { write: true, createNew: true });
    try {
      const piece = new Uint8Array(PIECE);
      for (let left = file.byteLength; left > 0;) {
        const read = from.readSync(piece.subarray(0, Math.min(left, PIECE)));
        if (read === null) break;
        for (let at = 0; at < read;) at += to.writeSync(piece.subarray(at, read));
        left -= read;
      }
    } finally {
      to.close();
    }
  } finally {
    from.close();
  }
}

/** Whether `value` is a JSON object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function unreadable(path: string, folder: string, cause: unknown): Error {
  if (cause instanceof InputError) return cause;
  if (cause instanceof Deno.errors.NotCapable) {
    return new InputError(
      `Cannot read "${path}": Deno was not given the permission. Run with ` +
        `${folderFlag("read", join(folder, "config.json"))}, which takes the place of the ` +
        "permission set's.",
      { cause },
    );
  }
  if (cause instanceof Deno.errors.NotFound) {
    return new InputError(
      `Cannot read "${path}": there is no such file or folder. Check the path.`,
      {
        cause,
      },
    );
  }
  return cause instanceof Error
    ? new InputError(`Cannot read "${path}": ${cause.message}. Check the folder.`, { cause })
    : new Error(String(cause));
}
