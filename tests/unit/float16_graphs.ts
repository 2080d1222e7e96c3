/** Graphs made by hand to convert between float precisions, and what they must be afterwards. */
import assert from "node:assert/strict";
import type { DType } from "../../src/dtype.ts";
import {
  type Graph,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Node,
  type Tensor,
  type ValueInfo,
} from "../../src/ir.ts";
import {
  convertFloats,
  type FloatConversion,
  type FloatConversionOptions,
} from "../../src/quantization/float16.ts";
import { typedGraph } from "../../src/quantization/float16/resolver.ts";
import { allOperations } from "../../src/quantization/float16/typed_graph.ts";
import { tensor as tensorAttribute } from "../attributes.ts";

export const HALF: FloatConversionOptions = { to: "float16", form: "compute" };

export function info(
  name: string,
  dtype: DType | null,
  shape: (number | string)[] = ["n"],
): ValueInfo {
  return makeValueInfo(name, dtype, shape);
}

export function floats(name: string, dims: number[], values: readonly number[]): Tensor {
  const bytes = new Uint8Array(new Float32Array(values).buffer);
  return makeTensor(name, "float32", dims, { kind: "memory", bytes });
}

export function integers(name: string, values: readonly number[]): Tensor {
  const bytes = new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer);
  return makeTensor(name, "int64", [values.length], { kind: "memory", bytes });
}

export function graphOf(parts: Partial<Graph>): Graph {
  return makeGraph("g", parts);
}

export function modelOf(parts: Partial<Graph> & { nodes: Node[] }, opset = 17): Model {
  const opsets = new Map([["", opset], ["com.microsoft", 1]]);
  return makeModel("hand.onnx", 8, opsets, graphOf(parts));
}

export function constant(name: string, tensor: Tensor): Node {
  return makeNode("Constant", "", [], [name], [tensorAttribute("value", tensor)]);
}

/** Nodes as text: `Op(inputs)->outputs`. */
export function text(graph: Graph): string[] {
  return graph.nodes.map((node) => `${node.opType}(${node.inputs})->${node.outputs}`);
}

export function ofType(graph: Graph, opType: string): Node[] {
  return graph.nodes.filter((node) => node.opType === opType);
}

export function dtypesOf(graph: Graph): Record<string, DType | null> {
  return Object.fromEntries([
    ...graph.initializers.map((tensor) => [tensor.name, tensor.dtype]),
    ...graph.inputs.map((input) => [input.name, input.dtype]),
    ...graph.outputs.map((output) => [output.name, output.dtype]),
    ...graph.valueInfo.map((value) => [value.name, value.dtype]),
  ]);
}

export function halves(tensor: Tensor): number[] {
  assert.equal(tensor.dtype, "float16");
  assert.ok(tensor.data.kind === "memory");
  return [...new Float16Array(tensor.data.bytes.slice().buffer)];
}

/** Every operator gets types that its schema takes, and names are defined before they are used. */
export function assertWellTyped(model: Model): void {
  for (const operation of allOperations(typedGraph(model))) {
    for (const { slots, dtype, container, fixed, floats } of operation.variables) {
      for (const { value } of slots) {
        assert.equal(value.dtype, dtype, `"${value.name}" at ${operation.node.opType}`);
        const float = ["float16", "bfloat16", "float32", "float64"].includes(value.dtype ?? "");
        if (float && !fixed && !container && operation.known) {
          assert.ok(floats.has(value.dtype!), `${operation.node.opType} takes ${value.dtype}`);
        }
      }
    }
  }
  const check = (graph: Graph, outer: ReadonlySet<string>) => {
    const known = new Set([
      ...outer,
      ...graph.inputs.map((input) => input.name),
      ...graph.initializers.map((tensor) => tensor.name),
    ]);
    for (const node of graph.nodes) {
      for (const name of node.inputs) {
        assert.ok(name === "" || known.has(name), `"${name}" is used before it is made`);
      }
      for (const { value } of node.attributes) {
        if (value.type === "graph") check(value.value, known);
      }
      for (const name of node.outputs) {
        assert.ok(!known.has(name), `"${name}" is made twice`);
        if (name !== "") known.add(name);
      }
    }
    for (const output of graph.outputs) assert.ok(known.has(output.name), output.name);
  };
  check(model.graph, new Set());
}

export async function convert(
  model: Model,
  options: FloatConversionOptions = HALF,
): Promise<FloatConversion> {
  const conversion = await convertFloats(model, options);
  assertWellTyped(model);
  return conversion;
}

export function linear(
  weight = floats("w", [2, 2], [1, 2, 3, 4]),
  extra: Partial<Graph> = {},
): Model {
  return modelOf({
    inputs: [info("x", "float32")],
    outputs: [info("y", "float32")],
    initializers: [weight],
    nodes: [makeNode("MatMul", "", ["x", "w"], ["h"]), makeNode("Relu", "", ["h"], ["y"])],
    valueInfo: [info("h", "float32")],
    ...extra,
  });
}
