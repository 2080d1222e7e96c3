/** Small models for the verification tests, written with modelcast's own writer. */
import { join } from "node:path";
import type { DType } from "../../src/dtype.ts";
import {
  type Dim,
  int,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  type Node,
  type Tensor,
  type ValueInfo,
} from "../../src/ir.ts";
import { type LayoutOptions, writeModel } from "../../src/onnx/writer.ts";

/** A named tensor value. */
export function value(name: string, dtype: DType, ...shape: Dim[]): ValueInfo {
  return { name, dtype, shape, wire: null };
}

/** A float32 constant. */
export function constant(name: string, dims: number[], values: readonly number[]): Tensor {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return makeTensor(name, "float32", dims, { kind: "memory", bytes });
}

/** A node of the default domain with one output. */
export function op(opType: string, inputs: string[], output: string): Node {
  return makeNode(opType, "", inputs, [output]);
}

/** A Cast to float32 (1) or float16 (10). */
export function cast(input: string, output: string, to: 1 | 10): Node {
  return makeNode("Cast", "", [input], [output], [int("to", to)]);
}

/** What a graph is made of. */
export interface Parts {
  readonly nodes: Node[];
  readonly initializers?: Tensor[];
  readonly inputs: ValueInfo[];
  readonly outputs: ValueInfo[];
}

/** Writes a model of `parts` to `name` in `folder` and returns its path. */
export async function write(
  folder: string,
  name: string,
  parts: Parts,
  options?: LayoutOptions,
): Promise<string> {
  const path = join(folder, name);
  const graph = makeGraph("graph", parts);
  // The writer refuses to write over the file that a model was read from.
  const model = makeModel(join(folder, "made in memory"), 9, new Map([["", 18]]), graph);
  await writeModel(model, path, options);
  return path;
}

/** 16 by 16 numbers from -1 to 1 without a pattern. */
export const WEIGHTS: readonly number[] = Array.from(
  { length: 256 },
  (_, i) => Math.sin(12.9898 * (i + 1)) * 43758.5453 % 1,
);

/** y = relu(x first) second + bias, the values between named hidden and active. */
export function chain(first: readonly number[], second: readonly number[]): Parts {
  return {
    nodes: [
      op("MatMul", ["x", "first"], "hidden"),
      op("Relu", ["hidden"], "active"),
      op("MatMul", ["active", "second"], "product"),
      op("Add", ["product", "bias"], "y"),
    ],
    initializers: [
      constant("first", [16, 16], first),
      constant("second", [16, 16], second),
      constant("bias", [16], new Array(16).fill(0.5)),
    ],
    inputs: [value("x", "float32", "batch", 16)],
    outputs: [value("y", "float32", "batch", 16)],
  };
}
