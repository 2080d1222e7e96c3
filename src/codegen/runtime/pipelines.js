// @ts-check
/** Makes every pipeline of a module, all at once, with one bind group layout a signature. */
import { messageOf, ModelError } from "./model_error.js";

/**
 * @typedef {object} MadePipelines
 * @property {(GPUComputePipeline | null)[]} pipelines null where this device needs none
 * @property {({ layout: GPUBindGroupLayout, id: number } | null)[]} layouts of each pipeline
 * @property {number} count of those that were made
 */

/**
 * Compiles those pipelines of `tables` that dispatches name, and those that `selection` may choose.
 * Throws a ModelError with the first message of the compiler.
 * @param {GPUDevice} device
 * @param {import("../module.ts").ModuleTables} tables
 * @param {import("./selection.js").KernelSelection} selection
 * @param {boolean} software
 * @param {(made: number, of: number) => void} onMade
 * @returns {Promise<MadePipelines>}
 */
export async function makePipelines(device, tables, selection, software, onMade) {
  /** @type {Map<string, { layout: GPUBindGroupLayout, pipelineLayout: GPUPipelineLayout, id: number }>} */
  const signatures = new Map();
  /** @type {Map<string, GPUShaderModule>} */
  const shaders = new Map();
  const wanted = wantedPipelines(tables, selection);
  let count = 0;
  const made = await Promise.all(tables.pipelines.map(async (table, index) => {
    if (!wanted.has(index)) return null;
    const { label, code, bindings, parameters } = table;
    const constants = software && table.constants?.LANES !== undefined
      ? { ...table.constants, LANES: 1 }
      : table.constants;
    const most = device.limits.maxStorageBuffersPerShaderStage;
    const bound = bindings.replaceAll(".", "").length;
    if (bound > most) {
      throw new ModelError(
        "device",
        `Cannot make the pipeline "${label}": it binds ${bound} buffers, this device ` +
          `at most ${most}. Use a device that was requested with its adapter's limits.`,
      );
    }
    const signature = `${bindings}${Math.ceil(parameters / 4)}`;
    let layout = signatures.get(signature);
    if (layout === undefined) {
      const made = makeLayout(device, bindings, parameters);
      layout = { ...made, id: signatures.size };
      signatures.set(signature, layout);
    }
    let module = shaders.get(code);
    if (module === undefined) {
      shaders.set(code, module = device.createShaderModule({ label, code }));
    }
    try {
      const pipeline = await device.createComputePipelineAsync({
        label,
        layout: layout.pipelineLayout,
        compute: { module, entryPoint: "main", ...(constants ? { constants } : {}) },
      });
      onMade(++count, wanted.size);
      return { pipeline, layout };
    } catch (cause) {
      const { messages } = await module.getCompilationInfo();
      const first = messages.find(({ type }) => type === "error");
      const detail = first
        ? `line ${first.lineNum}, column ${first.linePos}: ${first.message}`
        : messageOf(cause);
      const message = `Cannot make the pipeline "${label}": ${detail}`;
      throw new ModelError("device", message, { cause });
    }
  }));
  return {
    pipelines: made.map((one) => one?.pipeline ?? null),
    layouts: made.map((one) => one?.layout ?? null),
    count,
  };
}

/**
 * @param {import("../module.ts").ModuleTables} tables
 * @param {import("./selection.js").KernelSelection} selection
 */
function wantedPipelines(tables, selection) {
  const wanted = new Set(tables.pipelines.keys());
  for (const { candidates } of tables.kernels) {
    for (const { pipelines } of candidates) pipelines.forEach((index) => wanted.delete(index));
  }
  tables.kernels.forEach((_, kernel) => {
    for (const index of selection.pipelines(kernel)) wanted.add(index);
  });
  return wanted;
}

/**
 * @param {GPUDevice} device
 * @param {string} bindings
 * @param {number} parameters
 */
function makeLayout(device, bindings, parameters) {
  /** @type {GPUBindGroupLayoutEntry[]} */
  const entries = [];
  const visibility = GPUShaderStage.COMPUTE;
  if (parameters > 0) {
    entries.push({ binding: 0, visibility, buffer: { type: "uniform", hasDynamicOffset: true } });
  }
  for (let i = 0; i < bindings.length; i++) {
    if (bindings[i] === ".") continue;
    const type = bindings[i] === "w" ? "read-only-storage" : "storage";
    entries.push({ binding: i + 1, visibility, buffer: { type } });
  }
  const layout = device.createBindGroupLayout({ entries });
  return { layout, pipelineLayout: device.createPipelineLayout({ bindGroupLayouts: [layout] }) };
}
