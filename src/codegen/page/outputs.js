// @ts-check
/// <reference lib="dom" />
/** Outputs of a run as tables of numbers, to copy and to download. */
import { button, element, formatNumber, labelled, messageOf } from "./elements.js";
import { countOf, toNumbers, writeNpy } from "./tensors.js";

/** @typedef {import("./tensors.js").Output} Output */

const ROWS = 16;
const COLUMNS = 10;
/** Values that a person may still want as text. */
const MOST_COPIED = 2 ** 20;

/**
 * All outputs of a run.
 * @param {[string, Output][]} outputs
 */
export function outputViews(outputs) {
  return outputs.map(([name, output]) => outputView(name, output));
}

/**
 * @param {string} name
 * @param {Output} output
 */
function outputView(name, output) {
  const numbers = toNumbers(output);
  const note = element("p", { className: "note" });
  /** @param {unknown} error */
  const failed = (error) => void (note.textContent = messageOf(error));
  const copy = button("Copy as JSON", async () => {
    await navigator.clipboard.writeText(JSON.stringify(nested(numbers, output.dims)));
    note.textContent = "Copied.";
  }, failed);
  copy.disabled = numbers.length > MOST_COPIED;
  const download = button("Download .npy", () => {
    const address = URL.createObjectURL(writeNpy(output));
    const file = `${name.replace(/[^\w.-]+/g, "_").slice(0, 80) || "output"}.npy`;
    element("a", { href: address, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }, failed);
  return element(
    "section",
    { className: "output" },
    element("h3", {}, name),
    element("p", { className: "note" }, summary(output, numbers)),
    ...tables(output.dims, numbers),
    element("p", { className: "buttons" }, copy, download),
    note,
  );
}

/**
 * @param {Output} output
 * @param {Float64Array} numbers
 */
function summary({ dtype, dims }, numbers) {
  const parts = [`${dtype} [${dims.join(", ")}]`];
  if (numbers.length > 1) {
    let [least, most, sum] = [Infinity, -Infinity, 0];
    for (const number of numbers) {
      least = Math.min(least, number);
      most = Math.max(most, number);
      sum += number;
    }
    parts.push(`from ${formatNumber(least)} to ${formatNumber(most)}`);
    parts.push(`mean ${formatNumber(sum / numbers.length)}`);
  }
  return parts.join(", ");
}

/**
 * A table of the last two dimensions, and a control that chooses among the others.
 * @param {readonly number[]} dims
 * @param {Float64Array} numbers
 */
function tables(dims, numbers) {
  if (numbers.length === 0) return [element("p", {}, "It is empty.")];
  const columns = dims.at(-1) ?? 1;
  const rows = dims.at(-2) ?? 1;
  const slices = numbers.length / (rows * columns);
  const holder = element("div", { className: "scroll", tabIndex: 0 });
  /** @param {number} slice */
  const show = (slice) => {
    const from = slice * rows * columns;
    holder.replaceChildren(table(numbers.subarray(from, from + rows * columns), rows, columns));
  };
  show(0);
  if (slices === 1) return [holder];
  const choice = element("input", {
    type: "number",
    min: "0",
    max: String(slices - 1),
    value: "0",
  });
  choice.addEventListener("input", () => {
    const slice = choice.valueAsNumber;
    if (Number.isInteger(slice) && slice >= 0 && slice < slices) show(slice);
  });
  return [labelled(`Slice of ${slices}`, choice), holder];
}

/**
 * @param {Float64Array} numbers
 * @param {number} rows
 * @param {number} columns
 */
function table(numbers, rows, columns) {
  const shownColumns = Math.min(columns, COLUMNS);
  /** @param {string} text */
  const heading = (text) => element("th", { scope: "col" }, text);
  const body = Array.from({ length: Math.min(rows, ROWS) }, (_, row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(row)),
      ...Array.from(
        numbers.subarray(row * columns, row * columns + shownColumns),
        (value) => element("td", {}, formatNumber(value)),
      ),
    ));
  const left = [
    rows > ROWS ? `${rows - ROWS} more rows` : "",
    columns > COLUMNS ? `${columns - COLUMNS} more columns` : "",
  ].filter((part) => part !== "");
  return element(
    "table",
    {},
    ...(left.length === 0 ? [] : [element("caption", {}, `${left.join(" and ")} not shown`)]),
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("td", {}),
        ...Array.from({ length: shownColumns }, (_, column) => heading(String(column))),
      ),
    ),
    element("tbody", {}, ...body),
  );
}

/**
 * Numbers as nested arrays.
 * @param {Float64Array} numbers
 * @param {readonly number[]} dims
 * @returns {unknown}
 */
function nested(numbers, dims) {
  if (dims.length === 0) return numbers[0];
  if (dims.length === 1) return Array.from(numbers);
  const size = countOf(dims.slice(1));
  return Array.from(
    { length: dims[0] ?? 0 },
    (_, index) => nested(numbers.subarray(index * size, (index + 1) * size), dims.slice(1)),
  );
}
