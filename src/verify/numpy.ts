/**
 * Reader of NumPy's files: `.npy`, versions 1 to 3, and `.npz`, a ZIP archive of them
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Files are untrusted:
 * every length is checked before memory is taken, inflating stops at the declared size, and a file
 * with pickled objects is refused.
 */
import { InputError } from "../error.ts";
import { elementCount } from "../ir.ts";
import { elementBytes, type HostTensor, type HostType, viewBytes } from "./values.ts";
import { inflateEntry, quoted, zipEntries } from "./zip.ts";

/** Bytes that one array, and that all arrays of an archive, may take once read. */
const LARGEST = 2 ** 31 - 1;

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

/** Reads the array in the bytes of a `.npy` file. Throws an `InputError` that names `source`. */
export function parseNpy(bytes: Uint8Array, source: string): HostTensor {
  const fail = (state: string): never => {
    throw new InputError(`Cannot read "${source}": ${state}. Save it again with numpy.save.`);
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
  if (start > bytes.length || headerLength > 1 << 20) {
    return fail(`the header length ${headerLength} at byte 8 passes the end of the file`);
  }
  const encoded = bytes.subarray(8 + lengthBytes, start);
  const header = parseHeader(
    version === 3 ? new TextDecoder().decode(encoded) : latin1(encoded, 0, encoded.length),
  );
  if (header === null) return fail("its header is not the dictionary that NumPy writes");
  const { descr, fortranOrder, shape } = header;

  const letters = /^([<>|=])([a-zA-Z])(\d*)$/.exec(descr);
  if (letters === null) return fail(`its dtype ${quoted(descr)} is not a plain one`);
  const [, order, kind, size] = letters;
  const count = elementCount(shape);
  if (shape.length > 32 || !Number.isSafeInteger(count)) {
    return fail(`its shape (${shape.join(", ")}) is too large`);
  }
  const bigEndian = order === ">";
  if (kind === "U" || kind === "S") {
    const width = Number(size) * (kind === "U" ? 4 : 1);
    const expected = checkedLength(count, width, bytes.length - start);
    if (typeof expected === "string") return fail(expected);
    const strings = readStrings(view, start, count, Number(size), kind, bigEndian);
    if (strings === null) return fail("a string of it holds a code point past U+10FFFF");
    return { dtype: "string", dims: shape, data: toRowMajor(strings, shape, fortranOrder) };
  }
  const dtype = Object.hasOwn(DTYPES, `${kind}${size}`) ? DTYPES[`${kind}${size}`] : undefined;
  if (dtype === undefined) {
    return fail(
      kind === "O"
        ? "it holds pickled objects, which are never loaded"
        : `its dtype ${quoted(descr)} has no counterpart in ONNX`,
    );
  }
  const width = elementBytes(dtype);
  const expected = checkedLength(count, width, bytes.length - start);
  if (typeof expected === "string") return fail(expected);
  const copy = bytes.slice(start, start + expected);
  if (bigEndian) reverseElements(copy, width);
  const data = viewBytes(dtype, copy);
  if (fortranOrder && shape.length > 1) {
    const order = rowMajorOrder(shape);
    const ordered = viewBytes(dtype, new Uint8Array(expected));
    for (let i = 0; i < count; i++) ordered[i] = data[order[i]!]!;
    return { dtype, dims: shape, data: ordered };
  }
  return { dtype, dims: shape, data };
}

/**
 * Reads the arrays in the bytes of a `.npz` file, by their names without ".npy". `check` is told all
 * names before any array is read. Throws an `InputError` that names `source` and the entry.
 */
export function parseNpz(
  bytes: Uint8Array,
  source: string,
  check: (name: string) => void = () => {},
): Map<string, HostTensor> {
  const arrays = new Map<string, HostTensor>();
  const entries = zipEntries(bytes, source).filter(({ name }) => !name.endsWith("/"));
  const nameOf = (entry: string) => entry.replace(/\.npy$/, "");
  for (const { name } of entries) check(nameOf(name));
  let total = 0;
  for (const entry of entries) {
    const name = nameOf(entry.name);
    const place = `${source}:${entry.name}`;
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
    arrays.set(name, parseNpy(inflateEntry(bytes, entry, source), place));
  }
  if (arrays.size === 0) {
    throw new InputError(
      `Cannot read "${source}": the archive holds no array. Save it again with numpy.savez.`,
    );
  }
  return arrays;
}

/** What a `.npy` header says. */
interface NpyHeader {
  readonly descr: string;
  readonly fortranOrder: boolean;
  readonly shape: number[];
}

/**
 * Parses the Python dictionary literal of a header: exactly the keys `descr` (a string),
 * `fortran_order` and `shape`, in any order. Null where it is anything else.
 */
function parseHeader(text: string): NpyHeader | null {
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

/** Bytes of `count` elements of `width` bytes, or a sentence where `available` are too few. */
function checkedLength(count: number, width: number, available: number): number | string {
  const length = count * width;
  if (length > LARGEST) return `its data take ${length} bytes, more than ${LARGEST}`;
  if (length > available) return `it holds ${available} bytes of data where ${length} belong`;
  // Strings of no width have no bytes that would bound their number.
  if (width === 0 && count > 1 << 20) return `it holds ${count} empty strings`;
  return length;
}

/** Strings of `length` characters each, trailing NULs cut; null for a wrong code point. */
function readStrings(
  view: DataView,
  start: number,
  count: number,
  length: number,
  kind: "U" | "S",
  bigEndian: boolean,
): string[] | null {
  const strings: string[] = [];
  const width = kind === "U" ? 4 : 1;
  for (let i = 0; i < count; i++) {
    let text = "";
    for (let c = 0; c < length; c++) {
      const at = start + (i * length + c) * width;
      const code = kind === "U" ? view.getUint32(at, !bigEndian) : view.getUint8(at);
      if (code > 0x10ffff) return null;
      text += String.fromCodePoint(code);
    }
    let end = text.length;
    while (text[end - 1] === "\0") end--;
    strings.push(text.slice(0, end));
  }
  return strings;
}

/** For each element in row-major order, where it lies in column-major (Fortran) order. */
function rowMajorOrder(shape: readonly number[]): Float64Array {
  const count = elementCount(shape);
  const strides: number[] = [];
  let stride = 1;
  for (const extent of shape) {
    strides.push(stride);
    stride *= extent;
  }
  const order = new Float64Array(count);
  const index = new Array<number>(shape.length).fill(0);
  let at = 0;
  for (let i = 0; i < count; i++) {
    order[i] = at;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      at += strides[axis]!;
      if (index[axis]! < shape[axis]!) break;
      at -= index[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return order;
}

/** `strings` in row-major order. */
function toRowMajor(strings: string[], shape: readonly number[], fortranOrder: boolean): string[] {
  if (!fortranOrder || shape.length < 2) return strings;
  return Array.from(rowMajorOrder(shape), (at) => strings[at]!);
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
