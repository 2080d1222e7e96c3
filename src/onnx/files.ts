/**
 * Files that replace their targets atomically. A file is written under a temporary name beside its
 * target, `<name>.<16 hex digits>.partial`, and renamed when it is complete; until then the target
 * stays as it was. Several files replace their targets together. A staging folder of such a name holds
 * files that others write. Whatever is temporary is removed when writing fails, is given up, or the
 * process leaves; what a killed process left goes when the same target is written again.
 */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { InputError, InterruptedError } from "../error.ts";
import { folderFlag } from "./identify.ts";
import { lock, temporaryPath } from "./temporary.ts";

/**
 * Bytes of one write. Linux takes memory for a larger one in larger pieces, which in a virtual machine
 * are often still to be had from the host: of 8 MiB at a time a file took up to three times as long.
 */
const WRITE_BYTES = 1024 * 1024;

/** A file being written beside its target. */
export class PartialFile {
  readonly target: string;
  readonly path: string;
  /** Bytes the file will have. */
  readonly byteLength: number;
  #file: Deno.FsFile | null;
  #last: Promise<void> = Promise.resolve();

  /** Creates the temporary file. */
  constructor(target: string, byteLength: number) {
    this.target = target;
    this.byteLength = byteLength;
    this.path = temporaryPath(target, "partial");
    try {
      this.#file = Deno.openSync(this.path, { createNew: true, write: true });
    } catch (cause) {
      throw uncreatable(target, cause);
    }
    lock(this.#file);
    try {
      this.#file.truncateSync(byteLength);
    } catch (cause) {
      const error = this.#failure(cause);
      this.discard();
      throw error;
    }
  }

  /** Writes all of `bytes` at `offset`; other writes may be under way. */
  write(offset: number, bytes: Uint8Array): Promise<void> {
    const run = async () => {
      if (this.#file === null) throw this.#givenUp();
      try {
        this.#file.seekSync(offset, Deno.SeekMode.Start);
        for (let at = 0; at < bytes.length;) {
          at += await this.#file.write(bytes.subarray(at, at + WRITE_BYTES));
        }
      } catch (cause) {
        throw this.#failure(cause);
      }
    };
    const result = this.#last.then(run);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Ends writing. With `durable` the bytes are on the disk when this returns. */
  async close(durable: boolean): Promise<void> {
    await this.#last;
    try {
      if (durable) this.#file?.syncSync();
    } catch (cause) {
      throw this.#failure(cause);
    } finally {
      this.#file?.close();
      this.#file = null;
    }
  }

  /** Removes the temporary file, whatever state it is in. */
  discard(): void {
    try {
      this.#file?.close();
    } catch {
      // A write is under way and closes it.
    }
    this.#file = null;
    try {
      Deno.removeSync(this.path);
    } catch {
      // It was published or removed before.
    }
  }

  #givenUp(): InterruptedError {
    return new InterruptedError(`Cannot write "${this.target}": writing was given up.`);
  }

  #failure(cause: unknown): Error {
    if (this.#file === null) return this.#givenUp();
    return storageError(this.target, this.byteLength, cause);
  }
}

/** A file that is complete under a temporary name on its target's disk. */
export interface CompleteFile {
  readonly path: string;
  /** The name it is to have. */
  readonly target: string;
  readonly byteLength: number;
  /**
   * Whether it is what names the others: it is absent while they change, so that a process killed in
   * the middle leaves none that goes with files of another making.
   */
  readonly head?: boolean;
}

/**
 * Gives `files` their targets' names: all of them, or none. Each target changes at one go, heads last.
 * When one can't be replaced, the others get back what they were.
 */
export function publishTogether(files: readonly CompleteFile[]): void {
  const replaced: Replaced[] = [];
  try {
    for (const { target, byteLength, head } of files) {
      if (head === true) replaced.push(...withdraw(target, byteLength));
    }
    const ordered = [
      ...files.filter(({ head }) => head !== true),
      ...files.filter(({ head }) => head === true),
    ];
    for (const [index, file] of ordered.entries()) {
      // What is renamed last need not be taken back.
      replaced.push(replace(file, index < ordered.length - 1));
    }
  } catch (error) {
    const lost = replaced.reverse().filter((entry) => !restore(entry));
    if (lost.length === 0) throw error;
    const names = lost.map(({ target, old }) =>
      old === null ? `"${target}" is new` : `what "${target}" was is now "${old}"`
    );
    throw new InputError(
      `Cannot write all of ${files.map(({ target }) => `"${target}"`).join(", ")}, nor take back ` +
        `what is written: ${names.join(", ")}. Restore these by hand.`,
      { cause: error },
    );
  }
  for (const { old } of replaced) if (old !== null) removeIfThere(old);
}

/** Takes the name away from what `target` is, if it is anything. */
function withdraw(target: string, byteLength: number): Replaced[] {
  const old = temporaryPath(target, "old");
  try {
    Deno.renameSync(target, old);
    return [{ target, old }];
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw storageError(target, byteLength, cause);
  }
}

/** A target with its new content, and where its old content is; null where there is none. */
interface Replaced {
  readonly target: string;
  readonly old: string | null;
}

function replace({ path, target, byteLength }: CompleteFile, keepOld: boolean): Replaced {
  let old: string | null = null;
  try {
    if (keepOld) old = setAside(target);
    Deno.renameSync(path, target);
  } catch (cause) {
    if (old !== null) restore({ target, old });
    throw storageError(target, byteLength, cause);
  }
  return { target, old };
}

/** Gives what `target` is a second name, or where there are no links another one; null for nothing. */
function setAside(target: string): string | null {
  const old = temporaryPath(target, "old");
  try {
    try {
      Deno.linkSync(target, old);
    } catch {
      Deno.renameSync(target, old);
    }
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    throw cause;
  }
  return old;
}

/** Whether the target is as it was. */
function restore({ target, old }: Replaced): boolean {
  try {
    if (old === null) Deno.removeSync(target);
    else {
      Deno.renameSync(old, target);
      // A link that still names the same file is left where it is.
      removeIfThere(old);
    }
    return true;
  } catch {
    return false;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It is gone, or goes when its target is written again.
  }
}

/** The error that `target`, of `byteLength` bytes, could not be written. */
function storageError(target: string, byteLength: number, cause: unknown): Error {
  const code = errorCode(cause);
  if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
    const state = code === "EFBIG" ? "the file is larger than the system allows" : "no space left";
    return new InputError(
      `Cannot write "${target}": ${state}; it takes ${byteLength} bytes. Free that much, or write ` +
        `to another disk.`,
      { cause },
    );
  }
  if (cause instanceof Error && code !== null) {
    return new InputError(`Cannot write "${target}": ${cause.message}. Check the folder.`, {
      cause,
    });
  }
  return cause instanceof Error ? cause : new Error(String(cause));
}

/**
 * Checks that `target` can be replaced by a file of `byteLength` bytes: it is absent or a regular
 * file, in a folder that exists, and none of `sources` (through links either).
 */
export function checkTarget(target: string, sources: Iterable<string>): void {
  const folder = statOrNull(dirname(target), target);
  if (folder === null) {
    throw new InputError(
      `Cannot write "${target}": there is no folder "${dirname(target)}". Create it first.`,
    );
  }
  if (!folder.isDirectory) {
    throw new InputError(
      `Cannot write "${target}": "${dirname(target)}" is not a folder. Name another output.`,
    );
  }
  const info = statOrNull(target, target);
  if (/[/\\]$/.test(target) || info?.isDirectory) {
    throw new InputError(`Cannot write "${target}": it is a directory. Name a file in it.`);
  }
  if (info === null) return;
  if (!info.isFile) {
    throw new InputError(
      `Cannot write "${target}": it is not a regular file. Name another output.`,
    );
  }
  for (const source of sources) {
    if (sameFile(target, info, source)) {
      throw new InputError(
        `Cannot write "${target}": it is "${source}", which the model is read from. Name another ` +
          `output.`,
      );
    }
  }
}

/** Checks that `bytes` fit on the disk of `target`, where that can be known. */
export function checkSpace(target: string, bytes: number): void {
  let free: number;
  try {
    if (Deno.permissions.querySync({ name: "sys", kind: "statfs" }).state !== "granted") return;
    const { bavail, bsize } = statfsSync(dirname(target));
    free = bavail * bsize;
  } catch {
    return;
  }
  if (free < bytes) {
    throw new InputError(
      `Cannot write "${target}": it takes ${bytes} bytes and ${free} are free. Free the rest, or ` +
        `write to another disk.`,
    );
  }
}

function statOrNull(path: string, target: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return null;
    throw uncreatable(target, cause, path);
  }
}

function sameFile(target: string, info: Deno.FileInfo, source: string): boolean {
  try {
    const other = Deno.statSync(source);
    if (info.ino !== null && other.ino !== null) {
      return info.ino === other.ino && info.dev === other.dev;
    }
    return Deno.realPathSync(target) === Deno.realPathSync(source);
  } catch {
    return false;
  }
}

export function uncreatable(target: string, cause: unknown, path = target): Error {
  if (cause instanceof Deno.errors.NotCapable) {
    return new InputError(
      `Cannot write "${target}": Deno was not given the permission. Run with ` +
        `${folderFlag("read", target)} ${folderFlag("write", target)}, which take the place of ` +
        `the permission set's.`,
      { cause },
    );
  }
  if (cause instanceof Error) {
    return new InputError(`Cannot write "${path}": ${cause.message}. Check the folder.`, { cause });
  }
  return new Error(String(cause));
}

/** Numbers of the errors that Deno has no code for, where they are those of POSIX systems. */
const ERROR_NUMBERS: Readonly<Record<string, string>> = {
  "27": "EFBIG",
  "28": "ENOSPC",
  ...(Deno.build.os === "darwin" ? { "69": "EDQUOT" } : { "122": "EDQUOT" }),
};

/** The operating system's name for what went wrong; null where `cause` is not of its making. */
function errorCode(cause: unknown): string | null {
  if (!(cause instanceof Error)) return null;
  if ("code" in cause && typeof cause.code === "string") return cause.code;
  const number = /\(os error (\d+)\)/.exec(cause.message)?.[1];
  if (number === undefined) return null;
  return Deno.build.os === "windows" ? number : ERROR_NUMBERS[number] ?? number;
}
