// @ts-check
/** The device of a model: asked for with all that the adapter has, or checked where it is given. */
import { messageOf, ModelError } from "./model_error.js";

/** Limits that are raised to the adapter's. */
const RAISED_LIMITS = /** @type {const} */ ([
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
  "minStorageBufferOffsetAlignment",
]);

/** Features that are taken where the adapter has them, beside those that shaders need. */
const WELCOME_FEATURES = /** @type {const} */ (["timestamp-query", "shader-f16", "subgroups"]);

/**
 * A device with the `features`, the limits of its adapter, and whether the model owns it.
 * @param {GPUDevice | undefined} given
 * @param {readonly string[]} features
 * @returns {Promise<{ device: GPUDevice, own: boolean }>}
 */
export async function openModelDevice(given, features) {
  if (given !== undefined) {
    checkFeatures(given.features, features, "the device that was given");
    return { device: given, own: false };
  }
  const gpu = typeof navigator === "undefined" ? undefined : navigator.gpu;
  if (!gpu) {
    throw new ModelError(
      "device",
      Reflect.get(globalThis, "isSecureContext") === false
        ? "Cannot load the model: pages have WebGPU only over https or from localhost."
        : "Cannot load the model: there is no WebGPU here. Use a browser or a Deno that has it.",
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new ModelError(
      "device",
      "Cannot load the model: WebGPU finds no adapter. Check the GPU's driver, and in browsers " +
        "that hardware acceleration is on.",
    );
  }
  checkFeatures(adapter.features, features, "this GPU");
  /** @type {Record<string, number>} */
  const requiredLimits = {};
  for (const name of RAISED_LIMITS) {
    const limit = adapter.limits[name];
    if (typeof limit === "number") requiredLimits[name] = limit;
  }
  const wanted = new Set([
    ...features,
    ...WELCOME_FEATURES.filter((name) => adapter.features.has(name)),
  ]);
  try {
    const device = await adapter.requestDevice({
      requiredLimits,
      requiredFeatures: /** @type {GPUFeatureName[]} */ ([...wanted]),
    });
    return { device, own: true };
  } catch (cause) {
    throw new ModelError(
      "device",
      `Cannot load the model: the GPU gives no device: ${messageOf(cause)}.`,
      { cause },
    );
  }
}

/**
 * @param {Pick<ReadonlySet<string>, "has">} has
 * @param {readonly string[]} features
 * @param {string} what
 */
function checkFeatures(has, features, what) {
  const missing = features.filter((feature) => !has.has(feature));
  if (missing.length === 0) return;
  throw new ModelError(
    "device",
    `Cannot load the model: ${what} lacks ${
      missing.map((name) => `"${name}"`).join(", ")
    }, which ` +
      "its shaders need. Use another GPU, or a conversion without them.",
  );
}

/**
 * What is known of the adapter behind a device.
 * @param {GPUDevice} device
 * @returns {Promise<(GPUAdapterInfo & { isFallbackAdapter?: boolean }) | undefined>}
 */
export async function adapterInfo(device) {
  // Deno 2.9 ends where a device's information is read after its adapter was collected.
  return "Deno" in globalThis ? (await navigator.gpu.requestAdapter())?.info : device.adapterInfo;
}

/**
 * True for a processor that plays a GPU: there threads that share a row only wait for each other.
 * @param {(GPUAdapterInfo & { isFallbackAdapter?: boolean }) | undefined} info
 */
export function isSoftware(info) {
  if (info === undefined) return false;
  const { vendor, architecture, description, isFallbackAdapter } = info;
  return isFallbackAdapter === true ||
    /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${vendor} ${architecture} ${description}`);
}
