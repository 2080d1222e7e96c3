/** A file of declarations, of which a text takes those that it uses and what those use. */

/** The declarations of one file. */
export class DeclaredText {
  readonly #texts: ReadonlyMap<string, string>;

  /** `parts` are the declarations in order, and `name` finds what one declares. */
  constructor(readonly file: string, parts: readonly string[], name: RegExp) {
    this.#texts = new Map(
      parts.flatMap((part) => {
        const found = name.exec(part)?.[1];
        return found === undefined ? [] : [[found, part] as const];
      }),
    );
  }

  /** The texts of `names` and of all that they use, in the order of the file. */
  of(names: Iterable<string>): string[] {
    const wanted = new Set<string>();
    const add = (name: string): void => {
      if (wanted.has(name)) return;
      wanted.add(name);
      const text = this.#texts.get(name);
      if (text === undefined) throw new Error(`${this.file} has no declaration "${name}"`);
      for (const word of text.match(/\w+/g) ?? []) if (this.#texts.has(word)) add(word);
    };
    for (const name of names) add(name);
    return [...this.#texts].filter(([name]) => wanted.has(name)).map(([, text]) => text);
  }
}
