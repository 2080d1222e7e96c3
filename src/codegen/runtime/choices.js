// @ts-check
/** Keeps the choices that tuning has made in the cache of weights, for the next load. */

/**
 * @typedef {import("./selection.js").KernelSelection} KernelSelection
 * @typedef {import("./weights.js").WeightCache} WeightCache
 */

/**
 * Gives `selection` what an earlier load found on the same adapter, and a function that keeps what this
 * one finds. Without a cache, or where it fails, nothing is kept.
 * @param {KernelSelection} selection
 * @param {import("../module.ts").ModuleTables} tables
 * @param {GPUAdapterInfo | undefined} info
 * @param {WeightCache | null} cache
 * @returns {Promise<() => Promise<void>>}
 */
export async function recallChoices(selection, tables, info, cache) {
  const { subtle } = globalThis.crypto ?? {};
  if (cache === null || !subtle || !info) return async () => {};
  const { vendor, architecture, device, description } = info;
  const { pipelines, kernels } = tables;
  // Not how often a driver's version changes, but what it runs on and what runs.
  const identity = JSON.stringify([
    [vendor, architecture, device, description],
    pipelines,
    kernels,
    selection.candidates,
  ]);
  const digest = new Uint8Array(await subtle.digest("SHA-256", new TextEncoder().encode(identity)));
  const name = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const key = `https://modelcast.invalid/tuning/${name}`;
  try {
    /** @type {unknown} */
    const kept = await (await cache.match(key))?.json();
    if (Array.isArray(kept)) {
      for (const entry of kept) {
        if (Array.isArray(entry)) selection.decided.set(String(entry[0]), String(entry[1]));
      }
    }
  } catch {
    // What can't be read is found out again.
  }
  return async () => {
    try {
      await cache.put(key, new Response(JSON.stringify([...selection.decided])));
    } catch {
      // It is kept for as long as the model is loaded.
    }
  };
}
