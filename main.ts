/**
 * The command line's entry: runs the command, prints errors, and is the only place that ends the
 * process.
 */
import { run } from "./src/cli/run.ts";

Deno.exit(await run(Deno.args));
