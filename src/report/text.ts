/** Numbers, names and columns as a person reads them, whatever characters a model's names have. */

/** `bytes` with a unit that keeps three or four digits, powers of 1000: "10.8 MB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

/** Pads the cells of `rows`; columns from `firstNumber` on are aligned to the right. */
export function alignColumns(rows: readonly (readonly string[])[], firstNumber: number): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => widths[column] = Math.max(widths[column] ?? 0, cell.length));
  }
  return rows.map((row) =>
    row.map((cell, column) =>
      column >= firstNumber ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)
    ).join("  ").trimEnd()
  );
}

/** A ratio in decibels for a person. */
export function decibels(value: number): string {
  return value === Infinity ? "exact" : `${value.toFixed(2)} dB`;
}

/** A reduction in words: what grew is not called smaller. */
export function change(reduction: number): string {
  return reduction < 0 ? `${percent(-reduction)} larger` : `${percent(reduction)} smaller`;
}

export function percent(value: number): string {
  return `${value.toFixed(1)} %`;
}

/** `name` in `length` characters: the middle of a long one is left out. */
export function shorten(name: string, length: number): string {
  const visible = printable(name);
  if (visible.length <= length) return visible;
  // Layers are told apart by the beginning, what a tensor is in them by the end.
  const head = Math.floor((length - 3) / 3);
  return `${visible.slice(0, head)}...${visible.slice(visible.length - (length - 3 - head))}`;
}

/**
 * Characters that move a terminal's cursor, change its state or the order of what it shows: C0 and
 * C1 controls, line and paragraph separators, and Unicode's marks and overrides of direction.
 */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex -- a model's names may hold terminal escapes
  /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** One line of `text` as it can be shown on a terminal, whatever names are in it. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "\ufffd");
}

/** `value` as JSON on one line, with nothing in it that a terminal acts on. */
export function printableJson(value: unknown): string {
  // JSON has no infinities: an exact copy's SQNR is written as the word.
  const json = JSON.stringify(
    value,
    (_key, entry) => typeof entry === "number" && !Number.isFinite(entry) ? String(entry) : entry,
  );
  return json.replace(
    UNPRINTABLE,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
