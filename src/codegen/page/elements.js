// @ts-check
/// <reference lib="dom" />
/**
 * Elements of a page and texts for people. Text becomes content of elements by `textContent` alone, so
 * that no name is ever parsed as HTML.
 */

/**
 * An element with properties and children; a text among the children is text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * A button; what its action rejects with is handed to `failed`.
 * @param {string} text
 * @param {() => unknown} action
 * @param {(error: unknown) => void} failed
 */
export function button(text, action, failed) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", async () => {
    try {
      await action();
    } catch (error) {
      failed(error);
    }
  });
  return made;
}

/**
 * A control under a name.
 * @param {string} text
 * @param {HTMLElement} control
 */
export function labelled(text, control) {
  return element("label", {}, element("span", {}, text), control);
}

/**
 * A place to choose a file in, to drop one on and, for pictures, to paste one into the page.
 * @param {string} text
 * @param {{ accept: string, pastes?: boolean }} options
 * @param {(file: File) => unknown} take
 * @param {(error: unknown) => void} failed
 */
export function fileDrop(text, options, take, failed) {
  const input = element("input", { type: "file", accept: options.accept });
  const zone = element("label", { className: "drop" }, element("span", {}, text), input);
  /** @param {FileList | undefined | null} files */
  const takeFirst = async (files) => {
    const file = files?.[0];
    if (file === undefined) return;
    try {
      await take(file);
    } catch (error) {
      failed(error);
    }
  };
  input.addEventListener("change", () => takeFirst(input.files));
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    takeFirst(event.dataTransfer?.files);
  });
  if (options.pastes) {
    document.addEventListener("paste", (event) => {
      if (event.clipboardData?.files.length) {
        event.preventDefault();
        takeFirst(event.clipboardData.files);
      }
    });
  }
  return zone;
}

/**
 * A ranking: names with their shares as bars.
 * @param {{ name: string, share: number }[]} entries best first, shares from 0 to 1
 */
export function ranking(entries) {
  return element(
    "ol",
    { className: "ranking" },
    ...entries.map(({ name, share }) =>
      element(
        "li",
        {},
        element("span", { className: "name" }, name),
        element("meter", { min: 0, max: 1, value: share, ariaLabel: name }),
        element("span", { className: "share" }, `${(100 * share).toFixed(1)} %`),
      )
    ),
  );
}

/**
 * The `count` largest of the softmax of `values`, best first.
 * @param {ArrayLike<number>} values
 * @param {number} count
 * @returns {{ index: number, share: number }[]}
 */
export function softmaxTop(values, count) {
  /** @type {{ index: number, value: number }[]} */
  const best = [];
  for (let index = 0; index < values.length; index++) {
    const value = Number(values[index]);
    if (best.length === count && !(value > Number(best[count - 1]?.value))) continue;
    best.push({ index, value });
    best.sort((a, b) => b.value - a.value);
    best.length = Math.min(best.length, count);
  }
  const most = best[0]?.value ?? 0;
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += Math.exp(Number(values[index]) - most);
  return best.map(({ index, value }) => ({ index, share: Math.exp(value - most) / sum }));
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {number} milliseconds */
export function formatTime(milliseconds) {
  return milliseconds < 1000
    ? `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}

/** @param {number} value */
export function formatNumber(value) {
  return Number.isInteger(value) && Math.abs(value) < 1e9
    ? String(value)
    : String(Number(value.toPrecision(5)));
}
