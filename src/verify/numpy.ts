/**
 * Reader of NumPy's files: `.npy`, versions 1 to 3, and `.npz`, a ZIP archive of them
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Files are untrusted:
 * every length is checked before memory is taken, an array of an archive is inflated only once its own
 * header has said how long it is, and a file with pickled objects is refused.
 */
import { InputError } from "../error.ts";
import { elementCount } from "../ir.ts";
import { elementBytes, type HostTensor, type HostType, viewBytes } from "./values.ts";
import { entryBytes, quoted, zipEntries, type ZipEntry } from "./zip.ts";

/** Bytes that one array, and that all arrays of an archive, may take once read. */
export const LARGEST = 2 ** 31 - 1;

/** Strings that an array may hold: each takes several times its bytes. */
const MOST_STRINGS = 1 << 24;

/** Bytes that a header may take. */
const LARGEST_HEADER = 1 << 20;

/** NumPy's kind and size letters, and the element types that they mean. */
const DTYPES: Readonly<Record<string, Exclude<HostType, "string">>> = {
  b1: "bool",
  i1: "int8",
  u1: "uint8",
  i2: "int16",
  u2: "uint16",
  i4: "int32",
  u4: "uint32",
  i8: "int64",
  u8: "uint64",
  f2: "float16",
  f4: "float32",
  f8: "float64",
};

/** What the header of an array declares. */
export interface ArrayHeader {
  readonly dtype: HostType;
  readonly dims: readonly number[];
  /** Where the data begin, in bytes from the start. */
  readonly start: number;
  /** Bytes of the data. */
  readonly length: number;
  readonly fortranOrder: boolean;
  readonly bigEndian: boolean;
  /** Characters of a string, and bytes of one of them; null where elements are numbers. */
  readonly text: { readonly length: number; readonly width: 1 | 4 } | null;
}

/** Reads the array in the bytes of a `.npy` file. Throws an `InputError` that names `source`. */
export function parseNpy(bytes: Uint8Array, source: string): HostTensor {
  const header = readHeader(bytes, source);
  const { start, length } = header;
  if (length > bytes.length - start) {
    throw npyError(source, `it holds ${bytes.length - start} bytes of data where ${length} belong`);
  }
  return readElements(header, bytes.slice(start, start + length), source);
}

/** Who wants the arrays of an archive; either throws where it doesn't. */
export interface ArrayTaker {
  /** Told every name before any array is looked at. */
  readonly names?: (name: string) => void;
  /** Told what an array is before its data are inflated. */
  readonly header?: (name: string, header: ArrayHeader) => void;
}

/**
 * Reads the arrays in the bytes of a `.npz` file, by their names without ".npy". Of an entry that is
 * not the size that its own header declares, or that `taker` does not want, no more than the header is
 * inflated. Throws an `InputError` that names `source` and the entry.
 */
export async function parseNpz(
  bytes: Uint8Array<ArrayBuffer>,
  source: string,
  taker: ArrayTaker = {},
): Promise<Map<string, HostTensor>> {
  const arrays = new Map<string, HostTensor>();
  const entries = zipEntries(bytes, source).filter(({ name }) => !name.endsWith("/"));
  const nameOf = (entry: string) => entry.replace(/\.npy$/, "");
  for (const { name } of entries) taker.names?.(nameOf(name));
  let total = 0;
  for (const entry of entries) {
    const name = nameOf(entry.name);
    if (arrays.has(name)) {
      throw new InputError(
        `Cannot read "${source}": two entries are called ${quoted(entry.name)}. ` +
          "Save it again with numpy.savez.",
      );
    }
    total += entry.size;
    if (total > LARGEST) {
      throw new InputError(
        `Cannot read "${source}": its arrays take more than ${LARGEST} bytes. ` +
          "Give smaller inputs.",
      );
    }
    const accept = (header: ArrayHeader) => taker.header?.(name, header);
    arrays.set(name, await readEntry(bytes, entry, source, accept));
  }
  if (arrays.size === 0) {
    throw new InputError(
      `Cannot read "${source}": the archive holds no array. Save it again with numpy.savez.`,
    );
  }
  return arrays;
}

/** Reads the array in `entry`: its header, and then as many bytes as that declares. */
async function readEntry(
  bytes: Uint8Array<ArrayBuffer>,
  entry: ZipEntry,
  source: string,
  accept: (header: ArrayHeader) => void,
): Promise<HostTensor> {
  const place = `${source}:${entry.name}`;
  let head = new Uint8Array(0);
  let header: ArrayHeader | null = null;
  let data = new Uint8Array(0);
  let filled = 0;
  for await (const piece of entryBytes(bytes, entry, source)) {
    let rest = piece;
    if (header === null) {
      head = joined(head, piece);
      if (head.length < Math.min(headerEnd(head), entry.size)) continue;
      header = readHeader(head, place);
      const { start, length } = header;
      if (entry.size !== start + length) {
        throw npyError(
          place,
          `it holds ${entry.size - start} bytes of data where ${length} belong`,
        );
      }
      accept(header);
      data = new Uint8Array(length);
      rest = head.subarray(start);
    }
    data.set(rest, filled);
    filled += rest.length;
  }
  return readElements(header ?? readHeader(head, place), data, place);
}

function joined(before: Uint8Array, after: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(before.length + after.length);
  bytes.set(before);
  bytes.set(after, before.length);
  return bytes;
}

function npyError(source: string, state: string): InputError {
  return new InputError(`Cannot read "${source}": ${state}. Save it again with numpy.save.`);
}

/** How many bytes from the start are needed to read the header, as far as `bytes` tell. */
function headerEnd(bytes: Uint8Array): number {
  if (bytes.length < 12) return 12;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes[6] === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  return Math.min(end, 12 + LARGEST_HEADER);
}

/** Reads the header in the first of `bytes`. */
function readHeader(bytes: Uint8Array, source: string): ArrayHeader {
  const fail = (state: string): never => {
    throw npyError(source, state);
  };
  if (bytes.length < 10 || bytes[0] !== 0x93 || latin1(bytes, 1, 5) !== "NUMPY") {
    return fail("it does not begin with NumPy's signature");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6]!;
  if (version < 1 || version > 3) return fail(`format version ${version} is not 1, 2 or 3`);
  const lengthBytes = version === 1 ? 2 : 4;
  if (bytes.length < 8 + lengthBytes) return fail("it ends within the header at byte 8");
  const headerLength = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = 8 + lengthBytes + headerLength;
  if (start > bytes.length || headerLength > LARGEST_HEADER) {
    return fail(`the header length ${headerLength} at byte 8 passes the end of the file`);
  }
  const encoded = bytes.subarray(8 + lengthBytes, start);
  const dictionary = parseDictionary(
    version === 3 ? new TextDecoder().decode(encoded) : latin1(encoded, 0, encoded.length),
  );
  if (dictionary === null) return fail("its header is not the dictionary that NumPy writes");
  const { descr, fortranOrder, shape } = dictionary;

  const letters = /^([<>|=])([a-zA-Z])(\d*)$/.exec(descr);
  if (letters === null) return fail(`its dtype ${quoted(descr)} is not a plain one`);
  const [, order, kind, size] = letters;
  const count = elementCount(shape);
  if (shape.length > 32 || !Number.isSafeInteger(count)) {
    return fail(`its shape (${shape.join(", ")}) is too large`);
  }
  const array = { dims: shape, start, fortranOrder, bigEndian: order === ">" };
  if (kind === "U" || kind === "S") {
    const text = { length: Number(size), width: kind === "U" ? 4 : 1 } as const;
    const length = count * text.length * text.width;
    if (length > LARGEST) return fail(tooLarge(length));
    if (count > MOST_STRINGS) return fail(`it holds ${count} strings, more than ${MOST_STRINGS}`);
    return { ...array, dtype: "string", length, text };
  }
  const dtype = Object.hasOwn(DTYPES, `${kind}${size}`) ? DTYPES[`${kind}${size}`] : undefined;
  if (dtype === undefined) {
    return fail(
      kind === "O"
        ? "it holds pickled objects, which are never loaded"
        : `its dtype ${quoted(descr)} has no counterpart in ONNX`,
    );
  }
  const length = count * elementBytes(dtype);
  if (length > LARGEST) return fail(tooLarge(length));
  return { ...array, dtype, length, text: null };
}

function tooLarge(length: number): string {
  return `its data take ${length} bytes, more than ${LARGEST}`;
}

/** The array that `header` declares, of its data, which are changed. */
function readElements(
  header: ArrayHeader,
  bytes: Uint8Array<ArrayBuffer>,
  source: string,
): HostTensor {
  const { dtype, dims, fortranOrder, bigEndian, text } = header;
  if (dtype === "string") {
    const strings = readStrings(bytes, elementCount(dims), text!, bigEndian);
    if (strings === null) {
      throw npyError(source, "a string of it holds a code point past U+10FFFF");
    }
    return { dtype, dims, data: toRowMajor(strings, dims, fortranOrder) };
  }
  const width = elementBytes(dtype);
  if (bigEndian) reverseElements(bytes, width);
  const data = viewBytes(dtype, bytes);
  if (!fortranOrder || dims.length < 2) return { dtype, dims, data };
  const ordered = viewBytes(dtype, new Uint8Array(bytes.length));
  eachRowMajor(dims, (to, from) => ordered[to] = data[from]!);
  return { dtype, dims, data: ordered };
}

/** What the dictionary in a header says. */
interface Dictionary {
  readonly descr: string;
  readonly fortranOrder: boolean;
  readonly shape: number[];
}

/**
 * Parses the Python dictionary literal of a header: exactly the keys `descr` (a string),
 * `fortran_order` and `shape`, in any order. Null where it is anything else.
 */
function parseDictionary(text: string): Dictionary | null {
  const body = /^\s*\{([^{}]*)\}\s*$/.exec(text)?.[1];
  if (body === undefined) return null;
  const entry =
    /\s*(['"])(\w+)\1\s*:\s*(?:'([^']*)'|"([^"]*)"|(True|False)|\(([\d\sL,]*)\))\s*(,|$)/y;
  let descr: string | null = null;
  let fortranOrder: boolean | null = null;
  let shape: number[] | null = null;
  while (entry.lastIndex < body.length) {
    const from = entry.lastIndex;
    const found = entry.exec(body);
    if (found === null) {
      if (body.slice(from).trim() === "") break;
      return null;
    }
    const [, , key, single, double, truth, tuple] = found;
    if (key === "descr" && descr === null) descr = single ?? double ?? null;
    else if (key === "fortran_order" && fortranOrder === null && truth !== undefined) {
      fortranOrder = truth === "True";
    } else if (key === "shape" && shape === null && tuple !== undefined) shape = parseShape(tuple);
    else return null;
  }
  return descr === null || fortranOrder === null || shape === null
    ? null
    : { descr, fortranOrder, shape };
}

/** The extents of a tuple's inside: "", "3,", "3, 4", "3L, 4L"; null where it is not one. */
function parseShape(tuple: string): number[] | null {
  const parts = tuple.split(",").map((part) => part.trim().replace(/L$/, ""));
  if (parts.at(-1) === "") parts.pop();
  if (!parts.every((part) => /^\d{1,16}$/.test(part))) return null;
  const shape = parts.map(Number);
  return shape.every(Number.isSafeInteger) ? shape : null;
}

/** The `count` strings in `bytes`, trailing NULs cut; null for a wrong code point. */
function readStrings(
  bytes: Uint8Array,
  count: number,
  { length, width }: { readonly length: number; readonly width: 1 | 4 },
  bigEndian: boolean,
): string[] | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const strings: string[] = [];
  for (let i = 0; i < count; i++) {
    let text = "";
    for (let c = 0; c < length; c++) {
      const at = (i * length + c) * width;
      const code = width === 4 ? view.getUint32(at, !bigEndian) : view.getUint8(at);
      if (code > 0x10ffff) return null;
      text += String.fromCodePoint(code);
    }
    let end = text.length;
    while (text[end - 1] === "\0") end--;
    strings.push(text.slice(0, end));
  }
  return strings;
}

/** Tells for each element in row-major order where it lies in column-major (Fortran) order. */
function eachRowMajor(
  shape: readonly number[],
  visit: (rowMajor: number, columnMajor: number) => void,
): void {
  const count = elementCount(shape);
  const strides: number[] = [];
  let stride = 1;
  for (const extent of shape) {
    strides.push(stride);
    stride *= extent;
  }
  const index = new Array<number>(shape.length).fill(0);
  let at = 0;
  for (let i = 0; i < count; i++) {
    visit(i, at);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      at += strides[axis]!;
      if (index[axis]! < shape[axis]!) break;
      at -= index[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
}

/** `strings` in row-major order. */
function toRowMajor(strings: string[], shape: readonly number[], fortranOrder: boolean): string[] {
  if (!fortranOrder || shape.length < 2) return strings;
  const ordered = new Array<string>(strings.length);
  eachRowMajor(shape, (to, from) => ordered[to] = strings[from]!);
  return ordered;
}

/** Reverses the bytes of each element of `width` bytes in place. */
function reverseElements(bytes: Uint8Array, width: number): void {
  if (width === 1) return;
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
}

/** `length` bytes at `offset` as Latin-1 text. */
function latin1(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, Math.min(offset + length, offset + 65536)));
}
