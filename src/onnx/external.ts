/**
 * External tensor data (https://github.com/onnx/onnx/blob/main/docs/ExternalData.md): bytes of a
 * tensor in a file beside the model. A model is untrusted, so a location that leaves the model's
 * folder, by "..", by an absolute path or through a symbolic link, is refused.
 */
import { dirname, join, sep } from "node:path";
import type { InputError } from "../error.ts";

/** Where a tensor's external bytes are. */
export interface ExternalPlace {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** Resolves the external data of one model; what it learns of a file is kept. */
export class ExternalFiles {
  readonly #folder: string;
  readonly #found: (byteLength: number) => void;
  #realFolder: string | null = null;
  readonly #sizes = new Map<string, number>();

  /** `found` is told the bytes of every file, once. */
  constructor(modelPath: string, found: (byteLength: number) => void) {
    this.#folder = dirname(modelPath);
    this.#found = found;
  }

  /**
   * The place that `external_data` entries name, of which `expected` bytes must exist. `fail` makes
   * the error from what is wrong and what to do.
   */
  resolve(
    entries: readonly [key: string, value: string][],
    expected: number,
    fail: (state: string, remedy?: string) => InputError,
  ): ExternalPlace {
    const values = new Map(entries);
    const location = values.get("location");
    if (location === undefined || location === "") {
      throw fail(`names no location of its external data`);
    }
    const offset = integer(values.get("offset") ?? "0");
    if (offset === null) {
      throw fail(`has the external offset "${values.get("offset")}", which is not a byte position`);
    }
    const lengthText = values.get("length");
    const length = lengthText === undefined ? expected : integer(lengthText);
    if (length === null) {
      throw fail(`has the external length "${lengthText}", which is not a count of bytes`);
    }
    if (length !== expected) {
      throw fail(`has ${length} bytes of external data where its shape takes ${expected}`);
    }
    const path = join(this.#folder, location);
    const size = this.#sizes.get(location) ?? this.#open(location, path, fail);
    if (offset > size || length > size - offset) {
      throw fail(
        `takes bytes ${offset} to ${offset + length} of "${path}", which has ${size} bytes`,
        "The external file is cut short; get it again from where it came from.",
      );
    }
    return { path, offset, length };
  }

  #open(
    location: string,
    path: string,
    fail: (state: string, remedy?: string) => InputError,
  ): number {
    const outside = fail(
      `keeps its data in "${location}", outside the model's folder`,
      "Put the file, not a link to it, beside the model if you trust the model.",
    );
    const parts = location.split(/[/\\]/);
    if (
      location.includes("\0") || /^([/\\]|[A-Za-z]:)/.test(location) ||
      parts.some((part) => part === "..")
    ) {
      throw outside;
    }
    let real: string;
    let info: Deno.FileInfo;
    try {
      this.#realFolder ??= Deno.realPathSync(this.#folder);
      real = Deno.realPathSync(path);
      info = Deno.statSync(real);
    } catch (cause) {
      const missing = cause instanceof Deno.errors.NotFound;
      throw fail(
        `keeps its data in "${path}", which ${
          missing ? "is missing" : `can't be read (${String(cause)})`
        }`,
        "Put the model's external data files beside it.",
      );
    }
    const folder = this.#realFolder.endsWith(sep) ? this.#realFolder : this.#realFolder + sep;
    if (!real.startsWith(folder)) throw outside;
    if (!info.isFile) {
      throw fail(`keeps its data in "${path}", which is not a regular file`);
    }
    this.#sizes.set(location, info.size);
    this.#found(info.size);
    return info.size;
  }
}

/** A non-negative decimal integer, or null. */
function integer(text: string): number | null {
  if (!/^[0-9]{1,16}$/.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
}
