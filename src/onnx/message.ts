/**
 * Messages within a model file, as the reader meets them: walking their fields, keeping what is
 * carried, and refusing what is too deep or too many. How much the objects of a model may take is
 * bounded by the size of its file, because a few bytes can describe a large object.
 */
import { InputError } from "../error.ts";
import {
  fieldError,
  type FieldPath,
  fieldPathText,
  Records,
  type WireFile,
  WireType,
} from "./wire.ts";

/** A message within the file. */
export interface Message {
  readonly from: number;
  readonly to: number;
  readonly path: FieldPath | null;
  /** Messages around it. */
  readonly depth: number;
}

/** A range of bytes of the file. */
export interface Span {
  readonly start: number;
  end: number;
}

/** A field that holds messages: its name, and whether there can be several. */
export interface ChildField {
  readonly name: string;
  readonly repeated: boolean;
}

/** Messages within messages that a model may have: what protobuf's own parsers allow. */
const DEEPEST = 100;

/** Bytes of objects that any model may come to. */
const BASE_BUDGET = 16 * 1024 * 1024;
/** Further bytes of objects for a byte of the model's files, external data included. */
const BUDGET_PER_BYTE = 3;

/** Walks the messages of one file. */
export class MessageReader {
  readonly file: WireFile;
  readonly #texts = new Map<string, string>();
  #files: number;
  #charged = 0;

  constructor(file: WireFile) {
    this.file = file;
    this.#files = file.size;
  }

  /**
   * Goes through `message`: calls `visit` for every message of the fields in `inner`, in order, and
   * returns the bytes of all other fields. A field that is not repeated may occur once.
   */
  walk(
    message: Message,
    inner: Readonly<Record<number, ChildField>>,
    visit: (number: number, child: Message) => void,
  ): Uint8Array {
    const carried = new CarriedFields(this.file);
    const counts: Record<number, number> = {};
    const records = this.records(message);
    while (records.next()) {
      const field = inner[records.number];
      if (field === undefined) {
        carried.add(records.start, records.end);
        continue;
      }
      if (records.wireType !== WireType.bytes) {
        throw records.error(`has ${field.name} with wire type ${records.wireType}`);
      }
      const index = counts[records.number] ?? 0;
      counts[records.number] = index + 1;
      if (index > 0 && !field.repeated) throw records.error(`has ${field.name} twice`);
      visit(records.number, this.child(message, field, index, records.payload, records.end));
    }
    return this.kept(carried);
  }

  /** The records of `message`. */
  records(message: Message): Records {
    return new Records(this.file, message.from, message.to, message.path);
  }

  /** The message in bytes `from` to `to` of a field of `parent`. */
  child(parent: Message, field: ChildField, index: number, from: number, to: number): Message {
    const path = { parent: parent.path, field: field.name, index: field.repeated ? index : null };
    if (parent.depth >= DEEPEST) {
      const text = fieldPathText(path);
      const shown = text.length > 200 ? `${text.slice(0, 100)}...${text.slice(-100)}` : text;
      throw new InputError(
        `Cannot read "${this.file.path}": ${shown} at byte ${from} lies more than ${DEEPEST} ` +
          `messages deep. The file is damaged or made to do harm; get it again.`,
      );
    }
    return { from, to, path, depth: parent.depth + 1 };
  }

  /** The bytes gathered in `carried`; their decoding is accounted for. */
  kept(carried: CarriedFields): Uint8Array {
    this.charge(carried.count * 40 + 100);
    return carried.finish();
  }

  /** All bytes of `message`. */
  whole(message: Message): Uint8Array {
    return this.file.copy([{ start: message.from, end: message.to }]);
  }

  /** Decodes the small fields of `message`. */
  decode<T>(message: Message, bytes: Uint8Array, decode: (bytes: Uint8Array) => T): T {
    try {
      return decode(bytes);
    } catch (cause) {
      const state = cause instanceof TypeError ? "has a name that is not UTF-8" : String(cause);
      throw this.fail(
        message,
        cause instanceof TypeError ? state : `holds a field that can't be decoded (${state})`,
      );
    }
  }

  /** One string object a text: the names of values occur again and again. */
  text(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    this.charge(64 + text.length);
    this.#texts.set(text, text);
    return text;
  }

  /** Takes note of `bytes` of external data: a model may come to more objects the larger it is. */
  addFile(bytes: number): void {
    this.#files += bytes;
  }

  /** Accounts for `bytes` of objects. */
  charge(bytes: number): void {
    this.#charged += bytes;
    const budget = BASE_BUDGET + BUDGET_PER_BYTE * this.#files;
    if (this.#charged <= budget) return;
    throw new InputError(
      `Cannot read "${this.file.path}": it describes more nodes, values and attributes than a ` +
        `model of ${this.#files} bytes does, and would take more than ${budget} bytes of memory. ` +
        `The file is damaged or made to do harm; get it again.`,
    );
  }

  /** The error that `message` is in `state`. */
  fail(message: Message, state: string, remedy?: string): InputError {
    return fieldError(this.file.path, message.path, message.from, state, remedy);
  }
}

/** Gathers the bytes of fields that are carried; runs of neighbours are copied at once. */
export class CarriedFields {
  /** Records gathered. */
  count = 0;
  readonly #file: WireFile;
  #start = 0;
  #end = 0;
  #bytes: Uint8Array | null = null;
  #length = 0;

  constructor(file: WireFile) {
    this.#file = file;
  }

  /** Adds the record from `start` to `end`. */
  add(start: number, end: number): void {
    this.count++;
    if (start !== this.#end) {
      this.#flush();
      this.#start = start;
    }
    this.#end = end;
  }

  /** A lasting copy of what was gathered. */
  finish(): Uint8Array {
    if (this.#bytes === null) return this.#file.copy([{ start: this.#start, end: this.#end }]);
    this.#flush();
    return this.#bytes.slice(0, this.#length);
  }

  #flush(): void {
    const length = this.#end - this.#start;
    if (length === 0) return;
    const needed = this.#length + length;
    if (this.#bytes === null || needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(256, needed, 2 * (this.#bytes?.length ?? 0)));
      if (this.#bytes !== null) larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#file.read(this.#start, this.#bytes.subarray(this.#length, needed));
    this.#length = needed;
    this.#start = this.#end;
  }
}
