/**
 * What a row of the upgrade table works with: fresh names, constants, types of values, attributes
 * taken off a node, and errors that name the node. One rewriter serves one graph or one function
 * body.
 */
import { type DType, DTYPES } from "../../dtype.ts";
import { InputError } from "../../error.ts";
import {
  type Attribute,
  attribute,
  type Graph,
  int,
  intAttribute,
  makeNode,
  makeTensor,
  type Node,
  NOTHING_CARRIED,
  type Tensor,
} from "../../ir.ts";
import type { Scope } from "./types.ts";

/** Element types that the upgrade makes constants of. */
export type ConstantType = "int64" | "float32" | "float64" | "float16";

/** The names in a whole model or a whole function. */
export interface Names {
  /** Names of values and of nodes. */
  readonly taken: Set<string>;
  /** The last number that made a name fresh, by what the name begins with. */
  readonly suffixes: Map<string, number>;
  /** Names that nodes had before the upgrade. */
  readonly nodes: ReadonlySet<string>;
  /** Names of values that a node or a graph output reads. */
  readonly read: ReadonlySet<string>;
}

/** Lowest opset version with `CastLike`. */
const CAST_LIKE_SINCE = 15;

/** Lowest opset version whose `Constant` takes a list or a number as an attribute. */
const CONSTANT_LIST_SINCE = 12;

/** Rewrites nodes of one graph, or of one function body where `graph` is null. */
export class Rewriter {
  /** Opset version that the whole upgrade leads to. */
  readonly target: number;
  readonly #path: string;
  readonly #graph: Graph | null;
  readonly #scope: Scope;
  readonly #names: Names;
  readonly #references: Attribute[];
  readonly #constants = new Map<string, string>();
  #before: Node[] = [];

  constructor(
    options: {
      readonly target: number;
      readonly path: string;
      readonly graph: Graph | null;
      readonly scope: Scope;
      readonly names: Names;
      readonly references: Attribute[];
    },
  ) {
    this.target = options.target;
    this.#path = options.path;
    this.#graph = options.graph;
    this.#scope = options.scope;
    this.#names = options.names;
    this.#references = options.references;
  }

  /** The nodes that rewriting called for and that stand before the rewritten ones; forgets them. */
  takeBefore(): Node[] {
    const before = this.#before;
    this.#before = [];
    return before;
  }

  /** A name that no value and no node of the model has. */
  fresh(base: string): string {
    const { taken, suffixes } = this.#names;
    let suffix = suffixes.get(base) ?? 0;
    let name = base;
    while (taken.has(name)) name = `${base}_${++suffix}`;
    suffixes.set(base, suffix);
    taken.add(name);
    return name;
  }

  /** Element type of the value `name`, or null. */
  dtypeOf(name: string | undefined): DType | null {
    return this.#scope.get(name ?? "").dtype;
  }

  /** Rank of the value `name`, or null. */
  rankOf(name: string | undefined): number | null {
    return this.#scope.get(name ?? "").rank;
  }

  /** The tensor that `name` always is, or null. */
  constantOf(name: string | undefined): Tensor | null {
    return this.#scope.constant(name ?? "");
  }

  /** True where a node or a graph output reads the value `name`. */
  isRead(name: string | undefined): boolean {
    return name !== undefined && name !== "" && this.#names.read.has(name);
  }

  /** An error that names `node`. `state` says what is wrong and what to do. */
  error(node: Node, state: string): InputError {
    const named = node.name || node.outputs.find((output) => output !== "") || "";
    return new InputError(
      `Cannot upgrade node "${named}" (${node.opType}) of "${this.#path}" ` +
        `to opset ${this.target}: ${state}.`,
    );
  }

  /** The name of a constant; equal constants of a graph are one. */
  constant(
    base: string,
    dtype: ConstantType,
    dims: readonly number[],
    values: readonly (number | bigint)[],
  ): string {
    const bytes = encode(dtype, values);
    const key = `${dtype}[${dims}]${bytes}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const name = this.fresh(base);
    const tensor = makeTensor(name, dtype, dims, { kind: "memory", bytes });
    if (this.#graph === null) {
      this.#before.push(makeNode("Constant", "", [], [name], [{
        name: "value",
        value: { type: "tensor", value: { ...tensor, name: "" } },
        carried: NOTHING_CARRIED,
      }]));
    } else {
      this.#graph.initializers.push(tensor);
    }
    this.#constants.set(key, name);
    this.#scope.setConstant(name, tensor);
    return name;
  }

  /** The name of a one-dimensional int64 constant. */
  int64s(base: string, values: readonly (number | bigint)[]): string {
    return this.constant(base, "int64", [values.length], values);
  }

  /** The one output of a new node that stands before the rewritten one. */
  before(opType: string, inputs: string[], base: string, attributes: Attribute[] = []): string {
    const name = this.fresh(base);
    this.#before.push(makeNode(opType, "", inputs, [name], attributes));
    return name;
  }

  /**
   * Takes the integer list `name` off `node` and gives it as an input: null where it is absent or
   * empty. A reference to an attribute of the function becomes a `Constant` that refers to it.
   */
  intsInput(node: Node, name: string): string | null {
    const taken = takeAttribute(node, name);
    if (taken === undefined) return null;
    if (taken.value.type === "carried") return this.#reference(node, taken, "value_ints");
    if (taken.value.type !== "ints") throw this.error(node, `attribute "${name}" is not a list`);
    return taken.value.value.length === 0 ? null : this.int64s(name, taken.value.value);
  }

  /** Takes the float list `name` off `node` and gives it as a one-dimensional float32 input. */
  floatsInput(node: Node, name: string): string | null {
    const taken = takeAttribute(node, name);
    if (taken === undefined) return null;
    if (taken.value.type === "carried") return this.#reference(node, taken, "value_floats");
    if (taken.value.type !== "floats") throw this.error(node, `attribute "${name}" is not a list`);
    return this.constant(name, "float32", [taken.value.value.length], taken.value.value);
  }

  /** Takes the integer `name` off `node` and gives it as an int64 scalar, `fallback` if absent. */
  intInput(node: Node, name: string, fallback: number | null): string | null {
    const taken = takeAttribute(node, name);
    if (taken?.value.type === "carried") return this.#reference(node, taken, "value_int");
    if (taken !== undefined && taken.value.type !== "int") {
      throw this.error(node, `attribute "${name}" is not an integer`);
    }
    const value = taken?.value.type === "int" ? taken.value.value : fallback;
    return value === null ? null : this.constant(name, "int64", [], [value]);
  }

  /**
   * Takes the float `name` off `node` and gives it as a scalar of the element type of the value
   * `like`; null where it is absent.
   */
  floatInput(node: Node, name: string, like: string): string | null {
    const taken = takeAttribute(node, name);
    if (taken === undefined) return null;
    const dtype = this.dtypeOf(like);
    let scalar: string;
    if (taken.value.type === "carried") {
      scalar = this.#reference(node, taken, "value_float");
    } else {
      if (taken.value.type !== "float") {
        throw this.error(node, `attribute "${name}" is not a number`);
      }
      if (dtype === "float32" || dtype === "float64" || dtype === "float16") {
        return this.constant(name, dtype, [], [taken.value.value]);
      }
      scalar = this.constant(name, "float32", [], [taken.value.value]);
    }
    if (dtype === "float32") return scalar;
    const cast = this.castNode(node, scalar, this.fresh(name), like);
    this.#before.push(cast);
    return cast.outputs[0]!;
  }

  /** A new node that casts the value `from` to the element type of the value `like`. */
  castNode(node: Node, from: string, to: string, like: string): Node {
    const dtype = this.dtypeOf(like);
    if (dtype !== null) return makeNode("Cast", "", [from], [to], [int("to", onnxNumber(dtype))]);
    if (this.target < CAST_LIKE_SINCE) {
      throw this.error(
        node,
        `the element type of "${like}" is not known. Infer the shapes of the model first, or ask ` +
          `for opset 15 or later`,
      );
    }
    return makeNode("CastLike", "", [from, like], [to]);
  }

  /** The integer attribute `name`; an error where it refers to an attribute of the function. */
  plainInt(node: Node, name: string, fallback: number): number {
    this.#refuseReference(node, name);
    return intAttribute(node, name, fallback);
  }

  /** The text of attribute `name`, null where it is absent; an error where it is a reference. */
  plainText(node: Node, name: string): string | null {
    this.#refuseReference(node, name);
    const value = attribute(node, name);
    return value?.type === "string" ? new TextDecoder().decode(value.value) : null;
  }

  #refuseReference(node: Node, name: string): void {
    if (attribute(node, name)?.type === "carried") {
      throw this.error(
        node,
        `attribute "${name}" refers to an attribute of the function. Inline the function first`,
      );
    }
  }

  #reference(node: Node, taken: Attribute, as: string): string {
    if (this.target < CONSTANT_LIST_SINCE) {
      throw this.error(
        node,
        `attribute "${taken.name}" refers to an attribute of the function, which no constant ` +
          `can do before opset 12. Inline the function first`,
      );
    }
    const name = this.fresh(taken.name);
    this.#references.push(taken);
    this.#before.push(makeNode("Constant", "", [], [name], [{ ...taken, name: as }]));
    return name;
  }
}

/** Takes the attribute `name` off `node`. */
export function takeAttribute(node: Node, name: string): Attribute | undefined {
  const index = node.attributes.findIndex((entry) => entry.name === name);
  return index < 0 ? undefined : node.attributes.splice(index, 1)[0];
}

/** A string attribute. */
export function stringAttribute(name: string, text: string): Attribute {
  const value = { type: "string", value: new TextEncoder().encode(text) } as const;
  return { name, value, carried: NOTHING_CARRIED };
}

/** Sets the input at `index`, with omitted inputs before it. */
export function setInput(node: Node, index: number, name: string): void {
  while (node.inputs.length < index) node.inputs.push("");
  node.inputs[index] = name;
}

/** ONNX's number of an element type, for `Cast`. */
export function onnxNumber(dtype: DType): number {
  return DTYPES[dtype].onnx;
}

function encode(dtype: ConstantType, values: readonly (number | bigint)[]): Uint8Array {
  const size = DTYPES[dtype].bits / 8;
  const bytes = new Uint8Array(values.length * size);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    const offset = index * size;
    switch (dtype) {
      case "int64":
        return view.setBigInt64(offset, BigInt(value), true);
      case "float32":
        return view.setFloat32(offset, Number(value), true);
      case "float64":
        return view.setFloat64(offset, Number(value), true);
      case "float16":
        return view.setFloat16(offset, Number(value), true);
    }
  });
  return bytes;
}
