/**
 * Writes large models of random weights, for benchmarks: a chain of layers shaped like a language
 * model's (embedding, four square projections and a two-layer perceptron a layer, a head), float32,
 * all weights in one external file. The same size and seed give the same bytes. Memory stays at a
 * few megabytes: the data is streamed.
 *
 *   deno run --allow-read --allow-write bench/large_model.ts 2 .cache/bench/large-2
 */

import { Writer } from "protobufjs";

/** Widths of a generated model. */
interface Shape {
  readonly hidden: number;
  readonly vocabulary: number;
  readonly layers: number;
}

/** Shapes by the GiB of weights that they come to, exactly. */
export const LARGE_MODEL_SHAPES: Readonly<Record<number, Shape>> = {
  0.125: { hidden: 512, vocabulary: 8192, layers: 8 },
  2: { hidden: 2048, vocabulary: 32768, layers: 8 },
  8: { hidden: 4096, vocabulary: 65536, layers: 8 },
};

/** A weight: its name and its extents. */
type Weight = readonly [name: string, rows: number, columns: number];

/** Where the parts of a generated model are. */
export interface LargeModel {
  /** The `.onnx` file. */
  readonly model: string;
  /** The file of weights beside it. */
  readonly data: string;
  /** Bytes of weights. */
  readonly bytes: number;
}

const DATA_NAME = "model.onnx.data";
const CHUNK_BYTES = 2 ** 22;
const FLOAT = 1;
const INT64 = 7;

/** Writes the model of `gibibytes` (a key of the shapes) into `folder`, which is made. */
export async function writeLargeModel(
  gibibytes: number,
  folder: string,
  seed = 1,
): Promise<LargeModel> {
  const shape = LARGE_MODEL_SHAPES[gibibytes];
  if (shape === undefined) {
    throw new RangeError(
      `Cannot write a model of ${gibibytes} GiB: the sizes are ${
        Object.keys(LARGE_MODEL_SHAPES).join(", ")
      }.`,
    );
  }
  await Deno.mkdir(folder, { recursive: true });
  const files = { model: `${folder}/model.onnx`, data: `${folder}/${DATA_NAME}` };
  const weights = weightsOf(shape);
  await Deno.writeFile(files.model, encodeModel(shape, weights));
  return { ...files, bytes: await writeWeights(files.data, weights, seed) };
}

function weightsOf({ hidden, vocabulary, layers }: Shape): Weight[] {
  const weights: Weight[] = [["embedding", vocabulary, hidden]];
  for (let layer = 0; layer < layers; layer++) {
    for (const name of ["query", "key", "value", "output"]) {
      weights.push([`layer${layer}.${name}`, hidden, hidden]);
    }
    weights.push([`layer${layer}.up`, hidden, 4 * hidden]);
    weights.push([`layer${layer}.down`, 4 * hidden, hidden]);
  }
  weights.push(["head", hidden, vocabulary]);
  return weights;
}

/** Streams random weights, of a triangular distribution with a deviation of 1 / sqrt(rows). */
async function writeWeights(path: string, weights: readonly Weight[], seed: number) {
  using file = await Deno.open(path, { create: true, write: true, truncate: true });
  const chunk = new Float32Array(CHUNK_BYTES / 4);
  const bytes = new Uint8Array(chunk.buffer);
  let total = 0;
  let state = (seed * 0x9e3779b1) | 1;
  for (const [, rows, columns] of weights) {
    // The sum of two uniform 32-bit integers has the variance 2^64 / 6.
    const scale = Math.sqrt(6 / rows) / 2 ** 32;
    for (let left = rows * columns; left > 0; left -= chunk.length) {
      const count = Math.min(left, chunk.length);
      for (let i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        const first = state;
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        chunk[i] = (first + state) * scale;
      }
      await writeAll(file, bytes.subarray(0, 4 * count));
      total += 4 * count;
    }
  }
  return total;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

/** A protobuf field: its number and its value; a string, an integer or an inner message. */
type Field = readonly [number: number, value: string | number | readonly Field[]];

/** The wire form of a message. */
function encode(fields: readonly Field[], writer = Writer.create()): Writer {
  for (const [number, value] of fields) {
    if (typeof value === "number") writer.uint32(number << 3).uint64(value);
    else if (typeof value === "string") writer.uint32((number << 3) | 2).string(value);
    else encode(value, writer.uint32((number << 3) | 2).fork()).ldelim();
  }
  return writer;
}

/** The model file (`ModelProto` of onnx.proto): opset 17, IR 8. */
function encodeModel({ vocabulary, layers }: Shape, weights: readonly Weight[]): Uint8Array {
  const nodes: Field[] = [];
  const node = (type: string, inputs: readonly string[], output: string): string => {
    const fields = inputs.map((name): Field => [1, name]);
    nodes.push([1, [...fields, [2, output], [3, output], [4, type]]]);
    return output;
  };
  let x = node("Gather", ["embedding", "tokens"], "embedded");
  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string): string => `layer${layer}.${part}`;
    const project = (part: string, input: string): string =>
      node("MatMul", [input, name(part)], name(`${part}.product`));
    const gate = node("Tanh", [project("query", x)], name("gate"));
    const gated = node("Mul", [gate, project("key", x)], name("gated"));
    const mixed = node("Add", [gated, project("value", x)], name("mixed"));
    x = node("Add", [x, project("output", mixed)], name("attended"));
    const wide = node("Relu", [project("up", x)], name("wide"));
    x = node("Add", [x, project("down", wide)], name("result"));
  }
  node("MatMul", [x, "head"], "logits");

  let offset = 0;
  const initializers = weights.map(([name, rows, columns]): Field => {
    const length = 4 * rows * columns;
    const entry = (key: string, value: string | number): Field => [13, [[1, key], [2, `${value}`]]];
    const place = [entry("location", DATA_NAME), entry("offset", offset), entry("length", length)];
    offset += length;
    return [5, [[1, rows], [1, columns], [2, FLOAT], [8, name], ...place, [14, 1]]];
  });
  const value = (field: number, name: string, type: number, dims: (string | number)[]): Field => {
    const shape = dims.map((dim): Field => [1, [typeof dim === "number" ? [1, dim] : [2, dim]]]);
    return [field, [[1, name], [2, [[1, [[1, type], [2, shape]]]]]]];
  };
  const tokens = value(11, "tokens", INT64, ["batch", "sequence"]);
  const logits = value(12, "logits", FLOAT, ["batch", "sequence", vocabulary]);
  const graph: Field = [7, [...nodes, [2, "large"], ...initializers, tokens, logits]];
  return encode([[1, 8], [2, "modelcast benchmark"], graph, [8, [[1, ""], [2, 17]]]]).finish();
}

if (import.meta.main) {
  const [gibibytes, folder] = Deno.args;
  if (gibibytes === undefined || folder === undefined) {
    throw new Error("Usage: large_model.ts GIBIBYTES FOLDER");
  }
  console.log(await writeLargeModel(Number(gibibytes), folder));
}
