/**
 * Converts the models of tests, and makes what the results are compared with: the same model with the
 * dequantized weights in float.
 */
import assert from "node:assert/strict";
import { byteLength } from "../src/dtype.ts";
import { type BlockFormat, blockLayout, symmetricZeroPoint } from "../src/formats.ts";
import type { Graph, Model, Node, Tensor } from "../src/ir.ts";
import { beginModel, planModel, writeModel } from "../src/onnx/writer.ts";
import { tensorBytes } from "../src/onnx/tensor.ts";
import type { QuantizeResult } from "../src/quantization/engine.ts";
import type { MatrixView } from "../src/quantization/pipeline.ts";
import {
  applyPlan,
  type PlannedWeight,
  planQuantization,
  type QuantizationOptions,
} from "../src/quantization/planner.ts";
import { quantizeMatrix } from "../src/quantization/reference.ts";
import { decode, encode } from "./encoding_models.ts";

/** What tests quantize by where they don't say otherwise. */
export const QUANTIZATION: QuantizationOptions = {
  bits: 4,
  symmetric: false,
  blockSize: 32,
  scaleType: "float16",
  method: "rtn",
  encoding: "auto",
  runtimes: [],
  exclude: [],
};

/** The codes of a result, [rows, blocks * blockLength], by the words of `formats.ts`. */
export function codesOf(
  result: QuantizeResult,
  format: BlockFormat,
  rows: number,
  columns: number,
): number[] {
  const { blocks, blockLength } = blockLayout(format, rows, columns);
  const { bits } = format;
  const bit = (byte: number, at: number) => (result.codes[byte]! >> at) & 1;
  const plane = rows * blocks * blockLength / 8;
  return Array.from({ length: rows * blocks * blockLength }, (_, index) => {
    if (bits !== 3) {
      const first = index * bits;
      let value = 0;
      for (let b = 0; b < bits; b++) value |= bit((first + b) >> 3, (first + b) & 7) << b;
      return value;
    }
    const [block, i] = [Math.floor(index / blockLength), index % blockLength];
    const quarter = blockLength / 4;
    const [s, r] = [Math.floor(i / quarter), i % quarter];
    const at = block * blockLength / 8 + (r >> 1);
    const low = (s >> 1) * plane + at;
    const shift = 4 * (r & 1) + 2 * (s & 1);
    return bit(low, shift) | (bit(low, shift + 1) << 1) |
      (bit(2 * plane + at, 4 * (r & 1) + s) << 2);
  });
}

/** The weights that a result stands for, [rows, columns]. */
export function dequantize(
  result: QuantizeResult,
  format: BlockFormat,
  rows: number,
  columns: number,
): Float64Array {
  const { blocks, blockLength } = blockLayout(format, rows, columns);
  const scales = decode(format.scaleType, result.scales);
  const codes = codesOf(result, format, rows, columns);
  const values = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const block = row * blocks + Math.floor(column / blockLength);
      const point = result.zeroPoints?.[block] ?? symmetricZeroPoint(format.bits);
      const code = codes[row * blocks * blockLength + column]!;
      values[row * columns + column] = Math.fround(scales[block]! * (code - point));
    }
  }
  return values;
}

/** What a conversion made. */
export interface Converted {
  readonly weights: readonly PlannedWeight[];
  readonly path: string;
  /** The float model with the dequantized weights. */
  readonly expectedPath: string;
}

/** Converts `model` to `folder/name.onnx`; `build` makes it anew for the model to compare with. */
export async function convertCase(
  build: () => Model,
  options: QuantizationOptions,
  folder: string,
  name: string,
): Promise<Converted> {
  const model = build();
  const plan = planQuantization(model, options);
  const planned = plan.weights.map((weight) => ({ name: weight.name, bytes: weight.bytesAfter }));
  const weights = applyPlan(model, plan);
  assert.deepEqual(
    weights.map((weight) => ({ name: weight.name, bytes: weight.bytesAfter })),
    planned,
  );
  const path = `${folder}/${name}.onnx`;
  const layout = planModel(model, path);
  const writer = await beginModel(layout);
  const values = new Map<string, Uint8Array>();
  try {
    for (const weight of weights) {
      const bytes = await tensorBytes(weight.weight.tensor);
      const floats = await fillWeight(
        weight,
        bytes,
        (tensor, offset, part) => writer.write(tensor, offset, part),
      );
      values.set(weight.name, encode(weight.weight.tensor.dtype, floats));
    }
  } catch (error) {
    await writer.abort();
    throw error;
  }
  await writer.commit();
  const expectedPath = `${folder}/${name}.expected.onnx`;
  const expected = build();
  replaceTensors(expected, values);
  await writeModel(expected, expectedPath);
  return { weights, path, expectedPath };
}

/** Quantizes one weight in tiles, writes its tensors, and gives the weights they stand for. */
export async function fillWeight(
  weight: PlannedWeight,
  bytes: Uint8Array,
  write: (tensor: Tensor, offset: number, bytes: Uint8Array) => Promise<void>,
): Promise<number[]> {
  const { view, format } = weight;
  const size = byteLength(view.weightType, 1);
  const floats = new Array<number>(view.batch * view.rows * view.columns);
  // Two tiles a matrix where there are rows for it, cut where the pipeline may cut.
  const half = view.rows > 16 ? 16 : view.rows;
  for (let batch = 0; batch < view.batch; batch++) {
    for (let firstRow = 0; firstRow < view.rows; firstRow += half) {
      const rows = Math.min(half, view.rows - firstRow);
      const job = tileBytes(bytes, view, batch, firstRow, rows, size);
      const result = quantizeMatrix({
        weights: job,
        weightType: view.weightType,
        rows,
        columns: view.columns,
        order: view.order,
        format,
        method: weight.method,
        measure: false,
      });
      for (const fill of weight.fills) {
        const piece = fill.pack(result, { batch, firstRow, rows });
        if (piece !== null) await write(fill.tensor, piece.offset, piece.bytes);
      }
      const values = dequantize(result, format, rows, view.columns);
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < view.columns; column++) {
          floats[index(view, batch, firstRow + row, column)] = values[row * view.columns + column]!;
        }
      }
    }
  }
  return floats;
}

/** Where weight (row, column) of a matrix lies in the tensor. */
function index(view: MatrixView, batch: number, row: number, column: number): number {
  const base = batch * view.rows * view.columns;
  return base + (view.order === "rows" ? row * view.columns + column : column * view.rows + row);
}

function tileBytes(
  bytes: Uint8Array,
  view: MatrixView,
  batch: number,
  firstRow: number,
  rows: number,
  size: number,
): Uint8Array {
  const tile = new Uint8Array(rows * view.columns * size);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < view.columns; column++) {
      const from = index(view, batch, firstRow + row, column) * size;
      const to = (view.order === "rows" ? row * view.columns + column : column * rows + row) * size;
      tile.set(bytes.subarray(from, from + size), to);
    }
  }
  return tile;
}

/** Puts other bytes into the constants of a model. */
function replaceTensors(model: Model, values: ReadonlyMap<string, Uint8Array>): void {
  const inNodes = (nodes: readonly Node[]) => {
    for (const node of nodes) {
      for (const attribute of node.attributes) {
        if (attribute.value.type === "graph") inGraph(attribute.value.value);
        if (attribute.value.type === "tensor") {
          const bytes = values.get(node.outputs[0]!);
          if (bytes !== undefined) attribute.value.value.data = { kind: "memory", bytes };
        }
      }
    }
  };
  const inGraph = (graph: Graph) => {
    for (const tensor of graph.initializers) {
      const bytes = values.get(tensor.name);
      if (bytes !== undefined) tensor.data = { kind: "memory", bytes };
    }
    inNodes(graph.nodes);
  };
  inGraph(model.graph);
  for (const entry of model.functions) inNodes(entry.nodes);
}
