/**
 * The protobuf wire format (https://protobuf.dev/programming-guides/encoding/): walking the records
 * of a message through a window on a file, so that neither a file nor a long field is ever held in
 * memory, and building the records of a message. Every length is checked against what encloses it
 * before anything is allocated or skipped.
 */
import { InputError } from "../error.ts";

/** Wire types that ONNX's messages use. Groups (3, 4) and the unassigned 6 and 7 are refused. */
export const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Place of a field in a message tree, for errors: `graph.initializer[3].raw_data`. */
export interface FieldPath {
  readonly parent: FieldPath | null;
  readonly field: string;
  /** Position in a repeated field, null for a singular one. */
  readonly index: number | null;
}

/** `path` as text; the empty text for the root message. */
export function fieldPathText(path: FieldPath | null): string {
  const parts: string[] = [];
  for (let at = path; at !== null; at = at.parent) {
    parts.push(at.index === null ? at.field : `${at.field}[${at.index}]`);
  }
  return parts.reverse().join(".");
}

/** The error for the field at `path`, which begins at byte `offset` of `file`. */
export function fieldError(
  file: string,
  path: FieldPath | null,
  offset: number,
  state: string,
  remedy = "The file is damaged or not an ONNX model; get it again from where it came from.",
): InputError {
  const field = fieldPathText(path) || "the model";
  return new InputError(`Cannot read "${file}": ${field} at byte ${offset} ${state}. ${remedy}`);
}

const WINDOW_BYTES = 64 * 1024;
const ARENA_BYTES = 64 * 1024;
const EMPTY = new Uint8Array(0);

/** A file read through a small window that moves with the reader. */
export class WireFile {
  readonly path: string;
  readonly size: number;
  readonly #file: Deno.FsFile;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  #start = 0;
  #end = 0;
  #arena = EMPTY;
  #arenaUsed = 0;

  constructor(path: string, file: Deno.FsFile, size: number) {
    this.path = path;
    this.size = size;
    this.#file = file;
  }

  /** Byte at `offset`, which must lie in the file. */
  byte(offset: number): number {
    if (offset < this.#start || offset >= this.#end) this.#move(offset);
    return this.#window[offset - this.#start]!;
  }

  /**
   * A lasting copy of the bytes of `runs`, one after the other. Small copies share buffers: a model
   * has many.
   */
  copy(runs: readonly { readonly start: number; readonly end: number }[]): Uint8Array {
    let length = 0;
    for (const run of runs) length += run.end - run.start;
    if (length === 0) return EMPTY;
    const bytes = this.#allocate(length);
    let at = 0;
    for (const { start, end } of runs) {
      this.read(start, bytes.subarray(at, at + end - start));
      at += end - start;
    }
    return bytes;
  }

  /** Fills `into` with the bytes from `offset`. */
  read(offset: number, into: Uint8Array): void {
    let at = 0;
    if (offset >= this.#start && offset < this.#end) {
      at = Math.min(into.length, this.#end - offset);
      into.set(this.#window.subarray(offset - this.#start, offset - this.#start + at));
    }
    if (at === into.length) return;
    if (into.length - at <= WINDOW_BYTES / 4) {
      this.#move(offset + at);
      if (this.#end - this.#start < into.length - at) throw this.#shrunk(offset);
      into.set(this.#window.subarray(0, into.length - at), at);
      return;
    }
    this.#file.seekSync(offset + at, Deno.SeekMode.Start);
    while (at < into.length) {
      const count = this.#file.readSync(into.subarray(at));
      if (count === null || count === 0) throw this.#shrunk(offset + at);
      at += count;
    }
  }

  /** The bytes from `from` to `to` in pieces, each valid until the next is asked for. */
  *chunks(from: number, to: number): Generator<Uint8Array> {
    for (let at = from; at < to;) {
      this.byte(at);
      const end = Math.min(to, this.#end);
      yield this.#window.subarray(at - this.#start, end - this.#start);
      at = end;
    }
  }

  #allocate(length: number): Uint8Array {
    if (length > ARENA_BYTES / 4) return new Uint8Array(length);
    if (this.#arenaUsed + length > this.#arena.length) {
      this.#arena = new Uint8Array(ARENA_BYTES);
      this.#arenaUsed = 0;
    }
    const bytes = this.#arena.subarray(this.#arenaUsed, this.#arenaUsed + length);
    this.#arenaUsed += length;
    return bytes;
  }

  #move(offset: number): void {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    this.#start = offset;
    this.#end = offset;
    const wanted = Math.min(WINDOW_BYTES, this.size - offset);
    while (this.#end - offset < wanted) {
      const count = this.#file.readSync(this.#window.subarray(this.#end - offset, wanted));
      if (count === null || count === 0) break;
      this.#end += count;
    }
    if (this.#end === offset) throw this.#shrunk(offset);
  }

  #shrunk(offset: number): InputError {
    return new InputError(
      `Cannot read "${this.path}": it ends at byte ${offset}, ${this.size} bytes were there when ` +
        `it was opened. Do not change a model while it is read.`,
    );
  }
}

/**
 * The records of one message, in order. `next` moves to the next record; the other fields then
 * describe it until `next` is called again.
 */
export class Records {
  /** Field number. */
  number = 0;
  wireType = 0;
  /** First byte of the record: its tag. */
  start = 0;
  /** First byte of the payload (for wire type 2, after the length). */
  payload = 0;
  /** Byte after the record. */
  end: number;
  readonly #file: WireFile;
  readonly #limit: number;
  readonly #path: FieldPath | null;
  /** Value of the varint read last; exact up to 2^53. */
  #value = 0;

  constructor(file: WireFile, from: number, to: number, path: FieldPath | null) {
    this.#file = file;
    this.#limit = to;
    this.#path = path;
    this.end = from;
  }

  /** Moves to the next record; false at the end of the message. */
  next(): boolean {
    const start = this.end;
    if (start === this.#limit) return false;
    this.start = start;
    const afterTag = this.#varint(start, "a tag");
    const tag = this.#value;
    this.number = Math.floor(tag / 8);
    this.wireType = tag % 8;
    if (tag > 0xffffffff || this.number === 0) {
      throw this.error(`holds the field number ${this.number}, which protobuf does not have`);
    }
    switch (this.wireType) {
      case WireType.varint:
        this.payload = afterTag;
        this.end = this.#varint(afterTag, `field ${this.number}`);
        break;
      case WireType.fixed64:
        this.#take(afterTag, 8);
        break;
      case WireType.bytes: {
        const payload = this.#varint(afterTag, `the length of field ${this.number}`);
        this.#take(payload, this.#value);
        break;
      }
      case WireType.fixed32:
        this.#take(afterTag, 4);
        break;
      default:
        throw this.error(
          `holds field ${this.number} with wire type ${this.wireType}, which no ONNX model uses`,
        );
    }
    return true;
  }

  /** The error that this record is in `state`. */
  error(state: string): InputError {
    return fieldError(this.#file.path, this.#path, this.start, state);
  }

  #take(payload: number, length: number): void {
    this.payload = payload;
    this.end = payload + length;
    const left = this.#limit - payload;
    if (length > left) {
      throw this.error(`holds field ${this.number} of ${length} bytes, of which ${left} are there`);
    }
  }

  /** Reads the varint at `offset` into `#value`; returns the offset after it. */
  #varint(offset: number, what: string): number {
    let value = 0;
    let scale = 1;
    for (let index = 0; index < 10; index++) {
      if (offset + index >= this.#limit) {
        throw this.error(`ends within ${what}`);
      }
      const byte = this.#file.byte(offset + index);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.#value = value;
        return offset + index + 1;
      }
      scale *= 128;
    }
    throw this.error(`has a varint of more than 10 bytes in ${what}`);
  }
}

/** One record of a message in memory. */
export interface MemoryRecord {
  readonly number: number;
  readonly wireType: number;
  /** The whole record, tag included. */
  readonly record: Uint8Array;
  /** The payload alone. */
  readonly payload: Uint8Array;
}

/**
 * The records of a message in memory. The bytes are trusted: they were walked when they were read
 * or were built by {@link WireBuilder}.
 */
export function* memoryRecords(bytes: Uint8Array): Generator<MemoryRecord> {
  let at = 0;
  while (at < bytes.length) {
    const start = at;
    const tag = varintAt(bytes, at);
    const number = Math.floor(tag.value / 8);
    const wireType = tag.value % 8;
    let payload = tag.next;
    if (wireType === WireType.varint) at = varintAt(bytes, payload).next;
    else if (wireType === WireType.fixed64) at = payload + 8;
    else if (wireType === WireType.fixed32) at = payload + 4;
    else if (wireType === WireType.bytes) {
      const length = varintAt(bytes, payload);
      payload = length.next;
      at = payload + length.value;
    } else throw new RangeError(`wire type ${wireType} among carried fields`);
    if (at > bytes.length) throw new RangeError("carried fields end within a record");
    yield {
      number,
      wireType,
      record: bytes.subarray(start, at),
      payload: bytes.subarray(payload, at),
    };
  }
}

function varintAt(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0;
  let scale = 1;
  for (let index = 0; index < 10 && at + index < bytes.length; index++) {
    const byte = bytes[at + index]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: at + index + 1 };
    scale *= 128;
  }
  throw new RangeError("carried fields hold a broken varint");
}

const encoder = new TextEncoder();

/** Builds the records of a message in memory. */
export class WireBuilder {
  #bytes = new Uint8Array(64);
  #length = 0;

  /** Bytes built so far. */
  get length(): number {
    return this.#length;
  }

  /** A copy of what was built. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Appends bytes that are records already. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** Tag and length of a field of `length` bytes that follow from elsewhere. */
  header(number: number, length: number): this {
    this.#unsigned(number * 8 + WireType.bytes);
    this.#unsigned(length);
    return this;
  }

  /** A field of bytes: a string, a message, packed scalars. */
  bytes(number: number, payload: Uint8Array): this {
    return this.header(number, payload.length).raw(payload);
  }

  /** A string field. */
  string(number: number, value: string): this {
    return this.bytes(number, encoder.encode(value));
  }

  /** An integer field; negative values take ten bytes, as protobuf has it. */
  int(number: number, value: number | bigint): this {
    this.#unsigned(number * 8 + WireType.varint);
    this.#signed(value);
    return this;
  }

  /** A field of packed integers. */
  packedInts(number: number, values: readonly (number | bigint)[]): this {
    const inner = new WireBuilder();
    for (const value of values) inner.#signed(value);
    return this.bytes(number, inner.finish());
  }

  /** A float field. */
  float(number: number, value: number): this {
    this.#unsigned(number * 8 + WireType.fixed32);
    this.#reserve(4);
    new DataView(this.#bytes.buffer).setFloat32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  #signed(value: number | bigint): void {
    if (typeof value === "number" && value >= 0) return this.#unsigned(value);
    let rest = BigInt.asUintN(64, BigInt(value));
    this.#reserve(10);
    while (rest >= 128n) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  #unsigned(value: number): void {
    this.#reserve(10);
    while (value >= 128) {
      this.#bytes[this.#length++] = (value % 128) | 0x80;
      value = Math.floor(value / 128);
    }
    this.#bytes[this.#length++] = value;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}
