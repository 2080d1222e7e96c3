/** Attributes of nodes for models that tests make; `int` and `ints` are in `src/ir.ts`. */
import { type Attribute, type Graph, NOTHING_CARRIED, type Tensor } from "../src/ir.ts";

/** An attribute that is a float. */
export function float(name: string, value: number): Attribute {
  return { name, value: { type: "float", value }, carried: NOTHING_CARRIED };
}

/** An attribute that is a list of floats. */
export function floats(name: string, value: readonly number[]): Attribute {
  return { name, value: { type: "floats", value }, carried: NOTHING_CARRIED };
}

/** An attribute that is text. */
export function text(name: string, value: string): Attribute {
  const bytes = new TextEncoder().encode(value);
  return { name, value: { type: "string", value: bytes }, carried: NOTHING_CARRIED };
}

/** An attribute that is a tensor. */
export function tensor(name: string, value: Tensor): Attribute {
  return { name, value: { type: "tensor", value }, carried: NOTHING_CARRIED };
}

/** An attribute that is a graph. */
export function graph(name: string, value: Graph): Attribute {
  return { name, value: { type: "graph", value }, carried: NOTHING_CARRIED };
}
