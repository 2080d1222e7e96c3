/**
 * Facts about a source model that do not depend on what it is converted to: its files, its hash, and
 * what identifies the data beside it.
 */
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Model } from "../ir.ts";
import { modelTensors } from "../onnx/layout.ts";

/** A source model's files. */
export interface SourceFacts {
  /** SHA-256 of the model file, hex. */
  readonly sha256: string;
  /**
   * SHA-256, hex, over each external data file in order of name: its length as text, and up to 1 MiB
   * from its beginning, its middle and its end. Null where there is none.
   */
  readonly dataSample: string | null;
  /** The model file, and the files of its external data. */
  readonly files: readonly string[];
  /** Bytes of all files. */
  readonly byteLength: number;
}

const PIECE = 4 * 1024 * 1024;
const SAMPLE = 1024 * 1024;

/** Reads what identifies the files of `model`. */
export function sourceFacts(model: Model): SourceFacts {
  const main = resolve(model.path);
  const data = new Set<string>();
  for (const { tensor } of modelTensors(model)) {
    if (tensor.data.kind === "file" && resolve(tensor.data.path) !== main) {
      data.add(tensor.data.path);
    }
  }
  const files = [...data].sort();
  return {
    sha256: sha256OfFile(model.path),
    dataSample: files.length === 0 ? null : sampleHash(files),
    files: [model.path, ...files],
    byteLength: [model.path, ...files].reduce((sum, path) => sum + statSync(path).size, 0),
  };
}

/** SHA-256 of a file, hex, read in pieces. */
export function sha256OfFile(path: string): string {
  const hash = createHash("sha256");
  const file = openSync(path, "r");
  try {
    const piece = new Uint8Array(PIECE);
    for (;;) {
      const length = readSync(file, piece, 0, piece.length, null);
      if (length === 0) return hash.digest("hex");
      hash.update(piece.subarray(0, length));
    }
  } finally {
    closeSync(file);
  }
}

function sampleHash(files: readonly string[]): string {
  const hash = createHash("sha256");
  const piece = new Uint8Array(SAMPLE);
  for (const path of files) {
    const { size } = statSync(path);
    hash.update(`${size}\n`);
    const file = openSync(path, "r");
    try {
      for (const at of [0, Math.floor(size / 2), Math.max(0, size - SAMPLE)]) {
        const length = readSync(file, piece, 0, piece.length, at);
        hash.update(piece.subarray(0, length));
      }
    } finally {
      closeSync(file);
    }
  }
  return hash.digest("hex");
}
