/** Small models for the tests of the reader and the writer, built record by record. */
import { join } from "node:path";
import type { Model, Node, Tensor } from "../../src/ir.ts";
import { makeGraph, makeModel, makeNode, makeTensor, makeValueInfo } from "../../src/ir.ts";
import { WireBuilder } from "../../src/onnx/wire.ts";

/** A message, built by a function. */
export function message(build: (out: WireBuilder) => void): Uint8Array {
  const out = new WireBuilder();
  build(out);
  return out.finish();
}

/** A whole model file around `graph`, the bytes of a `GraphProto`. */
export function modelFile(graph: Uint8Array, opset = 21, irVersion = 10): Uint8Array {
  return message((out) =>
    out.int(1, irVersion)
      .bytes(8, message((entry) => entry.string(1, "").int(2, opset)))
      .bytes(7, graph)
  );
}

/** A `TensorProto` of float32 with `name` and `dims`, and what `more` adds. */
export function tensorMessage(
  name: string,
  dims: readonly number[],
  more: (out: WireBuilder) => void,
): Uint8Array {
  return message((out) => {
    for (const dim of dims) out.int(1, dim);
    out.int(2, 1).string(8, name);
    more(out);
  });
}

/** A tensor of float32 in memory. */
export function memoryTensor(name: string, values: readonly number[]): Tensor {
  const bytes = new Uint8Array(new Float32Array(values).buffer);
  return makeTensor(name, "float32", [values.length], { kind: "memory", bytes });
}

/** A model that adds `initializers` up, one after the other. */
export function sumModel(initializers: Tensor[], nodes: Node[] = []): Model {
  const graph = makeGraph("sum", {
    initializers,
    inputs: [makeValueInfo("x", "float32", ["n"])],
    outputs: [makeValueInfo("y", "float32", ["n"])],
    nodes: [...nodes, makeNode("Sum", "", ["x", ...initializers.map(({ name }) => name)], ["y"])],
  });
  return makeModel("", 10, new Map([["", 21]]), graph);
}

/** Calls `use` with a new folder, which is removed afterwards. */
export async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Names of the files in `folder`, sorted. */
export function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** Writes `bytes` as the file `name` in `folder` and returns its path. */
export function writeBytes(folder: string, name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  Deno.writeFileSync(path, bytes);
  return path;
}

/**
 * Makes the symbolic link `path` to `target`. By `ln`: Deno wants to be allowed everything for it.
 */
export async function makeLink(target: string, path: string): Promise<void> {
  const { success } = await new Deno.Command("ln", { args: ["-s", target, path] }).output();
  if (!success) throw new Error(`can't make the link ${path}`);
}
