/**
 * A folder beside a target for files that are still being made, by programs that know nothing of
 * targets. They take their targets' places together.
 */
import { join } from "node:path";
import { InputError } from "../error.ts";
import { publishTogether, uncreatable } from "./files.ts";
import { exclusively, LOCK, lock, removeLitter, sweep, temporaryPath } from "./temporary.ts";

/** A folder beside a target for files that are still being made. */
export class StagingFolder {
  readonly path: string;
  readonly #target: string;
  readonly #lock: Deno.FsFile;
  readonly #onUnload = () => this.discard();

  /** Makes the folder, and removes what killed processes left for the same target. */
  constructor(target: string) {
    this.#target = target;
    removeLitter(target);
    this.path = temporaryPath(target, "partial");
    try {
      Deno.mkdirSync(this.path);
      // It gets its name when it is locked, so that none is ever seen that isn't.
      const unnamed = join(this.path, `${LOCK}.new`);
      this.#lock = Deno.openSync(unnamed, { createNew: true, write: true });
      lock(this.#lock);
      Deno.renameSync(unnamed, join(this.path, LOCK));
    } catch (cause) {
      throw uncreatable(target, cause);
    }
    globalThis.addEventListener("unload", this.#onUnload);
  }

  /**
   * Gives files of the folder, complete and closed, their targets' names: all of them or none. A `head`
   * is what names the others, as {@link publishTogether} says. Then removes those of `obsolete` that are
   * not among the targets, and gives those that it has removed.
   *
   * @throws InputError where one is no regular file of the folder, or can't be put in place.
   */
  publish(
    files: readonly { readonly path: string; readonly target: string; readonly head?: boolean }[],
    obsolete: readonly string[] = [],
  ): string[] {
    const complete = files.map(({ path, target, head = false }) => {
      const info = Deno.lstatSync(path);
      if (!info.isFile) {
        throw new InputError(
          `Cannot write "${target}": what was made for it is not a regular file. ` +
            "Report this with the command that led here.",
        );
      }
      if (isDirectory(target)) {
        throw new InputError(
          `Cannot write "${target}": it is a directory. Move it away, or name another output.`,
        );
      }
      return { path, target, byteLength: info.size, head };
    });
    const removed: string[] = [];
    exclusively(this.#target, () => {
      for (const { target } of files) sweep(target);
      publishTogether(complete);
      const targets = new Set(files.map(({ target }) => target));
      for (const path of obsolete) if (!targets.has(path) && remove(path)) removed.push(path);
    });
    return removed;
  }

  /** Removes the folder with what is left in it. */
  discard(): void {
    globalThis.removeEventListener("unload", this.#onUnload);
    try {
      this.#lock.close();
    } catch {
      // It was closed before.
    }
    try {
      Deno.removeSync(this.path, { recursive: true });
    } catch {
      // It is gone, or someone holds it: the next one to write the target removes it.
    }
  }
}

/** Removes the file at `path`; whether it did. */
function remove(path: string): boolean {
  try {
    Deno.removeSync(path);
    return true;
  } catch {
    // It is gone already, or someone holds it: nothing depends on its absence.
    return false;
  }
}

function isDirectory(path: string): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}
