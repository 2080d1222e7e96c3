/** The prelude of `kernels/ops`, taken apart: a shader holds the functions that it calls. */
import prelude from "../../kernels/ops/prelude.wgsl" with { type: "text" };

/** `text` without comments and blank lines. */
export function withoutComments(text: string): string {
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
