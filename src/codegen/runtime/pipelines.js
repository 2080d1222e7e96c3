// @ts-check
/** Makes every pipeline of a module, all at once, with one bind group layout a signature. */
import { messageOf, ModelError } from "./model_error.js";

/**
 * @typedef {object} MadePipelines
 * @property {GPUComputePipeline[]} pipelines
 * @property {{ layout: GPUBindGroupLayout, id: number }[]} layouts of each pipeline
 */

/**
 * Compiles the pipelines of `tables`. Throws a ModelError with the first message of the compiler.
 * @param {GPUDevice} device
 * @param {import("../module.ts").ModuleTables} tables
 * @param {(made: number) => void} onMade
 * @returns {Promise<MadePipelines>}
 */
export async function makePipelines(device, tables, onMade) {
  /** @type {Map<string, { layout: GPUBindGroupLayout, pipelineLayout: GPUPipelineLayout, id: number }>} */
  const signatures = new Map();
  /** @type {Map<string, GPUShaderModule>} */
  const shaders = new Map();
  let count = 0;
  const software = await isSoftware(device);
  const made = await Promise.all(tables.pipelines.map(async (table) => {
    const { label, code, bindings, parameters } = table;
    const constants = software && table.constants?.LANES !== undefined
      ? { ...table.constants, LANES: 1 }
      : table.constants;
    const most = device.limits.maxStorageBuffersPerShaderStage;
    if (bindings.length > most) {
      throw new ModelError(
        "device",
        `Cannot make the pipeline "${label}": it binds ${bindings.length} buffers, this device ` +
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
      onMade(++count);
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
    pipelines: made.map(({ pipeline }) => pipeline),
    layouts: made.map(({ layout }) => layout),
  };
}

/**
 * True for a processor that plays a GPU: there threads that share a row only wait for each other.
 * @param {GPUDevice} device
 */
async function isSoftware(device) {
  // Deno 2.9 ends where a device's information is read after its adapter was collected.
  const adapter = "Deno" in globalThis ? await navigator.gpu.requestAdapter() : null;
  /** @type {(GPUAdapterInfo & { isFallbackAdapter?: boolean }) | undefined} */
  const info = "Deno" in globalThis ? adapter?.info : device.adapterInfo;
  if (info === undefined) return false;
  const { vendor, architecture, description, isFallbackAdapter } = info;
  return isFallbackAdapter === true ||
    /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${vendor} ${architecture} ${description}`);
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
    const type = bindings[i] === "w" ? "read-only-storage" : "storage";
    entries.push({ binding: i + 1, visibility, buffer: { type } });
  }
  const layout = device.createBindGroupLayout({ entries });
  return { layout, pipelineLayout: device.createPipelineLayout({ bindGroupLayouts: [layout] }) };
}
