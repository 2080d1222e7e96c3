/**
 * The rules that hold the source tree together: a file imports only from its own layer and those
 * above it in {@link LAYERS}; one file ends the process, one starts subprocesses; no file grows out
 * of hand; nothing that is kept names a person's machine. Sources are parsed by Deno's linter.
 */
import assert from "node:assert/strict";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/[\\/]$/, "");
const MAX_LINES = 450;

/** The layers, lowest first: files, or folders that end in a slash. Order as in the architecture. */
const LAYERS: readonly (readonly string[])[] = [
  ["src/error.ts", "src/dtype.ts", "src/ir.ts", "src/formats.ts", "src/version.ts"],
  ["src/process.ts"],
  ["src/cache.ts", "src/hardware.ts"],
  ["src/python/"],
  ["src/onnx/"],
  ["src/expr/"],
  ["src/ops/"],
  ["src/passes/"],
  ["src/quantization/"],
  ["src/codegen/"],
  ["src/verify.ts", "src/verify/"],
  ["src/converters/"],
  ["src/layout/"],
  ["src/report.ts", "src/report/", "src/find.ts"],
  ["src/cli/"],
  ["main.ts", "mod.ts"],
];

/** What of a source file the rules look at. */
interface Source {
  readonly path: string;
  readonly lines: number;
  /** Specifiers of imports and re-exports, dynamic ones and those of types included. */
  readonly imports: readonly string[];
  /** The same without those of types alone, which are gone when the program runs. */
  readonly values: readonly string[];
  /** Names used as `Deno.NAME`. */
  readonly deno: readonly string[];
  /** Whether the type `any` occurs. */
  readonly hasAny: boolean;
}

/** The specifier of a dynamic import: a text, or the sum of two that Deno doesn't follow at start. */
function specifierOf(node: Deno.lint.Expression): { type: string; value?: unknown } {
  if (node.type !== "BinaryExpression") return node;
  const { left, right } = node;
  if (left.type !== "Literal" || right.type !== "Literal") return node;
  return { type: "Literal", value: `${left.value}${right.value}` };
}

/** Parses a source file. */
async function parse(path: string): Promise<Source> {
  const text = await Deno.readTextFile(`${ROOT}/${path}`);
  const imports: string[] = [];
  const values: string[] = [];
  const deno: string[] = [];
  let hasAny = false;
  const note = (source: { type: string; value?: unknown } | null, kind: string): void => {
    if (typeof source?.value !== "string") return;
    imports.push(source.value);
    if (kind !== "type") values.push(source.value);
  };
  Deno.lint.runPlugin(
    {
      name: "layering",
      rules: {
        read: {
          create: () => ({
            ImportDeclaration: (node) => note(node.source, node.importKind),
            ExportNamedDeclaration: (node) => note(node.source, node.exportKind),
            ExportAllDeclaration: (node) => note(node.source, node.exportKind),
            ImportExpression: (node) => note(specifierOf(node.source), "value"),
            MemberExpression(node) {
              if (node.object.type !== "Identifier" || node.object.name !== "Deno") return;
              if (node.property.type === "Identifier") deno.push(node.property.name);
              else if (node.property.type === "Literal") deno.push(String(node.property.value));
            },
            TSAnyKeyword() {
              hasAny = true;
            },
          }),
        },
      },
    },
    path,
    text,
  );
  return { path, lines: text.split("\n").length - 1, imports, values, deno, hasAny };
}

/** Paths, relative to the root, of the files that belong to the project. */
async function projectFiles(): Promise<string[]> {
  const files: string[] = [];
  const notOurs =
    /^(\.git|\.cache|\.ruff_cache|\.venv.*|node_modules|dist|build|__pycache__|target)$/;
  const visit = async (folder: string): Promise<void> => {
    for await (const entry of Deno.readDir(`${ROOT}/${folder}`)) {
      if (notOurs.test(entry.name)) continue;
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory) await visit(path);
      else if (entry.isFile) files.push(path);
    }
  };
  await visit("");
  return files.sort();
}

/** Number of the layer that `path` belongs to, or -1. */
function layerOf(path: string): number {
  return LAYERS.findIndex((layer) =>
    layer.some((entry) => entry.endsWith("/") ? path.startsWith(entry) : path === entry)
  );
}

/** The project's file that `specifier` in `from` means; null for a package or a built-in module. */
function resolve(from: string, specifier: string): string | null {
  if (!/^\.{1,2}\//.test(specifier)) return null;
  const target = fileURLToPath(new URL(specifier, new URL(from, `file://${ROOT}/`)));
  return relative(ROOT, target).replaceAll("\\", "/");
}

const files = await projectFiles();
const sources = await Promise.all(
  files.filter((path) => /^(src\/.*|main|mod)\.ts$/.test(path)).map(parse),
);

Deno.test("the parser sees imports, uses of Deno and the type any", async () => {
  const self = await parse("tests/unit/layering_test.ts");
  assert.ok(self.imports.includes("node:path"));
  assert.ok(self.deno.includes("readTextFile") && self.deno.includes("lint"));
  assert.equal(self.hasAny, false);
  assert.ok(sources.length > 5);
});

Deno.test("every source file has a layer", () => {
  const strays = sources.filter(({ path }) => layerOf(path) < 0).map(({ path }) => path);
  assert.deepEqual(strays, [], "give these files a place in LAYERS");
});

Deno.test("a file imports only from its own layer and the layers above it", () => {
  const wrong: string[] = [];
  for (const { path, imports } of sources) {
    for (const specifier of imports) {
      const target = resolve(path, specifier);
      if (target === null || !target.endsWith(".ts")) continue;
      const layer = layerOf(target);
      if (layer < 0 || layer > layerOf(path)) wrong.push(`${path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("imports have no cycles", () => {
  const graph = new Map(
    sources.map(({ path, values }) => [
      path,
      values.map((specifier) => resolve(path, specifier)).filter((target) => target !== null),
    ]),
  );
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    assert.ok(!trail.includes(path), `import cycle: ${[...trail, path].join(" -> ")}`);
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const { path } of sources) visit(path, []);
});

Deno.test("only main.ts ends the process", () => {
  const wrong = sources.filter(({ deno, path }) => deno.includes("exit") && path !== "main.ts");
  assert.deepEqual(wrong.map(({ path }) => path), []);
});

Deno.test("only process.ts starts subprocesses", () => {
  const wrong = sources.filter(({ deno, imports, path }) =>
    path !== "src/process.ts" &&
    (["Command", "run", "spawn", "spawnAndWait"].some((name) => deno.includes(name)) ||
      imports.some((specifier) => /^(node:)?child_process$/.test(specifier)))
  );
  assert.deepEqual(wrong.map(({ path }) => path), []);
});

Deno.test(`no source file is longer than ${MAX_LINES} lines`, () => {
  const long = sources.filter(({ lines }) => lines > MAX_LINES);
  assert.deepEqual(long.map(({ path, lines }) => `${path}: ${lines}`), []);
});

Deno.test("the type any is not used", () => {
  assert.deepEqual(sources.filter(({ hasAny }) => hasAny).map(({ path }) => path), []);
});

Deno.test("nothing that is kept names a machine's paths or a registry's host", async () => {
  const hosts = ["py" + "pi.org", "pythonhosted" + ".org", "npm" + "js.org", "npm" + "js.com"];
  const homes = /(?<![\w.])\/(home|Users|root)\/[\w.-]+/;
  const wrong: string[] = [];
  for (const path of files) {
    if (/\.(png|jpg|jpeg|npz|npy|wasm|onnx|bin)$/.test(path)) continue;
    const text = await Deno.readTextFile(`${ROOT}/${path}`);
    for (const host of hosts) if (text.includes(host)) wrong.push(`${path}: ${host}`);
    if (ROOT.length > 4 && text.includes(`${ROOT}/`)) wrong.push(`${path}: ${ROOT}`);
    const home = homes.exec(text);
    if (home !== null) wrong.push(`${path}: ${home[0]}`);
  }
  assert.deepEqual(wrong, []);
});
