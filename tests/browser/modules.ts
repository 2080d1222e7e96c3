/**
 * Small modules with known results, made of hand-written shaders and the embedded runtime as the
 * compiler makes them of models: files `NAME.js`, `.d.ts`, `.safetensors`, `.html` beside each other.
 */
import { join } from "node:path";
import { declarations } from "../../src/codegen/declarations.ts";
import { encodeJson } from "../../src/codegen/encode.ts";
import type { InputTable, OutputTable, PipelineTable } from "../../src/codegen/module.ts";
import { NO_ASSETS, type PageAssets } from "../../src/codegen/page/assets.ts";
import { buildPage } from "../../src/codegen/page/mod.ts";
import { runtimeText } from "../../src/codegen/runtime_text.ts";
import { writeWeights } from "../../src/codegen/weights_file.ts";

/** A module to write. */
export interface HandWritten {
  readonly name: string;
  readonly inputs: readonly InputTable[];
  readonly outputs: readonly OutputTable[];
  readonly pipelines: readonly PipelineTable[];
  readonly weights: readonly Float32Array<ArrayBuffer>[];
  /** Statements of the program, with `m` its recorder. */
  readonly program: string;
  readonly assets?: PageAssets;
}

/** Writes a module's files into `folder`; returns the kind of its page. */
export async function writeModule(folder: string, module: HandWritten): Promise<string> {
  const { name, inputs, outputs, pipelines, assets = NO_ASSETS } = module;
  const place = (extension: string) => join(folder, `${name}.${extension}`);
  const weights = await writeWeights(
    place("safetensors"),
    module.weights.map((values, index) => ({
      name: String(index),
      bytes: values.byteLength,
      async *read() {
        yield await new Uint8Array(values.buffer);
      },
    })),
  );
  const tables = { inputs, outputs, pipelines, kernels: [], weights, features: [] };
  // Bundlers find a file by this form and a plain text alone.
  const address = JSON.stringify(`./${encodeURIComponent(name)}.safetensors`);
  const script = `${runtimeText()}
function* program(m) {
${module.program}
}
const tables = { ...${encodeJson(tables)}, program };
export function load(options) {
  return loadModel(tables, options, new URL(${address}, import.meta.url));
}
`;
  const page = await buildPage({ name, inputs, outputs, assets });
  await Deno.writeTextFile(place("js"), script);
  await Deno.writeTextFile(place("d.ts"), declarations(inputs, outputs));
  await Deno.writeTextFile(place("html"), page.html);
  if (page.settings !== null) await Deno.writeTextFile(place("page.json"), page.settings);
  return page.kind;
}

const GROUP = `
@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = i32((group.x + group.y * groups.x) * 64u + thread);
  if (i >= p.x) { return; }
`;

/** y = x * w + 1, with w one number a column; "x" [batch, 64], "y" the same. */
export function scaling(name: string, names = { input: "x", output: "y", batch: "batch" }) {
  const dims = [names.batch, 64];
  const weight = Float32Array.from({ length: 64 }, (_, index) => index / 8);
  const module: HandWritten = {
    name,
    inputs: [{ name: names.input, dtype: "float32", storage: "f32", dims }],
    outputs: [{ name: names.output, dtype: "float32", storage: "f32", dims }],
    pipelines: [{
      label: "Scale 0",
      code: `@group(0) @binding(0) var<uniform> p: vec4i;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
${GROUP}  y[i] = x[i] * w[i % 64] + 1.0;
}
`,
      bindings: "awa",
      parameters: 1,
    }],
    weights: [weight],
    program: `  const [batch] = m.dims(0);
  const y = m.tensor(batch * 256);
  m.dispatch(0, [m.input(0), m.weight(0), y], [batch * 64], batch);
  m.output(0, y, [batch, 64]);`,
  };
  return module;
}

/** Rows of a table by "input_ids" [batch, sequence]: "last_hidden_state" or "logits". */
export function lookup(
  name: string,
  table: { readonly rows: number; readonly columns: number; readonly output: string },
  assets: PageAssets,
): HandWritten {
  const { rows, columns, output } = table;
  return {
    name,
    inputs: [
      { name: "input_ids", dtype: "int64", storage: "i32", dims: ["batch", "sequence"] },
      { name: "attention_mask", dtype: "int64", storage: "i32", dims: ["batch", "sequence"] },
    ],
    outputs: [{
      name: output,
      dtype: "float32",
      storage: "f32",
      dims: ["batch", "sequence", columns],
    }],
    pipelines: [{
      label: "Gather 0",
      code: `@group(0) @binding(0) var<uniform> p: vec4i;
@group(0) @binding(1) var<storage, read_write> ids: array<i32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
${GROUP}  y[i] = w[ids[i / p.y] * p.y + i % p.y];
}
`,
      bindings: "awa",
      parameters: 2,
    }],
    weights: [lookupTable(rows, columns)],
    program: `  const [batch, sequence] = m.dims(0);
  const count = batch * sequence * ${columns};
  const y = m.tensor(4 * count);
  m.dispatch(0, [m.input(0), m.weight(0), y], [count, ${columns}], Math.ceil(count / 64));
  m.output(0, y, [batch, sequence, ${columns}]);`,
    assets,
  };
}

/** The table of {@link lookup}: no two rows alike, the row's own column the largest in it. */
export function lookupTable(rows: number, columns: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: rows * columns },
    (_, index) => {
      const [row, column] = [Math.floor(index / columns), index % columns];
      return Math.sin(1 + row * 3 + column * 5) + ((row + 1) % columns === column ? 8 : 0);
    },
  );
}

/** Means of "pixel_values" [batch, 3, height, 16]'s channels, 3 labels, as "logits". */
export function colors(name: string, assets: PageAssets): HandWritten {
  return {
    name,
    inputs: [{
      name: "pixel_values",
      dtype: "float32",
      storage: "f32",
      dims: ["batch", 3, 16, 16],
    }],
    outputs: [{ name: "logits", dtype: "float32", storage: "f32", dims: ["batch", 3] }],
    pipelines: [{
      label: "Mean 0",
      code: `@group(0) @binding(0) var<uniform> p: vec4i;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
${GROUP}  var sum = 0.0;
  for (var k = 0; k < 256; k++) { sum += x[i * 256 + k]; }
  y[i] = sum / 256.0;
}
`,
      bindings: "aa",
      parameters: 1,
    }],
    weights: [],
    program: `  const [batch] = m.dims(0);
  const y = m.tensor(12 * batch);
  m.dispatch(0, [m.input(0), y], [3 * batch], Math.ceil(3 * batch / 64));
  m.output(0, y, [batch, 3]);`,
    assets,
  };
}

/**
 * A recognizer of stripes: each 8 columns of "x" [1, 3, 48, width] are a step, whose class is blank for
 * white, 1 for red, 2 for green and 3 for blue; "y" [1, steps, 4] holds 0.9 for it.
 */
export function stripes(name: string, assets: PageAssets): HandWritten {
  return {
    name,
    inputs: [{ name: "x", dtype: "float32", storage: "f32", dims: ["batch", 3, 48, "width"] }],
    outputs: [{ name: "y", dtype: "float32", storage: "f32", dims: ["batch", "steps", 4] }],
    pipelines: [{
      label: "Steps 0",
      code: `@group(0) @binding(0) var<uniform> p: vec4i;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
${GROUP}  let at = 24 * p.y + i * 8 + 4;
  let blue = x[at];
  let green = x[at + 48 * p.y];
  let red = x[at + 96 * p.y];
  var class_ = 0;
  if (red > 0 && green < 0 && blue < 0) { class_ = 1; }
  if (red < 0 && green > -0.5 && blue < 0) { class_ = 2; }
  if (red < 0 && green < 0 && blue > 0) { class_ = 3; }
  for (var k = 0; k < 4; k++) { y[i * 4 + k] = select(0.0, 0.9, k == class_); }
}
`,
      bindings: "aa",
      parameters: 2,
    }],
    weights: [],
    program: `  const [batch, , , width] = m.dims(0);
  if (batch !== 1) m.fail("one picture at a time");
  const steps = Math.floor(width / 8);
  const y = m.tensor(16 * steps);
  m.dispatch(0, [m.input(0), y], [steps, width], Math.ceil(steps / 64));
  m.output(0, y, [1, steps, 4]);`,
    assets,
  };
}

/**
 * A listener for tones: "input_values" [batch, samples] in steps of 320 samples, whose class is 0 for
 * quiet, 1 for fewer than 12 changes of sign and 2 for more; "logits" [batch, steps, 3] holds 5 for it.
 */
export function tones(name: string, assets: PageAssets): HandWritten {
  return {
    name,
    inputs: [
      { name: "input_values", dtype: "float32", storage: "f32", dims: ["batch", "samples"] },
    ],
    outputs: [{ name: "logits", dtype: "float32", storage: "f32", dims: ["batch", null, 3] }],
    pipelines: [{
      label: "Steps 0",
      code: `@group(0) @binding(0) var<uniform> p: vec4i;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
${GROUP}  var changes = 0;
  var power = 0.0;
  for (var k = i * 320 + 1; k < (i + 1) * 320; k++) {
    power += x[k] * x[k];
    if (x[k] * x[k - 1] < 0.0) { changes++; }
  }
  let class_ = select(select(1, 2, changes >= 12), 0, power < 32.0);
  for (var k = 0; k < 3; k++) { y[i * 3 + k] = select(0.0, 5.0, k == class_); }
}
`,
      bindings: "aa",
      parameters: 1,
    }],
    weights: [],
    program: `  const [, samples] = m.dims(0);
  const steps = Math.floor(samples / 320);
  const y = m.tensor(12 * steps);
  m.dispatch(0, [m.input(0), y], [steps], Math.ceil(steps / 64));
  m.output(0, y, [1, steps, 3]);`,
    assets,
  };
}

/** A tokenizer of whole words, in the form of tokenizer.json. */
export function wordTokenizer(words: readonly string[]): object {
  const vocabulary = ["[UNK]", "[MASK]", ...words];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: ["[UNK]", "[MASK]"].map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: "Lowercase" },
    pre_tokenizer: { type: "Whitespace" },
    post_processor: null,
    decoder: null,
    model: {
      type: "WordLevel",
      vocab: Object.fromEntries(vocabulary.map((word, id) => [word, id])),
      unk_token: "[UNK]",
    },
  };
}
