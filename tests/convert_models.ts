/**
 * Models for the tests of whole conversions: one with every kind of weight, and one whose weights lie
 * in several external files.
 */
import { join } from "node:path";
import { int, ints, makeGraph, makeModel, makeNode, makeValueInfo, type Model } from "../src/ir.ts";
import { WireBuilder } from "../src/onnx/wire.ts";
import { encode, floats, noise } from "./encoding_models.ts";

/**
 * Every kind of weight: an embedding tied with the head, MatMul, Gemm (transposed), Conv, LSTM,
 * batched MatMul, and vectors; widths that are no multiple of a block.
 */
export function mixedModel(): Model {
  const graph = makeGraph("mixed", {
    nodes: [
      makeNode("Gather", "", ["embedding", "i"], ["x"]),
      makeNode("MatMul", "", ["x", "wide"], ["a"]),
      makeNode("Gemm", "", ["a", "narrow", "bias"], ["b"], [int("transB", 1)]),
      makeNode("Transpose", "", ["embedding"], ["head"], [ints("perm", [1, 0])]),
      makeNode("MatMul", "", ["x", "head"], ["logits"]),
      makeNode("Conv", "", ["c", "kernel"], ["d"], [int("group", 2)]),
      makeNode("LSTM", "", ["s", "input_weights", "state_weights"], ["", "", "h"], [
        int("hidden_size", 16),
      ]),
      makeNode("MatMul", "", ["q", "batched"], ["r"]),
    ],
    initializers: [
      floats("embedding", [90, 48]),
      floats("wide", [48, 80]),
      floats("narrow", [50, 80]),
      floats("bias", [50]),
      floats("kernel", [32, 8, 3, 3]),
      floats("input_weights", [1, 64, 24]),
      floats("state_weights", [1, 64, 16]),
      floats("batched", [3, 70, 33]),
    ],
    inputs: [
      makeValueInfo("i", "int64", [5]),
      makeValueInfo("c", "float32", [1, 16, 8, 8]),
      makeValueInfo("s", "float32", [2, 1, 24]),
      makeValueInfo("q", "float32", [3, 2, 70]),
    ],
    outputs: [
      makeValueInfo("b", "float32", [5, 50]),
      makeValueInfo("logits", "float32", [5, 90]),
      makeValueInfo("d", "float32", [1, 32, 6, 6]),
      makeValueInfo("h", "float32", [1, 1, 16]),
      makeValueInfo("r", "float32", [3, 2, 33]),
    ],
  });
  const model = makeModel("mixed.onnx", 8, new Map([["", 17]]), graph);
  model.metadata.push(["author", "nobody"], ["classes", "a,b"]);
  return model;
}

/** A `float32` matrix of a model file. */
export interface Matrix {
  readonly name: string;
  readonly dims: readonly [rows: number, columns: number];
  readonly bytes: Uint8Array;
}

/** Matrices of 64 by 64 with the names `names`. */
export function matrices(names: readonly string[]): Matrix[] {
  return names.map((name, index) => ({
    name,
    dims: [64, 64],
    bytes: encode("float32", noise(index + 1, 64 * 64)),
  }));
}

/** Where a matrix lies: in the model file, or at an offset of an external file. */
export type MatrixPlace = { readonly location: string; readonly offset: number } | null;

/**
 * Writes a model that multiplies by `weights`, one after the other, to `folder/name`, and its
 * external files beside it.
 */
export function writeChain(
  folder: string,
  name: string,
  weights: readonly Matrix[],
  placeOf: (index: number) => MatrixPlace = () => null,
): string {
  const message = (build: (out: WireBuilder) => void) => {
    const out = new WireBuilder();
    build(out);
    return out.finish();
  };
  const files = new Map<string, { offset: number; bytes: Uint8Array }[]>();
  const value = (of: string) =>
    message((info) => {
      const dims = message((shape) => {
        for (const extent of [2, 64]) shape.bytes(1, message((dim) => dim.int(1, extent)));
      });
      info.string(1, of).bytes(
        2,
        message((type) => type.bytes(1, message((tensor) => tensor.int(1, 1).bytes(2, dims)))),
      );
    });
  const graph = message((out) => {
    weights.forEach((weight, index) => {
      out.bytes(
        1,
        message((node) => {
          node.string(1, index === 0 ? "x" : `x${index}`).string(1, weight.name);
          node.string(2, index === weights.length - 1 ? "y" : `x${index + 1}`);
          node.string(3, `multiply ${index}`).string(4, "MatMul");
        }),
      );
    });
    out.string(2, "chain");
    weights.forEach((weight, index) => {
      const place = placeOf(index);
      out.bytes(
        5,
        message((tensor) => {
          for (const dim of weight.dims) tensor.int(1, dim);
          tensor.int(2, 1).string(8, weight.name);
          if (place === null) return void tensor.bytes(9, weight.bytes);
          const { location, offset } = place;
          const entry = (key: string, text: string) =>
            tensor.bytes(13, message((pair) => pair.string(1, key).string(2, text)));
          entry("location", location);
          entry("offset", String(offset));
          entry("length", String(weight.bytes.length));
          tensor.int(14, 1);
          files.set(location, [...files.get(location) ?? [], { offset, bytes: weight.bytes }]);
        }),
      );
    });
    out.bytes(11, value("x")).bytes(12, value("y"));
  });
  for (const [location, parts] of files) {
    const bytes = new Uint8Array(Math.max(...parts.map((part) => part.offset + part.bytes.length)));
    for (const part of parts) bytes.set(part.bytes, part.offset);
    Deno.writeFileSync(join(folder, location), bytes);
  }
  const path = join(folder, name);
  Deno.writeFileSync(
    path,
    message((out) =>
      out.int(1, 8).bytes(7, graph).bytes(8, message((set) => set.string(1, "").int(2, 17)))
    ),
  );
  return path;
}
