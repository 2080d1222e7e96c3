/** The texts of `kernels/ops`: cores of kernel files, and functions of the prelude. */
import matmulRegisters from "../../kernels/ops/matmul_registers.wgsl" with { type: "text" };
import prelude from "../../kernels/ops/prelude.wgsl" with { type: "text" };

const FILES: Readonly<Record<string, string>> = {
  "matmul_registers.wgsl": matmulRegisters,
};

/** The line that parts a kernel file's header from its core. */
const CORE = "// ---- core\n";

/** The core of a kernel file. */
export function coreText(file: string): string {
  const text = FILES[file];
  if (text === undefined) throw new Error(`there is no kernel file ${file}`);
  return withoutComments(text.slice(text.indexOf(CORE) + CORE.length));
}

/** `text` without comments and blank lines. */
function withoutComments(text: string): string {
  return text.replace(/[ \t]*\/\/[^\n]*/g, "").replace(/\n\s*\n+/g, "\n").trim() + "\n";
}

interface Declaration {
  readonly name: string;
  readonly text: string;
  readonly uses: readonly string[];
}

let declarations: ReadonlyMap<string, Declaration> | null = null;

/** The prelude's top-level declarations, by name. */
function preludeDeclarations(): ReadonlyMap<string, Declaration> {
  if (declarations !== null) return declarations;
  const parts = withoutComments(prelude).split(/^(?=(?:fn|const|struct) )/m).filter((part) =>
    part.trim() !== ""
  );
  const named = parts.map((text) => ({
    text: text.trimEnd(),
    name: /^(?:fn|const|struct)\s+(\w+)/.exec(text)![1]!,
  }));
  const names = new Set(named.map(({ name }) => name));
  declarations = new Map(named.map(({ name, text }) => [
    name,
    {
      name,
      text,
      uses: [...new Set(text.match(/\w+/g))].filter((word) => names.has(word) && word !== name),
    },
  ]));
  return declarations;
}

/** Opaque zero: bits joined with it are no constant expression, which may hold no infinity. */
const ZERO_TEXT = "fn zero() -> u32 { return 0u; }";

/** The text of those functions of the prelude, and of what they call. */
export function preludeText(names: Iterable<string>): string {
  const known = preludeDeclarations();
  const wanted = new Set<string>();
  const add = (name: string): void => {
    if (wanted.has(name)) return;
    wanted.add(name);
    for (const used of known.get(name)?.uses ?? []) add(used);
  };
  for (const name of names) add(name);
  const texts: string[] = [];
  for (const name of wanted) {
    const declaration = known.get(name);
    if (declaration !== undefined) texts.push(declaration.text);
    else if (name === "zero") texts.push(ZERO_TEXT);
    else throw new Error(`the prelude has no function "${name}"`);
  }
  return texts.sort().join("\n");
}
