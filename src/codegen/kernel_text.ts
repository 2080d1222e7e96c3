/** The prelude of `kernels/ops`, taken apart: a shader holds the functions that it calls. */
import { DeclaredText } from "./declared_text.ts";
import prelude from "../../kernels/ops/prelude.wgsl" with { type: "text" };
import bits from "../../kernels/ops/prelude_bits.wgsl" with { type: "text" };
import smallFloats from "../../kernels/ops/prelude_small_floats.wgsl" with { type: "text" };

/** `text` without comments and blank lines. */
export function withoutComments(text: string): string {
  return text.replace(/[ \t]*\/\/[^\n]*/g, "").replace(/\n\s*\n+/g, "\n").trim() + "\n";
}

let declarations: DeclaredText | null = null;

/** The text of those functions of the prelude, and of what they call. */
export function preludeText(names: Iterable<string>): string {
  declarations ??= new DeclaredText(
    "prelude.wgsl",
    withoutComments(bits + prelude + smallFloats).split(/^(?=(?:fn|const|struct) )/m).map((part) =>
      part.trimEnd()
    ),
    /^(?:fn|const|struct)\s+(\w+)/,
  );
  return declarations.of(names).sort().join("\n");
}
