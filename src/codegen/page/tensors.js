// @ts-check
/**
 * Values of tensors in a page: made up, read from what a person types, from and to NumPy's files
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), and as a run takes them.
 */

/** @typedef {{ name: string, dtype: string, dims: readonly (number | string | null)[] }} Description */
/** @typedef {{ dtype: string, dims: readonly number[], data: ArrayLike<number | bigint> }} Output */
/** @typedef {{ dims: number[], values: Float64Array }} Values numbers of any dtype */

/** Dtypes whose elements are integers. */
const INTEGERS = /^(u?int\d+|bool)$/;

/** @param {readonly number[]} dims */
export function countOf(dims) {
  return dims.reduce((product, dim) => product * dim, 1);
}

/**
 * Values to begin with: a way of making them up.
 * @param {"random" | "zeros" | "ones" | "counting"} way
 * @param {Description} input
 * @param {number} count
 */
export function fill(way, input, count) {
  const values = new Float64Array(count);
  if (way === "ones") return values.fill(1);
  if (way === "counting") return values.map((_, index) => index);
  if (way === "zeros") return values;
  if (input.dtype === "bool") return values.map(() => Math.random() < 0.5 ? 0 : 1);
  const isWhole = INTEGERS.test(input.dtype);
  return values.map(() => isWhole ? Math.floor(10 * Math.random()) : 2 * Math.random() - 1);
}

/** What people write for numbers that `Number` does not read. */
const WORDS = new Map([
  ["true", 1],
  ["false", 0],
  ["nan", NaN],
  ["inf", Infinity],
  ["-inf", -Infinity],
]);

/**
 * The numbers in `text`, between any of spaces, commas, semicolons and brackets.
 * @param {string} text
 */
export function parseNumbers(text) {
  const words = text.split(/[\s,;[\](){}]+/).filter((word) => word !== "");
  return Float64Array.from(words, (word) => {
    const number = WORDS.get(word.toLowerCase()) ?? Number(word.replace(/n$/, ""));
    if (Number.isNaN(number) && word.toLowerCase() !== "nan") {
      throw new Error(`Cannot read "${word}": it is not a number.`);
    }
    return number;
  });
}

/** Typed arrays by dtype; other dtypes are handed to a run as plain numbers. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/**
 * An input as a run takes it.
 * @param {Description} input
 * @param {Values} given
 */
export function toInput(input, { dims, values }) {
  if (countOf(dims) !== values.length) {
    throw new Error(
      `Cannot run with "${input.name}": it has ${values.length} values, and its shape ` +
        `[${dims.join(", ")}] takes ${countOf(dims)}.`,
    );
  }
  if (input.dtype === "int64" || input.dtype === "uint64") {
    const whole = Array.from(values, (value) => BigInt(Math.trunc(value)));
    const data = input.dtype === "int64" ? BigInt64Array.from(whole) : BigUint64Array.from(whole);
    return { data, dims };
  }
  const Typed = Object.entries(ARRAYS).find(([name]) => name === input.dtype)?.[1];
  return { data: Typed === undefined ? Array.from(values) : Typed.from(values), dims };
}

/**
 * Elements `begin` to `end` of an output as numbers. Half floats come as bits where a browser has no
 * type for them.
 * @param {Output} output
 * @param {number} [begin]
 * @param {number} [end]
 * @returns {Float64Array}
 */
export function toNumbers({ dtype, data }, begin = 0, end = data.length) {
  const isCoded = data instanceof Uint16Array;
  const convert = isCoded && dtype === "float16"
    ? halfToNumber
    : isCoded && dtype === "bfloat16"
    ? bfloat16ToNumber
    : Number;
  const numbers = new Float64Array(end - begin);
  for (let index = begin; index < end; index++) {
    numbers[index - begin] = convert(/** @type {number} */ (data[index]));
  }
  return numbers;
}

/** @param {number} bits */
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign *
    (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** @param {number} bits */
function bfloat16ToNumber(bits) {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0] ?? 0;
}

/** Readers of NumPy's element types, by the letters of `descr` after the byte order. */
const NUMPY = {
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  f4: (view, at, little) => view.getFloat32(at, little),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  f8: (view, at, little) => view.getFloat64(at, little),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  f2: (view, at, little) => halfToNumber(view.getUint16(at, little)),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  i8: (view, at, little) => Number(view.getBigInt64(at, little)),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  u8: (view, at, little) => Number(view.getBigUint64(at, little)),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  i4: (view, at, little) => view.getInt32(at, little),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  u4: (view, at, little) => view.getUint32(at, little),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  i2: (view, at, little) => view.getInt16(at, little),
  /** @type {(view: DataView, at: number, little: boolean) => number} */
  u2: (view, at, little) => view.getUint16(at, little),
  /** @type {(view: DataView, at: number) => number} */
  i1: (view, at) => view.getInt8(at),
  /** @type {(view: DataView, at: number) => number} */
  u1: (view, at) => view.getUint8(at),
  /** @type {(view: DataView, at: number) => number} */
  b1: (view, at) => view.getUint8(at),
};

/**
 * The array in an `.npy` file.
 * @param {ArrayBuffer} file
 * @param {string} name
 * @returns {Values}
 */
export function readNpy(file, name) {
  /** @param {string} state */
  const fault = (state) => new Error(`Cannot read "${name}": ${state}.`);
  const bytes = new Uint8Array(file);
  const view = new DataView(file);
  const text = new TextDecoder("latin1");
  if (bytes.length < 12 || text.decode(bytes.subarray(1, 6)) !== "NUMPY") {
    throw fault("it is not an .npy file");
  }
  const long = bytes[6] !== 1;
  const begin = long ? 12 : 10;
  const end = begin + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = text.decode(bytes.subarray(begin, end));
  const [, order, type] = /'descr': *'([<>|=])([a-z]\d)'/.exec(header) ?? [];
  const [, shape] = /'shape': *\(([\d, ]*)\)/.exec(header) ?? [];
  const read = Object.entries(NUMPY).find(([key]) => key === type)?.[1];
  if (shape === undefined || type === undefined || read === undefined) {
    throw fault("its element type or its shape is not supported");
  }
  const dims = shape.split(",").filter((part) => part.trim() !== "").map(Number);
  const count = countOf(dims);
  const width = Number(type[1]);
  if (!(count * width <= bytes.length - end)) throw fault("it is shorter than its shape says");
  const values = new Float64Array(count);
  const columnMajor = /'fortran_order': *True/.test(header);
  const little = order !== ">";
  for (let index = 0; index < count; index++) {
    let from = index;
    if (columnMajor) {
      let rest = index;
      let stride = count;
      from = 0;
      for (const dim of dims.toReversed()) {
        stride /= dim;
        from += (rest % dim) * stride;
        rest = Math.floor(rest / dim);
      }
    }
    values[index] = read(view, end + from * width, little);
  }
  return { dims, values };
}

/** NumPy's names of the dtypes that it has. */
const DESCRIPTIONS = {
  float32: "<f4",
  float64: "<f8",
  int64: "<i8",
  uint64: "<u8",
  int32: "<i4",
  uint32: "<u4",
  int16: "<i2",
  uint16: "<u2",
  int8: "|i1",
  uint8: "|u1",
  bool: "|b1",
};

/**
 * An output as an `.npy` file, of float32 where NumPy does not have its dtype.
 * @param {Output} output
 * @returns {Blob}
 */
export function writeNpy(output) {
  const known = Object.entries(DESCRIPTIONS).find(([name]) => name === output.dtype)?.[1];
  const { data } = output;
  const content = known !== undefined && ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
    : new Uint8Array(Float32Array.from(toNumbers(output)).buffer);
  const dims = output.dims.map((dim) => `${dim},`).join(" ");
  const header = `{'descr': '${known ?? "<f4"}', 'fortran_order': False, 'shape': (${dims}), }`;
  const length = Math.ceil((10 + header.length + 1) / 64) * 64 - 10;
  const front = new Uint8Array(10 + length).fill(0x20);
  front.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]);
  front.set(new TextEncoder().encode(header), 10);
  front[front.length - 1] = 0x0a;
  return new Blob([front, content], { type: "application/octet-stream" });
}
