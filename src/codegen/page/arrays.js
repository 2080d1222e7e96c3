// @ts-check
/// <reference lib="dom" />
/** The panel for any model: dimensions and values of each input as numbers. */
import { button, element, fileDrop, formatNumber, labelled } from "./elements.js";
import { outputViews } from "./outputs.js";
import { countOf, fill, parseNumbers, readNpy, toInput } from "./tensors.js";

/** @typedef {import("./tensors.js").Description} Description */
/** @typedef {import("./start.js").Page} Page */

/** Values that are shown in a text field. */
const MOST_TYPED = 2048;

/** What a symbolic dimension is at first, by its name. */
const FIRST_SIZES = /** @type {const} */ ([
  [/batch|^n$/i, 1],
  [/past/i, 0],
  [/height|width|^h$|^w$/i, 64],
]);

/** Ways to make values up, and what their buttons say. */
const WAYS = /** @type {const} */ ([
  ["random", "Random"],
  ["zeros", "Zeros"],
  ["ones", "Ones"],
  ["counting", "0, 1, 2, ..."],
]);

/**
 * The panel.
 * @param {Page} page
 */
export function arraysPanel(page) {
  const results = element("div", { className: "results" });
  /** @type {Map<string, HTMLInputElement>} */
  const sizes = new Map();
  for (const { dims } of page.data.inputs) {
    for (const dim of dims) {
      if (typeof dim !== "string" || sizes.has(dim)) continue;
      const first = FIRST_SIZES.find(([pattern]) => pattern.test(dim))?.[1] ?? 8;
      const control = element("input", { type: "number", min: "0", value: String(first) });
      control.addEventListener("input", () => {
        for (const editor of editors) editor.resize();
      });
      sizes.set(dim, control);
    }
  }
  const editors = page.data.inputs.map((input) => inputEditor(page, input, sizes));
  const run = button("Run", async () => {
    const inputs = Object.create(null);
    for (const editor of editors) {
      const { name, value } = editor.read();
      inputs[name] = value;
    }
    results.replaceChildren(...outputViews(await page.run(inputs)));
  }, page.failed);
  run.className = "primary";
  const symbols = element(
    "fieldset",
    {},
    element("legend", {}, "Dimensions"),
    ...[...sizes].map(([name, control]) => labelled(name, control)),
  );
  return element(
    "div",
    {},
    ...(sizes.size === 0 ? [] : [symbols]),
    ...editors.map(({ view }) => view),
    element("p", { className: "buttons" }, run),
    results,
  );
}

/**
 * The editor of one input.
 * @param {Page} page
 * @param {Description} input
 * @param {Map<string, HTMLInputElement>} sizes
 */
function inputEditor(page, input, sizes) {
  /** @type {"random" | "zeros" | "ones" | "counting" | "given"} */
  let way = /mask/i.test(input.name) ? "ones" : /past/i.test(input.name) ? "zeros" : "random";
  /** @type {Float64Array} */
  let values = new Float64Array(0);
  const shape = element("span", { className: "note" });
  const text = element("textarea", { rows: 3, spellcheck: false, ariaLabel: input.name });

  const dims = () =>
    input.dims.map((dim) => {
      if (typeof dim === "number") return dim;
      const size = sizes.get(String(dim))?.valueAsNumber ?? NaN;
      if (Number.isInteger(size) && size >= 0) return size;
      throw new Error(`Cannot run: the dimension "${dim}" is not a whole number.`);
    });
  const show = () => {
    text.readOnly = values.length > MOST_TYPED;
    text.value = text.readOnly
      ? `${values.length} values`
      : Array.from(values, formatNumber).join(" ");
  };
  const resize = () => {
    /** @type {number[]} */
    let now;
    try {
      now = dims();
    } catch {
      return; // Somebody is typing a number; running says what is wrong.
    }
    const count = countOf(now);
    shape.textContent = `${input.dtype} [${now.join(", ")}]`;
    if (way === "given" || values.length === count && count > 0) return;
    values = fill(way, input, count);
    show();
  };
  /**
   * Makes symbolic dimensions what values of this shape need.
   * @param {readonly number[]} wanted
   */
  const bind = (wanted) => {
    for (const [index, dim] of input.dims.entries()) {
      const control = typeof dim === "string" ? sizes.get(dim) : undefined;
      if (control === undefined || control.value === String(wanted[index])) continue;
      control.value = String(wanted[index]);
      control.dispatchEvent(new Event("input"));
    }
  };
  text.addEventListener("input", () => {
    if (text.readOnly) return;
    way = "given";
    try {
      values = parseNumbers(text.value);
      const now = dims();
      const last = input.dims.findLastIndex((dim) => typeof dim === "string");
      const others = countOf(now.filter((_, index) => index !== last));
      if (last >= 0 && others > 0 && values.length % others === 0) {
        bind(now.with(last, values.length / others));
      }
    } catch {
      values = new Float64Array(0); // The same goes for values.
    }
  });
  const read = () => {
    if (way === "given" && !text.readOnly) values = parseNumbers(text.value);
    return { name: input.name, value: toInput(input, { dims: dims(), values }) };
  };
  const drop = fileDrop(".npy file: choose or drop", { accept: ".npy" }, async (file) => {
    const given = readNpy(await file.arrayBuffer(), file.name);
    const fits = given.dims.length === input.dims.length &&
      input.dims.every((dim, index) => typeof dim === "string" || dim === given.dims[index]);
    if (!fits) {
      throw new Error(
        `Cannot use "${file.name}" for "${input.name}": its shape is [${given.dims.join(", ")}], ` +
          `and [${input.dims.join(", ")}] is needed.`,
      );
    }
    way = "given";
    values = given.values;
    bind(given.dims);
    show();
  }, page.failed);
  const buttons = WAYS.map(([kind, caption]) =>
    button(caption, () => {
      way = kind;
      values = fill(kind, input, countOf(dims()));
      show();
    }, page.failed)
  );
  resize();
  const view = element(
    "fieldset",
    {},
    element("legend", {}, input.name),
    shape,
    text,
    element("div", { className: "buttons" }, ...buttons, drop),
  );
  return { view, resize, read };
}
