/**
 * What the inputs of a model are for, told to a runtime that is not in this process: roles and
 * candidates for open extents are those that verification with ONNX Runtime takes.
 */
import { InputError } from "../error.ts";
import { allGraphs, type Model } from "../ir.ts";
import { constantTensor } from "../quantization/scopes.ts";
import { inputHints } from "../verify/hints.ts";
import type { Port } from "../verify/session.ts";
import { dimKey, type Role, roleOf, sumTerms, unknownsOf } from "../verify/seeded.ts";
import { isHostType } from "../verify/values.ts";

/** Inputs to make up, as `python/ir/openvino_check.py` takes them. */
export interface DescribedInputs {
  readonly inputs: readonly {
    readonly name: string;
    readonly dtype: string;
    /** Extents; an open one as terms to add up: names of unknowns, and numbers as text. */
    readonly dims: readonly (number | readonly string[])[];
    readonly role: Role;
  }[];
  readonly unknowns: readonly { readonly key: string; readonly candidates: readonly number[] }[];
}

/** Describes the inputs of `model`. Throws an `InputError` where one can't be made up. */
export async function describeInputs(model: Model): Promise<DescribedInputs> {
  const stored = new Set(model.graph.initializers.map(({ name }) => name));
  const ports: Port[] = [];
  for (const { name, dtype, shape } of model.graph.inputs) {
    if (stored.has(name)) continue;
    if (dtype === null || !isHostType(dtype) || shape === null) {
      const state = dtype === null || !isHostType(dtype)
        ? `it is of type ${dtype ?? "none"}`
        : "its number of dimensions is not stated";
      throw new InputError(
        `Cannot make up a value for input "${name}" of "${model.path}": ${state}. Convert with ` +
          "--no-verify.",
      );
    }
    // Some exporters write 0 for an extent that they do not know.
    ports.push({ name, dtype, dims: shape.map((dim) => dim === 0 ? null : dim) });
  }
  const hints = await inputHints(model);
  const roles = new Map(
    ports.map((port) => [port.name, roleOf(port, ports, hints.get(port.name))]),
  );
  return {
    inputs: ports.map((port) => ({
      name: port.name,
      dtype: port.dtype!,
      dims: port.dims.map((dim, axis) => {
        if (typeof dim === "number") return dim;
        const key = dimKey(port, axis);
        return sumTerms(key) ?? [key];
      }),
      role: roles.get(port.name)!,
    })),
    unknowns: unknownsOf(ports, roles, hints),
  };
}

/** Whether some of `model` computes in float16, whose rounding differs between runtimes. */
export function computesInHalf(model: Model): boolean {
  const ports = [...model.graph.inputs, ...model.graph.outputs];
  if (ports.some(({ dtype }) => dtype === "float16" || dtype === "bfloat16")) return true;
  for (const { nodes, initializers } of allGraphs(model.graph)) {
    // Some exporters write constants as nodes.
    const constants = nodes.flatMap((node) => {
      const tensor = constantTensor(node);
      return tensor === null ? [] : [{ name: node.outputs[0], dtype: tensor.dtype }];
    });
    const half = new Set(
      [...initializers, ...constants].filter(({ dtype }) => dtype === "float16")
        .map(({ name }) => name),
    );
    for (const { opType, inputs } of nodes) {
      if (STORING.has(opType)) continue;
      if (inputs.some((name) => half.has(name))) return true;
    }
  }
  return false;
}

/** Operators that read float16 constants without computing in float16. */
const STORING = new Set(["Cast", "DequantizeLinear", "GatherBlockQuantized", "Expand", "Reshape"]);
