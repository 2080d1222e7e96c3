// @ts-check
/// <reference lib="dom" />
/** The frame of a page: loads the module beside it, shows how far it is, and holds the panels. */
import { arraysPanel } from "./arrays.js";
import { element, formatBytes, formatTime, messageOf } from "./elements.js";

/** @typedef {import("./tensors.js").Description} Description */
/** @typedef {import("./tensors.js").Output} Output */
/**
 * What a module gives.
 * @typedef {object} Model
 * @property {(inputs: object) => Promise<Record<string, Output>>} run
 */
/**
 * How far loading is: bytes of weights, or shaders.
 * @typedef {{ stage: string, loaded: number, total: number }} Progress
 */
/**
 * What a page is made with: the module's address, the model's inputs and outputs, and what the panel of
 * its kind needs.
 * @typedef {object} PageData
 * @property {string} module
 * @property {readonly Description[]} inputs
 * @property {readonly Description[]} outputs
 * @property {unknown} settings
 * @property {string | null} settingsFile where the settings lie if not in the page
 */
/**
 * What a panel works with.
 * @typedef {object} Page
 * @property {PageData} data
 * @property {(inputs: object) => Promise<[string, Output][]>} run runs when the model is there
 * @property {(error: unknown) => void} failed tells the person
 */
/** @typedef {(page: Page, settings: never) => HTMLElement} Panel */

/**
 * Builds the page and loads its model.
 * @param {{ title: string, panel: Panel } | null} kind the panel beside the one for arrays
 */
export function start(kind) {
  /** @type {PageData} */
  const data = JSON.parse(document.getElementById("data")?.textContent ?? "");
  const main = document.getElementById("main");
  if (main === null) throw new Error("The page has lost its parts.");
  const status = element("p", { className: "status", role: "status" }, "Loading the module");
  const bar = element("progress", { max: 1, ariaLabel: "Loading" });
  const times = element("p", { className: "note", id: "times" });
  const alert = element("p", { className: "error", role: "alert", hidden: true });
  main.replaceChildren(status, bar, alert);

  /** @param {unknown} error */
  const failed = (error) => {
    alert.textContent = messageOf(error);
    alert.hidden = false;
  };
  const loading = loadModel(data, ({ stage, loaded, total }) => {
    bar.max = Math.max(1, total);
    bar.value = loaded;
    status.textContent = stage === "weights"
      ? `Loading ${formatBytes(loaded)} of ${formatBytes(total)}`
      : stage === "pipelines"
      ? `Preparing ${loaded} of ${total} shaders`
      : "Looking for a GPU";
  });
  loading.then(() => {
    status.textContent = `Ready, loaded in ${formatTime(performance.now())}`;
    document.documentElement.dataset["state"] = "ready";
  }, (error) => {
    status.textContent = "The model can't be used here.";
    document.documentElement.dataset["state"] = "failed";
    failed(error);
  }).finally(() => bar.remove());

  let runs = 0;
  /** @param {object} inputs */
  const run = async (inputs) => {
    alert.hidden = true;
    const model = await loading;
    const begin = performance.now();
    const outputs = await model.run(inputs);
    const now = performance.now();
    times.textContent = runs++ === 0
      ? `First run ${formatTime(now - begin)}; first result ${
        formatTime(now)
      } after the page was opened`
      : `Run ${runs} took ${formatTime(now - begin)}`;
    return Object.entries(outputs);
  };

  const page = { data, run, failed };
  const arrays = arraysPanel(page);
  if (kind === null) return main.append(arrays, times);
  const place = element("section", {}, element("h2", {}, kind.title));
  settingsOf(data).then((settings) => {
    place.append(kind.panel(page, /** @type {never} */ (settings)));
  }).catch(failed);
  main.append(
    place,
    times,
    element("details", {}, element("summary", {}, "Inputs and outputs as numbers"), arrays),
  );
}

/** @param {PageData} data */
async function settingsOf({ settings, settingsFile }) {
  if (settingsFile === null) return settings;
  const response = await fetch(settingsFile);
  if (!response.ok) throw new Error(`Cannot load "${settingsFile}": status ${response.status}.`);
  return await response.json();
}

/**
 * @param {PageData} data
 * @param {(progress: Progress) => void} onProgress
 * @returns {Promise<Model>}
 */
async function loadModel(data, onProgress) {
  if (location.protocol === "file:") {
    throw new Error(
      "Cannot load the module: browsers load none from a file. Serve the folder with " +
        '"modelcast serve FOLDER" and open the address that it prints.',
    );
  }
  const { load } = await import(new URL(data.module, document.baseURI).href);
  return await load({ cache: true, onProgress });
}
