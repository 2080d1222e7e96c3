/** Folders in the layout of Hugging Face, with tiny models, for the tests of `--layout`. */
import { join } from "node:path";
import { makeGraph, makeModel, makeNode, makeValueInfo, type Model } from "../src/ir.ts";
import { writeModel } from "../src/onnx/writer.ts";
import { floats } from "./encoding_models.ts";

/** Files by name, with `/`. */
export type Files = Readonly<Record<string, string>>;

/** What a small encoder's folder holds. */
export const ENCODER_FILES: Files = {
  "config.json": JSON.stringify({ model_type: "bert", architectures: ["BertModel"] }),
  "tokenizer.json": "{}",
  "tokenizer_config.json": "{}",
  "model.safetensors": "not copied",
  "notes.txt": "not copied",
};

/** Writes `files` below the new folder `folder`. */
export function writeFiles(folder: string, files: Files): string {
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, ...name.split("/"));
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    Deno.writeTextFileSync(path, text);
  }
  return folder;
}

/** Names of all files and links below `folder`, with `/`, sorted. */
export function namesBelow(folder: string, prefix = ""): string[] {
  return [...Deno.readDirSync(join(folder, prefix))].flatMap(({ name, isDirectory }) =>
    isDirectory ? namesBelow(folder, `${prefix}${name}/`) : [`${prefix}${name}`]
  ).sort();
}

/** A model that looks tokens up and multiplies: inputs as transformers names them. */
export function encoderModel(opset = 20): Model {
  const graph = makeGraph("encoder", {
    nodes: [
      makeNode("Gather", "", ["embedding", "input_ids"], ["x"]),
      makeNode("MatMul", "", ["x", "weight"], ["last_hidden_state"]),
    ],
    initializers: [floats("embedding", [60, 64]), floats("weight", [64, 96])],
    inputs: [makeValueInfo("input_ids", "int64", ["batch_size", "sequence_length"])],
    outputs: [
      makeValueInfo("last_hidden_state", "float32", ["batch_size", "sequence_length", 96]),
    ],
  });
  return makeModel("encoder.onnx", 9, new Map([["", opset]]), graph);
}

/** The same with a cache for keys, whose first extent is called `batch`; without one for null. */
export function decoderModel(batch: string | number | null): Model {
  const model = encoderModel();
  if (batch === null) return model;
  const shape = [batch, 2, "past_sequence_length", 32];
  model.graph.inputs.push(makeValueInfo("past_key_values.0.key", "float32", shape));
  model.graph.nodes.push(makeNode("Identity", "", ["past_key_values.0.key"], ["present.0.key"]));
  model.graph.outputs.push(makeValueInfo("present.0.key", "float32", shape));
  return model;
}

/** Writes `model` as the file `path`. */
export async function writeOnnx(model: Model, path: string): Promise<string> {
  await writeModel(model, path);
  return path;
}
