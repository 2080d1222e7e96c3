/**
 * What is temporary beside a target: `<name>.<16 hex digits>.partial`, a file or a folder, and
 * `.old`, content that is being replaced. While its process lives it is locked; what a killed process
 * left goes when the same target is written again.
 */
import { basename, dirname, join } from "node:path";

/**
 * Removes temporary files of `target` whose process was killed, when no other process publishes for it:
 * what that one has set aside is no litter.
 */
export function removeLitter(target: string): void {
  if (litterOf(target).length === 0) return;
  try {
    exclusively(target, () => sweep(target));
  } catch {
    // Where no file can be made none can be removed either.
  }
}

/** Names beside `target` that temporary files of it have. */
function litterOf(target: string): string[] {
  const prefix = `${shortened(basename(target))}.`;
  try {
    return [...Deno.readDirSync(dirname(target))].map((entry) => entry.name).filter((name) =>
      name.startsWith(prefix) && /^[0-9a-f]{16}\.(partial|old)$/.test(name.slice(prefix.length))
    );
  } catch {
    return [];
  }
}

/** {@link removeLitter} for who has the target to itself. */
export function sweep(target: string): void {
  const folder = dirname(target);
  for (const name of litterOf(target)) {
    try {
      const path = join(folder, name);
      if (Deno.lstatSync(path).isDirectory) {
        removeAbandonedFolder(path);
        continue;
      }
      const file = Deno.openSync(path, { write: true });
      // Where a process was killed between two renames, its target's old content has no other name.
      const lost = name.endsWith(".old") && inodeOf(target) === -1;
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

/**
 * Runs `action` while no other process does so for the same target, as far as the file system has locks.
 * The file that is locked is gone afterwards; what a killed process leaves of it is litter.
 */
export function exclusively(target: string, action: () => void): void {
  const path = join(dirname(target), `${shortened(basename(target))}.${"0".repeat(16)}.partial`);
  for (;;) {
    const file = Deno.openSync(path, { create: true, write: true });
    try {
      try {
        file.lockSync(true);
      } catch {
        return action();
      }
      // Who held it has removed it: whoever comes later locks another file.
      if (file.statSync().ino !== inodeOf(path)) continue;
      try {
        return action();
      } finally {
        removeLock(path);
      }
    } finally {
      file.close();
    }
  }
}

function inodeOf(path: string): number | null {
  try {
    return Deno.statSync(path).ino;
  } catch {
    return -1;
  }
}

function removeLock(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Some systems remove no open file: it goes when the target is written again.
  }
}

/** A name that leaves room for the tag within a file name's 255 bytes. */
function shortened(name: string): string {
  return new TextEncoder().encode(name).length > 220 ? "modelcast" : name;
}
