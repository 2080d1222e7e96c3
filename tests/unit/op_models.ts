/** Models of one node, lowered and run element by element, for the tests of ops. */
import { type DType, DTYPES } from "../../src/dtype.ts";
import {
  type Attribute,
  makeGraph,
  makeModel,
  makeNode,
  makeTensor,
  makeValueInfo,
  NOTHING_CARRIED,
  type Tensor as Initializer,
} from "../../src/ir.ts";
import { Lowering } from "../../src/codegen/lower.ts";
import type { Program } from "../../src/codegen/program.ts";
import { type Dense, interpret } from "./interpret.ts";

/** Known at conversion, known when the model runs, or so that even its extents are symbols. */
export type Place = "constant" | "input" | "symbolic";

/** An input of the node. */
export interface Given extends Dense {
  readonly dtype?: DType;
  readonly as?: Place;
}

/** Attributes: a whole number, text, or whole numbers. Others are given as they are. */
export type Attributes = Readonly<Record<string, number | string | readonly number[] | Attribute>>;

function attributes(given: Attributes): Attribute[] {
  return Object.entries(given).map(([name, value]) => {
    const carried = NOTHING_CARRIED;
    if (typeof value === "number") {
      return { name, carried, value: { type: "int", value: BigInt(value) } };
    }
    if (typeof value === "string") {
      const text = new TextEncoder().encode(value);
      return { name, carried, value: { type: "string", value: text } };
    }
    if ("carried" in value) return value;
    return { name, carried, value: { type: "ints", value: value.map(BigInt) } };
  });
}

/** The model of one node, lowered, and its constants. */
export function lowered(
  opType: string,
  inputs: readonly (Given | null)[],
  given: Attributes,
  outputs: number,
): { readonly program: Program; readonly constants: ReadonlyMap<Initializer, number[]> } {
  const names = inputs.map((input, i) => input === null ? "" : `input${i}`);
  const constants = new Map<Initializer, number[]>();
  const initializers: Initializer[] = [];
  const infos = inputs.flatMap((input, i) => {
    if (input === null) return [];
    const { dtype = "float32", as = "input", dims, data } = input;
    if (as !== "constant") {
      const shape = dims.map((extent, d) => as === "symbolic" ? `dimension ${i} ${d}` : extent);
      return [makeValueInfo(names[i]!, dtype, shape)];
    }
    const bytes = new Uint8Array((data.length * DTYPES[dtype].bits) / 8);
    const tensor = makeTensor(names[i]!, dtype, dims, { kind: "memory", bytes });
    constants.set(tensor, Array.from(data));
    initializers.push(tensor);
    return [];
  });
  const results = Array.from({ length: outputs }, (_, i) => `output${i}`);
  const graph = makeGraph("one", {
    nodes: [makeNode(opType, "", names, results, attributes(given))],
    initializers,
    inputs: infos,
    outputs: results.map((name) => makeValueInfo(name, null, null)),
  });
  const model = makeModel("one.onnx", 14, new Map([["", 28]]), graph);
  return { program: new Lowering(model, constants).run(), constants };
}

/** The outputs of one node. */
export function runOp(
  opType: string,
  inputs: readonly (Given | null)[],
  given: Attributes = {},
  outputs = 1,
): Dense[] {
  const { program, constants } = lowered(opType, inputs, given, outputs);
  const values = new Map(
    inputs.flatMap((input, i): [string, Dense][] => input === null ? [] : [[`input${i}`, input]]),
  );
  const results = interpret(
    program,
    values,
    ({ origin }) => origin.kind === "weight" ? constants.get(origin.initializer)! : [],
  );
  return [...results.values()];
}

/** A tensor of what `at` gives at each position. */
export function build(dims: readonly number[], at: (position: number[]) => number): Dense {
  const count = dims.reduce((a, b) => a * b, 1);
  const data = Array.from({ length: count }, (_, flat) => {
    const position: number[] = [];
    for (let d = dims.length - 1, rest = flat; d >= 0; d--) {
      position.unshift(rest % dims[d]!);
      rest = Math.floor(rest / dims[d]!);
    }
    return at(position);
  });
  return { dims, data };
}

/** The element at a position. */
export function elementAt({ dims, data }: Dense, position: readonly number[]): number {
  return data[position.reduce((flat, index, d) => flat * dims[d]! + index, 0)]!;
}

/** A tensor that counts from 1. */
export function counting(dims: readonly number[]): Dense {
  let next = 1;
  return build(dims, () => next++);
}

/** A vector of int64. */
export function integers(data: readonly number[], as: Place = "constant"): Given {
  return { dims: [data.length], data, dtype: "int64", as };
}
