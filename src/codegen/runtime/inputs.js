// @ts-check
/** Checks what a caller passes to `run`: names, dtypes, dimensions, symbols, buffers. */
import { ModelError, nameHint, quoted } from "./model_error.js";
import { arrayOfDtype, holdsDtype } from "./values.js";

/**
 * @typedef {import("../module.ts").InputTable} InputTable
 * @typedef {import("../module.ts").InputValue} InputValue
 * @typedef {import("../module.ts").NestedArray} NestedArray
 *
 * @typedef {object} CheckedInput either has `data` or `buffer`
 * @property {number[]} dims
 * @property {ArrayLike<number | bigint | boolean> | null} data
 * @property {GPUBuffer | null} buffer
 */

/**
 * The inputs in the order of the tables.
 * @param {readonly InputTable[]} tables
 * @param {Readonly<Record<string, InputValue>>} inputs
 * @returns {CheckedInput[]}
 */
export function checkInputs(tables, inputs) {
  if (typeof inputs !== "object" || inputs === null) {
    throw new ModelError("input", "Cannot run the model: pass an object with its inputs by name.");
  }
  const names = tables.map(({ name }) => name);
  for (const name of Object.keys(inputs)) {
    if (!names.includes(name)) {
      const hint = nameHint(name, names);
      throw new ModelError(
        "input",
        `Cannot take input ${quoted(name)}: it has no such name.${hint}`,
      );
    }
  }
  const open = tables.map((table) => {
    const value = Object.hasOwn(inputs, table.name) ? inputs[table.name] : undefined;
    if (value === undefined || value === null) {
      const given = Object.keys(inputs);
      throw new ModelError(
        "input",
        `Cannot run the model: input ${quoted(table.name)} is missing. It is ${describe(table)}` +
          `${given.length ? `; given: ${given.slice(0, 8).map(quoted).join(", ")}` : ""}.`,
      );
    }
    return openInput(table, value);
  });
  /** @type {Map<string, { size: number, where: string }>} */
  const symbols = new Map();
  tables.forEach((table, i) => {
    const dims = open[i]?.dims;
    if (dims) bindSymbols(table, dims, symbols);
  });
  return tables.map((table, i) => {
    const { dims, data, buffer } = open[i] ?? { dims: null, data: null, buffer: null };
    const found = dims ?? followingDims(table, data?.length ?? 0, symbols);
    if (dims === null) bindSymbols(table, found, symbols);
    return { dims: found, data, buffer };
  });
}

/**
 * @param {InputTable} table
 * @returns {string}
 */
function describe(table) {
  return `${table.dtype} [${table.dims.join(", ")}]`;
}

/**
 * @param {InputTable} table
 * @param {string} state
 */
function refusal(table, state) {
  return new ModelError("input", `Cannot take input ${quoted(table.name)}: ${state}`);
}

/**
 * Values and dimensions as far as the value alone tells; null dims are to be found.
 * @param {InputTable} table
 * @param {InputValue} value
 * @returns {{ dims: number[] | null, data: CheckedInput["data"], buffer: GPUBuffer | null }}
 */
function openInput(table, value) {
  if (ArrayBuffer.isView(value)) {
    return { dims: null, data: checkedData(table, value), buffer: null };
  }
  if (Array.isArray(value)) return { ...flatten(table, value), buffer: null };
  if (typeof value !== "object") {
    return { dims: null, data: checkedData(table, [value]), buffer: null };
  }
  if (!("dims" in value) || !Array.isArray(value.dims)) {
    throw refusal(table, "pass { data, dims }, { buffer, dims }, an array or a number.");
  }
  const dims = [...value.dims].map(Number);
  const count = dims.reduce((a, b) => a * b, 1);
  if (dims.some((dim) => !Number.isSafeInteger(dim) || dim < 0) || !Number.isSafeInteger(count)) {
    throw refusal(table, `[${dims.join(", ")}] are no dimensions.`);
  }
  if ("buffer" in value) {
    const { buffer } = value;
    if (!(buffer instanceof GPUBuffer)) throw refusal(table, "its buffer is no GPUBuffer.");
    if (buffer.size < 4 * count) {
      throw refusal(
        table,
        `its buffer has ${buffer.size} bytes, [${dims.join(", ")}] takes ${4 * count} ` +
          `(${table.storage}, 4 bytes an element).`,
      );
    }
    return { dims, data: null, buffer };
  }
  if (!("data" in value)) throw refusal(table, "it has dims, but neither data nor a buffer.");
  const data = Array.isArray(value.data)
    ? flatten(table, value.data).data
    : checkedData(table, value.data);
  if (data.length !== count) {
    throw refusal(table, `[${dims.join(", ")}] has ${count} elements, its data ${data.length}.`);
  }
  return { dims, data, buffer: null };
}

/**
 * @param {InputTable} table
 * @param {unknown} data
 * @returns {ArrayLike<number | bigint | boolean>}
 */
function checkedData(table, data) {
  if (Array.isArray(data)) {
    for (let i = 0; i < data.length; i++) {
      const kind = typeof data[i];
      if (kind === "number" || kind === "bigint" || kind === "boolean") continue;
      throw refusal(table, `element ${i} is a ${kind}, no number.`);
    }
    return data;
  }
  if (ArrayBuffer.isView(data) && holdsDtype(table.dtype, data)) {
    return /** @type {ArrayLike<number | bigint>} */ (/** @type {unknown} */ (data));
  }
  const given = data === null ? "null" : data?.constructor?.name ?? typeof data;
  throw refusal(
    table,
    `it is ${table.dtype} and wants a ${arrayOfDtype(table.dtype).name} or plain numbers, ` +
      `not a ${given}.`,
  );
}

/**
 * @param {InputTable} table
 * @param {NestedArray} nested
 * @returns {{ dims: number[] | null, data: ArrayLike<number | bigint | boolean> }}
 */
function flatten(table, nested) {
  if (!Array.isArray(nested[0])) {
    return {
      dims: table.dims.length === 1 ? [nested.length] : null,
      data: checkedData(table, nested),
    };
  }
  /** @type {number[]} */
  const dims = [];
  /** @type {unknown} */
  let level = nested;
  while (Array.isArray(level) && dims.length <= 64) {
    dims.push(level.length);
    level = level[0];
  }
  /** @type {unknown[]} */
  const flat = [];
  const visit = (/** @type {readonly unknown[]} */ list, /** @type {number} */ depth) => {
    if (list.length !== dims[depth]) throw refusal(table, "its nested arrays differ in length.");
    for (const entry of list) {
      if (Array.isArray(entry) !== depth + 1 < dims.length) {
        throw refusal(table, "its nested arrays differ in depth.");
      }
      if (Array.isArray(entry)) visit(entry, depth + 1);
      else flat.push(entry);
    }
  };
  visit(nested, 0);
  return { dims, data: checkedData(table, flat) };
}

/**
 * Checks dimensions against the table and against the symbols that are known.
 * @param {InputTable} table
 * @param {readonly number[]} dims
 * @param {Map<string, { size: number, where: string }>} symbols
 */
function bindSymbols(table, dims, symbols) {
  const shape = `its shape is [${dims.join(", ")}]`;
  if (dims.length !== table.dims.length) {
    throw refusal(table, `${shape}, the model wants [${table.dims.join(", ")}].`);
  }
  table.dims.forEach((wanted, axis) => {
    const size = Number(dims[axis]);
    if (typeof wanted === "number") {
      if (wanted === size) return;
      throw refusal(
        table,
        `${shape}, the model wants [${table.dims.join(", ")}]: dimension ${axis} is ${wanted}.`,
      );
    }
    const most = table.limits?.[axis] ?? null;
    if (most !== null && size > most) {
      throw refusal(table, `${shape}, and ${quoted(wanted)} was limited to ${most}.`);
    }
    const where = `dimension ${axis} of ${quoted(table.name)}`;
    const known = symbols.get(wanted);
    if (known === undefined) symbols.set(wanted, { size, where });
    else if (known.size !== size) {
      throw refusal(
        table,
        `${shape}, and ${
          quoted(wanted)
        } is ${known.size} by ${known.where}, but ${size} by ${where}.`,
      );
    }
  });
}

/**
 * The dimensions of flat values, where at most one is not known otherwise.
 * @param {InputTable} table
 * @param {number} count
 * @param {Map<string, { size: number, where: string }>} symbols
 * @returns {number[]}
 */
function followingDims(table, count, symbols) {
  let known = 1;
  /** @type {number[]} */
  const unknown = [];
  const dims = table.dims.map((dim, axis) => {
    const size = typeof dim === "number" ? dim : symbols.get(dim)?.size;
    if (size === undefined) unknown.push(axis);
    else known *= size;
    return size ?? 0;
  });
  const last = unknown[0];
  if (unknown.length > 1 || (last !== undefined && known === 0)) {
    throw refusal(
      table,
      `its dimensions [${table.dims.join(", ")}] don't follow from ${count} values. ` +
        "Pass { data, dims }.",
    );
  }
  if (last !== undefined) {
    dims[last] = count / known;
    known = count;
  }
  if (known !== count || !Number.isInteger(dims[last ?? 0] ?? 0)) {
    throw refusal(table, `it has ${count} values, the model wants [${table.dims.join(", ")}].`);
  }
  return dims;
}
