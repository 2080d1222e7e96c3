/**
 * Changing some fields of a message's carried bytes and keeping the rest as it stands.
 */
import { memoryRecords, WireBuilder } from "./wire.ts";

/** Carried bytes with some of their fields replaced. */
export class Edit {
  readonly #carried: Uint8Array;
  readonly #dropped = new Set<number>();
  #added: WireBuilder | null = null;

  constructor(carried: Uint8Array) {
    this.#carried = carried;
  }

  /** Leaves the field `number` out. */
  drop(number: number): void {
    this.#dropped.add(number);
  }

  /** Adds records after all others. */
  append(build: (out: WireBuilder) => void): void {
    build(this.#added ??= new WireBuilder());
  }

  /** Puts what `build` makes in the place of the field `number`. */
  replace(number: number, build: (out: WireBuilder) => void): void {
    this.drop(number);
    this.append(build);
  }

  /** Replaces the records of the bytes field `number`, one by one. */
  rewrite(number: number, each: (payload: Uint8Array, out: WireBuilder) => void): void {
    this.replace(number, (out) => {
      for (const record of memoryRecords(this.#carried)) {
        if (record.number === number) each(record.payload, out);
      }
    });
  }

  /** An empty string is written as an absent one. */
  string(number: number, value: string): void {
    this.replace(number, (out) => {
      if (value !== "") out.string(number, value);
    });
  }

  /** Replaces a repeated string field. */
  strings(number: number, values: readonly string[]): void {
    this.replace(number, (out) => {
      for (const value of values) out.string(number, value);
    });
  }

  /** The bytes as changed. */
  finish(): Uint8Array {
    if (this.#dropped.size === 0 && this.#added === null) return this.#carried;
    const out = new WireBuilder();
    if (this.#dropped.size === 0) out.raw(this.#carried);
    else {
      for (const { number, record } of memoryRecords(this.#carried)) {
        if (!this.#dropped.has(number)) out.raw(record);
      }
    }
    if (this.#added !== null) out.raw(this.#added.finish());
    return out.finish();
  }
}

/** Whether two lists hold the same entries. */
export function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((entry, index) => entry === b[index]);
}

/** Whether two arrays hold the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
