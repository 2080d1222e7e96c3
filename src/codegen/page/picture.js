// @ts-check
/// <reference lib="dom" />
/** Panels for models of pictures: the best labels, or the text of a line. */
import { element, fileDrop, ranking, softmaxTop } from "./elements.js";
import { outputViews } from "./outputs.js";
import { toInput, toNumbers } from "./tensors.js";

/** @typedef {import("./start.js").Page} Page */
/** @typedef {import("./tensors.js").Output} Output */
/**
 * How a picture becomes numbers.
 * @typedef {object} PictureSettings
 * @property {number | null} height rows that the model takes; null where they follow from the picture
 * @property {number | null} width
 * @property {number | null} shortestEdge the shorter side before the middle is cut out
 * @property {number} scale what bytes are multiplied by
 * @property {number[]} mean of red, green and blue, subtracted after that
 * @property {number[]} deviation what is then divided by
 * @property {boolean} blueFirst
 * @property {string[]} labels
 */

/** Labels that are shown. */
const MOST_LABELS = 5;
/** Pixels of a side where nothing says how many. */
const USUAL_SIDE = 224;

/**
 * Draws a picture on white.
 * @param {ImageBitmap} picture
 * @param {number} width of the canvas
 * @param {number} height
 * @param {number} drawnWidth of the picture, in the middle of the canvas unless `left`
 * @param {number} drawnHeight
 * @param {boolean} [left]
 */
function draw(picture, width, height, drawnWidth, drawnHeight, left = false) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("Cannot draw the picture: there is no canvas.");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const x = left ? 0 : Math.round((width - drawnWidth) / 2);
  const y = left ? 0 : Math.round((height - drawnHeight) / 2);
  context.drawImage(picture, x, y, drawnWidth, drawnHeight);
  return { canvas, context };
}

/**
 * The pixels as the model's input, [1, channels, height, width] or [1, height, width, channels].
 * @param {Page} page
 * @param {PictureSettings} settings
 * @param {ImageData} pixels
 * @param {number} usedWidth columns that hold the picture; the others are zeros
 */
function pictureInput(page, settings, { data, width, height }, usedWidth) {
  const input = page.data.inputs[0];
  if (input === undefined) throw new Error("Cannot run: the model has no input.");
  const last = input.dims.at(-1) === 3 && input.dims[1] !== 3;
  const channels = last || input.dims[1] !== 1 ? 3 : 1;
  const area = width * height;
  const values = new Float64Array(channels * area);
  for (let pixel = 0; pixel < area; pixel++) {
    if (pixel % width >= usedWidth) continue;
    const [red = 0, green = 0, blue = 0] = data.subarray(4 * pixel, 4 * pixel + 3);
    const colors = channels === 1
      ? [0.299 * red + 0.587 * green + 0.114 * blue]
      : settings.blueFirst
      ? [blue, green, red]
      : [red, green, blue];
    colors.forEach((color, channel) => {
      const value = (color * settings.scale - (settings.mean[channel] ?? 0)) /
        (settings.deviation[channel] ?? 1);
      values[last ? pixel * channels + channel : channel * area + pixel] = value;
    });
  }
  const dims = last ? [1, height, width, channels] : [1, channels, height, width];
  const given = Object.create(null);
  given[input.name] = toInput(input, { dims, values });
  return given;
}

/**
 * A place for a picture, and what `decode` makes of the outputs.
 * @param {Page} page
 * @param {(picture: ImageBitmap) => { canvas: HTMLCanvasElement, inputs: object }} prepare
 * @param {(outputs: [string, Output][]) => HTMLElement} decode
 */
function picturePlace(page, prepare, decode) {
  const result = element("div", { className: "results" });
  const options = { accept: "image/*", pastes: true };
  const drop = fileDrop("Picture: choose, drop or paste", options, async (file) => {
    const picture = await createImageBitmap(file).catch((cause) => {
      throw new Error(`Cannot read "${file.name}": it is not a picture.`, { cause });
    });
    const { canvas, inputs } = prepare(picture);
    canvas.setAttribute("role", "img");
    canvas.ariaLabel = "What the model sees";
    result.replaceChildren(canvas, element("p", { className: "note" }, "Running"));
    try {
      const outputs = await page.run(inputs);
      result.replaceChildren(
        canvas,
        decode(outputs),
        element(
          "details",
          {},
          element("summary", {}, "Outputs as numbers"),
          ...outputViews(outputs),
        ),
      );
    } catch (error) {
      result.replaceChildren(canvas);
      throw error;
    }
  }, page.failed);
  return element("div", {}, drop, result);
}

/**
 * A picture and its best labels.
 * @param {Page} page
 * @param {PictureSettings} settings
 */
export function labelsPanel(page, settings) {
  const height = settings.height ?? USUAL_SIDE;
  const width = settings.width ?? USUAL_SIDE;
  return picturePlace(page, (picture) => {
    const edge = settings.shortestEdge;
    const factor = edge === null ? null : edge / Math.min(picture.width, picture.height);
    const { canvas, context } = factor === null
      ? draw(picture, width, height, width, height)
      : draw(picture, width, height, picture.width * factor, picture.height * factor);
    const pixels = context.getImageData(0, 0, width, height);
    return { canvas, inputs: pictureInput(page, settings, pixels, width) };
  }, (outputs) => {
    const logits = outputs.find(([name]) => name === "logits") ?? outputs[0];
    if (logits === undefined || logits[1].dims.length !== 2) return element("div");
    return ranking(
      softmaxTop(toNumbers(logits[1]), MOST_LABELS).map(({ index, share }) => ({
        name: settings.labels[index] ?? `Class ${index}`,
        share,
      })),
    );
  });
}

/**
 * A picture of one line of text, and the text: greedy decoding of connectionist temporal
 * classification, where class 0 is the blank, class i the label i - 1, and one class more a space.
 * @param {Page} page
 * @param {PictureSettings} settings
 */
export function linePanel(page, settings) {
  const height = settings.height ?? 48;
  return picturePlace(page, (picture) => {
    const natural = Math.max(8, Math.round(height * picture.width / picture.height));
    const width = settings.width ?? natural;
    const used = Math.min(natural, width);
    const { canvas, context } = draw(picture, width, height, used, height, true);
    const pixels = context.getImageData(0, 0, width, height);
    return { canvas, inputs: pictureInput(page, settings, pixels, used) };
  }, (outputs) => {
    const output = outputs[0]?.[1];
    const classes = output?.dims.at(-1) ?? 0;
    if (output === undefined || output.dims.length !== 3) {
      throw new Error("Cannot decode the result: it is not one row of classes for each step.");
    }
    const values = toNumbers(output);
    let [text, previous, sum, count] = ["", 0, 0, 0];
    for (let at = 0; at < values.length; at += classes) {
      const row = values.subarray(at, at + classes);
      let best = 0;
      row.forEach((value, index) => best = value > (row[best] ?? -Infinity) ? index : best);
      if (best !== 0 && best !== previous) {
        text += settings.labels[best - 1] ?? " ";
        sum += row[best] ?? 0;
        count++;
      }
      previous = best;
    }
    const certainty = count === 0 ? "" : `, ${(100 * sum / count).toFixed(1)} % certain`;
    return element(
      "p",
      { className: "figure" },
      element("output", { id: "text" }, text),
      element("span", { className: "note" }, ` ${count} characters${certainty}`),
    );
  });
}
