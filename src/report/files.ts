/** The lines that name a step's files. */
import type { OutputFile } from "../converters/conversion.ts";

/** A line for each file that a dry run leaves unwritten. */
export function plannedLines(files: readonly OutputFile[]): string[] {
  return files.map(({ path, byteLength }) => `would write ${path} (${byteLength} bytes)`);
}

/** A line for each file, and for each hash that was asked for. */
export function fileLines(files: readonly OutputFile[], kept: readonly string[]): string[] {
  return [
    ...files.map(({ path, byteLength }) =>
      kept.includes(path)
        ? `wrote   ${path} (${byteLength} bytes)`
        : `made    ${path} on the way (${byteLength} bytes)`
    ),
    ...files.flatMap(({ path, sha256 }) => sha256 === null ? [] : [`sha256  ${sha256}  ${path}`]),
  ];
}
