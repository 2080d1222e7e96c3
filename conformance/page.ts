/** The page `docs/conformance.md`, made from the record alone. */
import {
  type AdapterName,
  ADAPTERS,
  type ConformanceRecord,
  type Entry,
  type Suite,
} from "./record.ts";

const TITLES: Readonly<Record<AdapterName, string>> = {
  lavapipe: "lavapipe",
  swiftshader: "SwiftShader",
};

const INTRODUCTION = `# Conformance

What the modules that modelcast writes for WebGPU compute, against what ONNX's own tests and ONNX
Runtime expect, on the two software adapters that need no GPU. This page is made from
\`conformance/record.json\`; a test holds that it is, and that no test which passed fails again.

\`\`\`sh
deno task conformance:data     # ONNX's node tests, by the Python package onnx
deno task conformance --target webgpu --adapter lavapipe --data .cache/onnx-node-tests --json
deno task fixtures             # the 14 families
deno task conformance:models   # they and the trained models, in six precisions
deno task conformance --target webgpu --adapter lavapipe --data .cache/conformance-models --json
\`\`\`

Without \`--adapter\` they run on the machine's own. \`--target onnx\` runs ONNX Runtime instead, which
tells of the tests. A test passes where the types and the shapes of all outputs are the expected
ones, integers and booleans are equal, and floats lie within the test's own tolerance. "On the GPU"
are the passing tests in which WGSL computed every value of every tensor. "Unsupported" are models
that the compiler refuses, saying why.
`;

/** The text of the page. */
export function renderPage(record: ConformanceRecord): string {
  const parts = [INTRODUCTION];
  const nodes = record.nodes;
  if (nodes !== undefined) {
    parts.push(
      "## ONNX's node tests\n\nThe backend node tests of onnx 1.23.2 that take and give numeric " +
        "tensors alone.\n",
      totals(nodes),
      ...missing(nodes),
      ...hosts(nodes),
      "### By operator\n\nTests that are about one operator; what ONNX expands into several, and " +
        "other graphs, are counted as\n_several_.\n",
      operators(nodes),
      "### Left out\n",
      table(
        ["test", "why"],
        (first(nodes)?.notNumeric ?? []).map(({ name, reason }) => [
          name,
          reason,
        ]),
      ),
    );
  }
  const models = record.models;
  if (models !== undefined) {
    parts.push(
      "## Whole models\n\n" +
        "Largest relative L2 error of an output over all data sets, to ONNX Runtime on the same file.\n" +
        "Quantized to 2 bits the detector finds no text in any picture: what is expected is 0 nearly\n" +
        "everywhere, and is met to 6e-8, which is as far as ONNX Runtime's sigmoid is exact.\n",
      totals(models),
      ...missing(models),
      ...hosts(models),
      "### Errors\n",
      errors(models),
    );
  }
  return parts.join("\n");
}

type Entries = NonNullable<ConformanceRecord[Suite]>;

const present = (entries: Entries): [AdapterName, Entry][] =>
  ADAPTERS.flatMap((name) => entries[name] === undefined ? [] : [[name, entries[name]]]);

const first = (entries: Entries): Entry | undefined => present(entries)[0]?.[1];

function totals(entries: Entries): string {
  return table(
    ["adapter", "tests", "passed", "on the GPU", "failed", "unsupported"],
    present(entries).map(([name, { passed, failed, unsupported, hosts }]) => [
      TITLES[name],
      ...[passed + failed + unsupported, passed, passed - hosts.length, failed, unsupported]
        .map(String),
    ]),
    [1, 2, 3, 4, 5],
  );
}

/** What does not pass, and why. */
function missing(entries: Entries): string[] {
  const adapters = present(entries);
  const reasons = new Map<string, Map<AdapterName, string>>();
  for (const [adapter, { failures }] of adapters) {
    for (const { name, reason, status } of failures) {
      const text = status === "unsupported" ? `unsupported: ${reason}` : reason;
      const known = reasons.get(name) ?? new Map<AdapterName, string>();
      reasons.set(name, known.set(adapter, text));
    }
  }
  if (reasons.size === 0) return [];
  const rows = [...reasons].sort(([a], [b]) => a < b ? -1 : 1).flatMap(([name, by]) => {
    const texts = new Set(adapters.map(([adapter]) => by.get(adapter)));
    const [only] = texts;
    if (texts.size === 1 && only !== undefined) return [[name, only]];
    return adapters.flatMap(([adapter]) => {
      const text = by.get(adapter);
      return text === undefined ? [] : [[name, `${TITLES[adapter]}: ${text}`]];
    });
  });
  return ["### What does not pass\n", table(["test", "why"], rows)];
}

/** Where values are computed elsewhere, by what computes them. */
function hosts(entries: Entries): string[] {
  const groups = new Map<string, string[]>();
  for (const { name, nodes } of first(entries)?.hosts ?? []) {
    const key = [...new Set(nodes)].sort().join(", ");
    groups.set(key, [...groups.get(key) ?? [], name]);
  }
  if (groups.size === 0) return [];
  const rows = [...groups].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([nodes, names]) => [nodes, String(names.length), names.join(" ")]);
  return [
    "### Values computed outside WGSL\n",
    table(["by", "tests", "which"], rows, [1]),
  ];
}

function operators(entries: Entries): string {
  const adapters = present(entries);
  const names = new Set(adapters.flatMap(([, entry]) => Object.keys(entry.operators)));
  return table(
    [
      "operator",
      "tests",
      ...adapters.flatMap(([name]) => [`passed on ${TITLES[name]}`, "on the GPU"]),
    ],
    [...names].sort().map((name) => [
      name,
      String(Math.max(...adapters.map(([, entry]) => entry.operators[name]?.tests ?? 0))),
      ...adapters.flatMap(([, entry]) => {
        const counts = entry.operators[name];
        return [String(counts?.passed ?? 0), String(counts?.onTarget ?? 0)];
      }),
    ]),
    [1, 2, 3, 4, 5],
  );
}

/** A row a model, a column a precision and adapter. */
function errors(entries: Entries): string {
  const adapters = present(entries);
  const precisions = ["float32", "float16", "8bit", "4bit", "3bit", "2bit"];
  const models = new Set(
    adapters.flatMap(([, entry]) => Object.keys(entry.errors ?? {}))
      .map((name) => name.slice(0, name.lastIndexOf("."))),
  );
  const rows = [...models].sort().flatMap((model) =>
    adapters.map(([adapter, entry]) => [
      model,
      TITLES[adapter],
      ...precisions.map((precision) =>
        entry.errors?.[`${model}.${precision}`]?.toExponential(1) ?? ""
      ),
    ])
  );
  return table(["model", "adapter", ...precisions], rows, [2, 3, 4, 5, 6, 7]);
}

/** A table as `deno fmt` writes it; the columns `right` are aligned to the right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string {
  const cells = [head, ...rows].map((row) => row.map(escape));
  const widths = head.map((_, column) =>
    Math.max(3, ...cells.map((row) => [...row[column] ?? ""].length))
  );
  const line = (row: readonly string[]) =>
    `| ${
      widths.map((width, column) => {
        const cell = row[column] ?? "";
        return right.includes(column) ? cell.padStart(width) : cell.padEnd(width);
      }).join(" | ")
    } |`;
  const rule = widths.map((width, column) =>
    right.includes(column) ? `${"-".repeat(width - 1)}:` : "-".repeat(width)
  );
  return [line(cells[0]!), line(rule), ...cells.slice(1).map(line), ""].join("\n");
}

/** `text` for a cell: nothing in it is taken for Markdown; names with underscores are code. */
function escape(text: string): string {
  if (/^[\w.:-]+(?: [\w.:-]+)*$/.test(text) && text.includes("_")) return `\`${text}\``;
  return text.replace(/[^\x20-\x7e]/g, "?").replace(/[\\|*_<>[\]\`~#]/g, "\\$&");
}
