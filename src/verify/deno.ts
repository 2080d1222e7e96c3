/**
 * The Deno of the processes that run what is not trusted, or may end its process: modules for WebGPU and
 * ONNX Runtime.
 */
import { basename } from "node:path";
import { constants } from "node:os";

/** Variables that decide which adapter there is, and those by which Deno is found and starts. */
export const DENO_VARIABLES: readonly string[] = [
  ...["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "DENO_WEBGPU_BACKEND"],
  ...["PATH", "HOME", "USERPROFILE", "LOCALAPPDATA", "SYSTEMROOT", "DENO_DIR"],
  "XDG_CACHE_HOME",
];

/** Characters of a dead process's last words that are told. */
const LAST_WORDS = 300;
/** Exit codes from here on say which signal ended a process. */
const SIGNAL_CODES = 128;

/** Deno as it may be started: this very program where that is permitted, else by its name. */
export function denoProgram(): string {
  try {
    const own = Deno.execPath();
    const { state } = Deno.permissions.querySync({ name: "run", command: own });
    if (state === "granted" && /^deno(\.exe)?$/.test(basename(own))) return own;
  } catch {
    // Its path may not be known.
  }
  return "deno";
}

/** The end of what a process wrote to standard error, on one line; may be empty. */
export function lastWords(stderr: string): string {
  return stderr.replace(/[\s\p{Cc}]+/gu, " ").trim().slice(-LAST_WORDS);
}

/** The name of the signal that ended a process with exit code `code`; null where none did. */
export function signalOf(code: number): string | null {
  const number = code - SIGNAL_CODES;
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found?.[0] ?? null;
}
