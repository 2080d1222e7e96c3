/**
 * Compiles the model that its argument names into the folder that comes after it, and nothing else:
 * what `compile.ts` times and measures.
 */
import { compileInto } from "./compiled.ts";

const [path, folder] = Deno.args as [string, string];
await compileInto(path, folder);
