/**
 * What an op's record is: its name and how a call of it becomes values. A record sees its inputs as
 * {@link Operand}s, functions from indices to what stands there, and gives its outputs as such; what
 * is stored and what is computed where it is read is the schedule's business. Shapes, types and
 * values come from one function, so they can't disagree.
 */
import { type DType, DTYPES } from "../dtype.ts";
import type { Node } from "../ir.ts";
import type { Scalar } from "../expr/operations.ts";
import type { Integer } from "../expr/integer.ts";
import { apply, call, constant, convert, type Value } from "../expr/value.ts";

/** A tensor as an op sees it. */
export interface Operand {
  readonly dtype: DType;
  /** Extents: numbers or products of symbols (`extentOf`). The rank is always known. */
  readonly dims: readonly Integer[];
  /** The element at `indices`, one a dimension, as `scalarOf(dtype)`. Only in-range indices are read. */
  at(indices: readonly Integer[]): Value;
}

/** How a kernel file of `kernels/ops` is used: see `src/codegen/kernel_family.ts` for the cores. */
export interface KernelUse {
  /** Name of the core. */
  readonly core: string;
  /** The core's size functions. */
  readonly sizes: Readonly<Record<string, Integer>>;
  /** The core's load hooks, each the element at the hook's indices. */
  readonly loads: Readonly<Record<string, (indices: readonly Integer[]) => Value>>;
  /** The core's store hooks: the tensor that each fills, and where its indices lie in it. */
  readonly stores: Readonly<
    Record<string, {
      readonly dtype: DType;
      readonly dims: readonly Integer[];
      readonly place: (indices: readonly Integer[]) => readonly Integer[];
    }>
  >;
  /** Literals of the core's text: kernel size, stride, head size. */
  readonly constants?: Readonly<Record<string, number>>;
  /** Extra functions of the core, as operations of their float arguments (activations). */
  readonly functions?: Readonly<Record<string, (args: readonly Value[]) => Value>>;
}

/** A part of a tensor that is stored by a dispatch of its own. */
export interface Part {
  /** Extents of the positions that the part runs over. */
  readonly extents: readonly Integer[];
  /** Where the element of a position lies. */
  readonly place: (position: readonly Integer[]) => readonly Integer[];
  readonly value: (position: readonly Integer[]) => Value;
  /** Positions where nothing is stored; none when absent. */
  readonly skip?: (position: readonly Integer[]) => Value;
}

/** A call of an op, as its record sees it. */
export interface OpCall {
  readonly node: Node;
  /** Number of inputs that the node names, omitted ones included. */
  readonly inputCount: number;
  /** Which outputs are wanted, by position. */
  readonly wanted: readonly boolean[];
  /** Input `i`; fails when it is omitted. */
  input(i: number): Operand;
  /** Input `i`, or null when it is omitted. */
  optional(i: number): Operand | null;
  /**
   * The elements of input `i`, row-major, known on the host: constants, what is computed from
   * dimensions, or what is read back when the model runs. Their number must be known.
   */
  elements(i: number): readonly Value[];
  /** {@link elements} as integers. */
  integers(i: number): readonly Integer[];
  /** The elements of input `i` where all are known at conversion, else null. Never a read-back. */
  constants(i: number): readonly number[] | null;
  /** The value that every element of input `i` has, where that is known at conversion; else null. */
  uniform(i: number): number | null;
  int(name: string, fallback: number): number;
  float(name: string, fallback: number): number;
  string(name: string, fallback: string): string;
  ints(name: string): readonly number[] | null;
  floats(name: string): readonly number[] | null;
  strings(name: string): readonly string[] | null;
  has(name: string): boolean;
  /** An attribute tensor as an operand. */
  tensor(name: string): Operand | null;
  /**
   * Input `i`, which must be an initializer, its bytes read as elements of `dtype`, the lowest bits
   * first: packed codes. Null where it is computed.
   */
  view(i: number, dtype: DType, dims: readonly number[]): Operand | null;
  /** A vector of the numbers `values`. */
  table(dtype: "int32" | "float32", values: readonly number[]): Operand;
  /** `operand` as a tensor of its own, which the schedule may store: for what is read often. */
  stored(operand: Operand): Operand;
  /** Runs a kernel file; gives the tensors of its store hooks. */
  kernel<K extends string>(
    use: KernelUse & { readonly stores: Readonly<Record<K, unknown>> },
  ): Record<K, Operand>;
  /** A tensor that is stored in parts. Elements that no part stores are undefined. */
  parts(dtype: DType, dims: readonly Integer[], parts: readonly Part[]): Operand;
  /**
   * Runs the JavaScript function `name` of `runtime/host.js` on the host: inputs are read back, and
   * outputs, of known rank, have extents that are known only then.
   */
  host(
    name: string,
    inputs: readonly (Operand | null)[],
    settings: readonly (number | string | readonly number[])[],
    outputs: readonly { readonly dtype: DType; readonly rank: number }[],
  ): Operand[];
  /** What the graph attribute `name` gives for `inputs`; null where there is no such attribute. */
  graph(name: string, inputs: readonly Operand[]): readonly Operand[] | null;
  /** Refuses at run time, with `message`, a call for which `condition` (of host values) is false. */
  check(condition: Value, message: string): void;
  /** Refuses the model: `reason` completes "Cannot compile <op> "<node>": ". */
  fail(reason: string): never;
  /** The dims that the model declares for output `i`, or null: for ranks that nothing else tells. */
  declaredRank(i: number): number | null;
}

/** An op. */
export interface OpRecord {
  readonly name: string;
  /** Domain; the default domain is the empty string. */
  readonly domain: string;
  /** The opset that the newest version of the op is from, which the record is written for. */
  readonly since: number;
  /** Inputs that are read on the host, by position: shapes, axes, counts. */
  readonly hostInputs?: readonly number[];
  /** The outputs of a call, in order; an unwanted one may be left out at the end. */
  readonly lower: (call: OpCall) => readonly Operand[];
}

/** The scalar that elements of `dtype` are computed as. */
export function scalarOf(dtype: DType): Scalar {
  switch (DTYPES[dtype].kind) {
    case "float":
      return "f32";
    case "int":
      return "i32";
    case "uint":
      return "u32";
    case "bool":
      return "bool";
    case "complex":
    case "string":
      throw new Error(`no scalar for ${dtype}`);
  }
}

/** An operand given by what one element is. */
export function operand(
  dtype: DType,
  dims: readonly Integer[],
  at: (indices: readonly Integer[]) => Value,
): Operand {
  return { dtype, dims, at };
}

/** `value`, computed in 32 bits, as an integer of `dtype` holds it: narrow integers wrap around. */
export function wrapped(dtype: DType, value: Value): Value {
  const { kind, bits } = DTYPES[dtype];
  if (bits > 32 || (kind !== "int" && kind !== "uint")) return value;
  if (value.kind === "constant") {
    const code = BigInt.asUintN(bits, BigInt(value.value));
    return constant(value.type, Number(kind === "int" ? BigInt.asIntN(bits, code) : code));
  }
  if (bits === 32) return value;
  if (kind === "uint") return apply("bitAnd", value, constant("u32", 2 ** bits - 1));
  const distance = constant("u32", 32 - bits);
  return apply("shiftRight", apply("shiftLeft", value, distance), distance);
}

/** `value`, a scalar of `from`, as ONNX's Cast makes `to` of it, small floats aside. */
export function castTo(to: DType, value: Value): Value {
  const scalar = scalarOf(to);
  if (value.type === "f32" && scalar !== "f32" && scalar !== "bool") {
    return wrapped(to, call(scalar === "u32" ? "toU32" : "toI32", scalar, value));
  }
  return wrapped(to, convert(scalar, value));
}
