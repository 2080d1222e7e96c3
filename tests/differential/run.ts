/** Runs random calls by ONNX Runtime and by their modules, and compares what they give. */
import { join } from "node:path";
import { compare } from "../../conformance/compare.ts";
import type { Target } from "../../conformance/target.ts";
import { Unsupported } from "../../conformance/target.ts";
import type { Value } from "../../conformance/values.ts";
import { ModelcastError } from "../../src/error.ts";
import {
  type Dim,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  type Model,
} from "../../src/ir.ts";
import { readModel } from "../../src/onnx/reader.ts";
import { writeModel } from "../../src/onnx/writer.ts";
import { RuntimeFault } from "../../src/verify/session.ts";
import type { Call, Draw } from "./draw.ts";

/** What became of a call. "invalid": ONNX Runtime does not run it. */
export type Outcome =
  | { readonly kind: "equal" }
  | { readonly kind: "invalid"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "different"; readonly reason: string };

/** How the extents of inputs are declared. */
type Declaration = (extent: number, input: number, axis: number) => Dim;

const DECLARATIONS: readonly Declaration[] = [
  (extent) => extent,
  (_, input, axis) => `d${input}_${axis}`,
  (extent) => `n${extent}`,
  (extent, input, axis) => (input + axis) % 2 === 0 ? `n${extent}` : extent,
];

/** A model of one node that makes `call`. */
export function modelOf(path: string, call: Call, draw: Draw): Model {
  const declare = draw.pick(DECLARATIONS);
  const names = call.operands.map((operand, i) => operand === null ? "" : `i${i}`);
  const outputs = call.outputs.map((dtype, i) => dtype === null ? "" : `o${i}`);
  const graph = makeGraph("call", {
    nodes: [makeNode(call.op, call.domain ?? "", names, outputs, [...call.attributes ?? []])],
    initializers: call.operands.flatMap((operand, i) => {
      if (operand === null || !operand.constant) return [];
      const { dtype, dims, data } = operand;
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return [makeTensor(names[i]!, dtype, dims, { kind: "memory", bytes })];
    }),
    inputs: call.operands.flatMap((operand, i) => {
      if (operand === null || operand.constant) return [];
      const dims = operand.dims.map((extent, axis) =>
        operand.static === true ? extent : declare(extent, i, axis)
      );
      return [makeValueInfo(names[i]!, operand.dtype, dims)];
    }),
    outputs: call.outputs.flatMap((dtype, i) =>
      dtype === null ? [] : [makeValueInfo(outputs[i]!, dtype, null)]
    ),
  });
  return makeModel(
    path,
    10,
    new Map([["", call.opset ?? 21], ["com.microsoft", 1]]),
    graph,
  );
}

/** Computes `call` on both sides, its model in `folder`. */
export async function runCall(
  call: Call,
  draw: Draw,
  folder: string,
  onnx: Target,
  webgpu: Target,
): Promise<Outcome> {
  const path = join(folder, "call.onnx");
  await writeModel(modelOf("call.onnx", call, draw), path);
  const inputs = new Map<string, Value>(
    call.operands.flatMap((operand, i) =>
      operand === null || operand.constant ? [] : [[`i${i}`, operand] as const]
    ),
  );
  let wanted: ReadonlyMap<string, Value>;
  try {
    await using session = await onnx.prepare(await readModel(path));
    wanted = await session.run(inputs);
  } catch (error) {
    if (!(error instanceof Unsupported || error instanceof RuntimeFault)) throw error;
    return { kind: "invalid", reason: error.message };
  }
  let got: ReadonlyMap<string, Value>;
  try {
    await using module = await webgpu.prepare(await readModel(path));
    got = await module.run(inputs);
  } catch (error) {
    if (error instanceof ModelcastError) return { kind: "refused", reason: error.message };
    return { kind: "different", reason: String(error) };
  }
  for (const [name, expected] of wanted) {
    const value = got.get(name);
    if (value === undefined) return { kind: "different", reason: `there is no output "${name}"` };
    if (call.steps !== undefined && isWithin(value, expected, call.steps)) continue;
    const isHalf = expected.dtype === "float16";
    const { difference } = compare(name, value, expected, {
      rtol: call.rtol ?? (isHalf ? 4e-3 : 1e-3),
      atol: call.atol ?? (isHalf ? 4e-3 : 2e-5),
    });
    if (difference !== null) return { kind: "different", reason: difference };
  }
  return { kind: "equal" };
}

/** True for integers of the same shape that differ by `steps` at most. */
function isWithin(value: Value, expected: Value, steps: number): boolean {
  return !expected.dtype.startsWith("float") && value.dtype === expected.dtype &&
    value.dims.join() === expected.dims.join() &&
    expected.data.every((element, i) => Math.abs(Number(element) - Number(value.data[i])) <= steps);
}

/** `call` in a few words, for the message of a failing test. */
export function describeCall(call: Call): string {
  const operands = call.operands.map((operand) =>
    operand === null
      ? "-"
      : `${operand.constant ? "constant " : ""}${operand.dtype}[${operand.dims}]` +
        (operand.data.length <= 8 && operand.dtype === "int64" ? `=${operand.data}` : "")
  );
  const attributes = (call.attributes ?? []).map(({ name, value }) => {
    if (!("value" in value)) return name;
    const content = value.type === "string"
      ? new TextDecoder().decode(value.value)
      : String(value.value);
    return `${name}=${content}`;
  });
  return `${call.op}(${operands.join(", ")}) {${attributes.join(", ")}} opset ${call.opset ?? 21}`;
}
