/** Makes the Python environment with the uv that its argument names. */
import { findInterpreter } from "../../../src/python/environment.ts";

const { signal } = new AbortController();
await findInterpreter({ python: null, uv: Deno.args[0]!, note: console.log, signal });
