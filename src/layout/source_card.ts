/**
 * What a source's model card says of licence, language and origin: the scalars and the lists of
 * scalars at the top level of its YAML front matter
 * (https://github.com/huggingface/hub-docs/blob/main/modelcard.md). What is not plainly of that form
 * counts as not said.
 */

/** The front matter's entries that a conversion hands on. */
export interface SourceCard {
  readonly licences: readonly string[];
  /** Name and address of a licence that has no identifier on the Hub. */
  readonly licenceName: string | null;
  readonly licenceLink: string | null;
  readonly languages: readonly string[];
  readonly baseModels: readonly string[];
}

/** Characters of the front matter that are looked at. */
const MOST = 64 * 1024;
/** Characters of a line, at most: what is longer is no scalar that is handed on. */
const LONGEST_LINE = 500;
const VALUE = /^[\p{L}\p{N}][\p{L}\p{N} ._:/@+()-]{0,199}$/u;

/** Reads the card's `text`; null where the source has no card. */
export function readSourceCard(text: string | null): SourceCard {
  const entries = frontMatter(text ?? "");
  const all = (key: string) => entries.get(key) ?? [];
  return {
    licences: all("license"),
    licenceName: all("license_name")[0] ?? null,
    licenceLink: all("license_link")[0] ?? null,
    languages: all("language"),
    baseModels: all("base_model"),
  };
}

function frontMatter(text: string): Map<string, string[]> {
  const entries = new Map<string, string[]>();
  const lines = text.slice(0, MOST).split(/\r?\n/);
  const end = lines.indexOf("---", 1);
  if (lines[0]?.trimEnd() !== "---" || end < 0) return entries;
  let current: string[] | null = null;
  for (const line of lines.slice(1, end)) {
    if (line.length > LONGEST_LINE) {
      current = null;
      continue;
    }
    const item = /^\s*- +(.+)$/.exec(line);
    if (item !== null) {
      add(current, item[1]!);
      continue;
    }
    const entry = /^([A-Za-z_]+):(?:\s+(.*))?$/.exec(line);
    if (entry === null) {
      // Something deeper, or a text of several lines: what follows belongs to it.
      if (/\S/.test(line)) current = null;
      continue;
    }
    current = [];
    if (!entries.has(entry[1]!)) entries.set(entry[1]!, current);
    const value = (entry[2] ?? "").trim();
    const list = /^\[(.*)\]$/.exec(value);
    if (list !== null) { for (const one of list[1]!.split(",")) add(current, one); }
    else add(current, value);
  }
  return entries;
}

/** Adds a scalar to `values`, without its quotes and the comment behind it. */
function add(values: string[] | null, text: string): void {
  const bare = text.trim().replace(/\s+#.*$/, "");
  const value = /^(["'])(.*)\1$/.exec(bare)?.[2] ?? bare;
  if (values !== null && VALUE.test(value)) values.push(value);
}
