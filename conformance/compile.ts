/** Compiles models for the target "webgpu" into a folder, as `modelcast convert` lays them out. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { compileModel, type CompileOptions } from "../src/codegen/mod.ts";
import { writeWeights } from "../src/codegen/weights_file.ts";
import type { Compile } from "./webgpu.ts";

const MODULE = "model.webgpu.js";
const WEIGHTS = "model.webgpu.safetensors";

/** Compiles each model into a folder of its own below `folder`, until it is released. */
export function compileInto(folder: string, options: CompileOptions = {}): Compile {
  let count = 0;
  return async (model) => {
    const compiled = await compileModel(model, options);
    // A module is imported once for each path, whatever stands there later.
    const own = join(folder, String(count++));
    await Deno.mkdir(own, { recursive: true });
    const path = join(own, WEIGHTS);
    const table = await writeWeights(path, compiled.weights);
    await Deno.writeTextFile(join(own, MODULE), compiled.javaScript(WEIGHTS, table));
    return {
      url: pathToFileURL(join(own, MODULE)).href,
      weights: (await Deno.open(path)).readable,
      hostNodes: compiled.hostNodes,
      release: () => Deno.remove(own, { recursive: true }),
    };
  };
}
