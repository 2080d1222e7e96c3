/**
 * The typed fields of `TensorProto` (`float_data`, `int32_data`, ...): which one holds an element
 * type, how many values it must have, and decoding them, as a stream, into the form of `raw_data`.
 * A typed field may occur any number of times, packed or not.
 */
import { type DType, DTYPES } from "../dtype.ts";
import type { TypedField } from "../ir.ts";
import { fieldError, type FieldPath, Records, type WireFile, WireType } from "./wire.ts";

/** The typed field that holds values of an element type. */
export function typedFieldOf(dtype: DType): TypedField {
  switch (dtype) {
    case "float32":
    case "complex64":
      return "float_data";
    case "float64":
    case "complex128":
      return "double_data";
    case "int64":
      return "int64_data";
    case "uint32":
    case "uint64":
      return "uint64_data";
    case "string":
      return "string_data";
    default:
      return "int32_data";
  }
}

/** Values that `count` elements take in their typed field. */
export function typedCount(dtype: DType, count: number): number {
  const { bits, kind } = DTYPES[dtype];
  if (kind === "complex") return count * 2;
  if (bits === 4 || bits === 2) return Math.ceil((count * bits) / 8);
  return count;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** Bytes a value takes in a fixed-width field; 0 for varints and strings. */
function fixedWidth(field: TypedField): 0 | 4 | 8 {
  if (field === "float_data") return 4;
  return field === "double_data" ? 8 : 0;
}

/** Counts the values of a typed field and checks that they can be decoded. */
export function countTyped(
  file: WireFile,
  field: TypedField,
  ranges: readonly Range[],
  message: FieldPath | null,
): number {
  const path: FieldPath = { parent: message, field, index: null };
  const width = fixedWidth(field);
  let count = 0;
  for (const range of ranges) {
    const records = new Records(file, range.start, range.end, path);
    while (records.next()) {
      const { wireType, start, payload, end } = records;
      const fail = (state: string) => fieldError(file.path, path, start, state);
      if (field === "string_data") {
        if (wireType !== WireType.bytes) throw fail(`has wire type ${wireType}`);
        count++;
      } else if (width > 0) {
        if (wireType === WireType.bytes) {
          if ((end - payload) % width !== 0) {
            throw fail(`has ${end - payload} bytes, which are not values of ${width}`);
          }
          count += (end - payload) / width;
        } else if (wireType === (width === 4 ? WireType.fixed32 : WireType.fixed64)) count++;
        else throw fail(`has wire type ${wireType}`);
      } else if (wireType === WireType.varint) count++;
      else if (wireType === WireType.bytes) count += countVarints(file, payload, end, fail);
      else throw fail(`has wire type ${wireType}`);
    }
  }
  return count;
}

function countVarints(
  file: WireFile,
  from: number,
  to: number,
  fail: (state: string) => Error,
): number {
  let count = 0;
  let run = 0;
  for (const bytes of file.chunks(from, to)) {
    for (let index = 0; index < bytes.length; index++) {
      if (bytes[index]! < 0x80) {
        count++;
        run = 0;
      } else if (++run === 10) throw fail("has a varint of more than 10 bytes");
    }
  }
  if (run > 0) throw fail("ends within a varint");
  return count;
}

/** Bytes decoded at a time: a multiple of every element size and of the 3 bytes of four 6-bit ones. */
const BLOCK_BYTES = 48 * 1024;

/** Decodes the values of a typed field, in order, into the bytes that `raw_data` would hold. */
export class TypedDecoder {
  readonly #file: WireFile;
  readonly #ranges: readonly Range[];
  readonly #dtype: DType;
  readonly #width: number;
  readonly #fixed: boolean;
  readonly #block = new Uint8Array(BLOCK_BYTES);
  #used = 0;
  #filled = 0;
  #range = 0;
  #records: Records | null = null;
  /** Next value and end of the packed record or the single value at hand. */
  #at = 0;
  #end = 0;

  constructor(file: WireFile, field: TypedField, dtype: DType, ranges: readonly Range[]) {
    const { bits, kind } = DTYPES[dtype];
    this.#file = file;
    this.#ranges = ranges;
    this.#dtype = dtype;
    this.#fixed = fixedWidth(field) > 0;
    this.#width = Math.ceil((kind === "complex" ? bits / 2 : bits) / 8);
  }

  /** Fills `into` with the bytes that follow those given last. */
  fill(into: Uint8Array): void {
    let at = 0;
    while (at < into.length) {
      if (this.#used === this.#filled) this.#refill();
      const count = Math.min(into.length - at, this.#filled - this.#used);
      into.set(this.#block.subarray(this.#used, this.#used + count), at);
      this.#used += count;
      at += count;
    }
  }

  #refill(): void {
    this.#used = 0;
    this.#filled = 0;
    if (this.#dtype === "float6e2m3" || this.#dtype === "float6e3m2") this.#refill6();
    else if (this.#fixed) this.#refillFixed();
    else this.#refillVarints();
    if (this.#filled === 0) {
      throw new RangeError("a typed field has fewer values than were counted");
    }
  }

  #refillFixed(): void {
    while (this.#filled < BLOCK_BYTES && this.#advance()) {
      const count = Math.min(BLOCK_BYTES - this.#filled, this.#end - this.#at);
      this.#file.read(this.#at, this.#block.subarray(this.#filled, this.#filled + count));
      this.#at += count;
      this.#filled += count;
    }
  }

  #refillVarints(): void {
    const width = this.#width;
    while (this.#filled < BLOCK_BYTES && this.#advance()) {
      this.#varint();
      for (let index = 0; index < width; index++) {
        const word = index < 4 ? this.#low : this.#high;
        this.#block[this.#filled++] = word >>> (8 * (index & 3));
      }
    }
  }

  /** Four values of 6 bits become three bytes; the last group is padded with zeros. */
  #refill6(): void {
    while (this.#filled < BLOCK_BYTES && this.#advance()) {
      let group = 0;
      let bits = 0;
      for (; bits < 24 && this.#advance(); bits += 6) {
        this.#varint();
        group |= (this.#low & 0x3f) << bits;
      }
      for (let shift = 0; shift < bits; shift += 8) this.#block[this.#filled++] = group >>> shift;
    }
  }

  #low = 0;
  #high = 0;

  #varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#file.byte(this.#at++);
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) break;
    }
    this.#low = low;
    this.#high = high;
  }

  /** Makes `#at` the next value; false when there is none. */
  #advance(): boolean {
    while (this.#at >= this.#end) {
      if (this.#records === null) {
        const range = this.#ranges[this.#range++];
        if (range === undefined) return false;
        this.#records = new Records(this.#file, range.start, range.end, null);
      }
      if (this.#records.next()) {
        this.#at = this.#records.payload;
        this.#end = this.#records.end;
      } else this.#records = null;
    }
    return true;
  }
}
