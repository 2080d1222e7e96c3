/** Functions of `runtime/prelude.js` and `runtime/host.js` that a generated program calls, as text. */
import host from "./runtime/host.js" with { type: "text" };
import prelude from "./runtime/prelude.js" with { type: "text" };

/** The top-level declarations of a file, by name, with the names that each uses. */
function declarationsOf(text: string): Map<string, { text: string; uses: string[] }> {
  const plain = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^[ \t]*\/\/.*$/gm, "");
  const parts = plain.split(/^(?=(?:export )?(?:async )?(?:function\*?|const|let|class) )/m)
    .map((part) => part.replace(/^export /, "").trim()).filter((part) => part !== "");
  const named = parts.map((part) => ({
    text: part.replace(/\n\s*\n+/g, "\n"),
    name: /^(?:async )?(?:function\*?|const|let|class)\s+(\w+)/.exec(part)?.[1] ?? "",
  })).filter(({ name }) => name !== "");
  const names = new Set(named.map(({ name }) => name));
  return new Map(named.map(({ name, text: own }) => [
    name,
    {
      text: own,
      uses: [...new Set(own.match(/\w+/g))].filter((word) => names.has(word) && word !== name),
    },
  ]));
}

/** The declarations `names` and all that they use, in the order of the file. */
function textOf(
  file: string,
  known: ReadonlyMap<string, { text: string; uses: string[] }>,
  names: Iterable<string>,
): string {
  const wanted = new Set<string>();
  const add = (name: string): void => {
    if (wanted.has(name)) return;
    wanted.add(name);
    const declaration = known.get(name);
    if (declaration === undefined) throw new Error(`${file} has no function "${name}"`);
    for (const used of declaration.uses) add(used);
  };
  for (const name of names) add(name);
  return [...known].filter(([name]) => wanted.has(name)).map(([, { text }]) => text).join("\n");
}

/** The text of those functions of the scalar prelude. */
export function scriptPreludeText(names: Iterable<string>): string {
  return textOf("prelude.js", declarationsOf(prelude), names);
}

/** The text of those host functions. */
export function hostText(names: Iterable<string>): string {
  return textOf("host.js", declarationsOf(host), names);
}
