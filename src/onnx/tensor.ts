/**
 * The bytes of a tensor, wherever they are: in a file, in memory, or as values in a typed field of
 * `TensorProto`. They are read in pieces, so a tensor may be larger than memory.
 */
import { createHash } from "node:crypto";
import { InputError } from "../error.ts";
import type { Tensor, TensorData } from "../ir.ts";
import { openRegularFile } from "./identify.ts";
import { TypedDecoder } from "./typed.ts";
import { Records, WireFile, WireType } from "./wire.ts";

/** Reads a tensor's bytes, in the form of `raw_data`. */
export interface TensorReader {
  readonly byteLength: number;
  /** Where the bytes lie, in one piece, in a file; null where they don't. */
  readonly place: { readonly path: string; readonly offset: number } | null;
  /** Fills `into`, which may lie in shared memory, with the bytes from `offset`. */
  read(offset: number, into: Uint8Array): Promise<void>;
  /** As `read`, at once. */
  readSync(offset: number, into: Uint8Array): void;
  /** Closes the file. */
  close(): void;
}

/**
 * Opens a tensor for reading. A tensor is plain data, so this may be another thread than the one
 * that read the model. Not for strings (see {@link tensorStrings}) and pending tensors, which have
 * no bytes. Throws an `InputError` where the file is gone or has changed.
 */
export function openTensor(tensor: Tensor): TensorReader {
  const { data } = tensor;
  if (tensor.dtype === "string") {
    throw new TypeError(`the tensor "${tensor.name}" holds strings, which have no raw form`);
  }
  switch (data.kind) {
    case "memory":
      return new MemoryReader(data.bytes);
    case "file":
      return new RangeReader(data.path, data.offset, data.length);
    case "typed":
      return openTyped(tensor, data);
    case "pending":
      throw new TypeError(`the tensor "${tensor.name}" is not filled in yet`);
  }
}

/** All bytes of a tensor, in the form of `raw_data`. */
export async function tensorBytes(tensor: Tensor): Promise<Uint8Array> {
  if (tensor.data.kind === "memory") return tensor.data.bytes;
  const reader = openTensor(tensor);
  try {
    const bytes = new Uint8Array(reader.byteLength);
    await reader.read(0, bytes);
    return bytes;
  } finally {
    reader.close();
  }
}

/**
 * What tells a tensor's elements from those of others, in this model and in the same file read again:
 * where they are stored, or a hash of what is in memory. Names don't: each subgraph has its own.
 */
export function contentKey({ name, dtype, data }: Tensor): string {
  switch (data.kind) {
    // Tensors may overlap in an external file: where one begins does not say where it ends.
    case "file":
      return `${dtype} ${data.offset} ${data.length} ${data.path}`;
    case "typed":
      return `${dtype} ${data.ranges[0]?.offset} ${data.length} ${data.path}`;
    case "memory":
      return `${dtype} sha256 ${createHash("sha256").update(data.bytes).digest("hex")}`;
    case "pending":
      throw new TypeError(`the tensor "${name}" is not filled in yet`);
  }
}

/** The strings of a tensor of strings, as bytes: ONNX wants UTF-8, models hold other bytes too. */
export function tensorStrings(tensor: Tensor): Uint8Array[] {
  const { data } = tensor;
  if (tensor.dtype !== "string" || data.kind !== "typed") {
    throw new TypeError(`the tensor "${tensor.name}" holds no strings`);
  }
  const { file, size } = openRegularFile(data.path);
  try {
    const wire = new WireFile(data.path, file, size);
    const strings: Uint8Array[] = [];
    for (const { offset, length } of data.ranges) {
      checkRange(data.path, size, offset, length);
      const records = new Records(wire, offset, offset + length, null);
      while (records.next()) {
        strings.push(wire.copy([{ start: records.payload, end: records.end }]));
      }
    }
    return strings;
  } finally {
    file.close();
  }
}

/** Files that are read at many places, each opened once. */
export class SourceFiles {
  readonly #open = new Map<string, RangeReader>();

  /** Fills `into` with the bytes from `offset` of the file `path`; a promise where that waits. */
  read(path: string, offset: number, into: Uint8Array): Promise<void> | void {
    let reader = this.#open.get(path);
    if (reader === undefined) {
      if (this.#open.size >= MOST_OPEN) this.close();
      reader = new RangeReader(path, 0, null);
      this.#open.set(path, reader);
    }
    checkRange(path, reader.byteLength, offset, into.length);
    if (into.length > SHORT_READ) return reader.read(offset, into);
    reader.readSync(offset, into);
  }

  /** Closes all files. */
  close(): void {
    for (const reader of this.#open.values()) reader.close();
    this.#open.clear();
  }
}

const MOST_OPEN = 64;
/** Bytes up to which reading at once costs less than waiting. */
const SHORT_READ = 256 * 1024;

function checkRange(path: string, size: number, offset: number, length: number): void {
  if (offset + length <= size) return;
  throw new InputError(
    `Cannot read "${path}": bytes ${offset} to ${offset + length} are no longer there, it has ` +
      `${size}. Do not change a model while it is in use.`,
  );
}

function checkBounds(byteLength: number, offset: number, into: Uint8Array): void {
  if (offset < 0 || offset + into.length > byteLength) {
    throw new RangeError(`bytes ${offset} + ${into.length} of a tensor of ${byteLength}`);
  }
}

class MemoryReader implements TensorReader {
  readonly place = null;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get byteLength(): number {
    return this.#bytes.length;
  }

  // deno-lint-ignore require-await
  async read(offset: number, into: Uint8Array): Promise<void> {
    this.readSync(offset, into);
  }

  readSync(offset: number, into: Uint8Array): void {
    checkBounds(this.byteLength, offset, into);
    into.set(this.#bytes.subarray(offset, offset + into.length));
  }

  close(): void {}
}

/** A range of a file. Reads that wait go one after the other: they share the file's position. */
class RangeReader implements TensorReader {
  readonly byteLength: number;
  readonly place: { readonly path: string; readonly offset: number };
  readonly #path: string;
  readonly #offset: number;
  readonly #file: Deno.FsFile;
  #waiting: Deno.FsFile | null = null;
  #last: Promise<void> = Promise.resolve();

  /** `length` null is the rest of the file. */
  constructor(path: string, offset: number, length: number | null) {
    const { file, size } = openRegularFile(path);
    try {
      if (length !== null) checkRange(path, size, offset, length);
    } catch (error) {
      file.close();
      throw error;
    }
    this.place = { path, offset };
    this.#path = path;
    this.#file = file;
    this.#offset = offset;
    this.byteLength = length ?? size - offset;
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    checkBounds(this.byteLength, offset, into);
    const file = this.#waiting ??= Deno.openSync(this.#path, { read: true });
    const run = async () => {
      file.seekSync(this.#offset + offset, Deno.SeekMode.Start);
      for (let at = 0; at < into.length;) {
        at += this.#counted(offset + at, await file.read(into.subarray(at)));
      }
    };
    const result = this.#last.then(run);
    this.#last = result.catch(() => {});
    return result;
  }

  readSync(offset: number, into: Uint8Array): void {
    checkBounds(this.byteLength, offset, into);
    this.#file.seekSync(this.#offset + offset, Deno.SeekMode.Start);
    for (let at = 0; at < into.length;) {
      at += this.#counted(offset + at, this.#file.readSync(into.subarray(at)));
    }
  }

  close(): void {
    this.#file.close();
    this.#waiting?.close();
  }

  #counted(offset: number, count: number | null): number {
    if (count !== null && count > 0) return count;
    throw new InputError(
      `Cannot read "${this.#path}": it ends at byte ${this.#offset + offset}, which was there ` +
        `when the model was opened. Do not change a model while it is in use.`,
    );
  }
}

function openTyped(tensor: Tensor, data: TensorData & { kind: "typed" }): TensorReader {
  const { file, size } = openRegularFile(data.path);
  try {
    const wire = new WireFile(data.path, file, size);
    for (const { offset, length } of data.ranges) checkRange(data.path, size, offset, length);
    const packed = data.field === "float_data" || data.field === "double_data"
      ? singlePackedRecord(wire, data)
      : null;
    if (packed !== null) {
      file.close();
      return new RangeReader(data.path, packed, data.length);
    }
    return new TypedReader(tensor, data, wire, file);
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Where the values begin when they all lie in one packed record, as they nearly always do. */
function singlePackedRecord(wire: WireFile, data: TensorData & { kind: "typed" }): number | null {
  const [range, second] = data.ranges;
  if (range === undefined || second !== undefined) return null;
  const records = new Records(wire, range.offset, range.offset + range.length, null);
  const single = records.next() && records.wireType === WireType.bytes &&
    records.end === range.offset + range.length;
  return single ? records.payload : null;
}

/** Values of a typed field. Reading on is fast; reading backwards starts anew. */
class TypedReader implements TensorReader {
  readonly place = null;
  readonly byteLength: number;
  readonly #make: () => TypedDecoder;
  readonly #file: Deno.FsFile;
  #decoder: TypedDecoder | null = null;
  #position = 0;

  constructor(
    tensor: Tensor,
    data: TensorData & { kind: "typed" },
    wire: WireFile,
    file: Deno.FsFile,
  ) {
    const ranges = data.ranges.map(({ offset, length }) => ({
      start: offset,
      end: offset + length,
    }));
    this.byteLength = data.length;
    this.#file = file;
    this.#make = () => new TypedDecoder(wire, data.field, tensor.dtype, ranges);
  }

  // deno-lint-ignore require-await
  async read(offset: number, into: Uint8Array): Promise<void> {
    this.readSync(offset, into);
  }

  readSync(offset: number, into: Uint8Array): void {
    checkBounds(this.byteLength, offset, into);
    if (this.#decoder === null || offset < this.#position) {
      this.#decoder = this.#make();
      this.#position = 0;
    }
    if (this.#position < offset) {
      const skipped = new Uint8Array(64 * 1024);
      while (this.#position < offset) {
        const count = Math.min(skipped.length, offset - this.#position);
        this.#decoder.fill(skipped.subarray(0, count));
        this.#position += count;
      }
    }
    this.#decoder.fill(into);
    this.#position += into.length;
  }

  close(): void {
    this.#file.close();
  }
}
