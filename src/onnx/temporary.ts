/**
 * What is temporary beside a target: `<name>.<16 hex digits>.partial`, a file or a folder, and
 * `.old`, content that is being replaced. While its process lives it is locked; what a killed process
 * left goes when the same target is written again.
 */
import { basename, dirname, join } from "node:path";

/** Removes temporary files of `target` whose process was killed. */
export function removeLitter(target: string): void {
  const folder = dirname(target);
  const prefix = `${shortened(basename(target))}.`;
  let names: string[];
  try {
    names = [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch {
    return;
  }
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    if (!/^[0-9a-f]{16}\.(partial|old)$/.test(name.slice(prefix.length))) continue;
    try {
      const path = join(folder, name);
      if (Deno.lstatSync(path).isDirectory) {
        removeAbandonedFolder(path);
        continue;
      }
      const file = Deno.openSync(path, { write: true });
      // Where a process was killed between two renames, its target's old content has no other name.
      const lost = name.endsWith(".old") && !names.includes(basename(target));
      if (file.tryLockSync(true)) lost ? Deno.renameSync(path, target) : Deno.removeSync(path);
      file.close();
    } catch {
      // Another process is at it, or it is gone already.
    }
  }
}

/** Name of the file in a temporary folder that is locked while its process lives. */
export const LOCK = ".lock";
/** How long a temporary folder may be without it. */
const UNLOCKED_MILLISECONDS = 60_000;

function removeAbandonedFolder(path: string): void {
  let file: Deno.FsFile | null = null;
  try {
    file = Deno.openSync(join(path, LOCK), { write: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    // Its process may be about to make the file.
    const age = Date.now() - (Deno.statSync(path).mtime?.getTime() ?? 0);
    if (age < UNLOCKED_MILLISECONDS) return;
  }
  try {
    if (file?.tryLockSync(true) ?? true) Deno.removeSync(path, { recursive: true });
  } finally {
    file?.close();
  }
}

/** While it is written a file is locked, which tells it from one whose process was killed. */
export function lock(file: Deno.FsFile): void {
  try {
    file.tryLockSync(true);
  } catch {
    // The file system has no locks.
  }
}

/** An unused name beside `target` by which `removeLitter` knows whose it is. */
export function temporaryPath(target: string, suffix: "partial" | "old"): string {
  const tag = crypto.getRandomValues(new Uint8Array(8)).toHex();
  return join(dirname(target), `${shortened(basename(target))}.${tag}.${suffix}`);
}

/** A name that leaves room for the tag within a file name's 255 bytes. */
function shortened(name: string): string {
  return new TextEncoder().encode(name).length > 220 ? "modelcast" : name;
}
