/**
 * The npm package `@huggingface/tokenizers` as a part of a page: its minified build, which stands in
 * `node_modules` beside the program, in a scope of its own from which `Tokenizer` comes.
 */
import { MissingToolError } from "../../error.ts";

const FILE = "node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs";

/**
 * A script that defines `Tokenizer`.
 *
 * @throws MissingToolError where the package is not installed or may not be read.
 */
export async function tokenizerScript(): Promise<string> {
  const library = await readPackageFile();
  const [exports, local] = /export\{[^}]*?(?<![\w$])([\w$]+) as Tokenizer\b[^}]*\};?\s*$/
    .exec(library) ?? [];
  if (exports === undefined || /<\/script|<!--/i.test(library)) {
    throw new Error("the library of tokenizers does not end as its pinned version does");
  }
  return "// @huggingface/tokenizers 0.2.0, Hugging Face, Apache License 2.0\n" +
    `const Tokenizer = (() => {${library.slice(0, -exports.length)}\nreturn ${local};\n})();`;
}

/** From the repository, or from `dist/`, whose scripts lie less deep. */
async function readPackageFile(): Promise<string> {
  let failure: unknown;
  for (const up of ["../../../", "../../"]) {
    try {
      return await Deno.readTextFile(new URL(`${up}${FILE}`, import.meta.url));
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      failure = error;
    }
  }
  throw new MissingToolError(
    `Cannot make a page for text: "${FILE}" can't be read in modelcast's folder. Install the ` +
      'packages there with "deno install".',
    { cause: failure },
  );
}
