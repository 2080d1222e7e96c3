/**
 * Reads a file of inputs for a model whose only input is "a": FILE DTYPE DIMS, the dims as JSON. Prints
 * what it was refused for and the most memory that this process has held, in bytes, as JSON.
 */
import process from "node:process";
import { readGiven } from "../../src/verify/given.ts";
import { isHostType } from "../../src/verify/values.ts";

const [path, dtype, dims] = Deno.args;
if (path === undefined || dtype === undefined || !isHostType(dtype) || dims === undefined) {
  throw new Error("Usage: read_inputs.ts FILE DTYPE DIMS");
}
let refusal: string | null = null;
try {
  await readGiven({ kind: "file", path }, [{ name: "a", dtype, dims: JSON.parse(dims) }], "m.onnx");
} catch (error) {
  refusal = String(error);
}
console.log(JSON.stringify({ refusal, peak: process.resourceUsage().maxRSS * 1024 }));
