/** Functions of `runtime/prelude.js` and `runtime/host.js` that a generated program calls, as text. */
import { DeclaredText } from "./declared_text.ts";
import host from "./runtime/host.js" with { type: "text" };
import prelude from "./runtime/prelude.js" with { type: "text" };
import preludeBits from "./runtime/prelude_bits.js" with { type: "text" };
import preludeSmallFloats from "./runtime/prelude_small_floats.js" with { type: "text" };

/** The top-level declarations of a file of the runtime. */
function declarationsOf(file: string, text: string): DeclaredText {
  const plain = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^[ \t]*\/\/.*$/gm, "");
  const parts = plain.split(/^(?=(?:export )?(?:async )?(?:function\*?|const|let|class) )/m)
    .map((part) => part.replace(/^export /, "").trim().replace(/\n\s*\n+/g, "\n"));
  return new DeclaredText(file, parts, /^(?:async )?(?:function\*?|const|let|class)\s+(\w+)/);
}

let preludeDeclarations: DeclaredText | null = null;
let hostDeclarations: DeclaredText | null = null;

/** The text of those functions of the scalar prelude. */
export function scriptPreludeText(names: Iterable<string>): string {
  preludeDeclarations ??= declarationsOf(
    "prelude.js",
    preludeBits + prelude + preludeSmallFloats,
  );
  return preludeDeclarations.of(names).join("\n");
}

/** The text of those host functions. */
export function hostText(names: Iterable<string>): string {
  hostDeclarations ??= declarationsOf("host.js", host);
  return hostDeclarations.of(names).join("\n");
}
