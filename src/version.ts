/** The version of modelcast, which stands in every output's metadata; `deno.json` says the same. */
export const VERSION = "0.1.0";
