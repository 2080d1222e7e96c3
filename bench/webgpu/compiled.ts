/** Compiles a trained model into a folder of its own, and imports what was written. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { InputTable, LoadOptions, Model, OutputTable } from "../../src/codegen/module.ts";
import { compileModel } from "../../src/codegen/mod.ts";
import { writeWeights } from "../../src/codegen/weights_file.ts";
import { readModel } from "../../src/onnx/reader.ts";

/** A module and its weights on disk. */
export interface WrittenModule {
  readonly module: string;
  readonly weights: string;
  /** Bytes of the module's text. */
  readonly bytes: number;
  readonly inputs: readonly InputTable[];
  readonly outputs: readonly OutputTable[];
}

/** Compiles the model at `path` into `folder`, which is made. */
export async function compileInto(path: string, folder: string): Promise<WrittenModule> {
  const compiled = await compileModel(await readModel(path));
  await Deno.mkdir(folder, { recursive: true });
  const weights = join(folder, "model.safetensors");
  const table = await writeWeights(weights, compiled.weights);
  const text = compiled.javaScript("model.safetensors", table);
  const module = join(folder, "model.js");
  await Deno.writeTextFile(module, text);
  const { inputs, outputs } = compiled;
  return { module, weights, bytes: new TextEncoder().encode(text).length, inputs, outputs };
}

/** What a module exports. */
interface Module {
  load(options: LoadOptions): Promise<Model>;
}

/** Loads a written module on `device`, or on one of its own. */
export async function loadWritten(written: WrittenModule, device?: GPUDevice): Promise<Model> {
  const { load }: Module = await import(pathToFileURL(written.module).href);
  const weights = (await Deno.open(written.weights)).readable;
  return await load({ weights, ...(device === undefined ? {} : { device }) });
}
