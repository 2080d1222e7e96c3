/**
 * The cache folder: small facts about this machine that are dear to find out again, such as which
 * engine is faster. It is `MODELCAST_CACHE` where that variable may be read and is set, else
 * `.cache` beside `main.ts`. Without the permissions for it, or on a read-only or full disk, there
 * is silently no cache: every function then answers as if nothing had ever been remembered.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Bytes of an entry at most; a larger file isn't one of ours. */
const MAX_ENTRY_BYTES = 2 ** 20;
const ENTRY_NAME = /^[a-z0-9][a-z0-9_-]{0,99}$/;

/** The cache folder, which may not exist yet; null where there can be none. Never prompts. */
export function cacheFolder(): string | null {
  if (isGranted({ name: "env", variable: "MODELCAST_CACHE" })) {
    const named = Deno.env.get("MODELCAST_CACHE");
    if (named) return named;
  }
  const here = new URL(import.meta.url);
  if (here.protocol !== "file:") return null;
  // In a bundle this module is the program itself, not a file of its folder `src`.
  const beside = here.pathname.endsWith("/src/cache.ts") ? "../.cache" : ".cache";
  return fileURLToPath(new URL(beside, here));
}

/**
 * The value remembered under `name` (lower-case letters, digits, `_` and `-`), as JSON gives it;
 * undefined where there is none that can be read. Whoever asks checks its shape.
 */
export async function readEntry(name: string): Promise<unknown> {
  const path = entryPath(name);
  if (path === null || !isGranted({ name: "read", path })) return undefined;
  try {
    // A pipe would never answer, and a device never end.
    const { isFile, size } = await Deno.stat(path);
    if (!isFile || size > MAX_ENTRY_BYTES) return undefined;
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    return undefined;
  }
}

/**
 * Remembers a JSON value under `name`, atomically: a reader sees the old value or the new one.
 * Returns whether it could.
 */
export async function writeEntry(name: string, value: unknown): Promise<boolean> {
  const folder = cacheFolder();
  const path = entryPath(name);
  if (folder === null || path === null || !isGranted({ name: "write", path: folder })) return false;
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(temporary, JSON.stringify(value) + "\n", { createNew: true });
    await Deno.rename(temporary, path);
    return true;
  } catch {
    await Deno.remove(temporary).catch(() => undefined);
    return false;
  }
}

function entryPath(name: string): string | null {
  if (!ENTRY_NAME.test(name)) throw new TypeError(`"${name}" can't name a cache entry`);
  const folder = cacheFolder();
  return folder === null ? null : join(folder, `${name}.json`);
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
