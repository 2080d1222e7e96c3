// @ts-check
/** Inputs of a run in the form that it takes them: GPU elements, or buffers that are bound. */
import { roundedBytes } from "./memory.js";
import { checkInputs } from "./inputs.js";
import { ModelError, quoted } from "./model_error.js";
import { toNumbers, toStorage } from "./values.js";

/**
 * @typedef {import("../module.ts").InputTable} InputTable
 * @typedef {import("../module.ts").InputValue} InputValue
 *
 * @typedef {object} BoundInput
 * @property {number[]} dims
 * @property {"host" | "bound" | "copied"} mode
 * @property {import("../module.ts").StorageArray | null} values
 * @property {GPUBuffer | null} buffer
 * @property {ArrayLike<number> | null} numbers values on the host, where the program wants them
 * @property {ModelError | null} refusal why the GPU can't have the values, where the host can
 */

/** Host values that may be part of a plan's key. */
const KEYED_HOST_VALUES = 256;

/**
 * Checks and converts the inputs of a run.
 * @param {readonly InputTable[]} tables
 * @param {Readonly<Record<string, InputValue>>} inputs
 * @returns {BoundInput[]}
 */
export function bindInputs(tables, inputs) {
  /** @type {Set<GPUBuffer>} */
  const used = new Set();
  return checkInputs(tables, inputs).map(({ dims, data, buffer }, i) => {
    const table = tables[i];
    if (table === undefined) throw new RangeError(`input ${i}`);
    const { dtype, storage, name, host } = table;
    const act = `Cannot take input ${quoted(name)}`;
    if (buffer !== null) {
      const bytes = 4 * dims.reduce((a, b) => a * b, 1);
      // A buffer is bound once in a dispatch at most, therefore as one input.
      const usable = (buffer.usage & GPUBufferUsage.STORAGE) !== 0 && !used.has(buffer) &&
        buffer.size >= roundedBytes(bytes, 16);
      used.add(buffer);
      if ((!usable || host) && (buffer.usage & GPUBufferUsage.COPY_SRC) === 0) {
        const why = host ? "it is read on the host" : "it is copied";
        throw new ModelError("input", `${act}: its buffer has no usage COPY_SRC, and ${why}.`);
      }
      const mode = usable ? "bound" : "copied";
      return { dims, mode, values: null, buffer, numbers: null, refusal: null };
    }
    const list = data ?? [];
    const numbers = host ? Float64Array.from(toNumbers(dtype, list, act)) : null;
    /** @type {import("../module.ts").StorageArray | null} */
    let values = null;
    /** @type {ModelError | null} */
    let refusal = null;
    try {
      values = toStorage(dtype, storage, list, act);
    } catch (error) {
      // What only the host reads, such as the end of a slice, may be past 32 bits.
      if (!host || !(error instanceof ModelError)) throw error;
      refusal = error;
    }
    // A caller may change its array once `run` has returned.
    if (ArrayBuffer.isView(list) && values?.buffer === list.buffer) values = values.slice();
    return { dims, mode: "host", values, buffer: null, numbers, refusal };
  });
}

/**
 * What a recorded plan depends on; null where host values make it too long.
 * @param {readonly BoundInput[]} bound
 * @param {readonly boolean[]} onGpu outputs that stay on the GPU
 * @returns {string | null}
 */
export function planKey(bound, onGpu) {
  const values = bound.reduce((sum, { numbers }) => sum + (numbers?.length ?? 0), 0);
  if (values > KEYED_HOST_VALUES) return null;
  const parts = bound.map(({ dims, mode, numbers }) =>
    `${mode[0]}${dims.join()}${numbers ? `=${Array.from(numbers).join()}` : ""}`
  );
  return `${parts.join(";")}|${onGpu.map(Number).join("")}`;
}
