// @ts-check
/** The error that everything in a module raises on purpose, and hints for misspelt names. */

/** What is wrong: bad inputs, weights, a device, a device that was lost, a disposed model. */
export class ModelError extends Error {
  /**
   * @param {"input" | "weights" | "device" | "lost" | "disposed" | "internal"} code
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = "ModelError";
    this.code = code;
  }
}

/**
 * The message of whatever was thrown.
 * @param {unknown} error
 * @returns {string}
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Quotes a name from the model or from a caller: control characters escaped, long ones cut.
 * @param {string} name
 * @returns {string}
 */
export function quoted(name) {
  return JSON.stringify(name.length > 80 ? name.slice(0, 80) + "..." : name);
}

/**
 * " Did you mean ...?" with the nearest of `names` by edit distance, or the list of a few names.
 * @param {string} name
 * @param {readonly string[]} names
 * @returns {string}
 */
export function nameHint(name, names) {
  if (names.length === 0) return " There is none.";
  const distances = names.map((candidate) => editDistance(name.slice(0, 80), candidate));
  const least = Math.min(...distances);
  const nearest = names[distances.indexOf(least)] ?? "";
  if (least <= Math.max(1, nearest.length / 3)) return ` Did you mean ${quoted(nearest)}?`;
  return ` There ${names.length > 1 ? "are" : "is"} ${names.slice(0, 8).map(quoted).join(", ")}${
    names.length > 8 ? ", ..." : ""
  }.`;
}

/**
 * Levenshtein distance over UTF-16 units.
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
function editDistance(a, b) {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = Number(previous[j - 1]) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, Number(previous[j]) + 1, Number(current[j - 1]) + 1));
    }
    previous = current;
  }
  return Number(previous[b.length]);
}
