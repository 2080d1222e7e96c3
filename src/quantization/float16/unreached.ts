/**
 * The floating-point constants that a conversion of a graph does not come to: those of functions that
 * the model defines, and those that are stored sparse. They are reported, not dropped in silence.
 */
import type { DType } from "../../dtype.ts";
import { elementCount, type Model, type Tensor } from "../../ir.ts";
import { constantTensor, nodesOf, outermost, Scopes, sparseConstantsOf } from "../scopes.ts";

/** A constant that no conversion comes to, and why. */
export interface UnreachedConstant {
  readonly name: string;
  readonly dtype: DType;
  readonly elements: number;
  readonly reason: string;
}

/** Every such constant of two elements or more whose type is one of `from`. */
export function unreachedConstants(model: Model, from: ReadonlySet<DType>): UnreachedConstant[] {
  const found: UnreachedConstant[] = [];
  const add = (name: string, tensor: Tensor, reason: string) => {
    const elements = elementCount(tensor.dims);
    if (elements < 2 || !from.has(tensor.dtype) || tensor.data.kind === "pending") return;
    found.push({ name, dtype: tensor.dtype, elements, reason });
  };
  for (const body of new Scopes(model).bodies) {
    for (const { name, values } of sparseConstantsOf(body)) {
      add(name, values, "it is stored sparse");
    }
    const holder = outermost(body).function;
    if (holder === null) continue;
    const reason = `it lies in the function "${holder.name}" of the model, inside of which ` +
      `nothing is converted; inline the function first`;
    for (const tensor of body.graph?.initializers ?? []) add(tensor.name, tensor, reason);
    for (const node of nodesOf(body)) {
      const tensor = constantTensor(node);
      if (tensor !== null) add(node.outputs[0] ?? "", tensor, reason);
    }
  }
  return found;
}
