/** Runs one model by ONNX Runtime and by its module, and compares what they give. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compare } from "../../conformance/compare.ts";
import { compileInto } from "../../conformance/compile.ts";
import { openOnnx } from "../../conformance/onnx.ts";
import type { Value } from "../../conformance/values.ts";
import { openWebGpu } from "../../conformance/webgpu.ts";
import type { DType } from "../../src/dtype.ts";
import {
  type Attribute,
  type Dim,
  type Graph,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
  type Node,
  type Tensor,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";

export { graph } from "../attributes.ts";

const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const onnx = await openOnnx();
const webgpu = await openWebGpu(compileInto(folder));
let count = 0;

/** A run: inputs by name, and what the module's error says where it is to refuse them. */
export interface Run {
  readonly inputs: Readonly<Record<string, Value>>;
  readonly refused?: RegExp;
}

/** Compares all outputs of all `runs`, one module and one session for all of them. */
export async function compareRuns(model: Model, runs: readonly Run[]): Promise<void> {
  const path = join(folder, `model${count++}.onnx`);
  await writeModel(model, path);
  await using session = await onnx.prepare(await readModel(path));
  await using module = await webgpu.prepare(await readModel(path));
  for (const [i, { inputs, refused }] of runs.entries()) {
    const values = new Map(Object.entries(inputs));
    if (refused !== undefined) {
      await assert.rejects(module.run(values), refused, `run ${i}`);
      continue;
    }
    const wanted = await session.run(values);
    const found = await module.run(values);
    for (const [name, value] of wanted) {
      const { difference } = compare(name, found.get(name)!, value, { rtol: 1e-4, atol: 1e-5 });
      assert.equal(difference, null, `run ${i}`);
    }
  }
}

/** Runs `model` by its module alone; the run must end with an error that `pattern` describes. */
export async function refuses(
  model: Model,
  inputs: Readonly<Record<string, Value>>,
  pattern: RegExp,
): Promise<void> {
  await using module = await webgpu.prepare(model);
  await assert.rejects(module.run(new Map(Object.entries(inputs))), pattern);
}

/** A node of the default domain. */
export function node(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: readonly Attribute[] = [],
): Node {
  return makeNode(op, "", [...inputs], [...outputs], [...attributes]);
}

/** A branch of an If: it takes nothing, and gives `outputs`. */
export function branch(nodes: readonly Node[], outputs: readonly string[]): Graph {
  return makeGraph("branch", {
    nodes: [...nodes],
    outputs: outputs.map((name) => makeValueInfo(name, "float32", null)),
  });
}

/** A model of `nodes`; outputs have no shapes. */
export function modelOf(
  nodes: readonly Node[],
  inputs: Readonly<Record<string, readonly [DType, readonly Dim[]]>>,
  outputs: Readonly<Record<string, DType>>,
  initializers: readonly Tensor[] = [],
): Model {
  const graph = makeGraph("g", {
    nodes: [...nodes],
    initializers: [...initializers],
    inputs: Object.entries(inputs).map(([name, [dtype, dims]]) => makeValueInfo(name, dtype, dims)),
    outputs: Object.entries(outputs).map(([name, dtype]) => makeValueInfo(name, dtype, null)),
  });
  return makeModel("model.onnx", 10, new Map([["", 21]]), graph);
}

/** A constant vector of int64, or a scalar. */
export function whole(name: string, values: readonly number[] | number): Tensor {
  const list = typeof values === "number" ? [values] : values;
  const bytes = new Uint8Array(BigInt64Array.from(list, BigInt).buffer);
  return makeTensor(name, "int64", typeof values === "number" ? [] : [list.length], {
    kind: "memory",
    bytes,
  });
}

/** Numbers from -1 to 1 of some dims. */
export function floats(...dims: readonly number[]): Value {
  const size = dims.reduce((a, b) => a * b, 1);
  return {
    dtype: "float32",
    dims,
    data: Float32Array.from({ length: size }, (_, i) => Math.sin(i * 7 + 1)),
  };
}

/** A vector of int64, or a scalar. */
export function int64(values: readonly (number | bigint)[] | number | bigint): Value {
  const list = typeof values === "object" ? values : [values];
  const dims = typeof values === "object" ? [list.length] : [];
  return { dtype: "int64", dims, data: BigInt64Array.from(list, BigInt) };
}

/** A bool of no dims. */
export function truth(value: boolean): Value {
  return { dtype: "bool", dims: [], data: Uint8Array.of(value ? 1 : 0) };
}
