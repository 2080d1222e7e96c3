// @ts-check
/// <reference lib="dom" />
/** The panel for models of sound that take samples: the best labels, or the words. */
import { button, element, fileDrop, ranking, softmaxTop } from "./elements.js";
import { outputViews } from "./outputs.js";
import { toInput, toNumbers } from "./tensors.js";

/** @typedef {import("./start.js").Page} Page */
/** @typedef {import("./tensors.js").Output} Output */
/**
 * @typedef {object} AudioSettings
 * @property {number} rate samples a second
 * @property {boolean} normalize to mean 0 and variance 1
 * @property {string[]} labels of classes
 * @property {string[]} tokens of steps, where the model writes words down; empty where not
 * @property {number} blank the token of steps that write nothing
 */

const MOST_LABELS = 5;

/**
 * @param {Page} page
 * @param {AudioSettings} settings
 */
export function audioPanel(page, settings) {
  const result = element("div", { className: "results" });
  /** @param {Blob} sound */
  const run = async (sound) => {
    const samples = await decodeSound(sound, settings);
    const input = page.data.inputs[0];
    if (input === undefined) throw new Error("Cannot run: the model has no input.");
    const fixed = input.dims.at(-1);
    const values = new Float64Array(typeof fixed === "number" ? fixed : samples.length);
    values.set(samples.subarray(0, values.length));
    const dims = [...input.dims.slice(0, -1).map(() => 1), values.length];
    const given = Object.create(null);
    given[input.name] = toInput(input, { dims, values });
    for (const other of page.data.inputs.slice(1)) {
      given[other.name] = toInput(other, { dims, values: new Float64Array(values.length).fill(1) });
    }
    result.replaceChildren(
      element("p", { className: "note" }, `${(samples.length / settings.rate).toFixed(2)} s`),
    );
    const outputs = await page.run(given);
    result.replaceChildren(
      decodeOutputs(outputs, settings),
      element(
        "details",
        {},
        element("summary", {}, "Outputs as numbers"),
        ...outputViews(outputs),
      ),
    );
  };
  const drop = fileDrop("Sound: choose or drop", { accept: "audio/*" }, run, page.failed);
  /** @type {MediaRecorder | null} */
  let recorder = null;
  const record = button("Record", async () => {
    if (recorder !== null) return recorder.stop();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const recording = recorder = new MediaRecorder(stream);
    recording.addEventListener("dataavailable", ({ data }) => {
      recorder = null;
      record.textContent = "Record";
      for (const track of stream.getTracks()) track.stop();
      run(data).catch(page.failed);
    });
    recording.start();
    record.textContent = "Stop and run";
  }, page.failed);
  return element("div", {}, element("div", { className: "buttons" }, drop, record), result);
}

/**
 * One channel of samples at the model's rate.
 * @param {Blob} sound
 * @param {AudioSettings} settings
 */
async function decodeSound(sound, { rate, normalize }) {
  const context = new OfflineAudioContext(1, 1, rate);
  const decoded = await context.decodeAudioData(await sound.arrayBuffer()).catch((cause) => {
    throw new Error("Cannot read the sound: the browser does not know its format.", { cause });
  });
  const samples = new Float64Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    decoded.getChannelData(channel).forEach((value, index) =>
      samples[index] = (samples[index] ?? 0) + value / decoded.numberOfChannels
    );
  }
  if (!normalize || samples.length === 0) return samples;
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / samples.length;
  return samples.map((value) => (value - mean) / Math.sqrt(variance + 1e-7));
}

/**
 * @param {[string, Output][]} outputs
 * @param {AudioSettings} settings
 */
function decodeOutputs(outputs, { labels, tokens, blank }) {
  const output = (outputs.find(([name]) => name === "logits") ?? outputs[0])?.[1];
  if (output === undefined) return element("div");
  const values = toNumbers(output);
  if (output.dims.length === 2 && labels.length > 0) {
    return ranking(
      softmaxTop(values, MOST_LABELS).map(({ index, share }) => ({
        name: labels[index] ?? `Class ${index}`,
        share,
      })),
    );
  }
  if (output.dims.length !== 3 || tokens.length === 0) return element("div");
  const classes = output.dims[2] ?? 1;
  let text = "";
  let previous = blank;
  for (let at = 0; at < values.length; at += classes) {
    const row = values.subarray(at, at + classes);
    let best = 0;
    row.forEach((value, index) => best = value > (row[best] ?? -Infinity) ? index : best);
    // Special tokens are named in angle brackets, the space between words is a bar.
    const token = tokens[best] ?? "";
    if (best !== blank && best !== previous && !/^<.*>$/.test(token)) {
      text += token === "|" ? " " : token;
    }
    previous = best;
  }
  return element("p", { className: "figure" }, element("output", { id: "text" }, text.trim()));
}
