/**
 * Reader of ZIP archives (PKWARE's APPNOTE 6.3.10), stored and deflated entries, ZIP64 included. Files
 * are untrusted: offsets are checked, and entries are inflated piece by piece, no further than is asked
 * for and never past the size that the directory declares.
 */
import { crc32 } from "node:zlib";
import { InputError } from "../error.ts";

/** Entries that an archive may hold. */
const MOST_ENTRIES = 4096;

/** One file of an archive, as its central directory has it. */
export interface ZipEntry {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  readonly compressedSize: number;
  readonly size: number;
  /** Offset of the local header. */
  readonly offset: number;
}

/** Byte values that cannot be read, thrown on by every ZIP check. */
function zipError(source: string, state: string): InputError {
  return new InputError(`Cannot read "${source}": ${state}. Save it again with numpy.savez.`);
}

/**
 * The central directory of a ZIP archive (APPNOTE 6.3.10, sections 4.3.12 and 4.3.16), ZIP64 extra
 * fields included.
 */
export function zipEntries(bytes: Uint8Array, source: string): ZipEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // The end record is 22 bytes and a comment of up to 65,535.
  let end = bytes.length - 22;
  const lowest = Math.max(0, end - 65535);
  while (end >= lowest && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < lowest) throw zipError(source, "it has no ZIP directory at its end");
  let count = view.getUint16(end + 10, true);
  let offset = view.getUint32(end + 16, true);
  const locator = end - 20;
  if (
    (count === 0xffff || offset === 0xffffffff) && locator >= 0 &&
    view.getUint32(locator, true) === 0x07064b50
  ) {
    const record = Number(view.getBigUint64(locator + 8, true));
    if (record + 56 > bytes.length || view.getUint32(record, true) !== 0x06064b50) {
      throw zipError(source, `its ZIP64 directory record is not at byte ${record}`);
    }
    count = Number(view.getBigUint64(record + 32, true));
    offset = Number(view.getBigUint64(record + 48, true));
  }
  if (count > MOST_ENTRIES) {
    throw zipError(source, `it holds ${count} entries, more than the ${MOST_ENTRIES} allowed`);
  }
  const entries: ZipEntry[] = [];
  for (let i = 0; i < count; i++) {
    if (offset + 46 > bytes.length || view.getUint32(offset, true) !== 0x02014b50) {
      throw zipError(source, `directory entry ${i} is not at byte ${offset}`);
    }
    const flags = view.getUint16(offset + 8, true);
    const nameLength = view.getUint16(offset + 28, true);
    const extraLength = view.getUint16(offset + 30, true);
    const commentLength = view.getUint16(offset + 32, true);
    const next = offset + 46 + nameLength + extraLength + commentLength;
    if (next > bytes.length) {
      throw zipError(source, `directory entry ${i} at byte ${offset} passes the end of the file`);
    }
    const name = new TextDecoder().decode(bytes.subarray(offset + 46, offset + 46 + nameLength));
    if ((flags & 1) !== 0) throw zipError(source, `entry ${quoted(name)} is encrypted`);
    const wide = zip64Sizes(view, offset, nameLength, extraLength);
    entries.push({
      name,
      method: view.getUint16(offset + 10, true),
      crc: view.getUint32(offset + 16, true),
      ...wide,
    });
    offset = next;
  }
  return entries;
}

/** Sizes and offset of the directory entry at `at`, from its ZIP64 extra field where they are. */
function zip64Sizes(
  view: DataView,
  at: number,
  nameLength: number,
  extraLength: number,
): { compressedSize: number; size: number; offset: number } {
  const sizes = {
    size: view.getUint32(at + 24, true),
    compressedSize: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
  };
  let field = at + 46 + nameLength;
  const stop = field + extraLength;
  while (field + 4 <= stop) {
    const length = view.getUint16(field + 2, true);
    const fieldEnd = Math.min(field + 4 + length, stop);
    if (view.getUint16(field, true) === 1) {
      let value = field + 4;
      for (const key of ["size", "compressedSize", "offset"] as const) {
        if (sizes[key] !== 0xffffffff || value + 8 > fieldEnd) continue;
        sizes[key] = Number(view.getBigUint64(value, true));
        value += 8;
      }
    }
    field += 4 + length;
  }
  return sizes;
}

/** Bytes that are inflated at once: none inflates to more than 1,032 times as many. */
const PIECE = 1 << 14;

/**
 * The bytes of `entry`, inflated, in pieces of at most 17 MB; once all have been taken they are checked
 * against its size and its CRC. Throws an `InputError` that names `source` and the entry.
 */
export async function* entryBytes(
  bytes: Uint8Array<ArrayBuffer>,
  entry: ZipEntry,
  source: string,
): AsyncGenerator<Uint8Array, void, void> {
  const { name, size } = entry;
  const packed = packedBytes(bytes, entry, source);
  if (entry.method !== 0 && entry.method !== 8) {
    throw zipError(source, `entry ${quoted(name)} uses compression method ${entry.method}`);
  }
  let length = 0;
  let crc = 0;
  try {
    for await (const piece of entry.method === 0 ? [packed] : inflate(packed)) {
      length += piece.length;
      if (length > size) break;
      crc = crc32(piece, crc);
      yield piece;
    }
  } catch (cause) {
    // What inflates throws a TypeError where it can't.
    if (!(cause instanceof TypeError)) throw cause;
    throw unfit(entry, source, cause);
  }
  if (length > size) throw unfit(entry, source);
  if (length !== size || crc !== entry.crc) {
    throw zipError(source, `entry ${quoted(name)} is damaged: its size or CRC does not match`);
  }
}

function unfit({ name, size }: ZipEntry, source: string, cause?: unknown): InputError {
  return new InputError(
    `Cannot read "${source}": entry ${quoted(name)} does not inflate to its ${size} bytes. ` +
      "Save it again with numpy.savez_compressed.",
    { cause },
  );
}

/** The bytes of `entry` as they lie in the archive. */
function packedBytes(
  bytes: Uint8Array<ArrayBuffer>,
  { name, offset, compressedSize }: ZipEntry,
  source: string,
): Uint8Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (offset + 30 > bytes.length || view.getUint32(offset, true) !== 0x04034b50) {
    throw zipError(source, `entry ${quoted(name)} is not at byte ${offset}`);
  }
  const start = offset + 30 + view.getUint16(offset + 26, true) +
    view.getUint16(offset + 28, true);
  if (start + compressedSize > bytes.length) {
    throw zipError(source, `entry ${quoted(name)} at byte ${start} passes the end of the file`);
  }
  return bytes.subarray(start, start + compressedSize);
}

/** What `packed` inflates to, no faster than it is taken. */
function inflate(packed: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  let at = 0;
  const pieces = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (at >= packed.length) return controller.close();
      controller.enqueue(packed.subarray(at, at += PIECE));
    },
  }, { highWaterMark: 0 });
  return pieces.pipeThrough(new DecompressionStream("deflate-raw"));
}

/** Text of a file for an error: escaped and not too long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
